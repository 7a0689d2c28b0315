"""BentoML: `bentoml serve tests.benchmarks.peers.bentoml_server:Classify`, or another of the four services."""

# Annotations are read by BentoML, which does not know them as strings.

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from tests.benchmarks.peers.served import Served, best, load, to_pixels

SERVED = Served.from_environ()
MAX_LATENCY_MS = 10_000
"""A request that would take longer is refused; so far away that none is."""

MAX_BATCH = max(2, SERVED.max_batch)
"""Less is refused, also for a service that is not the one to serve."""

service = bentoml.service(workers=SERVED.workers)
joined = bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
joined_numbers = bentoml.api(batchable=True, max_batch_size=4 * MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)


@service
class Classify:
    """Pictures, uploaded as files."""

    def __init__(self) -> None:
        self.model = load(SERVED)

    @bentoml.api
    def classify(self, picture: Image) -> list[dict[str, Any]]:
        """Name the best classes."""
        return best(self.model(to_pixels(picture, SERVED.side))[0])


@service
class ClassifyJoined:
    """The same with adaptive batching; a request has a list of one picture."""

    def __init__(self) -> None:
        self.model = load(SERVED)

    @joined
    def classify(self, picture: list[Image]) -> list[list[dict[str, Any]]]:
        """Name the best classes of each."""
        scores = self.model(np.concatenate([to_pixels(image, SERVED.side) for image in picture]))
        return [best(row) for row in scores]


@service
class Predict:
    """Numbers, as JSON."""

    def __init__(self) -> None:
        self.model = load(SERVED)

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model."""
        return self.model(x.astype(np.float32))


@service
class PredictJoined:
    """The same with adaptive batching, which counts each of a request's numbers."""

    def __init__(self) -> None:
        self.model = load(SERVED)

    @joined_numbers
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model."""
        return self.model(x.astype(np.float32))
