"""One model's operations in each protocol: schemas of its tensors, and examples that are answered as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from tf_serving_flask_app.apis.documentation import PICTURE, answer
from tf_serving_flask_app.apis.open_inference_datatypes import BINARY_ONLY, datatype, is_sendable
from tf_serving_flask_app.apis.tensor_schemas import (
    Json,
    answer_schema,
    example,
    is_small,
    item,
    plain,
    record_schema,
    sample,
    tensor_schema,
)
from tf_serving_flask_app.apis.tfserving_examples import INPUTS
from tf_serving_flask_app.apis.tfserving_values import TYPES
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import PREDICT_METHOD, Signature, TensorInfo

STRINGS = np.dtype(object)
SCHEMAS = "#/components/schemas"
ENCODED: Json = {"$ref": f"{SCHEMAS}/EncodedBytes"}
BINARY: Json = {"type": "string", "format": "binary", "description": "As JSON, with the outputs' bytes behind it."}


def predict_operation(task: Task, signature: Signature) -> Json:
    """Describe `/predict/MODEL`: fields, as JSON or as a form; where one is a file, as a form only."""
    inputs = signature.inputs
    content: Json = {}
    if not any(task.input_type(info) in ("image", "file") for info in inputs.values()):
        content["application/json"] = {
            "schema": record_schema(
                {name: _or_item(tensor_schema(info), tensor_schema(item(info))) for name, info in inputs.items()}
            ),
            "example": {name: example(info) for name, info in inputs.items()},
        }
    if inputs:
        content["multipart/form-data"] = {
            "schema": record_schema({name: _form_field(task, info) for name, info in inputs.items()})
        }
    outputs = {
        name: _or_item(answer_schema(info), answer_schema(item(info))) for name, info in signature.outputs.items()
    }
    # A hook may answer with whatever it likes.
    answers = {"type": "object"} if task.model.spec.postprocess else record_schema(outputs)
    return {
        "summary": f"Call {task.model.name} with its inputs as fields",
        "description": _note(inputs.values()) if "application/json" in content else "",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer("OK", {"application/json": answers})},
    }


def _form_field(task: Task, info: TensorInfo) -> Json:
    kind = task.input_type(info)
    if kind in ("image", "file"):
        return {"type": "string", "format": "binary", "description": f"A file; the input is {info}"}
    if kind == "text":
        return {"type": "string", "description": str(info)}
    text = orjson.dumps(example(info)).decode()
    return {"type": "string", "description": f"{info}, as JSON", "examples": [text]}


def _or_item(batch: Json, single: Json) -> Json:
    """`/predict` takes and gives one item of a batch as well as a batch."""
    return {"anyOf": [batch, single]}


def predict_signatures(task: Task) -> list[Signature]:
    """The signatures that TensorFlow Serving's protocol can call with tensors: they take some, in types that it has."""
    return [
        signature
        for signature in task.model.signatures.values()
        if signature.method == PREDICT_METHOD
        and signature.inputs
        and not _takes_examples(signature)
        and all(info.dtype.name in TYPES for info in [*signature.inputs.values(), *signature.outputs.values()])
    ]


def _takes_examples(signature: Signature) -> bool:
    """Tell whether it takes serialized ``tf.train.Example`` records, which ``:classify`` and ``:regress`` make.

    A SavedModel of TensorFlow 2 tells that by the name of its one input only.
    """
    return signature.inputs.keys() == {INPUTS} and signature.inputs[INPUTS].dtype == STRINGS


def tensorflow_serving_operation(task: Task, chosen: Signature | None) -> Json:
    """Describe `/v1/models/MODEL:predict`: each signature, in the row form and in the columnar form.

    Args:
        task: the model.
        chosen: the signature that need not be named.
    """
    signatures = predict_signatures(task)
    bodies, answers, examples = [], [], {}
    for signature in signatures:
        for key, schema, value in _forms(task, signature):
            body = record_schema({"signature_name": {"const": signature.name}, key: schema})
            bodies.append(body | {"required": [key]} if signature is chosen else body)
            named = {} if signature is chosen else {"signature_name": signature.name}
            examples[f"{signature.name}, {key}"] = {"value": {**named, key: value}}
        answers += _form_answers(signature)
    shown = [info for each in signatures for info in each.inputs.values() if not task.takes_pictures(info.name)]
    return {
        "summary": f"Call {task.model.name} by TensorFlow Serving's protocol",
        "description": _note(shown),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": bodies}, "examples": examples}},
        },
        "responses": {"200": answer("OK", {"application/json": {"anyOf": answers}})},
    }


def _forms(task: Task, signature: Signature) -> list[tuple[str, Json, Any]]:
    """Key, schema and example of the forms in which a signature's inputs may come."""
    inputs = signature.inputs
    forms: list[tuple[str, Json, Any]] = []
    if all(info.shape for info in inputs.values()):  # one of open rank may be a scalar, which has no rows
        rows = {name: _picture_or(task, item(info)) for name, info in inputs.items()}
        schema, row = _only(rows)
        forms.append(("instances", {"type": "array", "items": schema, "minItems": 1}, [row]))
    schema, columns = _only({name: _picture_or(task, info) for name, info in inputs.items()})
    forms.append(("inputs", schema, columns))
    return forms


def _picture_or(task: Task, info: TensorInfo) -> tuple[Json, Any]:
    """Schema and example of a tensor, or of a picture in its place; of a batch, a list of them."""
    if not task.takes_pictures(info.name):
        return tensor_schema(info), example(info)
    batch = info.shape is None or len(info.shape) == 4
    picture: Json = {"b64": PICTURE}
    encoded = {"type": "array", "items": ENCODED, "minItems": 1} if batch else ENCODED
    return {"anyOf": [encoded, tensor_schema(info)]}, [picture] if batch else picture


