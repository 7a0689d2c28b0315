"""ovmsclient, which is written for OpenVINO Model Server and speaks TensorFlow Serving's REST API."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ovmsclient import make_http_client
from ovmsclient.tfs_compat.base.errors import ModelServerError

url, photograph = sys.argv[1:]
client = make_http_client(url)


def as_lists(outputs: Any) -> Any:
    """Turn arrays into lists: one where the model has one output, else one for each name."""
    return {name: array.tolist() for name, array in outputs.items()} if isinstance(outputs, dict) else outputs.tolist()


def error(model: str, x: Any, version: int = 0) -> str:
    """Return the text with which a prediction fails."""
    try:
        client.predict({"x": x}, model, version)
    except ModelServerError as exc:
        return f"{type(exc).__name__}: {exc}"
    return ""


answers = {
    "status": client.get_model_status("half_plus_two"),
    "version_status": client.get_model_status("half_plus_two", 123),
    "metadata": client.get_model_metadata("half_plus_two"),
    "list": as_lists(client.predict({"x": [1.0, 2.0, 5.0]}, "half_plus_two")),
    "array": as_lists(client.predict({"x": np.array([[1.0], [5.0]], np.float32)}, "half_plus_two", 123)),
    "scalar": as_lists(client.predict({"x": 3.0}, "half_plus_two")),
    "strings": as_lists(client.predict({"text": ["plain", "gr\u00fcn"], "count": np.array([[1, 2], [3, 4]])}, "echo")),
    "bytes": as_lists(client.predict({"text": [b"plain"], "count": np.array([[1, 2]])}, "echo")),
    "picture": as_lists(client.predict({"image": [Path(photograph).read_bytes()]}, "mobilenet")),
    "unknown_model": error("nobody", [1.0]),
    "unknown_version": error("half_plus_two", [1.0], 7),
    "wrong": error("half_plus_two", ["one"]),
}

print(json.dumps(answers))
