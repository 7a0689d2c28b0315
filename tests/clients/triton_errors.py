"""tritonclient: what a user is told who asks for something wrong."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

url = sys.argv[1]


def tensor(name: str, array: Any, datatype: str) -> Any:
    """Make an input of an array."""
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def error(call: Callable[[], object]) -> tuple[str, str]:
    """Return the status and the text with which a call fails."""
    try:
        call()
    except InferenceServerException as exc:
        return exc.status(), exc.message()
    return "200", ""


with triton.InferenceServerClient(url) as client:
    x = tensor("x", np.ones((1, 1), np.float32), "FP32")
    wide = tensor("x", np.ones((1, 2, 3), np.float32), "FP32")
    integers = tensor("x", np.ones((1, 1), np.int32), "INT32")
    compressed = {"response_compression_algorithm": "gzip"}
    answers = {
        "model": error(lambda: client.infer("nobody", [x])),
        "metadata": error(lambda: client.get_model_metadata("nobody")),
        "config": error(lambda: client.get_model_config("nobody")),
        "statistics": error(lambda: client.get_inference_statistics("nobody")),
        "load": error(lambda: client.load_model("nobody")),
        "unload": error(lambda: client.unload_model("nobody")),
        "version": error(lambda: client.infer("half_plus_two", [x], "7")),
        "dtype": error(lambda: client.infer("half_plus_two", [integers])),
        "shape": error(lambda: client.infer("mobilenet", [tensor("image", np.ones((1, 9), np.float32), "FP32")])),
        "rank": error(lambda: client.infer("half_plus_two", [wide])),
        "missing": error(lambda: client.infer("half_plus_two", [])),
        "unknown": error(lambda: client.infer("half_plus_two", [tensor("z", np.ones((1, 1), np.float32), "FP32")])),
        "output": error(lambda: client.infer("half_plus_two", [x], outputs=[triton.InferRequestedOutput("z")])),
        "picture": error(lambda: client.infer("mobilenet", [tensor("image", np.array([b"no"], object), "BYTES")])),
        "compressed": error(lambda: client.infer("nobody", [x], **compressed)),
        "after_all": error(lambda: client.infer("half_plus_two", [x])),
    }

print(json.dumps(answers))
