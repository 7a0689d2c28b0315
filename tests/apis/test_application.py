"""The rules' memory: it answers as Werkzeug does, for each host, path, method and query."""

from __future__ import annotations

from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    after_this_request,
    request_finished,
    request_started,
    request_tearing_down,
    session,
)
from flask.testing import FlaskClient
from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound
from werkzeug.routing import Rule
from werkzeug.test import create_environ

from tf_serving_flask_app.apis.application import REMEMBERED, Application, RememberingMap

RULES = ("/models/<name>", "/models/<int:number>/score")


def make_map() -> RememberingMap:
    return RememberingMap([Rule(rule, endpoint=rule, methods=["GET"]) for rule in RULES])


def matched(rules: RememberingMap, path: str, method: str = "GET", **more: Any) -> Any:
    rule, values = rules.bind_to_environ(create_environ(path, method=method, **more)).match(return_rule=True)
    return rule.rule, dict(values)


@pytest.mark.parametrize("query", ["", "?a=1"])
def test_a_path_matches_its_rule_each_time(query: str) -> None:
    rules = make_map()
    answers = [matched(rules, f"/models/{name}{query}") for name in ("a", "b", "a")]

    assert answers == [(RULES[0], {"name": "a"}), (RULES[0], {"name": "b"}), (RULES[0], {"name": "a"})]


def test_what_a_view_changes_in_its_arguments_is_not_remembered() -> None:
    rules = make_map()
    _, values = rules.bind_to_environ(create_environ("/models/7/score")).match(return_rule=True)
    assert isinstance(values, dict)
    values.clear()

    assert matched(rules, "/models/7/score") == (RULES[1], {"number": 7})


@pytest.mark.parametrize(
    ("path", "method", "more", "error"),
    [
        ("/nothing", "GET", {}, NotFound),
        ("/models/a", "POST", {}, MethodNotAllowed),
        ("/models/a", "GET", {"headers": {"Host": "x" * 70}}, BadRequest),
        ("/models/a", "GET", {"headers": {"Connection": "upgrade", "Upgrade": "websocket"}}, BadRequest),
    ],
)
def test_what_matches_nothing_does_so_again_beside_what_does(
    path: str, method: str, more: dict[str, Any], error: type[Exception]
) -> None:
    rules = make_map()
    for _ in range(2):
        with pytest.raises(error):
            matched(rules, path, method, **more)

        assert matched(rules, "/models/a")[1] == {"name": "a"}


def test_a_rule_that_is_added_counts_at_once() -> None:
    rules = make_map()
    matched(rules, "/models/a")
    rules.add(Rule("/models/a", endpoint="a"))

    assert matched(rules, "/models/a") == ("/models/a", {})


def test_no_more_paths_are_kept_than_that() -> None:
    rules = make_map()
    for number in range(REMEMBERED + 10):
        matched(rules, f"/models/{number}")

    assert rules._remembered.cache_info().currsize == REMEMBERED


def test_the_app_has_such_rules(app: Flask, client: FlaskClient) -> None:
    statuses = [client.get("/livez").status_code for _ in range(2)]

    assert isinstance(app.url_map, RememberingMap)
    assert statuses == [200, 200]
    assert app.url_map._remembered.cache_info().hits == 1


def make_hooked_app(seen: list[str]) -> Application:
    """An application with a route `/part/<name>` and hooks of every kind, each of which notes its name."""
    app = Application(__name__)
    part = Blueprint("part", __name__, url_prefix="/part")

    def note(name: str) -> Any:
        def noted(value: Any = None) -> Any:
            seen.append(name)
            return value if name.startswith("after") else None

        return noted

    app.before_request(note("before app"))
    part.before_request(note("before part"))
    app.after_request(note("after app"))
    part.after_request(note("after part"))
    app.teardown_request(note("teardown app"))
    part.teardown_request(note("teardown part"))

    @part.get("/<name>")
    def view(name: str) -> str:
        after_this_request(note("after this"))
        seen.append("view")
        if name == "fault":
            raise BadRequest
        return name

    app.register_blueprint(part)
    return app


@pytest.mark.parametrize(("name", "status"), [("a", 200), ("fault", 400)])
def test_every_hook_is_called_in_its_turn(name: str, status: int) -> None:
    seen: list[str] = []
    answer = make_hooked_app(seen).test_client().get(f"/part/{name}")

    assert answer.status_code == status
    before, after = ["before app", "before part"], ["after this", "after part", "after app"]
    assert seen == [*before, "view", *after, "teardown part", "teardown app"]


def test_the_first_hook_that_answers_does_so_in_place_of_the_view() -> None:
    seen: list[str] = []
    app = make_hooked_app(seen)
    app.before_request(lambda: "enough")

    assert app.test_client().get("/part/a").text == "enough"
    assert "view" not in seen
    assert "before part" not in seen


def test_what_prepares_a_path_s_values_does_so_before_the_hooks() -> None:
    app = make_hooked_app([])

    @app.url_value_preprocessor
    def prepare(endpoint: str | None, values: dict[str, Any] | None) -> None:
        assert values is not None
        values["name"] = f"{endpoint} {values['name']}"

    assert app.test_client().get("/part/a").text == "part.view a"


def make_counting_app() -> Application:
    """An application that counts in a session."""
    app = Application(__name__)

    @app.get("/")
    def view() -> str:
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    app.secret_key = "secret"
    return app


def test_what_is_done_after_one_request_only_needs_no_other_hook() -> None:
    app = Application(__name__)

    @app.get("/")
    def view() -> str:
        @after_this_request
        def note(response: Response) -> Response:
            response.headers["X-Noted"] = "yes"
            return response

        return "ok"

    assert app.test_client().get("/").headers["X-Noted"] == "yes"


def test_signals_reach_those_who_listen() -> None:
    app, seen = make_counting_app(), list[str]()

    def started(*_: Any, **__: Any) -> None:
        seen.append("started")

    def finished(*_: Any, **__: Any) -> None:
        seen.append("finished")

    def torn_down(*_: Any, **__: Any) -> None:
        seen.append("torn down")

    with (
        request_started.connected_to(started, app),
        request_finished.connected_to(finished, app),
        request_tearing_down.connected_to(torn_down, app),
    ):
        app.test_client().get("/")

    assert seen == ["started", "finished", "torn down"]


def test_a_session_is_kept_where_there_is_a_key_for_it() -> None:
    client = make_counting_app().test_client()

    assert [client.get("/").text for _ in range(2)] == ["1", "2"]


def test_methods_are_answered_and_hosts_refused_as_flask_does() -> None:
    app = make_counting_app()
    client = app.test_client(use_cookies=False)
    head, options = client.head("/"), client.options("/")
    long_host = client.get("/", headers={"Host": "x" * 70})
    app.config["TRUSTED_HOSTS"] = ["localhost"]

    assert (head.text, head.content_length) == ("", 1)
    assert set(options.allow) == {"GET", "HEAD", "OPTIONS"}
    assert client.post("/").status_code == 405
    assert long_host.status_code == 400
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Host": "elsewhere"}).status_code == 400
