"""Drawn shapes: what the demo model learns from."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tf_serving_flask_app.export.demo_classifier import SIDE, draw_pictures
from tf_serving_flask_app.export.shapes import SHAPES, draw_picture, draw_shape

SIZE = (120, 90)


@pytest.mark.parametrize("name", SHAPES)
def test_a_picture_has_the_size_asked_for_and_a_box_inside_it(name: str) -> None:
    picture = draw_picture(np.random.default_rng(0), name, SIZE)

    assert (picture.image.mode, picture.image.size, picture.name) == ("RGB", SIZE, name)
    assert 0 <= picture.box.left < picture.box.right <= SIZE[0]
    assert 0 <= picture.box.top < picture.box.bottom <= SIZE[1]


def test_the_same_seed_draws_the_same_picture_and_another_seed_another() -> None:
    first, same, other = (
        np.asarray(draw_picture(np.random.default_rng(seed), "star", SIZE).image) for seed in (1, 1, 2)
    )

    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", SHAPES)
def test_the_box_of_a_shape_holds_just_what_was_drawn(name: str) -> None:
    image = Image.new("RGB", SIZE)
    box = draw_shape(image, name, centre=(60, 45), radius=30, angle=0.7, paint=(255, 255, 255))

    assert image.getbbox() == tuple(box)


def test_each_shape_looks_different_from_each_other() -> None:
    drawn = []
    for name in SHAPES:
        image = Image.new("L", SIZE).convert("RGB")
        draw_shape(image, name, centre=(60, 45), radius=40, angle=0, paint=(255, 255, 255))
        drawn.append(np.asarray(image)[..., 0] > 127)

    differences = [np.mean(one != other) for i, one in enumerate(drawn) for other in drawn[:i]]
    assert min(differences) > 0.02


def test_a_shape_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="inside"):
        draw_shape(Image.new("RGB", SIZE), "star", centre=(-500, 0), radius=10, angle=0, paint=(0, 0, 0))


def test_pictures_for_training_come_in_the_models_size_with_each_class_as_often() -> None:
    pictures, classes = draw_pictures(5, 2 * len(SHAPES))

    assert pictures.shape == (16, SIDE, SIDE, 3)
    assert np.bincount(classes).tolist() == [2] * len(SHAPES)
    assert pictures.std(axis=(1, 2, 3)).min() > 0
