"""The model's input: the right size, colours, numbers and layout, from a picture of any kind."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import MAX_PIXELS, encode, photo
from tf_serving_flask_app.errors import ConfigurationError, InvalidImage
from tf_serving_flask_app.image_input import ImageInput
from tf_serving_flask_app.scaling import Color, parse_scale


def image_input(scale: str = "raw", color: Color = "rgb", **changes: Any) -> ImageInput:
    defaults: dict[str, Any] = {"width": 8, "height": 6, "max_pixels": MAX_PIXELS, "dtype": np.dtype(np.float32)}
    return ImageInput(**defaults | changes, color=color, scale=parse_scale(scale, color))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "grayscale"])
def test_the_tensor_is_a_contiguous_writable_batch_of_one(color: Color, layout: str, dtype: type) -> None:
    tensor = image_input(color=color, layout=layout, dtype=np.dtype(dtype)).tensor(encode(photo(), "PNG"))
    channels = 1 if color == "grayscale" else 3
    assert tensor.shape == ((1, 6, 8, channels) if layout == "channels_last" else (1, channels, 6, 8))
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    assert tensor.flags.writeable
    source = photo(mode="L" if color == "grayscale" else "RGB").resize((8, 6), Image.Resampling.BILINEAR)
    expected = np.asarray(source).reshape(6, 8, channels)[..., :: -1 if color == "bgr" else 1]
    found = tensor[0] if layout == "channels_last" else tensor[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, expected)


def test_the_scale_is_applied_in_float32_before_the_cast() -> None:
    pixels = np.asarray(photo().resize((8, 6), Image.Resampling.BILINEAR)).astype(np.float32)
    expected = pixels / np.float32(127.5) - np.float32(1)
    for dtype in (np.float16, np.float32, np.float64):
        tensor = image_input("inception", dtype=np.dtype(dtype)).tensor(encode(photo(), "PNG"))
        np.testing.assert_array_equal(tensor[0], expected.astype(dtype))


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_the_constants_of_a_preset_meet_their_colours_in_each_layout(layout: str) -> None:
    tensor = image_input("caffe", "bgr", layout=layout).tensor(encode(Image.new("RGB", (8, 6), (124, 117, 104)), "PNG"))
    by_channel = tensor[0, 0, 0] if layout == "channels_last" else tensor[0, :, 0, 0]
    assert by_channel.tolist() == pytest.approx([104 - 103.939, 117 - 116.779, 124 - 123.68], abs=1e-4)


def test_without_resizing_a_picture_keeps_its_size() -> None:
    anything = image_input(width=None, height=None, resize="none", dtype=np.dtype(np.uint8))
    tensor = anything.tensor(encode(photo(), "PNG"))
    np.testing.assert_array_equal(tensor[0], np.asarray(photo()))


@pytest.mark.parametrize(("width", "height", "wanted"), [(8, 6, "8x6"), (None, 6, "anyx6"), (40, 31, "40x31")])
def test_without_resizing_a_picture_of_another_size_is_refused(width: int, height: int, wanted: str) -> None:
    fixed = image_input(width=width, height=height, resize="none")
    with pytest.raises(InvalidImage, match=f"has 40x30 pixels and the model takes {wanted}; send it at that size"):
        fixed.tensor(encode(photo(), "PNG"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"width": None}, "resize 'stretch' needs width and height"),
        ({"height": None, "resize": "pad"}, "resize 'pad' needs width and height"),
        ({"dtype": np.dtype(np.uint8), "scale": "x / 255"}, "input of uint8 .* scale 'x / 255'; use scale: raw"),
        ({"dtype": np.dtype(np.int8)}, "0..255 do not fit .* int8"),
        ({"dtype": np.dtype(object)}, "0..255 do not fit .* object"),
        ({"dtype": np.dtype(bool)}, "0..255 do not fit .* bool"),
    ],
)
def test_an_input_that_no_picture_could_satisfy_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        image_input(**changes)


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_an_integer_model_gets_the_pixels_of_a_full_decode(color: Color, dtype: type) -> None:
    data = encode(photo(1024, 768), "JPEG")
    found = image_input(color=color, dtype=np.dtype(dtype), width=224, height=224).tensor(data)
    full = Image.open(io.BytesIO(data)).convert("L" if color == "grayscale" else "RGB")
    expected = np.asarray(full.resize((224, 224), Image.Resampling.BILINEAR)).reshape(found.shape)

    np.testing.assert_array_equal(found, expected)


def test_the_size_that_is_told_is_that_of_the_upright_picture_as_it_came() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tensor, size = image_input(width=224, height=224).read(encode(photo(1024, 768), "JPEG", exif=exif))

    assert tensor.shape == (1, 224, 224, 3)
    assert size == (768, 1024)
