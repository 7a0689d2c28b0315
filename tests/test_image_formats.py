"""The format of a picture is told by its first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tf_serving_flask_app.image_formats import foreign_format_of, format_of


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF"])
def test_a_picture_is_told_from_other_bytes_by_its_beginning(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, name)

    assert format_of(memoryview(file.getvalue())) == name
    assert foreign_format_of(file.getvalue()) is None


@pytest.mark.parametrize("data", [b"", b"BM", b"BM" + bytes(766), bytes(768), b"BM" + b"\xff" * 766])
def test_numbers_are_no_picture(data: bytes) -> None:
    assert format_of(data) is None


def test_a_picture_that_cannot_be_decoded_is_named() -> None:
    assert format_of(b"%PDF-1.7") is None
    assert foreign_format_of(b"%PDF-1.7") == "a PDF"
