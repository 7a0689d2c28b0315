"""Scaling: what the presets and arithmetic compute, and that nothing but arithmetic is taken."""

from __future__ import annotations

import numpy as np
import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.scaling import PRESETS, Color, parse_scale

ALL_VALUES = np.arange(256, dtype=np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", [0, 100, 255]),
        ("x/255", [0, 100 / 255, 1]),
        ("x / 127.5 - 1", [-1, 100 / 127.5 - 1, 1]),
        ("-(x - 255) * 2", [510, 310, 0]),
        ("1 - x / 255", [1, 1 - 100 / 255, 0]),
        ("x - 2 - 3", [-5, 95, 250]),
        ("2 + 3 * x", [2, 302, 767]),
        ("x * x / 65025", [0, 10000 / 65025, 1]),
        ("--x", [0, 100, 255]),
        ("  1e-2*x ", [0, 1, 2.55]),
        ("(" * 90 + "x" + ")" * 90, [0, 100, 255]),
        ("-" * 198 + "x", [0, 100, 255]),
    ],
)
def test_arithmetic_follows_the_usual_rules(text: str, expected: list[float]) -> None:
    result = parse_scale(text)(np.array([0, 100, 255], np.uint8))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_arithmetic_is_done_in_float32_operation_by_operation() -> None:
    expected = ALL_VALUES.astype(np.float32) / np.float32(127.5) - np.float32(1)
    np.testing.assert_array_equal(parse_scale("x / 127.5 - 1")(ALL_VALUES), expected)


def test_the_pixels_given_are_left_alone() -> None:
    pixels = PIXELS.copy()
    parse_scale("torch")(pixels)
    np.testing.assert_array_equal(pixels, PIXELS)


@pytest.mark.parametrize(("preset", "same"), [("inception", "x/127.5-1"), ("unit", "x/255"), ("raw", "x")])
def test_presets_without_colours_are_arithmetic(preset: str, same: str) -> None:
    np.testing.assert_array_equal(parse_scale(preset, "grayscale")(ALL_VALUES), parse_scale(same)(ALL_VALUES))


def test_only_what_leaves_pixels_as_they_are_is_raw() -> None:
    assert [text for text in (*PRESETS, "x", " x ", "x/1") if parse_scale(text).raw] == ["raw", "x", " x "]


@pytest.mark.parametrize(("color", "mean"), [("bgr", [103.939, 116.779, 123.68]), ("rgb", [123.68, 116.779, 103.939])])
def test_caffe_subtracts_the_mean_of_each_colour(color: Color, mean: list[float]) -> None:
    expected = PIXELS.astype(np.float32) - np.array(mean, np.float32)
    np.testing.assert_array_equal(parse_scale("caffe", color)(PIXELS), expected)


def test_torch_normalises_each_colour() -> None:
    expected = (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(parse_scale("torch", "rgb")(PIXELS), expected, atol=1e-6)


@pytest.mark.parametrize("preset", ["caffe", "torch"])
def test_constants_follow_the_order_of_the_colours(preset: str) -> None:
    reversed_result = parse_scale(preset, "bgr")(PIXELS[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(reversed_result, parse_scale(preset, "rgb")(PIXELS))


@pytest.mark.parametrize("preset", ["caffe", "torch"])
def test_presets_with_colours_are_refused_for_grayscale(preset: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{preset} has a constant .* grayscale"):
        parse_scale(preset, "grayscale")


@pytest.mark.parametrize(
    ("text", "near"), [("inceptoin", "inception"), ("Torch", "torch"), ("cafe", "caffe"), ("units", "unit")]
)
def test_a_misspelt_preset_gets_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean '{near}'"):
        parse_scale(text)


@pytest.mark.parametrize(
    "text",
    [
        "y / 255",
        "x ** 2",
        "x // 2",
        "x % 2",
        "+x",
        "~x",
        "x < 3",
        "x and 1",
        "x if x else 1",
        "abs(x)",
        "x.real",
        "x.__class__.__mro__",
        "x[0]",
        "[x]",
        "lambda: x",
        "(x := 2)",
        "f'{x}'",
        "__import__('os').system('true')",
        "x, 1",
        "x + True",
        "x + 1j",
        "x + 'a'",
        "x + None",
        "x + 1; x",
        "x = 2",
        "x /",
        "x\n+1",
        "x\0",
        "((x)",
        "",
        "(" * 300,
        "x" + "+1" * 100,
    ],
)
def test_anything_but_arithmetic_in_x_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"write arithmetic in x .* inception, unit, raw, caffe, torch"
    ) as caught:
        parse_scale(text)
    assert repr(text[:60])[:-1] in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x / 0", "divides by zero"),
        ("x + 1 / 0", "divides by zero"),
        ("x / (1 / 0)", "divides by zero"),
        ("0 / 0 + x", "divides by zero"),
        ("1 / x", "divides by zero"),
        ("1 / (x - 255)", "divides by zero"),
        ("x * 1e38 * 10", "overflows"),
        ("x + 1e39", "overflows"),
        ("x + 1" + "0" * 190, "overflows"),
        ("x + 1e999", "not finite"),
        ("5", "same number"),
        ("x - x", "same number"),
        ("x / 1e999", "same number"),
    ],
)
def test_arithmetic_that_can_only_be_a_mistake_is_refused_when_it_is_read(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_scale(text)
