"""The composition root: the one place that makes the objects, hands them to each other and wires the routes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flask import Flask
from werkzeug.debug import DebuggedApplication

from tf_serving_flask_app.apis import (
    detections,
    docs,
    images,
    metrics_text,
    open_inference,
    openapi,
    operations,
    predict,
    tfserving,
)
from tf_serving_flask_app.apis.application import Application
from tf_serving_flask_app.apis.errors import register_error_handlers
from tf_serving_flask_app.apis.wire import ServingRequest
from tf_serving_flask_app.metrics import Metrics
from tf_serving_flask_app.observability.access import AccessLog
from tf_serving_flask_app.observability.profiling import Profiler
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec


def create_app(
    settings: Settings,
    models: Sequence[ModelSpec],
    *,
    skip_failing: bool = False,
    metrics: Metrics | None = None,
    control_folder: Path | None = None,
) -> Flask:
    """Load the models and make the application that serves them.

    Under gunicorn this runs in each worker, after the fork. Whoever calls it closes what it made:
    ``app.extensions["repository"].close()``.

    Args:
        settings: what the environment says.
        models: what to serve.
        skip_failing: serve without the models that cannot be loaded; see ``Repository``.
        metrics: where requests and loads are counted; None for this process's own.
        control_folder: what the worker processes of a server share; see ``Repository``.

    Raises:
        ConfigurationError: a model cannot be served as its spec says.
    """
    app = Application(__name__, static_folder=None)
    # Flask reads FLASK_DEBUG by itself; here it means something in development only.
    app.debug = settings.debug and settings.environment == "development"
    limits = {
        "upload_folder": str(settings.upload_folder) if settings.upload_folder else None,
        # Not in Flask's configuration, which it looks up anew for each request.
        "max_content_length": int(settings.max_content_length),
        # A form's text fields may hold whole tensors: the request's size bounds them already.
        "max_form_memory_size": int(settings.max_content_length),
    }
    app.request_class = type("Request", (ServingRequest,), limits)

    metrics = metrics or Metrics()
    app.extensions["metrics"] = metrics
    repository = Repository(
        models, settings, skip_failing=skip_failing, on_load=metrics.count_load, control_folder=control_folder
    )
    app.extensions["repository"] = repository
    app.register_blueprint(metrics_text.create_blueprint(metrics, settings.metrics_port))
    app.register_blueprint(operations.create_blueprint(repository))
    app.register_blueprint(images.create_blueprint(repository, settings.image_folder))
    app.register_blueprint(detections.create_blueprint(repository))
    app.register_blueprint(predict.create_blueprint(repository))
    app.register_blueprint(tfserving.create_blueprint(repository))
    app.register_blueprint(open_inference.create_blueprint(repository, metrics))
    app.register_blueprint(openapi.create_blueprint(repository))
    app.register_blueprint(docs.create_blueprint())
    register_error_handlers(app)

    if settings.profile:
        as_json = settings.environment == "production"
        profiled = Profiler(app.wsgi_app, settings.profile_function_limit, settings.profile_dir, as_json)
        app.wsgi_app = profiled  # type: ignore[method-assign]
    if app.debug and settings.on_loopback:
        app.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=True)  # type: ignore[method-assign]
    app.wsgi_app = AccessLog(app.wsgi_app, settings.request_timeout_s, metrics)  # type: ignore[method-assign]
    return app
