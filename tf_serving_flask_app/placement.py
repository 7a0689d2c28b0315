"""Where a picture comes to lie in the frame that a model sees; arithmetic alone, so that boxes can be mapped back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resize = Literal["stretch", "crop", "pad", "none"]
"""How a picture of another size is fitted into the frame."""


@dataclass(frozen=True)
class Placement:
    """Where the whole original picture lies in the frame that the model sees, in the frame's pixels.

    A picture that was cropped reaches beyond the frame: its left or top is negative. A point of the frame at ``x``
    is at ``(x - left) / width`` of the picture's width, 0..1.
    """

    left: float
    top: float
    width: float
    height: float


def place(size: tuple[int, int], frame: tuple[int, int], how: Resize) -> Placement:
    """Where a picture of ``size`` comes to lie in a ``frame``, both (width, height) in pixels.

    Args:
        how: ``stretch`` fills the frame and changes the proportions; ``crop`` covers it and loses what reaches
            beyond; ``pad`` shows the whole picture between bars; ``none`` leaves it as it is.
    """
    (width, height), (frame_width, frame_height) = size, frame
    if how in ("stretch", "none"):
        return Placement(0, 0, *(frame if how == "stretch" else size))
    if how == "crop":
        factor = max(frame_width / width, frame_height / height)
        wide, high = width * factor, height * factor
        return Placement((frame_width - wide) / 2, (frame_height - high) / 2, wide, high)
    factor = min(frame_width / width, frame_height / height)
    whole = max(1, round(width * factor)), max(1, round(height * factor))
    return Placement((frame_width - whole[0]) // 2, (frame_height - whole[1]) // 2, *whole)
