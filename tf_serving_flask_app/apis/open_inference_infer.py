"""Calling a model by the Open Inference Protocol: `/v2/models/M[/versions/V]/infer`."""

from __future__ import annotations

import time

from flask import Blueprint, Response

from tf_serving_flask_app.apis.compression import compress
from tf_serving_flask_app.apis.documentation import Binary, Operation, documented
from tf_serving_flask_app.apis.open_inference_binary import JSON_LENGTH_HEADER, split_body
from tf_serving_flask_app.apis.open_inference_inputs import read_inputs, read_raw_input
from tf_serving_flask_app.apis.open_inference_outputs import Answer, check_outputs, write_answer
from tf_serving_flask_app.apis.open_inference_requests import TAG, find_task, parse_request
from tf_serving_flask_app.apis.open_inference_types import (
    InferenceHeaders,
    InferenceRequest,
    InferenceResponse,
    RequestParameters,
)
from tf_serving_flask_app.apis.wire import read_body, this_request, whole_response
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task

JSON_LENGTH_VARIABLE = f"HTTP_{JSON_LENGTH_HEADER.upper().replace('-', '_')}"


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the route."""
    blueprint = Blueprint("infer", __name__)

    @blueprint.post("/models/<name>/infer")
    @blueprint.post("/models/<name>/versions/<version>/infer")
    @documented(
        Operation(
            "Call a model",
            TAG,
            body={"application/json": InferenceRequest, "application/octet-stream": Binary},
            headers=InferenceHeaders,
            answers={200: {"application/json": InferenceResponse, "application/octet-stream": Binary}},
        )
    )
    def infer(name: str, version: str | None = None) -> Response:
        """Tensors in and out, in JSON or as bytes behind it.

        The header `Inference-Header-Content-Length` says how many bytes of the body are JSON, where tensors follow
        it; the answer has it too, where it has such tensors. With 0 the whole body is the model's one input, which
        may be a picture's file where the model is for pictures; the outputs then are bytes, or JSON where
        `Accept: application/json` asks for that.
        """
        request = this_request()
        environ = request.environ  # whose headers cost less than the request's
        context = environ["tf_serving.request"]
        task = find_task(repository, name, version, context)
        as_json = "json" in environ.get("HTTP_ACCEPT", "") and request.accept_mimetypes.best == "application/json"
        header = environ.get(JSON_LENGTH_VARIABLE)
        answer = answer_call(task, read_body(), header, context, raw_to_json=as_json)
        return response(answer, environ.get("HTTP_ACCEPT_ENCODING"))

    return blueprint


def answer_call(
    task: Task, body: bytes, json_length: str | None, context: RequestContext, *, raw_to_json: bool = False
) -> Answer:
    """Read a call, run the model, write its answer.

    Args:
        task: the model.
        body: the request's.
        json_length: the header that says how much of it is JSON.
        context: the request's.
        raw_to_json: answer in JSON where the request has none that could ask for it.

    Raises:
        InvalidInput: the request does not fit the protocol or the model.
    """
    with context.stage("decode"):
        text, binary = split_body(body, json_length)
        if json_length is not None and not text:
            asked = InferenceRequest(inputs=[], parameters=RequestParameters(binary_data_output=not raw_to_json))
            signature = task.model.signature()
            inputs = read_raw_input(binary, task, signature)
        else:
            asked = parse_request(InferenceRequest, text)
            signature = task.model.signature(asked.parameters.signature_name)
            check_outputs(asked.outputs, signature.outputs, task.model.name)
            inputs = read_inputs(asked.inputs, binary, task, signature)
    if asked.parameters.timeout:
        context.deadline = min(context.deadline, time.monotonic() + asked.parameters.timeout / 1e6)
    outputs = task.infer(inputs, context, signature.name)
    with context.stage("postprocess"):
        return write_answer(asked, outputs, task)


def response(answer: Answer, accepted: str | None) -> Response:
    """Send an answer, compressed where the client's ``Accept-Encoding`` allows that and it is worth it."""
    body, coding = compress(answer.body, accepted)
    made = whole_response(body, "application/json" if answer.json_length is None else "application/octet-stream")
    if answer.json_length is not None:
        made.headers[JSON_LENGTH_HEADER] = str(answer.json_length)
    if coding is not None:
        made.headers["Content-Encoding"] = coding
        made.headers["Vary"] = "Accept-Encoding"
    return made
