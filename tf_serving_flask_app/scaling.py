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

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
Arithmetic = Callable[[Pixels], Values | np.float32]
"""Each ``x`` in it is an array of its own, so that an operation writes its result where its operand was."""

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
    _arithmetic: Arithmetic = field(repr=False)

    def __call__(self, pixels: Pixels) -> Values:
        """Scale pixels [..., width, channels] of 0..255, in float32 and operation by operation.

        Returns:
            A new array of the same shape and order in memory.
        """
        return np.asarray(self._arithmetic(pixels), np.float32)


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


def _by_channel(preset: str, color: Color) -> Arithmetic:
    if color == "grayscale":
        raise ConfigurationError(
            f"scale: {preset} has a constant for each of three colours and the model takes grayscale pictures; use"
            " arithmetic in x, inception, unit or raw."
        )

    def constants(by_letter: dict[str, float], values: Values) -> Values:
        """One row of the picture: many times as fast to combine with it as three numbers are."""
        return np.tile(np.array([by_letter[letter] for letter in color], np.float32), (values.shape[-2], 1))

    def caffe(x: Pixels) -> Values:
        values = x.astype(np.float32)
        values -= constants(_CAFFE_MEAN, values)
        return values

    def torch(x: Pixels) -> Values:
        values = x.astype(np.float32)
        values /= np.float32(255)
        values -= constants(_TORCH_MEAN, values)
        values /= constants(_TORCH_STD, values)
        return values

    return caffe if preset == "caffe" else torch


def _parse(text: str, expression: str) -> Arithmetic:
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
            result = np.asarray(arithmetic(np.arange(256, dtype=np.uint8)))
    except ArithmeticError as exc:
        raise _refusal(text, "it divides by zero or overflows for a pixel value of 0..255") from exc
    if not np.isfinite(result).all():
        raise _refusal(text, "it is not finite for every pixel value of 0..255")
    if np.ptp(result) == 0:
        raise _refusal(text, "it is the same number for every pixel value x")
    return arithmetic


def _compile(text: str, node: ast.expr) -> Arithmetic:
    match node:
        case ast.Name(id="x"):
            return lambda x: x.astype(np.float32)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            constant = np.float32(value)
            return lambda _: constant
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile(text, operand)
            return lambda x: _in_place(np.negative, inner(x))
        case ast.BinOp(left=left, op=op, right=right) if operator := _OPERATORS.get(type(op)):
            first, second = _compile(text, left), _compile(text, right)
            return lambda x: _in_place(operator, first(x), second(x))
    raise _refusal(text, f"{ast.unparse(node)!r} is not allowed in it")


def _in_place(operator: np.ufunc, *operands: Values | np.float32) -> Values | np.float32:
    """Write the result over the first operand that is an array; a new number, if none is."""
    out = next((operand for operand in operands if isinstance(operand, np.ndarray)), None)
    result: Values | np.float32 = operator(*operands, out=out)
    return result


def _refusal(text: str, reason: str) -> ConfigurationError:
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return ConfigurationError(f"scale: {shown!r} cannot be used: {reason.rstrip('.')}; {_ALLOWED}")
