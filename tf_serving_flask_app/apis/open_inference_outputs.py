"""The outputs of a call by the Open Inference Protocol: in JSON, or behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson

from tf_serving_flask_app.apis.open_inference_binary import array_to_bytes
from tf_serving_flask_app.apis.open_inference_classification import best_classes
from tf_serving_flask_app.apis.open_inference_datatypes import BINARY_ONLY, datatype, is_sendable
from tf_serving_flask_app.apis.open_inference_types import InferenceRequest, OutputParameters, RequestOutput
from tf_serving_flask_app.apis.validation import shown
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Array, Tensors, array_to_json

AS_IT_IS = OutputParameters()


@dataclass(frozen=True)
class Answer:
    """An answer's body.

    Attributes:
        body: the JSON, and the binary tensors behind it.
        json_length: bytes of the JSON, where something is behind it.
    """

    body: bytes
    json_length: int | None


def check_outputs(wanted: Collection[RequestOutput], known: Collection[str], model: str) -> None:
    """Refuse outputs that are named twice, that the model does not have, or that are wanted in an impossible way.

    Raises:
        InvalidInput: see above.
    """
    names = set()
    for output in wanted:
        if output.name in names:
            raise InvalidInput(f"output {output.name!r} already requested")
        names.add(output.name)
        if output.name not in known:
            raise InvalidInput(
                f"unexpected inference output {shown(output.name)} for model {model!r}, which has"
                f" {', '.join(map(repr, known))}"
            )
        if output.parameters.shared_memory_region is not None:
            raise InvalidInput(f"output {output.name!r}: shared memory is not supported")


def write_answer(request: InferenceRequest, outputs: Tensors, task: Task) -> Answer:
    """Write what a model answered in the form and order that the client wants.

    Raises:
        InvalidInput: an output has no form of that kind.
    """
    described = []
    tensors: list[bytearray | memoryview] = []
    wanted = {output.name: output.parameters for output in request.outputs} or dict.fromkeys(outputs, AS_IT_IS)
    for name, parameters in wanted.items():
        if name not in outputs:
            raise InvalidInput(f"output {name!r} is not there for pictures: the postprocess hook leaves it out")
        array = outputs[name]
        if parameters.classification:
            array = best_classes(array, parameters.classification, name, task)
        description: dict[str, Any] = {"name": name, "datatype": _datatype(array, name), "shape": array.shape}
        in_binary = parameters.binary_data
        if request.parameters.binary_data_output if in_binary is None else in_binary:
            tensor = array_to_bytes(array)
            tensors.append(tensor)
            description["parameters"] = {"binary_data_size": len(tensor)}
        else:
            description["data"] = _to_json(array, name)
        described.append(description)
    answer = {"model_name": task.model.name, "model_version": task.model.version, "outputs": described}
    if request.id is not None:
        answer = {"id": request.id, **answer}
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    # Joined here, and once: what comes behind takes a body of one piece as it is.
    return Answer(b"".join([text, *tensors]), len(text)) if tensors else Answer(text, None)


def _datatype(array: Array, name: str) -> str:
    if not is_sendable(array.dtype):
        raise InvalidInput(
            f"output {name!r} is of a type that the protocol does not have ({datatype(array.dtype)}): name the others"
            " in 'outputs'"
        )
    return datatype(array.dtype)


def _to_json(array: Array, name: str) -> Any:
    if datatype(array.dtype) in BINARY_ONLY:
        raise InvalidInput(
            f"sending {datatype(array.dtype)} data via JSON is not supported. Please use the binary data format for"
            f" output {name!r}: set 'binary_data' in its parameters"
        )
    data = array_to_json(array.reshape(-1))
    if array.dtype == object and not all(isinstance(item, str) for item in data):
        raise InvalidInput(f"output {name!r} holds bytes that are no UTF-8 text: set 'binary_data' in its parameters")
    return data
