"""KServe's Python server: `python -m tests.benchmarks.peers.kserve_server`."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Any
from uuid import uuid4

import kserve
import numpy as np
from kserve import InferOutput, InferRequest, InferResponse

from tests.benchmarks.peers.served import Served, best, decode, load


class Loaded(kserve.Model):
    """Has the model."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.served = Served.from_environ()
        self.ready = True

    @cached_property
    def model(self) -> Any:
        """Loaded in each worker: the object itself is sent there from the main process, which no session can be."""
        return load(self.served)


class Classify(Loaded):
    """Pictures, as base64 in its first protocol's JSON: its second one cannot take bytes that are no text."""

    async def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:
        """Name the best classes of each picture."""
        pictures = [base64.b64decode(instance["b64"]) for instance in payload["instances"]]
        scores = self.model(np.concatenate([decode(picture, self.served.side) for picture in pictures]))
        return {"predictions": [best(row) for row in scores]}


class Predict(Loaded):
    """Numbers, as JSON or binary."""

    async def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Call the model."""
        binary = bool(payload.use_binary_outputs)
        y = self.model(payload.inputs[0].as_numpy())
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=binary)
        # A request may have no id, an answer must.
        return InferResponse(payload.id or str(uuid4()), self.name, [output], use_binary_outputs=binary)


if __name__ == "__main__":
    served = Served.from_environ()
    model = Classify("model") if served.side else Predict("model")
    kserve.ModelServer(http_port=served.port, workers=served.workers, enable_grpc=False).start([model])
