"""Pictures of every mode become the right pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import decoded, encode, photo
from tf_serving_flask_app.images import flatten, to_array


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_an_opaque_picture_is_what_pillow_converts_it_to(mode: str) -> None:
    image = photo().convert("RGB").convert(mode)
    np.testing.assert_array_equal(to_array(image, "rgb"), np.asarray(image.convert("RGB")))


def test_colours_come_in_the_order_asked_for() -> None:
    image = Image.new("RGB", (3, 2), (10, 20, 30))
    assert to_array(image, "rgb")[0, 0].tolist() == [10, 20, 30]
    assert to_array(image, "bgr")[0, 0].tolist() == [30, 20, 10]


def test_grayscale_has_one_channel_and_pillows_weights() -> None:
    np.testing.assert_array_equal(to_array(photo(), "grayscale"), np.asarray(photo().convert("L"))[..., np.newaxis])


def test_a_gray_picture_stays_as_it_is_in_each_order() -> None:
    gray = photo(mode="L")
    for color, channels in (("grayscale", 1), ("rgb", 3), ("bgr", 3)):
        expected = np.repeat(np.asarray(gray)[..., np.newaxis], channels, -1)
        np.testing.assert_array_equal(to_array(gray, color), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
@pytest.mark.parametrize("alpha", [255, 51])
def test_transparency_is_left_out_as_where_models_are_trained(mode: str, alpha: int) -> None:
    image = Image.new("LA", (4, 3), (80, alpha))
    if mode in ("RGBA", "RGBa", "PA"):
        image = image.convert("RGBA").convert(mode)
    elif mode == "La":
        image = image.convert("La")
    assert to_array(image, "rgb") == pytest.approx(80, abs=3)
    assert to_array(image, "grayscale") == pytest.approx(80, abs=3)


def test_a_picture_with_alpha_is_exactly_what_pillow_makes_rgb_of_it() -> None:
    image = photo(mode="RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    np.testing.assert_array_equal(to_array(image, "rgb"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.new("1", (2, 2), 0), 0),
        (Image.new("L", (2, 2), 7), 7),
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3)),
        (Image.fromarray(np.full((2, 2), 700, np.uint16)), 700),
        (Image.new("RGB", (2, 2), (9, 99, 9)).quantize(2), 0),
    ],
    ids=["1", "L", "RGB", "I;16", "P"],
)
def test_a_colour_declared_transparent_in_a_png_stays_what_it_is(image: Image.Image, transparent: Any) -> None:
    opaque = to_array(decoded(encode(image, "PNG")), "rgb")
    clear = to_array(decoded(encode(image, "PNG", transparency=transparent)), "rgb")
    np.testing.assert_array_equal(opaque, clear)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(name: str) -> None:
    image = Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    assert to_array(decoded(encode(image, name)), "grayscale").ravel().tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_sixteen_bits_are_read_in_any_byte_order(mode: str) -> None:
    order = {"I;16B": ">", "I;16N": "="}.get(mode, "<")
    image = Image.frombytes(mode, (2, 1), np.array([0x1234, 0xFF00], f"{order}u2").tobytes())
    assert to_array(image, "grayscale").ravel().tolist() == [0x12, 0xFF]


def test_integers_beyond_sixteen_bits_are_clipped() -> None:
    image = Image.fromarray(np.array([[-5, 0x4000, 70000]], np.int32))
    assert to_array(image, "grayscale").ravel().tolist() == [0, 64, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], [0, 128, 255]), ([-9, 127.6, 300], [0, 128, 255]), ([np.nan, np.inf, 100], [0, 255, 100])],
)
def test_floating_pictures_are_taken_as_0_to_1_or_0_to_255(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert to_array(decoded(encode(image, "TIFF")), "grayscale").ravel().tolist() == expected


def test_a_flat_picture_is_not_copied() -> None:
    image = photo()
    assert flatten(image) is image


# Resizing
