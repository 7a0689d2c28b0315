"""`/v1`: TensorFlow Serving's REST API, with KServe V1 beside it; statuses and texts are TensorFlow Serving's.

Facts from tensorflow/serving: model_servers/http_rest_api_handler.cc, model_servers/http_rest_api_util.cc.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.tfserving_examples import (
    INPUTS,
    check_classify,
    check_regress,
    classify_answer,
    read_examples,
    regress_answer,
)
from tf_serving_flask_app.apis.tfserving_json import (
    columnar_answer,
    parse_document,
    read_inputs,
    row_answer,
    validate,
)
from tf_serving_flask_app.apis.tfserving_metadata import metadata_body, status_body
from tf_serving_flask_app.apis.tfserving_path import CONVERTERS, Target, parse_path, raw_path
from tf_serving_flask_app.apis.tfserving_types import (
    ClassifyAnswer,
    ColumnarAnswer,
    ExamplesRequest,
    MetadataAnswer,
    ModelsAnswer,
    PredictRequest,
    RegressAnswer,
    RowAnswer,
    StatusAnswer,
    VersionsAnswer,
)
from tf_serving_flask_app.apis.wire import json_response, read_body, request_context, this_request
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.entries import VersionStatus
from tf_serving_flask_app.errors import (
    InvalidInput,
    LabelNotFound,
    ModelNotFound,
    SignatureNotFound,
    Unsupported,
    VersionNotFound,
)
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Signature, Tensors

TAG = "TensorFlow Serving"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS")
ORIGIN = re.compile("https?://.*")

MODEL = "/v1/models/<segment:name>"
VERSION = "/v1/models/<segment:name>/versions/<version:version>"
LABEL = "/v1/models/<segment:name>/labels/<segment:label>"


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("tfserving", __name__)
    blueprint.record_once(lambda state: state.app.url_map.converters.update(CONVERTERS))

    @blueprint.get("/v1/models")
    @documented(Operation("Names of the models (KServe V1)", TAG, answers={200: ModelsAnswer}))
    def models() -> Response:
        return json_response({"models": repository.names()})

    @blueprint.get(MODEL)
    @documented(Operation("State of a model and its versions", TAG, answers={200: StatusAnswer}))
    def status(name: str) -> Response:
        statuses = find_statuses(repository, name)
        ready = any(version.state == "AVAILABLE" for version in statuses)
        return json_response({"name": name, "ready": ready, **status_body(statuses)})

    @blueprint.get(VERSION)
    @blueprint.get(LABEL)
    @documented(Operation("State of one version of a model", TAG, answers={200: VersionsAnswer}))
    def version_status(name: str, version: int | None = None, label: str | None = None) -> Response:
        return json_response(status_body(find_statuses(repository, name, version, label)))

    @blueprint.get(f"{MODEL}/metadata")
    @blueprint.get(f"{VERSION}/metadata")
    @blueprint.get(f"{LABEL}/metadata")
    @documented(Operation("Signatures of a model", TAG, answers={200: MetadataAnswer}))
    def metadata(name: str, version: int | None = None, label: str | None = None) -> Response:
        return json_response(metadata_body(find_task(repository, name, version, label).model))

    @blueprint.post(f"{MODEL}:predict")
    @blueprint.post(f"{VERSION}:predict")
    @blueprint.post(f"{LABEL}:predict")
    @documented(
        Operation(
            "Run a model on tensors",
            TAG,
            body={"application/json": PredictRequest},
            answers={200: RowAnswer | ColumnarAnswer},
        )
    )
    def predict(name: str, version: int | None = None, label: str | None = None) -> Response:
        """`instances` gives the batch row by row and is answered by `predictions`; `inputs` gives whole tensors and is
        answered by `outputs`. Bytes are `{"b64": "..."}`; a picture model takes encoded pictures so. `NaN`, `Infinity`
        and `-Infinity` are numbers, in answers too.
        """
        context = request_context()
        with context.stage("decode"):
            document = parse_document(read_body())
            asked = validate(PredictRequest, document)
            task = find_task(repository, name, version, label, context)
            text = 'Serving signature name: "{}" not found in signature def'
            signature = find_signature(task, asked.signature_name, text)
            by_rows, inputs = read_inputs(asked, document, signature, task.takes_pictures)
        outputs = task.infer(inputs, context, signature.name, any_shape=True)
        with context.stage("postprocess"):
            answer = row_answer(outputs) if by_rows else columnar_answer(outputs)
            return json_response(answer, non_finite=True)

    def run_examples(
        check: Callable[[Signature], None],
        answer: Callable[[Tensors, int], dict[str, Any]],
        name: str,
        version: int | None,
        label: str | None,
    ) -> Response:
        context = request_context()
        with context.stage("decode"):
            document = parse_document(read_body())
            asked = validate(ExamplesRequest, document)
            examples = read_examples(asked, document, request.max_content_length)
            task = find_task(repository, name, version, label, context)
            signature = find_signature(task, asked.signature_name, "No signature was found with the name: {}")
            check(signature)
        outputs = task.infer({INPUTS: examples}, context, signature.name, any_shape=True)
        with context.stage("postprocess"):
            return json_response(answer(outputs, len(examples)), non_finite=True)

    @blueprint.post(f"{MODEL}:classify")
    @blueprint.post(f"{VERSION}:classify")
    @blueprint.post(f"{LABEL}:classify")
    @documented(
        Operation("Classify examples", TAG, body={"application/json": ExamplesRequest}, answers={200: ClassifyAnswer})
    )
    def classify(name: str, version: int | None = None, label: str | None = None) -> Response:
        """For signatures that take serialized `tf.train.Example` records, which are made of the request's features."""
        return run_examples(check_classify, classify_answer, name, version, label)

    @blueprint.post(f"{MODEL}:regress")
    @blueprint.post(f"{VERSION}:regress")
    @blueprint.post(f"{LABEL}:regress")
    @documented(
        Operation(
            "Make a number of each example",
            TAG,
            body={"application/json": ExamplesRequest},
            answers={200: RegressAnswer},
        )
    )
    def regress(name: str, version: int | None = None, label: str | None = None) -> Response:
        """For signatures that take serialized `tf.train.Example` records, which are made of the request's features."""
        return run_examples(check_regress, regress_answer, name, version, label)

    @blueprint.post(f"{MODEL}:explain")
    @documented(Operation("Explain an answer (KServe V1): not done here", TAG))
    def explain(name: str, version: int | None = None, label: str | None = None) -> Response:
        find_task(repository, name, version, label)
        raise Unsupported(f"Model {name!r} has no explainer; its answers come from :predict.")

    views = {"predict": predict, "classify": classify, "regress": regress, "explain": explain, "metadata": metadata}

    @documented(Operation("", "", hidden=True))
    def every_other_path(rest: str) -> Response:
        """TensorFlow Serving's paths in another case or encoding, and all that it calls malformed."""
        target = parse_path(request.method, raw_path())
        if target == Target(name=None):
            return models()
        if target.name is None:
            raise InvalidInput("Missing model name in request.")
        if target.call != "status":
            return views[target.call](target.name, target.version, target.label)
        if target.version is None and target.label is None:
            return status(target.name)
        return version_status(target.name, target.version, target.label)

    @blueprint.before_request
    def path_as_sent() -> Response | None:
        """Answer OPTIONS as TensorFlow Serving does before it looks at the path, and take apart an encoded path before
        it is decoded: an encoded slash or colon separates nothing.
        """
        request = this_request()
        if request.method == "OPTIONS":
            origin = ORIGIN.match(request.headers.get("Origin", ""))
            return Response(status=200 if origin else 400, mimetype="application/json")
        if "%" not in request.environ.get("RAW_URI", "%"):
            return None
        return every_other_path(rest="") if "%" in raw_path() else None

    for prefix in ("/v1", "/V1"):
        blueprint.add_url_rule(f"{prefix}/<rest:rest>", view_func=every_other_path, methods=METHODS)
    return blueprint


