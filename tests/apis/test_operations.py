"""What operators ask: what is served, is it alive, is it ready."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import HALF, MakeApp
from tf_serving_flask_app import __version__

STATES = {"half": {"1": "AVAILABLE"}, "colors": {"1": "AVAILABLE"}, "echo": {"1": "AVAILABLE"}}


def test_the_root_describes_the_models(make_app: MakeApp) -> None:
    response = make_app({**HALF, "version": 7}).test_client().get("/", headers={"Accept": "application/json"})

    assert response.json == {
        "name": "tf_serving_flask_app",
        "version": __version__,
        "status": "alive",
        "models": [
            {
                "name": "half",
                "version": "7",
                "task": "tensor",
                "signatures": {
                    "serving_default": {
                        "inputs": {"x": {"dtype": "float32", "shape": [-1]}},
                        "outputs": {"y": {"dtype": "float32", "shape": [-1]}},
                    }
                },
            }
        ],
    }


def test_it_is_alive_and_ready_with_all_models_loaded(client: FlaskClient) -> None:
    livez, readyz = client.get("/livez"), client.get("/readyz")

    assert (livez.status_code, livez.json) == (200, {"status": "alive", "models": STATES})
    assert (readyz.status_code, readyz.json) == (200, {"status": "ready", "models": STATES})


def test_while_it_drains_it_is_alive_but_not_ready(app: Flask) -> None:
    client = app.test_client()
    app.extensions["repository"].drain()
    livez, readyz = client.get("/livez"), client.get("/readyz")

    assert livez.status_code == 200
    assert (readyz.status_code, readyz.json) == (503, {"status": "draining", "models": STATES})
    assert int(readyz.headers["Retry-After"]) >= 1


def test_while_it_drains_what_still_arrives_is_answered(app: Flask) -> None:
    app.extensions["repository"].drain()

    assert app.test_client().post("/predict/half", json={"x": 4}).json == {"y": 4.0}


def test_without_models_it_is_alive_but_not_ready(make_app: MakeApp) -> None:
    app = make_app(HALF)
    app.extensions["repository"].close()
    livez, readyz = app.test_client().get("/livez"), app.test_client().get("/readyz")

    assert (livez.status_code, livez.json) == (200, {"status": "alive", "models": {}})
    assert (readyz.status_code, readyz.json) == (503, {"status": "not ready", "models": {}})
    assert "Retry-After" in readyz.headers


def test_apps_share_nothing(make_app: MakeApp) -> None:
    first, second = make_app(HALF), make_app({**HALF, "name": "other"})
    first.extensions["repository"].drain()

    assert second.test_client().get("/readyz").json == {"status": "ready", "models": {"other": {"1": "AVAILABLE"}}}
