"""Pictures are fitted into a frame, and decoded no larger than that takes."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.pictures import MAX_PIXELS, decoded, encode, photo, resize, rgb
from tf_serving_flask_app.errors import InvalidImage
from tf_serving_flask_app.images import decode, to_array
from tf_serving_flask_app.placement import Placement, Resize, place
from tf_serving_flask_app.scaling import Color

# Pillow warns about damaged metadata of a picture that it can read. Its DecompressionBombWarning stays an error here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_stretch_is_pillows_bilinear_resize() -> None:
    expected = photo().resize((17, 23), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.asarray(resize(photo(), 17, 23, "stretch")), np.asarray(expected))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (301, 203), (7, 100)])
def test_crop_is_the_centre_that_covers_the_frame(size: tuple[int, int]) -> None:
    image = photo(*size)
    expected = ImageOps.fit(image, (24, 20), Image.Resampling.BILINEAR)
    found = np.asarray(resize(image, 24, 20, "crop")).astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 1


def test_pad_shows_the_whole_picture_between_black_bars() -> None:
    padded = np.asarray(resize(Image.new("RGB", (40, 20), "white"), 20, 20, "pad"))
    assert (padded[5:15] == 255).all()
    assert (padded[:5] == 0).all()
    assert (padded[15:] == 0).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("how", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (33, 7), (299, 300)])
def test_any_picture_fits_the_frame(mode: str, how: Resize, size: tuple[int, int]) -> None:
    resized = resize(Image.new(mode, size), 31, 17, how)
    assert (resized.size, resized.mode) == ((31, 17), mode)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("stretch", Placement(0, 0, 50, 50)),
        ("crop", Placement(-25, 0, 100, 50)),
        ("pad", Placement(0, 12, 50, 25)),
        ("none", Placement(0, 0, 200, 100)),
    ],
)
def test_placement_tells_where_the_picture_lies_in_the_frame(how: Resize, expected: Placement) -> None:
    assert place((200, 100), (50, 50), how) == expected


@pytest.mark.parametrize("how", ["stretch", "crop", "pad"])
def test_a_point_of_the_picture_is_found_where_the_placement_says(how: Resize) -> None:
    image = Image.new("L", (200, 100))
    image.paste(255, (100, 40, 120, 60))  # its centre at 0.55, 0.5 of the picture
    seen = np.argwhere(np.asarray(resize(image, 60, 50, how)) > 100)
    y, x = seen.mean(0) + 0.5
    at = place(image.size, (60, 50), how)
    assert ((x - at.left) / at.width, (y - at.top) / at.height) == pytest.approx((0.55, 0.5), abs=0.02)


# Fewer pixels than the file has

FRAMES: list[tuple[tuple[int, int], Resize]] = [
    ((224, 224), "stretch"),
    ((128, 96), "crop"),
    ((96, 224), "crop"),
    ((300, 200), "pad"),
]


@cache
def scene(width: int = 1024, height: int = 768) -> Image.Image:
    """A picture with detail of every size, and no symmetry."""
    y, x = np.mgrid[0:height, 0:width] / height
    wave = np.sin(40 * x * x) + np.cos(9 * y) + 0.3 * np.sin(150 * x * y)
    red, green, blue = wave, x + wave / 2, y * 2 - wave
    channels = [(channel - channel.min()) / np.ptp(channel) * 255 for channel in (red, green, blue)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def lossless_jpeg(width: int, height: int) -> bytes:
    """A gray picture in the lossless kind of JPEG: no difference between a pixel and the one beside it."""
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    segments = [(0xC3, frame), (0xC4, bytes([0, 1, *[0] * 16])), (0xDA, bytes([1, 1, 0, 1, 0, 0]))]
    header = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + header + bytes(width * height // 8) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("size", "frame", "stored"),
    [
        ((1024, 768), (224, 224), (512, 384)),
        ((1024, 768), (299, 299), (512, 384)),
        ((1001, 771), (224, 224), (501, 386)),
        ((4000, 3000), (224, 224), (500, 375)),
        ((4000, 3000), (32, 32), (500, 375)),
        ((1024, 768), (384, 384), (1024, 768)),
        ((640, 480), (32, 32), (640, 480)),
        ((4000, 300), (224, 224), (4000, 300)),
    ],
)
def test_a_large_jpeg_is_decoded_at_a_fraction_that_leaves_more_than_the_frame_takes(
    size: tuple[int, int], frame: tuple[int, int], stored: tuple[int, int]
) -> None:
    data = encode(Image.new("RGB", size), "JPEG")
    picture = decode(data, MAX_PIXELS, frame, "stretch")

    assert (picture.stored.size, picture.size) == (stored, size)
    assert picture.fit(frame, "stretch").size == frame
    assert decode(data, MAX_PIXELS).stored.size == size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("frame", "how"), FRAMES)
def test_a_reduced_jpeg_looks_as_it_does_in_full_whichever_way_it_is_turned(
    frame: tuple[int, int], how: Resize, orientation: int
) -> None:
    data = encode(scene(1021, 771), "JPEG", exif=oriented(orientation), quality=95)
    found = decode(data, MAX_PIXELS, frame, how)
    upright = decoded(data)
    expected = rgb(resize(upright, *frame, how)).astype(int)

    assert found.stored.width in (511, 256)
    assert found.size == upright.size
    difference = np.abs(rgb(found.fit(frame, how)) - expected)
    assert difference.mean() < 1
    assert difference.max() < 30


@pytest.mark.parametrize("color", ["rgb", "grayscale"])
@pytest.mark.parametrize("kind", ["progressive", "keep_rgb", "L", "CMYK", "MPO"])
def test_every_kind_of_jpeg_can_be_reduced(kind: str, color: Color) -> None:
    options: dict[str, Any] = {kind: True} if kind in ("progressive", "keep_rgb") else {}
    image = scene().convert(kind) if kind in ("L", "CMYK") else scene()
    data = encode(image, "MPO" if kind == "MPO" else "JPEG", quality=95, **options)
    picture = decode(data, MAX_PIXELS, (224, 224), "crop", color)
    found = to_array(picture.fit((224, 224), "crop"), color)
    expected = to_array(resize(decoded(data), 224, 224, "crop"), color)

    assert picture.stored.size == (512, 384)
    assert np.abs(found.astype(int) - expected).mean() < 1.5


@pytest.mark.parametrize("name", ["PNG", "BMP", "WEBP", "TIFF"])
def test_other_formats_are_decoded_in_full(name: str) -> None:
    data = encode(scene(), name)
    picture = decode(data, MAX_PIXELS, (224, 224), "stretch")

    assert picture.stored.size == (1024, 768)
    np.testing.assert_array_equal(
        rgb(picture.fit((224, 224), "stretch")), rgb(resize(decoded(data), 224, 224, "stretch"))
    )


def test_a_very_large_picture_is_resized_in_two_steps_unless_it_must_be_exact() -> None:
    data = encode(scene(1600, 1300), "BMP")
    exact = rgb(decode(data, MAX_PIXELS).fit((100, 100), "stretch")).astype(int)
    found = rgb(decode(data, MAX_PIXELS, (100, 100), "stretch").fit((100, 100), "stretch"))

    np.testing.assert_array_equal(exact, rgb(resize(scene(1600, 1300), 100, 100, "stretch")))
    assert 0 < np.abs(found - exact).mean() < 1


def test_a_lossless_jpeg_which_cannot_be_reduced_is_decoded_in_full() -> None:
    picture = decode(lossless_jpeg(1024, 768), MAX_PIXELS, (224, 224), "stretch")

    assert picture.stored.size == (1024, 768)
    assert picture.stored.getextrema() == (128, 128)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(("frame", "how"), [((24, 16), "stretch"), ((20, 30), "crop"), ((33, 18), "pad")])
def test_a_turned_picture_is_fitted_as_if_it_were_upright(
    name: str, orientation: int, frame: tuple[int, int], how: Resize
) -> None:
    data = encode(scene(100, 60), name, exif=oriented(orientation), **({"lossless": True} if name == "WEBP" else {}))
    picture = decode(data, MAX_PIXELS, frame, how)
    upright = decoded(data)
    difference = np.abs(rgb(picture.fit(frame, how)).astype(int) - rgb(resize(upright, *frame, how)))

    assert picture.size == upright.size == ((60, 100) if orientation > 4 else (100, 60))
    assert difference.max() <= 2


def test_the_limit_counts_the_pixels_of_the_file_not_those_that_are_decoded() -> None:
    with pytest.raises(InvalidImage, match="1024x768 = 786432 pixels and the limit is 786431"):
        decode(encode(scene(), "JPEG"), 1024 * 768 - 1, (224, 224), "stretch")