def find_task(
    repository: Repository,
    name: str,
    version: int | None,
    label: str | None,
    context: RequestContext | None = None,
) -> Task:
    """Find a model, or one version of it; see ``Repository.find``.

    Version 0, where the model has none of that number, is the latest one: OpenVINO Model Server means that by it, and
    its client always names a version.

    Raises:
        NotFound: there is none; the text is TensorFlow Serving's.
        InvalidInput: the same for a label.
        NotReady: it lives elsewhere and has not been there yet.
    """
    try:
        return repository.find(name, Task, version=version, label=label, context=context)
    except (ModelNotFound, VersionNotFound, LabelNotFound) as exc:
        if label is not None:
            raise InvalidInput(f"Unrecognized servable version label: {label}") from exc
        if version == 0 and isinstance(exc, VersionNotFound):
            return find_task(repository, name, None, None, context)
        if version is not None:
            text = f"Servable not found for request: Specific({name}, {version})"
            raise VersionNotFound(text, name, version) from exc
        raise ModelNotFound(f"Servable not found for request: Latest({name})", name) from exc


def find_statuses(
    repository: Repository, name: str, version: int | None = None, label: str | None = None
) -> list[VersionStatus]:
    """Find the states of a model's versions, or of the one that is named; of version 0 see ``find_task``.

    Raises:
        NotFound: there is none; the text is TensorFlow Serving's.
        InvalidInput: the same for a label.
    """
    if label is not None:
        version = int(find_task(repository, name, None, label).model.version)
    try:
        statuses = repository.status(name)
    except ModelNotFound as exc:
        if version is None:
            raise ModelNotFound(f"Could not find any versions of model {name}", name) from exc
        statuses = []
    if version is None:
        return statuses
    found = [status for status in statuses if status.version == str(version)]
    if version == 0:
        found = found or statuses
    if not found:
        raise VersionNotFound(f"Could not find version {version} of model {name}", name, version)
    return found


def find_signature(task: Task, name: str, text: str) -> Signature:
    """Find a signature; without a name the model's own choice.

    Raises:
        InvalidInput: there is none; the text has the name in it.
    """
    try:
        return task.model.signature(name or None)
    except SignatureNotFound as exc:
        raise InvalidInput(text.format(exc.signature)) from exc
