"""Draws pictures of simple shapes on textured backgrounds, for training and trying small models.

Everything random comes from the NumPy generator that the caller hands in, so one seed always gives
the same pictures. Lengths are in pixels, angles in radians, and the origin is the top left corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour: TypeAlias = tuple[int, int, int]
Corners: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = NDArray[Any]

SUPERSAMPLING = 3
CONTRAST = 150.0
HIDDEN_PROBABILITY = 0.3


class Box(NamedTuple):
    """A rectangle of pixels; `right` and `bottom` are the first column and row outside it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Picture:
    """An RGB picture of one shape, the shape's name and the box around the shape."""

    image: Image.Image
    name: str
    box: Box


def _on_circle(angles: NDArray[np.float64], radii: NDArray[np.float64] | float = 1.0) -> Corners:
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _regular(corners: int) -> Corners:
    return _on_circle(np.arange(corners) * 2 * np.pi / corners - np.pi / 2)


def _star() -> Corners:
    return _on_circle(np.arange(10) * np.pi / 5 - np.pi / 2, np.tile([1.0, 0.42], 5))


def _cross() -> Corners:
    arm = [(-0.3, -0.3), (-0.3, -0.95), (0.3, -0.95)]
    return np.concatenate([np.array(arm) @ _rotation(turns * np.pi / 2) for turns in range(4)])


def _heart() -> Corners:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([16 * np.sin(t) ** 3, down], axis=1) / 17


def _crescent() -> Corners:
    # A circle of radius 1, of which a circle further to the right cuts a part away.
    shift, reach = 0.45, 0.85
    tip = np.arccos((1 - reach**2 + shift**2) / (2 * shift))
    edge = np.arctan2(np.sin(tip), np.cos(tip) - shift)
    rim = _on_circle(np.linspace(tip, 2 * np.pi - tip, 48))
    cut = _on_circle(np.linspace(2 * np.pi - edge, edge, 48), reach) + np.array((shift, 0))
    return np.concatenate([rim, cut])


def _arrow() -> Corners:
    upper = np.array([(-1.0, -0.22), (0.1, -0.22), (0.1, -0.68), (1.0, 0.0)])
    return np.concatenate([upper, upper[-2::-1] * (1, -1)])


def _rotation(angle: float) -> NDArray[np.float64]:
    # For row vectors: points @ _rotation(angle) turns them clockwise, as y grows downwards.
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


OUTLINES: dict[str, Corners] = {
    "circle": _regular(72),
    "triangle": _regular(3),
    "square": _regular(4),
    "star": _star(),
    "cross": _cross(),
    "heart": _heart(),
    "crescent": _crescent(),
    "arrow": _arrow(),
}
"""The corners of every shape, float64 [corners, 2] as (x, y), inside the circle of radius 1."""

SHAPES: tuple[str, ...] = tuple(OUTLINES)
"""The names of the shapes, in the order of the models' classes."""


