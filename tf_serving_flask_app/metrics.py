"""What operators measure, summed over all worker processes: requests, models, loads."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.shared_values import Distribution, Family, Histogram, SharedValues, Value

LoadListener = Callable[[str, str, str], None]
"""Called with a model's name, its version, and what happened: ``loaded``, ``failed`` or ``unloaded``."""

METRICS_PATH = "/metrics"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""The label of a path that leads nowhere and of a method that nobody knows: what a client makes up is no label."""
REFUSED = "refused"
"""The route of a request that was answered before the application saw it."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the durations' buckets."""

MODEL_SECONDS = "tfsf_model_request_duration_seconds"
STAGE_SECONDS = "tfsf_model_stage_duration_seconds"
CALLS = "tfsf_model_calls_total"
CALL_SECONDS = "tfsf_model_call_seconds_total"
LAST_REQUEST = "tfsf_model_last_request_timestamp_seconds"


@dataclass(frozen=True)
class Spent:
    """How often something was done, and how long that took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0


@dataclass
class ModelStatistics:
    """What one version of a model has done so far.

    Attributes:
        last_request_ms: when its last request ended, in milliseconds since the epoch; 0 before the first.
        results: ``success`` and ``failure`` -> the requests that ended so, from their arrival to their answer.
        stages: ``queue``, ``decode``, ``predict``, ``postprocess``... -> that part of its requests.
        calls: requests that a call of the model answered together -> such calls.
    """

    last_request_ms: int = 0
    results: dict[str, Spent] = field(default_factory=dict)
    stages: dict[str, Spent] = field(default_factory=dict)
    calls: dict[int, Spent] = field(default_factory=dict)


# Route, method, status, model, version, how many requests were joined, stages.
_Kind = tuple[str, str, int, str | None, str | None, int, tuple[str, ...]]


@dataclass(slots=True)
class _Values:
    """The values of one kind of requests, found once."""

    requests: Value
    sent: Value
    seconds: list[Distribution]
    stages: list[Distribution] = field(default_factory=list)
    calls: Value | None = None
    call_seconds: Value | None = None
    last_request: Value | None = None


class Metrics:
    """Counts what happens in this process, and tells the sum over all processes that use the same folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Start counting; only after the fork.

        Args:
            folder: see ``SharedValues``.
        """
        values = self._values = SharedValues(folder)
        self._registry = CollectorRegistry()
        self._registry.register(values)
        self._requests = Family(
            values,
            "counter",
            "tfsf_http_requests_total",
            "Requests answered, by the route's pattern.",
            ("route", "method", "status"),
        )
        self._seconds = Histogram(
            values,
            "tfsf_http_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            ("route",),
            SECONDS,
        )
        self._received = Family(
            values, "counter", "tfsf_http_request_bytes_total", "Bytes of the requests' bodies.", ("route",)
        )
        self._sent = Family(
            values, "counter", "tfsf_http_response_bytes_total", "Bytes of the answers' bodies.", ("route",)
        )
        self._in_flight = Family(
            values,
            "gauge_livesum",
            "tfsf_http_requests_in_flight",
            "Requests that are being worked on; those that wait for a thread are not.",
        ).of()
        self._model_seconds = Histogram(
            values,
            MODEL_SECONDS,
            "Time from the arrival to the answer of the requests that reached a model.",
            ("model", "version", "result"),
            SECONDS,
        )
        self._stage_seconds = Histogram(
            values,
            STAGE_SECONDS,
            "Time that a model's requests spent in each stage.",
            ("model", "version", "stage"),
            SECONDS,
        )
        self._calls = Family(
            values,
            "counter",
            CALLS,
            "Calls of a model that were answered, by how many requests were joined in each.",
            ("model", "version", "requests"),
        )
        self._call_seconds = Family(
            values,
            "counter",
            CALL_SECONDS,
            "Time that these took.",
            ("model", "version", "requests"),
        )
        self._last_request = Family(
            values, "gauge_max", LAST_REQUEST, "When a model's last request ended.", ("model", "version")
        )
        self._loads = Family(
            values,
            "counter",
            "tfsf_model_loads_total",
            "Loads of versions, by whether they were loaded or failed, in each worker process.",
            ("model", "version", "result"),
        )
        self._unloads = Family(
            values,
            "counter",
            "tfsf_model_unloads_total",
            "Versions unloaded, in each worker process.",
            ("model", "version"),
        )
        self._loaded = Family(
            values,
            "gauge_livesum",
            "tfsf_model_version_loaded",
            "Worker processes that have the version loaded.",
            ("model", "version"),
        )
        self._found: dict[_Kind, _Values] = {}
        with values.lock:
            Family(values, "gauge_livesum", "tfsf_worker_processes", "Worker processes that are alive.").of().set(1)

    def begin_request(self, path: str) -> None:
        """Count a request that is begun, unless it asks for the metrics: who looks must not find itself at work."""
        if path != METRICS_PATH:
            with self._values.lock:
                self._in_flight.add(1)

    def end_request(
        self, context: RequestContext, method: str, path: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request that was begun and is answered.

        Args:
            context: names the route, the model and the time of each stage.
            method: as the client sent it.
            path: the same as at its beginning.
            status: of the answer.
            seconds: from the request's arrival to now.
            received: bytes of its body.
            sent: bytes of the answer's body.
        """
        with self._values.lock:
            if path != METRICS_PATH:
                self._in_flight.add(-1)
            route, stages = context.route or OTHER, context.stages
            # One search instead of a dozen.
            kind = (
                route,
                method if method in METHODS else OTHER,
                status,
                context.model_name,
                context.model_version,
                context.joined,
                tuple(stages),
            )
            values = self._found.get(kind) or self._find(kind)
            values.requests.add(1)
            if received:
                self._received.of(route).add(received)
            values.sent.add(sent)
            for distribution in values.seconds:
                distribution.observe(seconds)
            for distribution, spent_ns in zip(values.stages, stages.values(), strict=False):
                distribution.observe(spent_ns / 1e9)
            if values.calls is not None and values.call_seconds is not None:
                # Each of the requests that a call answered counts its share of it.
                values.calls.add(1 / context.joined)
                values.call_seconds.add(stages["predict"] / context.joined / 1e9)
            if values.last_request is not None:
                values.last_request.set(time.time())

    def _find(self, kind: _Kind) -> _Values:
        route, method, status, model, version, joined, stages = kind
        values = self._found[kind] = _Values(
            self._requests.of(route, method, str(status)), self._sent.of(route), [self._seconds.of(route)]
        )
        if model is not None and version is not None:
            values.seconds.append(self._model_seconds.of(model, version, "success" if status < 400 else "failure"))
            values.stages.extend(self._stage_seconds.of(model, version, stage) for stage in stages)
            if "predict" in stages and status < 400:
                values.calls = self._calls.of(model, version, str(joined))
                values.call_seconds = self._call_seconds.of(model, version, str(joined))
            values.last_request = self._last_request.of(model, version)
        return values

    def count_refusal(self, method: str | None, status: int) -> None:
        """Count a request that the application did not get to see; without a method if it could not be read."""
        with self._values.lock:
            self._requests.of(REFUSED, method if method in METHODS else OTHER, str(status)).add(1)

    def count_load(self, model: str, version: str, result: str) -> None:
        """Count a load, or the end of what was loaded; a ``LoadListener``."""
        with self._values.lock:
            if result == "unloaded":
                self._unloads.of(model, version).add(1)
            else:
                self._loads.of(model, version, result).add(1)
            self._loaded.of(model, version).add({"loaded": 1, "unloaded": -1}.get(result, 0))

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """All metrics as text for Prometheus, and its content type, chosen by the request's ``Accept``."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type

    def model_statistics(self) -> Mapping[tuple[str, str], ModelStatistics]:
        """What each model's versions have done, by name and version; without those that were never called."""
        found: dict[tuple[str, str], ModelStatistics] = defaultdict(ModelStatistics)
        calls: dict[tuple[str, str, int], dict[str, float]] = defaultdict(dict)
        sums: dict[tuple[str, str, str, str], dict[str, float]] = defaultdict(dict)
        for metric in self._values.collect():
            for sample in metric.samples:
                labels = sample.labels
                if metric.name == LAST_REQUEST:
                    found[labels["model"], labels["version"]].last_request_ms = int(sample.value * 1000)
                elif sample.name in (CALLS, CALL_SECONDS):
                    calls[labels["model"], labels["version"], int(labels["requests"])][sample.name] = sample.value
                elif metric.name in (MODEL_SECONDS, STAGE_SECONDS) and "le" not in labels:
                    what = labels["result" if metric.name == MODEL_SECONDS else "stage"]
                    sums[labels["model"], labels["version"], metric.name, what][sample.name] = sample.value
        for (model, version, name, what), values in sums.items():
            spent = Spent(round(values[f"{name}_count"]), round(values[f"{name}_sum"] * 1e9))
            statistics = found[model, version]
            (statistics.results if name == MODEL_SECONDS else statistics.stages)[what] = spent
        for (model, version, requests), values in sorted(calls.items()):
            found[model, version].calls[requests] = Spent(round(values[CALLS]), round(values[CALL_SECONDS] * 1e9))
        return found

    def close(self) -> None:
        """Stop counting."""
        self._values.close()
