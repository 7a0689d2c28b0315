"""From the bytes of a picture to a model's input. The only module that knows Pillow.

Pillow's plugins are called by their own names, not through ``Image.open``: that would compare a picture with one
limit for the whole process, warn about pictures that ``max_pixels`` allows, and hide the size of those it refuses.
Pillow's warnings about odd metadata are left alone: silencing them is not thread-safe, and they are no failure.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tf_serving_flask_app.errors import ConfigurationError, InvalidImage
from tf_serving_flask_app.placement import Resize, place
from tf_serving_flask_app.scaling import Color, Scale

Layout = Literal["channels_last", "channels_first"]

_OPENERS: dict[str, tuple[re.Pattern[bytes], Callable[[io.BytesIO], Image.Image]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), jpeg_factory),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImageFile),
    "BMP": (re.compile(rb"BM.{12}[\x0c(48@l|]\0\0\0", re.DOTALL), BmpImageFile),
    "WebP": (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    "TIFF": (re.compile(rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)"), TiffImageFile),
}
_FOREIGN = {
    "a HEIC": re.compile(rb"....ftyp(he[iv]|mif1|msf1)", re.DOTALL),
    "an AVIF": re.compile(rb"....ftypavi", re.DOTALL),
    "a JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a JPEG 2000": re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "),
    "an ICO": re.compile(rb"\0\0\x01\0"),
    "a PSD": re.compile(rb"8BPS"),
    "a PDF": re.compile(rb"%PDF"),
    "a PNM": re.compile(rb"P[1-7][\s#]"),
}

# EXIF orientation -> what sets the picture upright
_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
        if self.resize != "none" and not (self.width and self.height):
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

    def tensor(self, data: bytes) -> np.ndarray:
        """Decode a picture and make it the model's input, see ``from_image``.

        Raises:
            InvalidImage: the bytes cannot be decoded as a picture of allowed size.
        """
        return self.from_image(decode(data, self.max_pixels))

    def from_image(self, image: Image.Image) -> np.ndarray:
        """Make a decoded picture the model's input: a C-contiguous batch of one, of the model's layout and dtype.

        Raises:
            InvalidImage: the picture is not resized and has another size than the model takes.
        """
        image = _in_mode(image, self.color)
        width, height = self.width or image.width, self.height or image.height
        if self.resize == "none" and (width, height) != image.size:
            raise InvalidImage(
                f"The picture has {image.width}x{image.height} pixels and the model takes {self.width or 'any'}x"
                f"{self.height or 'any'}; send it at that size."
            )
        image = resize(image, width, height, self.resize)
        values: np.ndarray = to_array(image, self.color)
        if not self.scale.raw:
            values = self.scale(values)
        if self.layout == "channels_first":
            values = values.transpose(2, 0, 1)
        # Pillow's arrays are read-only; a hook may want to write into its input.
        return np.require(values, self.dtype, ["C_CONTIGUOUS", "WRITEABLE"])[np.newaxis]


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a JPEG, PNG, GIF (first frame), BMP, WebP or TIFF picture and set it upright.

    Returns:
        The picture in Pillow's mode ``L`` or ``RGB``, see ``flatten``, turned as its EXIF orientation says.

    Raises:
        InvalidImage: another format or no picture, a damaged or truncated one, or width times height above
            ``max_pixels``, which is found out before there is memory for a pixel.
    """
    name = next((name for name, (signature, _) in _OPENERS.items() if signature.match(data)), None)
    if name is None:
        what = next((what for what, signature in _FOREIGN.items() if signature.match(data)), None)
        found = f"This is {what} file" if what else "These bytes are no picture" if data else "The picture is empty"
        raise InvalidImage(f"{found}; send a JPEG, PNG, GIF, BMP, WebP or TIFF picture.")
    try:
        image = _open(name, data, max_pixels)
        image.load()
        return flatten(_upright(image))
    except (InvalidImage, MemoryError):
        raise  # memory that is short is the server's fault: the size of the picture was allowed
    except Exception as exc:
        # Pillow's parsers raise whatever a malformed file leads them to: struct.error, KeyError, ZeroDivisionError...
        reason = " ".join(str(exc).split())[:120] or type(exc).__name__
        raise InvalidImage(f"The {name} picture is truncated or damaged ({reason}); send the whole file.") from exc


