"""KServe's REST client with the V2 protocol (Open Inference Protocol)."""

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url = f"http://{sys.argv[1]}"
photograph = sys.argv[2]


def tensor(name: str, array: Any, datatype: str, binary: bool) -> InferInput:
    """Make an input of an array."""
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


async def main() -> dict[str, Any]:
    text = np.array([b"plain", "gr\u00fcn".encode(), b""], dtype=np.object_)
    count = np.array([[1, -2], [3, 2**53 + 1], [-(2**63), 2**63 - 1]], dtype=np.int64)
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, "half_plus_two"),
            "other_model_ready": await client.is_model_ready(url, "nobody"),
            "forms": {},
        }
        for form in itertools.product((True, False), repeat=3):
            request = InferRequest(
                "echo",
                [tensor("text", text, "BYTES", form[0]), tensor("count", count, "INT64", form[1])],
                request_id="id-7",
                parameters={"binary_data_output": form[2]},
            )
            answer = await client.infer(url, request, model_name="echo")
            found = {output.name: output.as_numpy() for output in answer.outputs}
            answers["forms"]["".join("JB"[binary] for binary in form)] = (
                [item.encode() for item in found["text"]] == list(text)
                and np.array_equal(found["count"], count)
                and answer.id == "id-7"
                and answer.model_name == "echo"
            )

        x = np.array([[1.0], [2.0], [np.nan]], np.float32)
        for name, array in {"numbers": x, "empty": x[:0]}.items():
            request = InferRequest("half_plus_two", [tensor("x", array, "FP32", binary=True)])
            answer = await client.infer(url, request, model_name="half_plus_two")
            answers[name] = [answer.outputs[0].shape, repr(answer.outputs[0].as_numpy().ravel().tolist())]

        picture = np.array([Path(photograph).read_bytes()], dtype=np.object_)
        request = InferRequest(
            "mobilenet",
            [tensor("image", picture, "BYTES", binary=True)],
            request_outputs=[RequestedOutput("scores", {"classification": 3})],
        )
        answer = await client.infer(url, request, model_name="mobilenet")
        answers["classes"] = answer.outputs[0].as_numpy().ravel().tolist()

        try:
            await client.infer(url, request, model_name="nobody")
        except httpx.HTTPStatusError as exc:
            answers["nobody"] = str(exc)
    return answers


print(json.dumps(asyncio.run(main())))
