"""Small backends in NumPy, real implementations of the seam: what most tests serve, in milliseconds."""

from __future__ import annotations

import threading

import numpy as np

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.errors import BackendFailed, InvalidInput
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

FLOAT = np.dtype("float32")


class HalfPlusTwo(Backend):
    """y = x / 2 + 2; refuses negative x, and fails on 13."""

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        self.signatures = {
            "serving_default": Signature(
                "serving_default",
                {"x": TensorInfo("x", FLOAT, (None,))},
                {"y": TensorInfo("y", FLOAT, (None,))},
            )
        }
        self.closed = False

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if (inputs["x"] < 0).any():
            raise InvalidInput("x must not be negative")
        if (inputs["x"] == 13).any():
            raise BackendFailed("secret internals of thirteen")
        return {"y": (inputs["x"] / 2 + 2).astype(FLOAT)}

    def close(self) -> None:
        self.closed = True


class Colors(Backend):
    """Classifies an 8x8 picture as red, green or blue: the mean of each channel, made a share."""

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        self.signatures = {
            "serving_default": Signature(
                "serving_default",
                {"image": TensorInfo("image", FLOAT, (None, 8, 8, 3))},
                {"scores": TensorInfo("scores", FLOAT, (None, 3))},
            )
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        means = inputs["image"].mean(axis=(1, 2)) + np.float32(1e-6)
        return {"scores": (means / means.sum(axis=1, keepdims=True)).astype(FLOAT)}


class Echo(Backend):
    """Gives back a string and a number, to see what the fields of a form become."""

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        inputs = {
            "text": TensorInfo("text", np.dtype(object), (None,)),
            "count": TensorInfo("count", np.dtype("int64"), (None, 2)),
        }
        self.signatures = {"serving_default": Signature("serving_default", inputs, inputs)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return dict(inputs)


class Gate(HalfPlusTwo):
    """Waits, in each call, until the test opens the gate."""

    entered = threading.Semaphore(0)
    opened = threading.Event()

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if self.opened.is_set() or (inputs["x"] == 0).all():
            return super().run(signature, inputs)
        self.entered.release()
        if not self.opened.wait(10):
            raise BackendFailed("the test never opened the gate")
        return super().run(signature, inputs)


class Slow(HalfPlusTwo):
    """Takes as many seconds as the largest x, so that requests can be seen running."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        threading.Event().wait(float(inputs["x"].max(initial=0)))
        return super().run(signature, inputs)


class Unloadable(HalfPlusTwo):
    """Fails to load in a way that nobody foresaw."""

    def __init__(self, spec: ModelSpec) -> None:
        raise RuntimeError(f"no luck with {spec.name}")
