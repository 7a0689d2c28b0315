"""Draws scenes of one to four shapes with the box around each, for training and trying a small detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tf_serving_flask_app.export.shapes import (
    SHAPES,
    Box,
    contrasting_colour,
    draw_background,
    draw_obstacle,
    draw_shape,
    draw_texture,
    near_colour,
    photograph,
    place_outline,
)

MOST_SHAPES = 4
RADII = (0.13, 0.34)
MOST_OVERLAP = 0.15
PLACES_TRIED = 20
HIDDEN_PROBABILITY = 0.15

Rectangle = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """An RGB picture of several shapes: their names with the boxes around them, in the order in which they were drawn.

    A box is that of the whole shape, also where a later shape covers a part of it.
    """

    image: Image.Image
    shapes: tuple[tuple[str, Box], ...]


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw a random picture of one to four random shapes.

    `size` is (width, height). The circle around a shape lies in the picture and has a radius of `RADII` times the
    shorter side; what two outlines' boxes share is at most `MOST_OVERLAP` of the smaller.
    """
    image = draw_background(rng, size)
    shapes: list[tuple[str, Box]] = []
    taken: list[Rectangle] = []
    for _ in range(rng.integers(1, MOST_SHAPES + 1)):
        for _ in range(PLACES_TRIED):
            name = str(rng.choice(SHAPES))
            radius = float(np.exp(rng.uniform(*np.log(RADII)))) * min(size)
            centre = (rng.uniform(radius, size[0] - radius), rng.uniform(radius, size[1] - radius))
            angle = rng.uniform(0, 2 * np.pi)
            outline = place_outline(name, centre=centre, radius=radius, angle=angle)
            rectangle = np.array([outline.min(axis=0), outline.max(axis=0)])
            if all(_overlap(rectangle, other) <= MOST_OVERLAP for other in taken):
                colour = contrasting_colour(rng, image.crop((*rectangle[0], *rectangle[1])))
                paint = draw_texture(rng, size, colour, near_colour(rng, colour, 25))
                box = draw_shape(image, name, centre=centre, radius=radius, angle=angle, paint=paint)
                taken.append(rectangle)
                shapes.append((name, box))
                break
    for _, box in shapes:
        if rng.random() < HIDDEN_PROBABILITY:
            draw_obstacle(rng, image, box)
    return Scene(photograph(rng, image), tuple(shapes))


def _overlap(one: Rectangle, other: Rectangle) -> float:
    """What two rectangles, [[left, top], [right, bottom]], share, as a part of the smaller one's area."""
    shared = np.clip(np.minimum(one[1], other[1]) - np.maximum(one[0], other[0]), 0, None)
    return float(shared.prod() / min((one[1] - one[0]).prod(), (other[1] - other[0]).prod()))
