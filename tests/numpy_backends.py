"""Small backends in NumPy, real implementations of the seam: what most tests serve, in milliseconds."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  # makes "bfloat16" a name that NumPy knows
import numpy as np

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, InvalidInput
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors
from tf_serving_flask_app.versions import numbered_folders

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


class Same(Backend):
    """Gives back what it gets, under the names, types and shapes that the spec says of its inputs."""

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        tensors = {
            name: TensorInfo(name, np.dtype(tensor.dtype or "float32"), tensor.shape)
            for name, tensor in spec.inputs.items()
        }
        self.signatures = {"serving_default": Signature("serving_default", tensors, tensors)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {name: inputs[name] for name in self.signatures[signature].outputs}


class Swallow(Same):
    """Does nothing with an input of any size, to see what the way to a model costs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.signatures = {
            "serving_default": Signature(
                "serving_default",
                self.signatures["serving_default"].inputs,
                {"count": TensorInfo("count", np.dtype("int64"), (1,))},
            )
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"count": np.array([sum(array.size for array in inputs.values())], np.int64)}


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


class FileGate(HalfPlusTwo):
    """Waits, in each call, for a file ``open`` in its folder; there it writes down, in ``seen``, the x of each call."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.folder = spec.path

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if inputs["x"].any():
            with (self.folder / "seen").open("a") as seen:
                seen.write(json.dumps(inputs["x"].tolist()) + "\n")
            while not (self.folder / "open").exists():
                threading.Event().wait(0.002)
        return super().run(signature, inputs)


class Slow(HalfPlusTwo):
    """Takes as many seconds as the largest x, so that requests can be seen running."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        threading.Event().wait(float(inputs["x"].max(initial=0)))
        return super().run(signature, inputs)


class Busy(HalfPlusTwo):
    """Keeps a processor busy for as many seconds as the largest x, outside of the interpreter's lock as models do."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        numbers = np.random.default_rng(0).random(10_000)
        end = time.thread_time() + float(inputs["x"].max(initial=0))
        while time.thread_time() < end:
            np.sort(numbers)
        return super().run(signature, inputs)


class Prompt(HalfPlusTwo):
    """Says that it waits for nothing, which is so."""

    computes_only = True


class Unloadable(HalfPlusTwo):
    """Fails to load in a way that nobody foresaw."""

    def __init__(self, spec: ModelSpec) -> None:
        raise RuntimeError(f"no luck with {spec.name}")


class Breakable(HalfPlusTwo):
    """Fails where a file in its folder names the threads that its session has: ``unloadable`` to load, ``failing``."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.folder = spec.path
        self.threads = str(spec.session.intra_op_threads)
        if self._is_in("unloadable"):
            raise ConfigurationError(f"no luck with {self.threads} threads")

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if self._is_in("failing"):
            raise BackendFailed(f"no luck with {self.threads} threads")
        return super().run(signature, inputs)

    def _is_in(self, name: str) -> bool:
        file = self.folder / name
        return file.exists() and self.threads in file.read_text().split()


