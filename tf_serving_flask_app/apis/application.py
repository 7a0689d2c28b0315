"""Flask, with less work for each request: what its routes come to is remembered, and no view is asynchronous."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from flask import Flask
from werkzeug.routing import Map, MapAdapter, Rule, RuleFactory
from werkzeug.wrappers import Request

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
        self, environ: dict[str, Any] | Request, server_name: str | None = None, subdomain: str | None = None
    ) -> MapAdapter:
        """See ``Map.bind_to_environ``."""
        env = environ.environ if isinstance(environ, Request) else environ
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

    def ensure_sync(self, func: Function) -> Function:
        """See ``Flask.ensure_sync``: nothing here is a coroutine, so nothing is looked at for each call."""
        return func