def _plain(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    return np.zeros_like(x)


def _gradient(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    shares: Weights = (x - x.min()) / np.ptp(x)
    return shares


def _stripes(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    return np.clip(0.5 + 3 * np.sin(x * rng.uniform(10, 50)), 0, 1)


def _checks(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    frequency = rng.uniform(10, 40)
    return np.clip(0.5 + 3 * np.sin(x * frequency) * np.sin(y * frequency), 0, 1)


def _grain(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    return rng.random(x.shape, dtype=np.float32)


def _blobs(rng: np.random.Generator, x: Weights, y: Weights) -> Weights:
    coarse = Image.fromarray(rng.random(rng.integers(3, 9, size=2), dtype=np.float32))
    fine = coarse.resize(x.shape[::-1], Image.Resampling.BICUBIC)
    smooth: Weights = np.clip(np.asarray(fine), 0, 1)
    return smooth


_PATTERNS: tuple[Callable[[np.random.Generator, Weights, Weights], Weights], ...] = (
    _plain,
    _gradient,
    _stripes,
    _checks,
    _grain,
    _blobs,
)


def draw_texture(rng: np.random.Generator, size: tuple[int, int], first: Colour, second: Colour) -> Image.Image:
    """Draw a random pattern that mixes two colours.

    `size` is (width, height). Returns an RGB image of that size.
    """
    width, height = size
    row, column = np.mgrid[:height, :width].astype(np.float32) / max(size)
    angle = rng.uniform(0, 2 * np.pi)
    x = column * math.cos(angle) + row * math.sin(angle)
    y = row * math.cos(angle) - column * math.sin(angle)
    weights = _PATTERNS[rng.integers(len(_PATTERNS))](rng, x, y)
    mask = Image.fromarray((weights * 255).astype(np.uint8))
    return Image.composite(Image.new("RGB", size, second), Image.new("RGB", size, first), mask)


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draw a random texture of two random colours.

    `size` is (width, height). Returns an RGB image of that size.
    """
    (first,) = _random_colours(rng, 1)
    # A background that used the whole range would leave no colour for a shape to stand out in.
    return draw_texture(rng, size, _colour(first), near_colour(rng, _colour(first), 60))


def contrasting_colour(rng: np.random.Generator, image: Image.Image) -> Colour:
    """Choose a random colour that is easy to tell from every colour in an RGB image."""
    seen = np.asarray(image.resize((16, 16), Image.Resampling.NEAREST), dtype=np.float64).reshape(-1, 1, 3)
    candidates = _random_colours(rng, 32)
    nearest = np.linalg.norm(candidates - seen, axis=2).min(axis=0)
    # argmax of the capped distance: the first one far enough, otherwise the farthest of all.
    return _colour(candidates[np.minimum(nearest, CONTRAST).argmax()])


def near_colour(rng: np.random.Generator, colour: Colour, distance: int) -> Colour:
    """Choose a random colour whose red, green and blue each differ from a colour's by at most a distance."""
    return _colour(np.clip(np.array(colour) + rng.integers(-distance, distance + 1, size=3), 0, 255))


def place_outline(name: str, *, centre: tuple[float, float], radius: float, angle: float) -> Corners:
    """Return the corners of a shape where and as `draw_shape` would draw it, float64 [corners, 2] as (x, y)."""
    return OUTLINES[name] @ _rotation(angle) * radius + centre


def draw_shape(
    image: Image.Image,
    name: str,
    *,
    centre: tuple[float, float],
    radius: float,
    angle: float,
    paint: Colour | Image.Image,
) -> Box:
    """Draw a filled shape on an RGB image, in place.

    `centre` is (x, y), `radius` that of the circle around the shape, and `angle` turns it clockwise.
    `paint` is a colour, or an RGB image of the same size as `image` that shows through the shape.
    Returns the tight box around the shape's pixels. Raises KeyError for a name that is not in
    `OUTLINES`, and ValueError when no part of the shape lies inside the image.
    """
    return _fill(image, place_outline(name, centre=centre, radius=radius, angle=angle), paint)


def draw_obstacle(rng: np.random.Generator, image: Image.Image, box: Box) -> None:
    """Hide a small part of what is in a box behind a bar or a blob, in place, on an RGB image."""
    sides = np.array([box.right - box.left, box.bottom - box.top])
    length = float(sides.mean())
    if rng.random() < 0.5:
        thickness = rng.uniform(0.06, 0.12)
        outline = np.array([(-1, -thickness), (1, -thickness), (1, thickness), (-1, thickness)]) / 2
        outline = outline @ _rotation(rng.uniform(0, 2 * np.pi))
    else:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        # The uneven rim keeps a blob from being mistaken for a circle.
        rim = 1 + 0.25 * np.sin(rng.integers(2, 5) * angles + rng.uniform(0, 2 * np.pi))
        outline = _on_circle(angles, rim * rng.uniform(0.08, 0.14))
    place = np.array(box[:2]) + rng.uniform(0.15, 0.85, size=2) * sides
    _fill(image, outline * length + place, contrasting_colour(rng, image))


def photograph(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Return an RGB image with slightly different brightness and contrast, blur and noise."""
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.008) * max(image.size)))
    values = np.asarray(blurred, dtype=np.float32)
    values = (values - 128) * rng.uniform(0.75, 1.15) + 128 + rng.uniform(-20, 20)
    values += rng.standard_normal(values.shape, dtype=np.float32) * rng.uniform(0, 14)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def draw_picture(rng: np.random.Generator, name: str, size: tuple[int, int]) -> Picture:
    """Draw a random picture of one shape.

    `size` is (width, height). Raises KeyError for a name that is not in `OUTLINES`.
    """
    image = draw_background(rng, size)
    colour = contrasting_colour(rng, image)
    radius = rng.uniform(0.28, 0.48) * min(size)
    box = draw_shape(
        image,
        name,
        centre=(rng.uniform(radius, size[0] - radius), rng.uniform(radius, size[1] - radius)),
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi),
        paint=draw_texture(rng, size, colour, near_colour(rng, colour, 25)),
    )
    if rng.random() < HIDDEN_PROBABILITY:
        draw_obstacle(rng, image, box)
    return Picture(photograph(rng, image), name, box)


def _fill(image: Image.Image, corners: Corners, paint: Colour | Image.Image) -> Box:
    large = Image.new("L", (image.width * SUPERSAMPLING, image.height * SUPERSAMPLING))
    ImageDraw.Draw(large).polygon([(x, y) for x, y in corners * SUPERSAMPLING], fill=255)
    mask = large.reduce(SUPERSAMPLING)
    covered = mask.getbbox()
    if covered is None:
        raise ValueError("no part of the shape lies inside the image")
    image.paste(paint, mask=mask)
    return Box(*covered)


def _random_colours(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    vivid = rng.integers(0, 256, size=(count, 3))
    grey = vivid[:, :1]
    return grey + (rng.random((count, 1)) * (vivid - grey)).astype(np.int64)


def _colour(values: NDArray[np.int64]) -> Colour:
    red, green, blue = values.tolist()
    return red, green, blue
