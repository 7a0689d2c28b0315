"""Triton's statistics extension."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from tests.closing_client import ClosingClient
from tests.conftest import HALF, MakeApp
from tests.pictures import picture

NOTHING = {"count": 0, "ns": 0}


@pytest.fixture
def client(app: Flask) -> ClosingClient:
    """A client of the app with a model of each kind."""
    return ClosingClient(app)


def test_a_model_that_was_never_called_has_zeros(make_app: MakeApp) -> None:
    stages = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")

    assert make_app({**HALF, "version": 3}).test_client().get("/v2/models/half/stats").json == {
        "model_stats": [
            {
                "name": "half",
                "version": "3",
                "last_inference": 0,
                "inference_count": 0,
                "execution_count": 0,
                "inference_stats": dict.fromkeys(stages, NOTHING),
                "batch_stats": [],
            }
        ]
    }


def test_requests_and_their_stages_are_summed_up(client: ClosingClient) -> None:
    began = time.time()
    for _ in range(3):
        client.post("/classify", data=picture("red"), content_type="image/png")
    (stats,) = client.get("/v2/models/colors/versions/01/stats").get_json()["model_stats"]
    inference, (batch,) = stats["inference_stats"], stats["batch_stats"]
    computed = ("compute_input", "compute_infer", "compute_output")

    assert (stats["inference_count"], stats["execution_count"]) == (3, 3)
    assert began * 1000 - 1 <= stats["last_inference"] <= time.time() * 1000
    assert inference["fail"] == NOTHING
    assert [inference[stage]["count"] for stage in ("success", *computed)] == [3] * 4
    assert 0 < sum(inference[stage]["ns"] for stage in computed) <= inference["success"]["ns"]
    assert batch == {
        "batch_size": 1,
        "compute_input": NOTHING,
        "compute_infer": {"count": 3, "ns": pytest.approx(inference["compute_infer"]["ns"], abs=10)},
        "compute_output": NOTHING,
    }


def test_a_failed_request_counts_as_such_and_not_as_an_inference(client: ClosingClient) -> None:
    client.post("/predict/half", json={"x": 13})
    (stats,) = client.get("/v2/models/half/stats").get_json()["model_stats"]

    assert stats["inference_count"] == stats["inference_stats"]["success"]["count"] == 0
    assert stats["inference_stats"]["fail"]["count"] == 1
    assert stats["inference_stats"]["fail"]["ns"] > 0
    assert stats["batch_stats"] == []


def test_without_a_name_all_models_are_listed(client: ClosingClient) -> None:
    stats = client.get("/v2/models/stats").get_json()["model_stats"]

    assert [(each["name"], each["version"]) for each in stats] == [("half", "1"), ("colors", "1"), ("echo", "1")]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("nothing", 404, "Request for unknown model: 'nothing' is not found"),
        ("nothing/versions/1", 404, "Request for unknown model: 'nothing' is not found"),
        ("half/versions/9", 404, "Request for unknown model: 'half' version 9 is not found"),
        ("half/versions/one", 400, "specified version string 'one', version should be a whole number"),
        ("half/versions/" + "9" * 5000, 400, "version should be a whole number"),
    ],
)
def test_what_is_not_there_is_told_as_triton_does(client: ClosingClient, path: str, status: int, error: str) -> None:
    response = client.get(f"/v2/models/{path}/stats")

    assert response.status_code == status
    assert error in response.get_json()["error"]
