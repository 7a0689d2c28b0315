"""MLServer: runtimes of its own kind, named in `model-settings.json`."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from tests.benchmarks.peers.served import TOP, Served, best, decode, load


class Runtime(MLModel):
    """Loads the model, in each worker."""

    async def load(self) -> bool:
        """See the base class."""
        self.served = Served.from_environ()
        self.model = load(self.served)
        return True


class Classify(Runtime):
    """Pictures, as base64 in JSON."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Name the best classes of each picture."""
        pictures = Base64Codec.decode_input(payload.inputs[0])
        scores = self.model(np.concatenate([decode(picture, self.served.side) for picture in pictures]))
        found = [best(row) for row in scores]
        classes = np.array([[each["class"] for each in row] for row in found], np.int32).reshape(-1, TOP)
        confidences = np.array([[each["confidence"] for each in row] for row in found], np.float32).reshape(-1, TOP)
        outputs = [
            NumpyCodec.encode_output("classes", classes),
            NumpyCodec.encode_output("confidences", confidences),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Predict(Runtime):
    """Numbers, as JSON."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Call the model."""
        numbers = NumpyCodec.decode_input(payload.inputs[0])
        outputs = [NumpyCodec.encode_output("y", self.model(numbers))]
        return InferenceResponse(model_name=self.name, outputs=outputs)