def is_picture(data: bytes | memoryview) -> bool:
    """Tell whether bytes begin as a picture of one of the formats does; it may still be damaged."""
    return any(signature.match(data) for signature, _ in _OPENERS.values())


def flatten(image: Image.Image) -> Image.Image:
    """Make a picture of any mode one of 8 bits without transparency: gray is ``L``, the rest ``RGB``.

    Transparency is left out, as Keras, torchvision and TensorFlow do when they read the pictures that models are
    trained on; laying the picture on some colour would be another picture. 16-bit values lose their low byte, as
    Pillow does with 16-bit colours. Floating values are taken as 0..1 if none is above 1, else as 0..255.
    """
    if image.mode.startswith("I"):
        image = _from_integers(image)
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        image = Image.fromarray((values * 255 if values.max() <= 1 else values).clip(0, 255).round().astype(np.uint8))
    premultiplied = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    if premultiplied:  # Pillow has no direct way from these to the modes below
        image = image.convert(premultiplied)
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def to_array(image: Image.Image, color: Color) -> npt.NDArray[np.uint8]:
    """The pixels of a picture of any mode: [height, width, 3], or [height, width, 1] for grayscale; 0..255.

    An opaque picture of 8 bits is exactly what Pillow's ``convert("RGB")`` makes of it. The array may be read-only.
    """
    pixels: npt.NDArray[np.uint8] = np.asarray(_in_mode(image, color))
    if color == "grayscale":
        return pixels[..., np.newaxis]
    return pixels[..., ::-1] if color == "bgr" else pixels


def resize(image: Image.Image, width: int, height: int, how: Resize) -> Image.Image:
    """Fit a picture into a frame of width x height pixels, see ``place``; bilinear, antialiased, with black bars."""
    if how == "none":
        return image
    at = place(image.size, (width, height), how)
    if how == "pad":
        frame = Image.new(image.mode, (width, height))
        whole = image.resize((int(at.width), int(at.height)), Image.Resampling.BILINEAR)
        frame.paste(whole, (int(at.left), int(at.top)))
        return frame
    # The part that stays is resized alone: covering a frame with a picture of one pixel's height would take
    # any amount of memory.
    left, top = max(0, -at.left * image.width / at.width), max(0, -at.top * image.height / at.height)
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _in_mode(image: Image.Image, color: Color) -> Image.Image:
    image, mode = flatten(image), "L" if color == "grayscale" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Read a picture's header with Pillow, unless it announces more than max_pixels."""
    # Pillow's plugins for these two take memory for the frame while they read the header.
    if announced := {"GIF": _gif_size, "WebP": _webp_size}.get(name):
        _check_size(*announced(data), max_pixels)
    image = _OPENERS[name][1](io.BytesIO(data))
    _check_size(*image.size, max_pixels)
    if isinstance(image, TiffImageFile):
        # A whole tile is decoded at once, however small the picture in it.
        _check_size(image.tag_v2.get(TILEWIDTH, 0), image.tag_v2.get(TILELENGTH, 0), max_pixels)
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if (pixels := width * height) > max_pixels:
        size = f"{width}x{height} = {pixels} pixels"
        raise InvalidImage(f"The picture has {size} and the limit is {max_pixels}; send a smaller one.")


def _gif_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, grown to hold the first frame, which may reach beyond it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] != 0x2C:  # the frame's descriptor
        at += 1
        if data[at - 1] == 0x21:  # an extension: its kind, then blocks that begin with their length
            at += 1
            while data[at]:
                at += 1 + data[at]
            at += 1
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, from the first chunk: extended, lossless or lossy."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing, and the picture can be seen without it
        return image
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _from_integers(image: Image.Image) -> Image.Image:
    """A gray picture of 16 bits, also one that Pillow holds in 32, made one of 8 bits."""
    values = np.asarray(image).clip(0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8))
