"""`/metrics` for Prometheus, on the main port or on one of its own."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from tf_serving_flask_app.apis.documentation import Operation, documented, path_template
from tf_serving_flask_app.apis.wire import this_request
from tf_serving_flask_app.metrics import METRICS_PATH, Metrics

ON_METRICS_PORT = frozenset({METRICS_PATH, "/livez", "/readyz"})


def create_blueprint(metrics: Metrics, port: int | None) -> Blueprint:
    """Make the route; with a port of its own, nothing else but the health checks is there, and it is nowhere else."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.before_app_request
    def note_route() -> None:
        request = this_request()
        rule = request.url_rule
        request.environ["tf_serving.request"].route = None if rule is None else path_template(rule.rule)
        if port is None:
            return
        if request.path not in ON_METRICS_PORT if arrived_at(port) else request.path == METRICS_PATH:
            raise NotFound

    @blueprint.get(METRICS_PATH)
    @documented(
        Operation(
            "What Prometheus collects: requests, models and loads of all workers",
            "Server",
            answers={200: {"text/plain": str, "application/openmetrics-text": str}},
        )
    )
    def text() -> Response:
        body, content_type = metrics.exposition(request.headers.get("Accept"))
        return Response(body, content_type=content_type)

    return blueprint


def arrived_at(port: int) -> bool:
    """Tell whether the request came in by a port.

    A request through a Unix socket, which has no REMOTE_PORT, did not: gunicorn takes its SERVER_PORT from what the
    client says.
    """
    return request.environ.get("SERVER_PORT") == str(port) and "REMOTE_PORT" in request.environ
