"""Pictures made on the spot, for tests that send or place one."""

from __future__ import annotations

import io

from PIL import Image


def picture(color: str = "red", size: tuple[int, int] = (16, 12), format: str = "PNG") -> bytes:
    """The bytes of a picture file of one colour; size is (width, height)."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format)
    return file.getvalue()
