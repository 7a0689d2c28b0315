"""What the peers' programs share: the model, as anybody would run it by hand, and the picture, decoded in full.

It is imported in the peers' environments, where this project is not installed.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VARIABLE = "PEER_SERVED"
TOP = 5


@dataclass(frozen=True)
class Served:
    """What a peer serves, and how.

    Attributes:
        graph: a frozen graph's file.
        input: the name of its input tensor.
        output: of its output tensor.
        side: pixels of the pictures that it takes, RGB of -1 to 1; 0: it takes a list of numbers.
        port: to listen on, of 127.0.0.1.
        workers: processes that run the model.
        threads: of each, for one operation.
        max_batch: requests that the peer's own batching joins; 1: none.
        style: where the peer leaves a choice, which.
    """

    graph: str
    input: str
    output: str
    side: int
    port: int
    workers: int
    threads: int
    max_batch: int
    style: str

    @classmethod
    def from_environ(cls) -> Served:
        """Read it from the environment of this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def to_environ(self) -> Mapping[str, str]:
        """Write it for the environment of another process."""
        return {VARIABLE: json.dumps(asdict(self))}


def load(served: Served) -> Callable[[np.ndarray], np.ndarray]:
    """Load the graph into a session of this process, and call it once."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(served.graph).read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=served.threads, inter_op_parallelism_threads=1, device_count={"GPU": 0}
    )
    session = tf.compat.v1.Session(graph=graph, config=config)
    call: Callable[[np.ndarray], np.ndarray] = session.make_callable(
        graph.get_tensor_by_name(served.output), feed_list=[graph.get_tensor_by_name(served.input)]
    )
    call(np.zeros((1, served.side, served.side, 3) if served.side else 1, np.float32))
    return call


def decode(picture: bytes, side: int) -> np.ndarray:
    """Decode an encoded picture: a batch of one, float32 of -1 to 1."""
    return to_pixels(Image.open(io.BytesIO(picture)), side)


def to_pixels(image: Image.Image, side: int) -> np.ndarray:
    """Resize a picture and scale its pixels: a batch of one, float32 of -1 to 1."""
    frame = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(frame, np.float32)[np.newaxis] / np.float32(127.5) - np.float32(1)


def best(scores: np.ndarray) -> list[dict[str, Any]]:
    """The five best classes of one picture, best first."""
    order = np.argsort(-scores, kind="stable")[:TOP]
    return [{"class": int(index), "confidence": float(scores[index])} for index in order]
