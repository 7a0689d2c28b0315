"""A model that keeps state, counted on by each client in turn; signatures are chosen by name."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import requests
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferRequest, RESTConfig
from ovmsclient import make_http_client

address = sys.argv[1]
url = f"http://{address}"


def by_requests(delta: float) -> Any:
    """Count with TensorFlow Serving's protocol."""
    body = {"signature_name": "incr_counter_by", "inputs": {"delta": delta}}
    return requests.post(f"{url}/v1/models/counter:predict", json=body, timeout=30).json()["outputs"]


def by_tritonclient(signature: str, *inputs: Any) -> float:
    """Count with the Open Inference Protocol, where a request parameter names the signature."""
    with triton.InferenceServerClient(address) as client:
        result = client.infer("counter", list(inputs), parameters={"signature_name": signature})
        return float(result.as_numpy("output"))


async def by_kserve_v1(delta: float) -> Any:
    """Count with KServe's V1."""
    body = {"signature_name": "incr_counter_by", "inputs": {"delta": delta}}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        return (await client.infer(url, body, model_name="counter"))["outputs"]


async def by_kserve_v2(signature: str) -> float:
    """Count with KServe's V2."""
    request = InferRequest("counter", [], parameters={"signature_name": signature})
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answer = await client.infer(url, request, model_name="counter")
        return float(answer.outputs[0].as_numpy())


def by_ovmsclient(delta: float) -> float:
    """Count with the signature that the spec names: this client cannot choose one."""
    return float(make_http_client(address).predict({"delta": np.array(delta)}, "counter"))


delta = triton.InferInput("delta", [], "FP32").set_data_from_numpy(np.array(0.5, np.float32))
answers = [
    by_tritonclient("reset_counter"),
    by_tritonclient("incr_counter"),
    by_tritonclient("incr_counter_by", delta),
    by_requests(0.5),
    asyncio.run(by_kserve_v1(0.5)),
    asyncio.run(by_kserve_v2("incr_counter")),
    by_ovmsclient(0.5),
    by_tritonclient("get_counter"),
]

print(json.dumps(answers))
