"""The rules' memory: it answers as Werkzeug does, for each host, path, method and query."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound
from werkzeug.routing import Rule
from werkzeug.test import create_environ

from tf_serving_flask_app.apis.application import REMEMBERED, RememberingMap

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
