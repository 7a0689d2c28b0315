"""Flask, with less work for each request: what its routes come to is remembered, and no view is asynchronous.

Each step of Flask finds the current request anew, through a stand-in that costs as much as reading a small body, and
looks for hooks that are not there. The steps below are those that Flask documents as ones to override. They do what
Flask does; where there is more to do than for most requests, Flask does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Request, Response, request_tearing_down
from flask.globals import request_ctx
from werkzeug.routing import Map, MapAdapter, Rule, RuleFactory
from werkzeug.wrappers import Request as AnyRequest

from tf_serving_flask_app.apis.wire import ServingResponse, this_request

if TYPE_CHECKING:
    from flask.ctx import RequestContext
    from flask.typing import ResponseReturnValue

Function = TypeVar("Function", bound=Callable[..., Any])

REMEMBERED = 256
"""Paths; clients of a model server call the same few again and again."""

MATCHED_BY = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "PATH_INFO",
    "REQUEST_METHOD",
)
"""All in a request without a query, and that wants no websocket, that decides which rule it matches."""


this_context: Callable[[], RequestContext] = request_ctx._get_current_object  # type: ignore[attr-defined]
"""The current request's context itself, behind Flask's stand-in."""


class RememberedAdapter(MapAdapter):
    """A request's path, bound to the rules; what it matches is looked up once."""

    _found: tuple[Rule, Mapping[str, Any]] | None = None

    def match(self, *args: Any, **options: Any) -> Any:
        """See ``MapAdapter.match``; remembered is what Flask asks for: the rule of the bound path."""
        if args or options != {"return_rule": True}:
            return super().match(*args, **options)
        if self._found is None:
            self._found = super().match(return_rule=True)
        rule, values = self._found
        return rule, dict(values)


class RememberingMap(Map):
    """Rules that remember the paths which were asked for last."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._remembered = lru_cache(REMEMBERED)(self._bind)
        super().__init__(*args, **options)

    def add(self, rulefactory: RuleFactory) -> None:
        """See ``Map.add``."""
        super().add(rulefactory)
        self._remembered.cache_clear()

    def bind_to_environ(
        self, environ: dict[str, Any] | AnyRequest, server_name: str | None = None, subdomain: str | None = None
    ) -> MapAdapter:
        """See ``Map.bind_to_environ``."""
        env = environ.environ if isinstance(environ, AnyRequest) else environ
        if env.get("QUERY_STRING") or "HTTP_UPGRADE" in env:
            return super().bind_to_environ(env, server_name, subdomain)
        return self._remembered(server_name, subdomain, *map(env.get, MATCHED_BY))

    def _bind(self, server_name: str | None, subdomain: str | None, *parts: str | None) -> MapAdapter:
        environ = {name: part for name, part in zip(MATCHED_BY, parts, strict=True) if part is not None}
        bound = super().bind_to_environ(environ, server_name, subdomain)
        return RememberedAdapter(
            self,
            bound.server_name,
            bound.script_name,
            bound.subdomain,
            bound.url_scheme,
            bound.path_info,
            bound.default_method,
            bound.query_args,
        )


class Application(Flask):
    """The Flask application."""

    url_map_class = RememberingMap
    response_class = ServingResponse

    def ensure_sync(self, func: Function) -> Function:
        """See ``Flask.ensure_sync``: nothing here is a coroutine, so nothing is looked at for each call."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """See ``Flask.create_url_adapter``; where all hosts are trusted, the request's is not looked at twice."""
        if (
            request is None
            or self.config["TRUSTED_HOSTS"] is not None
            or self.url_map.host_matching
            or self.subdomain_matching
        ):
            return super().create_url_adapter(request)
        return self.url_map.bind_to_environ(
            request.environ, self.config["SERVER_NAME"], self.url_map.default_subdomain or ""
        )

    def preprocess_request(self) -> ResponseReturnValue | None:
        """See ``Flask.preprocess_request``."""
        if self.url_value_preprocessors:
            return super().preprocess_request()
        for name in (None, *reversed(this_request().blueprints)):
            for hook in self.before_request_funcs.get(name, ()):
                answer: ResponseReturnValue | None = hook()  # type: ignore[assignment]
                if answer is not None:
                    return answer
        return None

    def dispatch_request(self) -> ResponseReturnValue:
        """See ``Flask.dispatch_request``."""
        request = this_request()
        if request.url_rule is None or request.view_args is None or request.method == "OPTIONS":
            return super().dispatch_request()
        return self.view_functions[request.url_rule.endpoint](**request.view_args)  # type: ignore[return-value]

    def process_response(self, response: Response) -> Response:
        """See ``Flask.process_response``."""
        context = this_context()
        if (
            self.after_request_funcs
            or context._after_request_functions
            or not self.session_interface.is_null_session(context._session)
        ):
            return super().process_response(response)
        return response

    def do_teardown_request(self, *args: BaseException | None) -> None:
        """See ``Flask.do_teardown_request``."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*args)
