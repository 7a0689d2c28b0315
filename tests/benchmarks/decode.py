"""How long a picture takes to become a model's input, against a full decode with Pillow and NumPy as anybody writes it.

Run it with ``.venv/bin/python -m tests.benchmarks.decode``; interleaved rounds of one thread, medians. The ratio to
hold: a JPEG of 1024x768 pixels for a frame of 224x224 at least 1.5 times as fast as in full.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from tf_serving_flask_app.image_input import ImageInput
from tf_serving_flask_app.placement import Resize
from tf_serving_flask_app.scaling import parse_scale

ROUNDS = 31
ROUND_S = 0.05
"""How long a round lasts at least: small pictures are decoded several times in it."""


def scene(width: int, height: int) -> Image.Image:
    """A picture that is as hard to decode as a photograph: smooth, with noise."""
    y, x = np.mgrid[0:height, 0:width] / height
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    smooth = np.stack([np.sin(9 * x * y), np.cos(7 * y), np.sin(5 * x)], -1) * 90 + 128
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(width: int, height: int, name: str, orientation: int = 1, **options: Any) -> bytes:
    """A file with a picture."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    scene(width, height).save(file, name, exif=exif, **options)
    return file.getvalue()


def in_full(data: bytes, side: int, how: Resize) -> np.ndarray:
    """Decode everything, then turn, resize and scale."""
    frame = (side, side)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if how == "stretch":
        image = image.resize(frame, Image.Resampling.BILINEAR)
    elif how == "crop":
        image = ImageOps.fit(image, frame, Image.Resampling.BILINEAR)
    else:
        image = ImageOps.pad(image, frame, Image.Resampling.BILINEAR)
    return (np.asarray(image).astype(np.float32) / np.float32(127.5) - np.float32(1))[np.newaxis]


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes, on average of a round."""
    calls = 0
    began = time.perf_counter()
    while True:
        work()
        calls += 1
        if (taken := time.perf_counter() - began) > ROUND_S:
            return taken / calls


def compare(title: str, data: bytes, side: int, how: Resize = "stretch") -> None:
    """Print the medians of both and their ratio."""
    scale = parse_scale("inception")
    ours = ImageInput(
        width=side, height=side, max_pixels=50_000_000, scale=scale, dtype=np.dtype(np.float32), resize=how
    )
    rounds = [(seconds(lambda: in_full(data, side, how)), seconds(lambda: ours.tensor(data))) for _ in range(ROUNDS)]
    full, fast = (statistics.median(times) * 1e3 for times in zip(*rounds, strict=True))
    ratio = statistics.median(slow / quick for slow, quick in rounds)
    print(f"{title:>24} to {side} {how:7} full {full:7.2f} ms, ours {fast:7.2f} ms, {ratio:.2f} times as fast")


def main() -> None:
    """Print a line for each kind of picture."""
    usual = encoded(1024, 768, "JPEG", quality=90)
    for how in ("stretch", "crop", "pad"):
        compare("JPEG 1024x768", usual, 224, how)
    compare("JPEG 1024x768", usual, 299)
    compare("progressive 1024x768", encoded(1024, 768, "JPEG", quality=90, progressive=True), 224)
    compare("turned JPEG 1024x768", encoded(1024, 768, "JPEG", 6, quality=90), 224)
    compare("JPEG 4000x3000", encoded(4000, 3000, "JPEG", quality=90), 224)
    compare("turned JPEG 4000x3000", encoded(4000, 3000, "JPEG", 6, quality=90), 224)
    compare("JPEG 500x375", encoded(500, 375, "JPEG", quality=90), 224)
    compare("PNG 256x192", encoded(256, 192, "PNG"), 224)
    compare("WebP 4000x3000", encoded(4000, 3000, "WEBP", quality=80), 224)


if __name__ == "__main__":
    main()
