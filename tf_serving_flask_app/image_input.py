"""The picture that a model takes: of which size, colours and numbers, and how an encoded one becomes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tf_serving_flask_app.errors import ConfigurationError, InvalidImage
from tf_serving_flask_app.images import decode, to_array
from tf_serving_flask_app.placement import Resize
from tf_serving_flask_app.scaling import Color, Scale

Layout = Literal["channels_last", "channels_first"]


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """How pictures become a model's input.

    Attributes:
        width: of the frame that the model takes, in pixels; None: any, which needs ``resize="none"``.
        height: the same.
        max_pixels: a picture of more is refused before it is decoded.
        scale: from pixel values of 0..255 to the model's numbers.
        dtype: of the model's input; floating, or an integer type that holds 0..255 with the scale ``raw``.
        color: the channels and their order.
        resize: how a picture of another size is fitted into the frame.
        layout: [1, height, width, channels] or [1, channels, height, width].
    """

    width: int | None
    height: int | None
    max_pixels: int
    scale: Scale
    dtype: np.dtype
    color: Color = "rgb"
    resize: Resize = "stretch"
    layout: Layout = "channels_last"

    def __post_init__(self) -> None:
        """Raise ConfigurationError if there is no frame to resize to, or dtype cannot hold the scaled pixels."""
        if self.resize != "none" and self.frame is None:
            raise ConfigurationError(
                f"image: resize {self.resize!r} needs width and height in pixels; give both, or resize: none."
            )
        if self.dtype.kind not in "iuf" or (self.dtype.kind != "f" and np.iinfo(self.dtype).max < 255):
            raise ConfigurationError(f"image: pixels of 0..255 do not fit the model's input of {self.dtype}.")
        if self.dtype.kind != "f" and not self.scale.raw:
            raise ConfigurationError(
                f"image: the model's input of {self.dtype} cannot hold the result of scale {self.scale.text!r}; use"
                " scale: raw."
            )

    @property
    def channels(self) -> int:
        """Numbers a pixel."""
        return 1 if self.color == "grayscale" else 3

    @property
    def frame(self) -> tuple[int, int] | None:
        """Width and height into which every picture is fitted; None: pictures stay as they are."""
        return (self.width, self.height) if self.resize != "none" and self.width and self.height else None

    def tensor(self, data: bytes) -> np.ndarray:
        """Make an encoded picture the model's input, see ``read``."""
        return self.read(data)[0]

    def read(self, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        """Make an encoded picture the model's input.

        Returns:
            A writable C-contiguous batch of one, of the model's layout and dtype; and width and height of the upright
            picture as it came, in pixels.

        Raises:
            InvalidImage: the bytes cannot be decoded as a picture of allowed size; or the picture is not resized and
                has another size than the model takes.
        """
        # A quantised model's answer may change with the rounding of a pixel.
        about = self.frame if self.dtype.kind == "f" else None
        picture = decode(data, self.max_pixels, about, self.resize, self.color)
        if self.frame is None:
            self._check_size(*picture.size)
        values: np.ndarray = to_array(picture.fit(self.frame, self.resize), self.color)
        if self.layout == "channels_first":
            # Bytes are moved into the model's order, not the numbers that they become, which keep that order.
            values = np.ascontiguousarray(values.transpose(2, 0, 1)).transpose(1, 2, 0)
        if not self.scale.raw:
            values = self.scale(values)
        if self.layout == "channels_first":
            values = values.transpose(2, 0, 1)
        # Pillow's bytes are read-only; a hook may want to write into its input.
        return np.require(values, self.dtype, ["C_CONTIGUOUS", "WRITEABLE"])[np.newaxis], picture.size

    def _check_size(self, width: int, height: int) -> None:
        if width != (self.width or width) or height != (self.height or height):
            raise InvalidImage(
                f"The picture has {width}x{height} pixels and the model takes {self.width or 'any'}x"
                f"{self.height or 'any'}; send it at that size."
            )
