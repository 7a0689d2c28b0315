"""`/metrics`: what a scrape finds after requests of every kind, on which port."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from tests.closing_client import ClosingClient
from tests.conftest import COLORS, HALF, MakeApp
from tests.pictures import picture
from tf_serving_flask_app.observability.access_line import DATASET

Series = dict[tuple[str, ...], float]


@pytest.fixture
def client(app: Flask) -> ClosingClient:
    """A client of the app with a model of each kind."""
    return ClosingClient(app)


def scrape(client: ClosingClient, name: str, *labels: str) -> Series:
    """The samples of one name: the values of these labels -> the sample's value."""
    response = client.get("/metrics")
    assert response.status_code == 200
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name
    }


def requests(client: ClosingClient) -> Series:
    return scrape(client, "tfsf_http_requests_total", "route", "method", "status")


def test_requests_are_counted_by_route_method_and_status(client: ClosingClient) -> None:
    client.post("/predict/half", json={"x": 4})
    client.post("/predict/half", json={"x": -4})
    client.post("/predict/nothing", json={"x": 4})
    client.get("/predict/half")
    client.post("/classify", data=picture("red"), content_type="image/png")

    assert requests(client) == {
        ("/predict/{name}", "POST", "200"): 1,
        ("/predict/{name}", "POST", "400"): 1,
        ("/predict/{name}", "POST", "404"): 1,
        ("other", "GET", "405"): 1,
        ("/classify", "POST", "200"): 1,
    }


def test_made_up_paths_and_methods_add_one_series_in_all(client: ClosingClient) -> None:
    for number in range(30):
        client.get(f"/no/such/path/{number}")
        client.open(f"/nor/{number}", method=f"BREW{number}")

    assert requests(client) == {("other", "GET", "404"): 30, ("other", "other", "404"): 30}


def test_a_scrape_counts_itself_once_when_it_is_over(client: ClosingClient) -> None:
    first, second, third = (requests(client) for _ in range(3))
    in_flight = scrape(client, "tfsf_http_requests_in_flight")

    assert (first, second, third) == ({}, {("/metrics", "GET", "200"): 1}, {("/metrics", "GET", "200"): 2})
    assert in_flight == {(): 0}


def test_head_and_options_are_answered_and_counted_as_such(client: ClosingClient) -> None:
    head, options = client.head("/metrics"), client.options("/metrics")

    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert sorted(options.allow) == ["GET", "HEAD", "OPTIONS"]
    assert requests(client) == {("/metrics", "HEAD", "200"): 1, ("/metrics", "OPTIONS", "200"): 1}


def test_the_format_is_negotiated(client: ClosingClient) -> None:
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


def test_models_are_counted_with_their_stages(client: ClosingClient) -> None:
    for number in (4, 13):
        client.post("/predict/half", json={"x": number})
    client.post("/classify", data=picture("red"), content_type="image/png")
    name = "tfsf_model_request_duration_seconds_count"
    stages = scrape(client, "tfsf_model_stage_duration_seconds_count", "model", "version", "stage")

    assert scrape(client, name, "model", "version", "result") == {
        ("half", "1", "success"): 1,
        ("half", "1", "failure"): 1,
        ("colors", "1", "success"): 1,
    }
    assert stages["half", "1", "predict"] == 2
    assert stages["half", "1", "postprocess"] == 1
    assert {stage for model, _, stage in stages if model == "colors"} == {"decode", "predict", "postprocess"}


UNDECODABLE = {"data": b"no picture", "content_type": "image/png"}
UNKNOWN_SIGNATURE: dict[str, Any] = {"signature_name": "nope", "instances": [1]}


@pytest.mark.parametrize(
    ("path", "request_", "model"),
    [
        ("/classify", UNDECODABLE, "colors"),
        ("/predict/half", {"json": {"nope": 1}}, "half"),
        ("/v1/models/half:predict", {"json": UNKNOWN_SIGNATURE}, "half"),
        ("/v1/models/half/versions/1:predict", {"json": UNKNOWN_SIGNATURE}, "half"),
        ("/v1/models/half:classify", {"json": {"examples": [{"x": 1}]}}, "half"),
        ("/v2/models/half/infer", {"data": b"no JSON"}, "half"),
    ],
)
def test_a_request_that_fails_before_the_model_runs_counts_for_the_model_that_it_named(
    client: ClosingClient, caplog: pytest.LogCaptureFixture, path: str, request_: dict[str, Any], model: str
) -> None:
    caplog.set_level(logging.INFO)
    response = client.post(path, **request_)
    (access,) = [record for record in caplog.records if record.name == DATASET]
    counted = scrape(client, "tfsf_model_request_duration_seconds_count", "model", "version", "result")
    (statistics,) = client.get(f"/v2/models/{model}/stats").get_json()["model_stats"]

    assert response.status_code == 400
    assert counted == {(model, "1", "failure"): 1}
    assert statistics["inference_stats"]["fail"]["count"] == 1
    assert (access.__dict__["labels.model_name"], access.__dict__["labels.model_version"]) == (model, "1")


def test_who_asks_what_a_model_is_does_not_count_for_it(client: ClosingClient) -> None:
    statuses = {
        client.get(path).status_code for path in ("/v1/models/half/metadata", "/v2/models/half", "/openapi.json")
    }

    assert statuses == {200}
    assert scrape(client, "tfsf_model_request_duration_seconds_count", "model") == {}


def test_what_is_loaded_is_counted(client: ClosingClient) -> None:
    loads = scrape(client, "tfsf_model_loads_total", "model", "version", "result")

    assert loads == {(model, "1", "loaded"): 1 for model in ("half", "colors", "echo")}
    assert scrape(client, "tfsf_model_version_loaded", "model") == {("half",): 1, ("colors",): 1, ("echo",): 1}


@pytest.mark.parametrize(
    ("path", "main_port", "metrics_port"),
    [("/metrics", 404, 200), ("/livez", 200, 200), ("/readyz", 200, 200), ("/", 200, 404), ("/no/such", 404, 404)],
)
def test_with_a_port_of_its_own_it_is_there_and_nothing_else_but_the_health_checks(
    make_app: MakeApp, path: str, main_port: int, metrics_port: int
) -> None:
    client = make_app(HALF, METRICS_PORT="9100").test_client()
    statuses = [
        client.get(path, environ_overrides={"SERVER_PORT": port, "REMOTE_PORT": "50000"}).status_code
        for port in ("5000", "9100")
    ]

    assert statuses == [main_port, metrics_port]


def test_a_unix_sockets_client_cannot_claim_to_come_by_that_port(make_app: MakeApp) -> None:
    client = make_app(HALF, COLORS, METRICS_PORT="9100").test_client()

    assert client.get("/metrics", environ_overrides={"SERVER_PORT": "9100"}).status_code == 404
