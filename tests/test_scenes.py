"""Drawn scenes: what the demo's detector learns from."""

from __future__ import annotations

import numpy as np

from tf_serving_flask_app.export.scenes import MOST_SHAPES, RADII, Scene, draw_scene
from tf_serving_flask_app.export.shapes import SHAPES, Box

SIZE = (160, 120)


def scenes(count: int) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [draw_scene(rng, SIZE) for _ in range(count)]


def area(box: Box) -> int:
    return max(0, box.right - box.left) * max(0, box.bottom - box.top)


def shared(one: Box, other: Box) -> float:
    """The area that two boxes share, as a part of the smaller."""
    both = Box(
        max(one.left, other.left),
        max(one.top, other.top),
        min(one.right, other.right),
        min(one.bottom, other.bottom),
    )
    return area(both) / min(area(one), area(other))


def test_scenes_have_one_to_four_shapes_of_every_kind_in_the_size_asked_for() -> None:
    drawn = scenes(60)

    assert {(scene.image.mode, scene.image.size) for scene in drawn} == {("RGB", SIZE)}
    assert {len(scene.shapes) for scene in drawn} == set(range(1, MOST_SHAPES + 1))
    assert {name for scene in drawn for name, _ in scene.shapes} == set(SHAPES)


def test_boxes_lie_in_the_picture_and_are_of_various_sizes() -> None:
    boxes = [box for scene in scenes(60) for _, box in scene.shapes]

    assert all(0 <= box.left < box.right <= SIZE[0] and 0 <= box.top < box.bottom <= SIZE[1] for box in boxes)
    sides = [max(box.right - box.left, box.bottom - box.top) for box in boxes]
    assert max(sides) <= 2 * RADII[1] * min(SIZE) + 1
    assert max(sides) > 2.5 * min(sides)


def test_shapes_hide_little_of_each_other() -> None:
    overlaps = [
        shared(one, other)
        for scene in scenes(60)
        for index, (_, one) in enumerate(scene.shapes)
        for _, other in scene.shapes[:index]
    ]

    assert max(overlaps) <= 0.2  # 0.15 of the outlines' boxes; boxes of whole pixels are a little larger
    assert any(overlaps)


def test_the_same_seed_draws_the_same_scene_and_another_seed_another() -> None:
    first, same, other = (draw_scene(np.random.default_rng(seed), SIZE) for seed in (1, 1, 2))

    assert first.shapes == same.shapes
    assert first.image.tobytes() == same.image.tobytes()
    assert first.shapes != other.shapes


def test_a_shape_stands_out_from_what_is_around_it() -> None:
    """The middle of a circle differs in colour from the corners of its box."""
    differences = []
    for scene in scenes(60):
        pixels = np.asarray(scene.image, dtype=float)
        for name, box in scene.shapes:
            if name == "circle":
                inside = pixels[(box.top + box.bottom) // 2, (box.left + box.right) // 2]
                corners = pixels[[box.top, box.top, box.bottom - 1, box.bottom - 1], [box.left, box.right - 1] * 2]
                differences.append(np.linalg.norm(inside - corners, axis=1).mean())

    assert np.median(differences) > 80
