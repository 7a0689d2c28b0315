"""Pictures made on the spot, for tests that send, decode or place one."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from tf_serving_flask_app.images import Picture, decode
from tf_serving_flask_app.placement import Resize

MAX_PIXELS = 50_000_000


def picture(color: str = "red", size: tuple[int, int] = (16, 12), format: str = "PNG") -> bytes:
    """The bytes of a picture file of one colour; size is (width, height)."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format)
    return file.getvalue()


def photo(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """A picture with smooth colours, so that lossy formats and resizing change it little."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(1, width - 1), 255 * y / max(1, height - 1)
    return Image.fromarray(np.stack([red, green, 255 - red], -1).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def decoded(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as it is, upright."""
    return decode(data, max_pixels).fit(None, "none")


def resize(image: Image.Image, width: int, height: int, how: Resize) -> Image.Image:
    return Picture(image, image.size, image.size, None).fit((width, height), how)


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))
