"""KServe's Python server: `python -m tests.benchmarks.peers.kserve_server`."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import uuid4

import kserve
import numpy as np
from kserve import InferOutput, InferRequest, InferResponse

from tests.benchmarks.peers.served import TOP, Served, best, decode, load


class Predict(kserve.Model):
    """Numbers, as JSON or binary."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.served = Served.from_environ()
        self.ready = True

    @cached_property
    def model(self) -> Any:
        """Loaded in each worker: the object itself is sent there from the main process, which no session can be."""
        return load(self.served)

    async def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Call the model."""
        return self.answer(payload, y=self.model(payload.inputs[0].as_numpy()))

    def answer(self, payload: InferRequest, **tensors: np.ndarray) -> InferResponse:
        """Make an answer, binary where the request asks for it."""
        binary = bool(payload.use_binary_outputs)
        outputs = []
        for name, tensor in tensors.items():
            output = InferOutput(name, list(tensor.shape), "INT32" if tensor.dtype == np.int32 else "FP32")
            output.set_data_from_numpy(tensor, binary_data=binary)
            outputs.append(output)
        # A request may have no id, an answer must.
        return InferResponse(payload.id or str(uuid4()), self.name, outputs, use_binary_outputs=binary)


class Classify(Predict):
    """Pictures, as bytes behind the JSON."""

    async def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
        """Name the best classes of one picture."""
        (picture,) = payload.inputs[0].as_numpy()
        found = best(self.model(decode(picture, self.served.side))[0])
        classes = np.array([[each["class"] for each in found]], np.int32).reshape(-1, TOP)
        confidences = np.array([[each["confidence"] for each in found]], np.float32).reshape(-1, TOP)
        return self.answer(payload, classes=classes, confidences=confidences)


if __name__ == "__main__":
    served = Served.from_environ()
    model = Classify("model") if served.side else Predict("model")
    kserve.ModelServer(http_port=served.port, workers=served.workers, enable_grpc=False).start([model])
