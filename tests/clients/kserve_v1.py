"""KServe's REST client with the V1 protocol."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
from kserve import InferenceRESTClient, RESTConfig

url = f"http://{sys.argv[1]}"
photograph = sys.argv[2]


async def main() -> dict[str, Any]:
    picture = {"b64": base64.b64encode(Path(photograph).read_bytes()).decode()}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        answers = {
            "live": await client.is_server_live(url),
            "ready": await client.is_model_ready(url, "half_plus_two"),
            "rows": await client.infer(url, {"instances": [1.0, 2.0, 5.0]}, model_name="half_plus_two"),
            "columns": await client.infer(url, {"inputs": {"x": [[1.0], [5.0]]}}, model_name="half_plus_two"),
            "strings": await client.infer(
                url, {"instances": [{"text": "gr\u00fcn", "count": [1, 2]}]}, model_name="echo"
            ),
            "picture": await client.infer(url, {"instances": [picture]}, model_name="mobilenet"),
        }
        try:
            await client.is_model_ready(url, "nobody")
        except httpx.HTTPStatusError as exc:
            answers["nobody"] = str(exc)
        try:
            await client.infer(url, {"instances": ["one"]}, model_name="half_plus_two")
        except httpx.HTTPStatusError as exc:
            answers["wrong"] = str(exc)
    return answers


print(json.dumps(asyncio.run(main())))
