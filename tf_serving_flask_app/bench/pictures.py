"""Pictures to send, where the user gives none."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SIZE = (1024, 768)
"""Width and height."""

DRAWN = 4
"""So many differ that nothing is fast because it was the same again."""

CLOUD_SIDES = (5, 16, 64)


def draw_pictures() -> tuple[bytes, ...]:
    """Draw clouds of colour with a grain, always the same: JPEGs of about the length of a photograph's."""
    return tuple(_draw(seed) for seed in range(DRAWN))


def _draw(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    width, height = SIZE
    pixels = random.normal(0, 4 * len(CLOUD_SIDES), (height, width, 3)).astype(np.float32)
    for side in CLOUD_SIDES:
        coarse = random.integers(0, 256, (side, side, 3), np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    pixels /= len(CLOUD_SIDES)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()
