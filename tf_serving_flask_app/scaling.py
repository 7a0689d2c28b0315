"""From pixel values to the numbers that a model was trained on: a preset, or arithmetic in ``x``.

The presets are those of ``preprocess_input`` in Keras' ``applications/imagenet_utils.py`` (``inception`` is called
``tf`` there), and of the TensorFlow models that take pixels divided by 255, or as they are.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from tf_serving_flask_app.errors import ConfigurationError

Color = Literal["rgb", "bgr", "grayscale"]
"""The channels that a model takes, in their order."""

Values = npt.NDArray[np.float32]

_EXPRESSIONS = {"inception": "x / 127.5 - 1", "unit": "x / 255", "raw": "x"}
_CAFFE_MEAN = {"r": 123.68, "g": 116.779, "b": 103.939}
_TORCH_MEAN = {"r": 0.485, "g": 0.456, "b": 0.406}
_TORCH_STD = {"r": 0.229, "g": 0.224, "b": 0.225}
PRESETS = (*_EXPRESSIONS, "caffe", "torch")
"""The names that ``scale`` takes in place of arithmetic."""

_OPERATORS = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide}
_MAX_LENGTH = 200  # characters; bounds the depth of the arithmetic too
_ALLOWED = (
    f"write arithmetic in x with numbers, + - * / and parentheses (at most {_MAX_LENGTH} characters), or one of"
    f" {', '.join(PRESETS)}."
)


@dataclass(frozen=True)
class Scale:
    """What is done to pixel values, 0..255, before the model sees them.

    Attributes:
        text: as the spec has it.
        raw: pixel values stay as they are, so that an integer model can take them.
    """

    text: str
    raw: bool
    _arithmetic: Callable[[Values], Values | np.float32] = field(repr=False)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Values:
        """Scale pixels [..., channels] of 0..255, in float32 and operation by operation; the same shape."""
        return np.asarray(self._arithmetic(pixels.astype(np.float32)), np.float32)


def parse_scale(text: str, color: Color = "rgb") -> Scale:
    """Understand the ``scale`` of a spec.

    Args:
        text: a preset's name, or arithmetic in ``x`` such as ``x / 127.5 - 1``; it is parsed, never executed.
        color: the order of the channels; the presets ``caffe`` and ``torch`` have a constant for each colour.

    Raises:
        ConfigurationError: neither of the two, arithmetic that is not finite or is the same for all of 0..255, or a
            preset for colours in a grayscale model; the text says what is allowed.
    """
    text = text.strip()
    if text in ("caffe", "torch"):
        return Scale(text, False, _by_channel(text, color))
    if text.isidentifier() and text != "x" and text not in _EXPRESSIONS:
        near = difflib.get_close_matches(text.lower(), PRESETS, n=1)
        raise _refusal(text, f"there is no such preset{f', did you mean {near[0]!r}?' if near else ''}")
    arithmetic = _parse(text, _EXPRESSIONS.get(text, text))
    return Scale(text, _EXPRESSIONS.get(text, text) == "x", arithmetic)


def _by_channel(preset: str, color: Color) -> Callable[[Values], Values]:
    if color == "grayscale":
        raise ConfigurationError(
            f"scale: {preset} has a constant for each of three colours and the model takes grayscale pictures; use"
            " arithmetic in x, inception, unit or raw."
        )

    def constants(by_letter: dict[str, float]) -> Values:
        return np.array([by_letter[letter] for letter in color], np.float32)

    if preset == "caffe":
        caffe_mean = constants(_CAFFE_MEAN)
        return lambda x: x - caffe_mean
    mean, std = constants(_TORCH_MEAN), constants(_TORCH_STD)
    return lambda x: (x / np.float32(255) - mean) / std


def _parse(text: str, expression: str) -> Callable[[Values], Values | np.float32]:
    """Compile arithmetic and try it on every value a pixel can have, so that no request can fail in it."""
    if len(expression) > _MAX_LENGTH:
        raise _refusal(text, f"it has {len(expression)} characters")
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise _refusal(text, "it is not arithmetic") from exc
    try:
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            arithmetic = _compile(text, tree)
            result = np.asarray(arithmetic(np.arange(256, dtype=np.float32)))
    except ArithmeticError as exc:
        raise _refusal(text, "it divides by zero or overflows for a pixel value of 0..255") from exc
    if not np.isfinite(result).all():
        raise _refusal(text, "it is not finite for every pixel value of 0..255")
    if np.ptp(result) == 0:
        raise _refusal(text, "it is the same number for every pixel value x")
    return arithmetic


def _compile(text: str, node: ast.expr) -> Callable[[Values], Values | np.float32]:
    match node:
        case ast.Name(id="x"):
            return lambda x: x
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            constant = np.float32(value)
            return lambda _: constant
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile(text, operand)
            return lambda x: -inner(x)
        case ast.BinOp(left=left, op=op, right=right) if operator := _OPERATORS.get(type(op)):
            first, second = _compile(text, left), _compile(text, right)
            return lambda x: operator(first(x), second(x))
    raise _refusal(text, f"{ast.unparse(node)!r} is not allowed in it")


def _refusal(text: str, reason: str) -> ConfigurationError:
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return ConfigurationError(f"scale: {shown!r} cannot be used: {reason.rstrip('.')}; {_ALLOWED}")
