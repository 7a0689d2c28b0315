"""tritonclient: tensors in every form, strings among them, and the inference statistics that they leave."""

import itertools
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton

url = sys.argv[1]
COMPRESSION = (None, "gzip", "deflate")
text = np.array([b"plain", "gr\u00fcn".encode(), b"", b"a\x00b"], dtype=np.object_)
count = np.array([[1, -2], [3, 2**53 + 1], [0, 0], [-(2**63), 2**63 - 1]], dtype=np.int64)


def tensor(name: str, array: Any, datatype: str, binary: bool = True) -> Any:
    """Make an input of an array."""
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array, binary_data=binary)


def output(name: str, binary: bool) -> Any:
    """Ask for an output in one form."""
    return triton.InferRequestedOutput(name, binary_data=binary)


def successes(client: Any) -> int:
    """Count the requests that a model has answered so far."""
    (model,) = client.get_inference_statistics("echo")["model_stats"]
    return int(model["inference_stats"]["success"]["count"])


with triton.InferenceServerClient(url, concurrency=8) as client:
    before = successes(client)

    # Each input and each output on its own as binary or as JSON.
    forms = {}
    for form in itertools.product((True, False), repeat=4):
        inputs = [tensor("text", text, "BYTES", form[0]), tensor("count", count, "INT64", form[1])]
        outputs = [output("text", form[2]), output("count", form[3])]
        result = client.infer("echo", inputs, outputs=outputs, request_id="id-7")
        forms["".join("JB"[binary] for binary in form)] = (
            [item if isinstance(item, bytes) else item.encode() for item in result.as_numpy("text")] == list(text)
            and np.array_equal(result.as_numpy("count"), count)
            and result.get_response()["id"] == "id-7"
            and ["data" not in answer for answer in result.get_response()["outputs"]] == [form[2], form[3]]
        )
    answered = successes(client) - before

    # No outputs named: all come, as binary.
    x = np.linspace(0, 1000, 20_000, dtype=np.float32).reshape(-1, 1)
    y = client.infer("half_plus_two", [tensor("x", x, "FP32")])
    half_plus_two = bool(np.allclose(y.as_numpy("y"), x / 2 + 2))

    compressed = {}
    for request, response in itertools.product(COMPRESSION, repeat=2):
        for binary in (True, False):
            result = client.infer(
                "half_plus_two",
                [tensor("x", x, "FP32", binary)],
                outputs=[output("y", binary)],
                request_compression_algorithm=request,
                response_compression_algorithm=response,
            )
            compressed[f"{request} {response} {binary}"] = bool(np.allclose(result.as_numpy("y"), x / 2 + 2))

    # Many requests at once on eight connections: each gets its own answer.
    numbers = [np.full((1, 1), number, np.float32) for number in range(64)]
    pending = [
        client.async_infer("half_plus_two", [tensor("x", number, "FP32")], request_id=str(index))
        for index, number in enumerate(numbers)
    ]
    results = [request.get_result() for request in pending]
    in_flight = [(int(result.get_response()["id"]), float(result.as_numpy("y").item())) for result in results]

    odd = np.array([[np.nan], [np.inf], [-np.inf]], np.float32)
    nothing = np.empty((0, 1), np.float32)
    answers = {
        "forms": forms,
        "answered": answered,
        "half_plus_two": half_plus_two,
        "compressed": compressed,
        "in_flight": in_flight,
        "version": client.infer("half_plus_two", [tensor("x", x, "FP32")], "123").get_response()["model_version"],
        "not_finite": [
            repr(client.infer("half_plus_two", [tensor("x", odd, "FP32", binary)]).as_numpy("y").ravel().tolist())
            for binary in (True, False)
        ],
        "empty": [
            list(client.infer("half_plus_two", [tensor("x", nothing, "FP32", binary)]).as_numpy("y").shape)
            for binary in (True, False)
        ],
    }

print(json.dumps(answers))
