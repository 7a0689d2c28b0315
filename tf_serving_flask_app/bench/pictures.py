"""Pictures to send, where the user gives none."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from tf_serving_flask_app.errors import ConfigurationError

SIZE = (1024, 768)
"""Width and height."""

DRAWN = 4
"""So many differ that nothing is fast because it was the same again."""

CLOUD_SIDES = (5, 16, 64)


def draw_pictures(count: int = DRAWN, size: tuple[int, int] = SIZE) -> tuple[bytes, ...]:
    """Draw clouds of colour with a grain, always the same: JPEGs of about the length of a photograph's."""
    return tuple(_draw(seed, size) for seed in range(count))


def vary_pictures(pictures: Sequence[bytes], count: int) -> tuple[bytes, ...]:
    """Make so many different pictures of a few: themselves, then parts of them, every other one mirrored.

    Raises:
        ConfigurationError: one of them cannot be decoded.
    """
    varied = list(pictures[:count])
    random = np.random.default_rng(0)
    while len(varied) < count:
        number = len(varied) % len(pictures)
        try:
            picture = Image.open(io.BytesIO(pictures[number])).convert("RGB")
        except OSError as exc:
            raise ConfigurationError(f"The picture number {number + 1} cannot be decoded: {exc}") from exc
        width, height = (max(1, round(side * random.uniform(0.6, 1))) for side in picture.size)
        left, top = random.integers(picture.width - width + 1), random.integers(picture.height - height + 1)
        part = picture.crop((int(left), int(top), int(left) + width, int(top) + height))
        varied.append(_jpeg(ImageOps.mirror(part) if len(varied) % 2 else part))
    return tuple(varied)


def _draw(seed: int, size: tuple[int, int]) -> bytes:
    random = np.random.default_rng(seed)
    width, height = size
    pixels = random.normal(0, 4 * len(CLOUD_SIDES), (height, width, 3)).astype(np.float32)
    for side in CLOUD_SIDES:
        coarse = random.integers(0, 256, (side, side, 3), np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32)
    pixels /= len(CLOUD_SIDES)
    return _jpeg(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
