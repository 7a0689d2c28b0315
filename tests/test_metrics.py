"""What is counted of requests, models and loads, and under which labels."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.metrics import Metrics, ModelStatistics, Spent

STAGES = {"queue": 1_000_000, "predict": 20_000_000}


def end(metrics: Metrics, *, method: str = "POST", status: int = 200, **context: Any) -> None:
    """Begin and end a request."""
    metrics.begin_request("/predict")
    made = RequestContext("id", 0.0, **context)
    metrics.end_request(made, method, "/predict", status, 0.25, 100, 10)


def samples(metrics: Metrics) -> dict[str, float]:
    """What Prometheus reads: ``name{labels}`` -> value, the buckets left out."""
    text = metrics.exposition(None)[0].decode()
    return {
        sample.name + ",".join(f"{{{name}={value}}}" for name, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_a_request_is_counted_by_the_routes_pattern_the_method_and_the_status() -> None:
    metrics = Metrics()
    end(metrics, route="/predict/<name>")
    end(metrics, route="/predict/<name>", status=404)
    counted = samples(metrics)

    assert counted["tfsf_http_requests_total{method=POST},{route=/predict/<name>},{status=200}"] == 1
    assert counted["tfsf_http_requests_total{method=POST},{route=/predict/<name>},{status=404}"] == 1
    assert counted["tfsf_http_request_duration_seconds_count{route=/predict/<name>}"] == 2
    assert counted["tfsf_http_request_duration_seconds_sum{route=/predict/<name>}"] == 0.5
    assert counted["tfsf_http_request_bytes_total{route=/predict/<name>}"] == 200
    assert counted["tfsf_http_response_bytes_total{route=/predict/<name>}"] == 20


def test_what_a_client_makes_up_becomes_no_label() -> None:
    metrics = Metrics()
    for number in range(5):
        end(metrics, method=f"BREW{number}", status=404)

    assert [name for name in samples(metrics) if "http_requests_total" in name] == [
        "tfsf_http_requests_total{method=other},{route=other},{status=404}"
    ]


@pytest.mark.parametrize("method", [None, "GET", "BREW"])
def test_a_request_that_the_application_never_saw_is_counted_as_refused(method: str | None) -> None:
    metrics = Metrics()
    metrics.count_refusal(method, 503)
    label = "GET" if method == "GET" else "other"

    assert samples(metrics)[f"tfsf_http_requests_total{{method={label}}},{{route=refused}},{{status=503}}"] == 1


def test_requests_are_in_flight_until_they_end_and_who_reads_the_metrics_is_not() -> None:
    metrics = Metrics()
    metrics.begin_request("/predict")
    metrics.begin_request("/metrics")
    during = samples(metrics)["tfsf_http_requests_in_flight"]
    for path in ("/metrics", "/predict"):
        metrics.end_request(RequestContext("id", 0.0), "GET", path, 200, 0.1, 0, 0)

    assert during == 1
    assert samples(metrics)["tfsf_http_requests_in_flight"] == 0


def test_a_models_requests_and_stages_are_counted_by_its_version() -> None:
    metrics = Metrics()
    end(metrics, model_name="m", model_version="2", stages=STAGES)
    end(metrics, model_name="m", model_version="2", status=504)
    counted = samples(metrics)

    assert counted["tfsf_model_request_duration_seconds_count{model=m},{result=success},{version=2}"] == 1
    assert counted["tfsf_model_request_duration_seconds_count{model=m},{result=failure},{version=2}"] == 1
    assert counted["tfsf_model_stage_duration_seconds_sum{model=m},{stage=predict},{version=2}"] == 0.02
    assert counted["tfsf_model_stage_duration_seconds_count{model=m},{stage=queue},{version=2}"] == 1
    assert abs(counted["tfsf_model_last_request_timestamp_seconds{model=m},{version=2}"] - time.time()) < 60


def test_a_request_that_reached_no_model_counts_for_none() -> None:
    metrics = Metrics()
    end(metrics, stages=STAGES)

    assert [name for name in samples(metrics) if "model" in name] == []
    assert metrics.model_statistics() == {}


def test_loads_are_counted_and_the_gauge_follows_what_is_loaded() -> None:
    metrics = Metrics()
    for result in ("loaded", "loaded", "unloaded", "failed"):
        metrics.count_load("m", "1", result)
    counted = samples(metrics)

    assert counted["tfsf_model_loads_total{model=m},{result=loaded},{version=1}"] == 2
    assert counted["tfsf_model_unloads_total{model=m},{version=1}"] == 1
    assert counted["tfsf_model_loads_total{model=m},{result=failed},{version=1}"] == 1
    assert counted["tfsf_model_version_loaded{model=m},{version=1}"] == 1


def test_a_version_that_never_loaded_is_shown_as_not_loaded() -> None:
    metrics = Metrics()
    metrics.count_load("m", "latest", "failed")

    assert samples(metrics)["tfsf_model_version_loaded{model=m},{version=latest}"] == 0


def test_the_statistics_of_a_model_are_those_of_the_same_values() -> None:
    metrics = Metrics()
    for _ in range(2):
        end(metrics, model_name="m", model_version="2", stages=STAGES)
    end(metrics, model_name="m", model_version="2", status=400)
    found = metrics.model_statistics()["m", "2"]

    assert abs(found.last_request_ms - time.time() * 1000) < 60_000
    assert found.results == {"success": Spent(2, 500_000_000), "failure": Spent(1, 250_000_000)}
    assert found.stages == {"queue": Spent(2, 2_000_000), "predict": Spent(2, 40_000_000)}
    assert found.calls == {1: Spent(2, 40_000_000)}
    assert ModelStatistics() == ModelStatistics(0, {}, {}, {})


def test_a_call_that_answered_several_requests_counts_once() -> None:
    metrics = Metrics()
    for joined in (3, 3, 3, 1, 3, 3, 3):
        end(metrics, model_name="m", model_version="2", stages=STAGES, joined=joined)
    counted = samples(metrics)

    assert metrics.model_statistics()["m", "2"].calls == {1: Spent(1, 20_000_000), 3: Spent(2, 40_000_000)}
    assert counted["tfsf_model_calls_total{model=m},{requests=1},{version=2}"] == 1
    assert counted["tfsf_model_calls_total{model=m},{requests=3},{version=2}"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_the_format_is_what_prometheus_asks_for(accept: str | None, content_type: str) -> None:
    metrics = Metrics()
    end(metrics, route="/a", model_name="m", model_version="2", stages=STAGES)
    metrics.count_load("m", "2", "loaded")
    text, answered = metrics.exposition(accept)
    parse = parse_openmetrics if "openmetrics" in answered else text_string_to_metric_families
    families = {family.name: family for family in parse(text.decode())}

    assert answered.startswith(content_type)
    assert all(family.documentation.endswith(".") for family in families.values())
    assert {name: family.type for name, family in families.items() if not name.startswith("tfsf_model")} == {
        "tfsf_http_requests": "counter",
        "tfsf_http_request_duration_seconds": "histogram",
        "tfsf_http_request_bytes": "counter",
        "tfsf_http_response_bytes": "counter",
        "tfsf_http_requests_in_flight": "gauge",
        "tfsf_worker_processes": "gauge",
    }


def test_two_servers_in_one_process_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    end(first, route="/a")

    assert not any("http_requests_total" in name for name in samples(second))
