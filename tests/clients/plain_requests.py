"""requests: each protocol without a client of its own."""

import base64
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import requests

url = f"http://{sys.argv[1]}"
photograph = Path(sys.argv[2]).read_bytes()
session = requests.Session()


def post(path: str, body: Any, **options: Any) -> Any:
    """Post JSON."""
    return session.post(url + path, json=body, timeout=30, **options).json()


picture = {"b64": base64.b64encode(photograph).decode()}
zipped = gzip.compress(json.dumps({"instances": [[1.0], [2.0]]}).encode())
answers = {
    "predict": post("/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]}),
    "version": post("/v1/models/half_plus_two/versions/123:predict", {"inputs": [[1.0]]}),
    "regress": post("/v1/models/half_plus_two:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}]}),
    "classify": post(
        "/v1/models/half_plus_two:classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}
    ),
    "zipped": session.post(
        url + "/v1/models/half_plus_two:predict", data=zipped, headers={"Content-Encoding": "gzip"}, timeout=30
    ).json(),
    "picture_v1": post("/v1/models/mobilenet:predict", {"instances": [picture]}),
    "infer": post(
        "/v2/models/half_plus_two/infer",
        {"inputs": [{"name": "x", "shape": [2, 1], "datatype": "FP32", "data": [1, 2]}]},
    ),
    "upload": session.post(
        url + "/classify", files={"file": photograph}, data={"modelname": "mobilenet"}, timeout=30
    ).json(),
}

print(json.dumps(answers))