class Versioned(HalfPlusTwo):
    """In numbered folders: adds the number that a version's ``number.txt`` held when it was loaded, twice."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        file = self.versions(spec.path)[self.version] / "number.txt"
        try:
            self.number = float(file.read_text())
        except ValueError as exc:
            raise ConfigurationError(f"{file}: no number") from exc
        x = TensorInfo("x", FLOAT, (None,))
        outputs = {name: TensorInfo(name, FLOAT, (None,)) for name in ("first", "second")}
        self.signatures = {"serving_default": Signature("serving_default", {"x": x}, outputs)}

    @classmethod
    def versions(cls, path: Path) -> Mapping[int, Path]:
        return {number: folder for number, folder in numbered_folders(path).items() if (folder / "number.txt").exists()}

    @classmethod
    def files(cls, path: Path) -> Iterable[Path]:
        return path.iterdir()

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        first = inputs["x"] + np.float32(self.number)
        threading.Event().wait(0.001)
        if self.closed:
            raise BackendFailed("it was closed while it ran")
        return {"first": first, "second": inputs["x"] + np.float32(self.number)}


def write_version(path: Path, version: int, number: str) -> None:
    """Write a version of such a model, by way of a folder that is no version, as careful people do."""
    temporary = path / f"{version}.tmp"
    temporary.mkdir(parents=True)
    (temporary / "number.txt").write_text(number)
    temporary.rename(path / str(version))


class BrightBox(Backend):
    """Finds what is bright in a picture, and answers as a frozen export of the Object Detection API does.

    The second detection has half the score and a class that a quantised graph would give; the third is beyond the
    count.
    """

    names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    side: int | None = None
    pixels = False

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        shapes: tuple[tuple[int | None, ...], ...] = ((1, None, 4), (1, None), (1, None), (1,))
        outputs = {name: TensorInfo(name, FLOAT, shape) for name, shape in zip(self.names, shapes, strict=True)}
        image = TensorInfo("image", np.dtype("uint8"), (1, self.side, self.side, 3))
        self.signatures = {"serving_default": Signature("serving_default", {"image": image}, outputs)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        bright = inputs["image"][0].min(axis=-1) > 128
        rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
        box = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1] if rows.size else [0, 0, 0, 0]
        scale = np.ones(4) if self.pixels else np.array([*bright.shape, *bright.shape])
        boxes = np.array([box, [0, 0, 1, 1], box]) / scale
        values = (boxes[np.newaxis], [[0.9, 0.45, 0.99]], [[1.01176, 1.98824, 3.0]], [2.0])
        return {name: np.asarray(value, FLOAT) for name, value in zip(self.names, values, strict=True)}


class BrightBoxInFrame(BrightBox):
    """The same for pictures of 64x64 pixels, with boxes in pixels."""

    side = 64
    pixels = True


class Kinds(Backend):
    """Gives back tensors of several kinds and ranks, by three signatures."""

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        inputs = {
            "flag": TensorInfo("flag", np.dtype(bool), (None,)),
            "byte": TensorInfo("byte", np.dtype("uint8"), (None, 2)),
            "number": TensorInfo("number", np.dtype("float64"), (None, None)),
            "text": TensorInfo("text", np.dtype(object), (None, 1)),
        }
        scalar = {"scalar": TensorInfo("scalar", np.dtype("int32"), ())}
        free = {"free": TensorInfo("free", np.dtype("float32"), None)}
        self.signatures = {
            "serving_default": Signature("serving_default", inputs, inputs),
            "scalar": Signature("scalar", scalar, scalar),
            "free": Signature("free", free, free),
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return dict(inputs)


class Typed(Backend):
    """A signature for each type that gives its input ``x`` back as ``y``, and others whose outputs are odd."""

    types = ("float32", "float64", "float16", "bool", "object", "int8", "int16", "int32", "int64")
    unsigned = ("uint8", "uint16", "uint32", "uint64")

    def __init__(self, spec: ModelSpec) -> None:
        self.version = spec.version or 1
        text = np.dtype(object)
        x = TensorInfo("x", FLOAT, None)
        pair = {"a": TensorInfo("a", FLOAT, (None,)), "b": TensorInfo("b", text, (None,))}
        examples = {"inputs": TensorInfo("inputs", text, (None,))}
        shapes: dict[str, tuple[dict[str, TensorInfo], tuple[str, ...]]] = {
            "pair": (pair, ("a", "b")),
            "texts": ({name: TensorInfo(name, text, (None,)) for name in ("a", "b")}, ("a", "b")),
            "bytes": ({"x": TensorInfo("x", text, None)}, ("y_bytes",)),
            "scalar": ({"x": x}, ("n",)),
            "uneven": ({"x": x}, ("p", "q")),
            "nothing": ({"x": x}, ("y",)),
            "non_finite": ({"x": x}, ("y",)),
            "half": ({"x": x}, ("y",)),
            "fails": ({"x": x}, ("y",)),
            "classify": (examples, ("classes", "scores")),
            "labels": (examples, ("classes",)),
            "misshapen": (examples, ("scores",)),
            "mistyped": (examples, ("scores",)),
            "regress": (examples, ("outputs",)),
            "three": (examples, ("classes", "scores", "more")),
        }
        for name in (*self.types, *self.unsigned):
            shapes[name] = ({"x": TensorInfo("x", np.dtype(name), None)}, ("y",))
        self.signatures = {
            name: Signature(name, inputs, {output: TensorInfo(output, FLOAT, None) for output in outputs})
            for name, (inputs, outputs) in shapes.items()
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        x = next(iter(inputs.values()))
        match signature:
            case "pair" | "texts":
                return dict(inputs)
            case "bytes":
                return {"y_bytes": x}
            case "scalar":
                return {"n": np.array(x.size)}
            case "uneven":
                return {"p": x, "q": np.concatenate([x, x])}
            case "nothing":
                return {"y": x[:0]}
            case "non_finite":
                return {"y": np.array([np.nan, np.inf, -np.inf, 0.1], FLOAT)}
            case "half":
                return {"y": x.astype(np.float16)}
            case "fails":
                raise BackendFailed("secret internals")
            case "classify" | "three":
                scores = np.array([[len(each), 0.1] for each in x], FLOAT)
                return {"classes": np.array([[b"bytes", b"tenth"]] * len(x), object), "scores": scores}
            case "labels":
                return {"classes": np.array([[b"caf\xc3\xa9", b"\xff"]] * len(x), object)}
            case "misshapen":
                return {"scores": np.zeros(len(x), FLOAT)}
            case "mistyped":
                return {"scores": np.zeros((len(x), 1))}
            case "regress":
                return {"outputs": np.array([len(each) for each in x], FLOAT)}
        return {"y": x}