def _only(fields: Mapping[str, tuple[Json, Any]]) -> tuple[Json, Any]:
    """Schema and example of an object; of a single field, its value may stand for it."""
    record = record_schema({name: schema for name, (schema, _) in fields.items()})
    if len(fields) != 1:
        return record, {name: value for name, (_, value) in fields.items()}
    ((schema, value),) = fields.values()
    return {"anyOf": [schema, record]}, value


def _form_answers(signature: Signature) -> list[Json]:
    """Describe the answers to these forms."""
    outputs = signature.outputs
    rows = record_schema({name: answer_schema(item(info)) for name, info in outputs.items()})
    columns = record_schema({name: answer_schema(info) for name, info in outputs.items()})
    if len(outputs) == 1:
        (info,) = outputs.values()
        rows, columns = answer_schema(item(info)), answer_schema(info)
    return [record_schema({"predictions": {"type": "array", "items": rows}}), record_schema({"outputs": columns})]


def goes_in_json(signature: Signature) -> bool:
    """Tell whether the Open Inference Protocol has a JSON form for all of a signature's tensors."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return all(is_sendable(info.dtype) and datatype(info.dtype) not in BINARY_ONLY for info in tensors)


def infer_operation(task: Task, signature: Signature) -> Json:
    """Describe `/v2/models/MODEL/infer` in JSON; a picture goes as its file's bytes, where the task decodes it."""
    inputs = list(signature.inputs.values())
    pictures = [info.name for info in inputs if task.takes_pictures(info.name)]
    sent = [_tensor(info.name, datatype(info.dtype), info.shape, _data(info)) for info in inputs]
    sent += [_tensor(name, datatype(STRINGS), (None,), {"type": "array", "items": ENCODED}) for name in pictures]
    wanted = {"name": {"enum": list(signature.outputs)}, "parameters": {"$ref": f"{SCHEMAS}/OutputParameters"}}
    body = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
            "inputs": {"type": "array", "items": {"anyOf": sent}, "minItems": len(inputs), "maxItems": len(inputs)}
            if sent
            else {"type": "array", "maxItems": 0},
            "outputs": {
                "description": "Left out or empty: all.",
                "type": "array",
                "items": {"type": "object", "properties": wanted, "required": ["name"]},
            },
        },
        "required": ["inputs"],
    }
    answers = {"application/json": _infer_answer(task, signature), "application/octet-stream": BINARY}
    return {
        "summary": f"Call {task.model.name} by the Open Inference Protocol",
        "description": "" if pictures else _note(inputs),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body, "examples": _infer_examples(task, signature, pictures)}},
        },
        "responses": {"200": answer("OK", answers)},
    }


def _infer_examples(task: Task, signature: Signature, pictures: list[str]) -> Json:
    examples: Json = {}
    if pictures:
        values = [
            {"name": name, "shape": [1], "datatype": datatype(STRINGS), "data": [{"b64": PICTURE}]} for name in pictures
        ]
        examples["a picture"] = {"value": {"inputs": values}}
        labelled = [name for name in signature.outputs if task.class_label(name, 0) is not None]
        if labelled:
            best = [{"name": name, "parameters": {"classification": 3}} for name in labelled]
            examples["a picture, its best classes"] = {"value": {"inputs": values, "outputs": best}}
    inputs = signature.inputs.values()
    if not pictures or all(map(is_small, inputs)):
        examples["tensors"] = {"value": {"inputs": [_tensor_example(info) for info in inputs]}}
    return examples


def _infer_answer(task: Task, signature: Signature) -> Json:
    """Describe the answer: each output as itself, or as its best classes; a hook may make others of them."""
    if task.model.spec.postprocess:
        return {"$ref": f"{SCHEMAS}/InferenceResponse"}
    outputs = []
    for info in signature.outputs.values():
        for kind in dict.fromkeys([info.dtype, STRINGS]):
            flat = {"type": "string"} if kind == STRINGS else answer_schema(replace(info, shape=()))
            outputs.append(
                {
                    "description": str(info) if kind == info.dtype else f"The best classes of {info.name}",
                    "type": "object",
                    "properties": {
                        "name": {"const": info.name},
                        "datatype": {"const": datatype(kind)},
                        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                        "parameters": {"type": "object"},
                        "data": {"type": "array", "items": flat},
                    },
                    "required": ["name", "datatype", "shape"],
                }
            )
    properties: Json = {
        "id": {"type": "string"},
        "model_name": {"const": task.model.name},
        "model_version": {"type": "string"},
        "outputs": {"type": "array", "items": {"anyOf": outputs}},
    }
    return {"type": "object", "properties": properties, "required": ["model_name", "model_version", "outputs"]}


def _data(info: TensorInfo) -> Json:
    """A tensor's values, nested or flat."""
    return {"anyOf": [tensor_schema(info), tensor_schema(replace(info, shape=(None,)))]}


def _tensor(name: str, kind: str, shape: tuple[int | None, ...] | None, data: Json) -> Json:
    sizes: Json = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    if shape is not None:
        each = [{"type": "integer", "minimum": 0} if size is None else {"const": size} for size in shape]
        sizes = {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    return record_schema({"name": {"const": name}, "datatype": {"const": kind}, "shape": sizes, "data": data})


def _tensor_example(info: TensorInfo) -> Json:
    value = sample(info)
    data = plain(value.reshape(-1))
    return {"name": info.name, "datatype": datatype(info.dtype), "shape": list(value.shape), "data": data}


def _note(inputs: Iterable[TensorInfo]) -> str:
    """Say so where the example of a large tensor is not whole."""
    cut = ", ".join(f"`{info}`" for info in inputs if not is_small(info))
    return f"The example is cut short: this model takes {cut}." if cut else ""
