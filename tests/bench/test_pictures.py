"""Pictures made of pictures."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.pictures import picture
from tf_serving_flask_app.bench.pictures import draw_pictures, vary_pictures
from tf_serving_flask_app.errors import ConfigurationError


def test_as_many_are_drawn_as_asked_for_in_the_size_asked_for() -> None:
    pictures = draw_pictures(3, (64, 48))

    assert len(set(pictures)) == 3
    assert all(Image.open(io.BytesIO(each)).size == (64, 48) for each in pictures)


def test_pictures_are_varied_by_parts_of_them() -> None:
    first, second = draw_pictures(2, (100, 100))
    varied = vary_pictures([first, second], 8)

    assert varied[:2] == (first, second)
    assert len(set(varied)) == 8
    assert all(60 <= side <= 100 for each in varied for side in Image.open(io.BytesIO(each)).size)
    assert vary_pictures([first, second], 1) == (first,)


def test_what_is_no_picture_is_told_by_its_number() -> None:
    with pytest.raises(ConfigurationError, match="The picture number 2 cannot be decoded"):
        vary_pictures([picture("red"), b"no picture"], 4)
