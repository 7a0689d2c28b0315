"""The Open Inference Protocol, version 2: `/v2/...`, with Triton's extensions.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, and
https://github.com/triton-inference-server/server/tree/main/docs/protocol for the extensions. Errors are in Triton's
words, which clients and monitors look for.
"""

from __future__ import annotations

from flask import Blueprint, Response

from tf_serving_flask_app import __version__
from tf_serving_flask_app.apis import (
    open_inference_infer,
    open_inference_models,
    open_inference_repository,
    open_inference_statistics,
)
from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.open_inference_models import readiness
from tf_serving_flask_app.apis.open_inference_requests import TAG
from tf_serving_flask_app.apis.open_inference_types import ServerLive, ServerMetadata, ServerReady
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.errors import ModelNotFound, SignatureNotFound, VersionNotFound
from tf_serving_flask_app.metrics import Metrics
from tf_serving_flask_app.repository import Repository

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)


def create_blueprint(repository: Repository, metrics: Metrics) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("open_inference", __name__, url_prefix="/v2")
    for part in (open_inference_models, open_inference_infer, open_inference_repository):
        blueprint.register_blueprint(part.create_blueprint(repository))
    blueprint.register_blueprint(open_inference_statistics.create_blueprint(repository, metrics))

    @blueprint.get("")
    @documented(Operation("What this server is", TAG, answers={200: ServerMetadata}))
    def metadata() -> Response:
        found = ServerMetadata(name="tf_serving_flask_app", version=__version__, extensions=list(EXTENSIONS))
        return json_response(found.model_dump())

    @blueprint.get("/health/live")
    @documented(Operation("Whether the process is alive", TAG, answers={200: ServerLive}))
    def live() -> Response:
        return json_response({"live": True})

    @blueprint.get("/health/ready")
    @documented(Operation("Whether all models are loaded and warm", TAG, answers={200: ServerReady, 503: ServerReady}))
    def ready() -> Response:
        return readiness(repository.ready, {"ready": repository.ready})

    @blueprint.errorhandler(ModelNotFound)
    def model_not_found(error: ModelNotFound) -> Response:
        return json_response({"error": f"Request for unknown model: {error.name!r} is not found"}, 404)

    @blueprint.errorhandler(VersionNotFound)
    def version_not_found(error: VersionNotFound) -> Response:
        text = f"Request for unknown model: {error.name!r} version {error.version} is not found"
        return json_response({"error": text}, 404)

    @blueprint.errorhandler(SignatureNotFound)
    def signature_not_found(error: SignatureNotFound) -> Response:
        return json_response({"error": f"{error} Name one as 'signature_name' in the request's parameters."}, 400)

    return blueprint
