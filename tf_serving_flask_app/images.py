"""From the bytes of a picture to its pixels, fitted into a frame. The only module that knows Pillow.

Pillow's plugins are called by their own names, not through ``Image.open``: that would compare a picture with one
limit for the whole process, warn about pictures that ``max_pixels`` allows, and hide the size of those it refuses.
Pillow's warnings about odd metadata are left alone: silencing them is not thread-safe, and they are no failure.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tf_serving_flask_app.errors import InvalidImage
from tf_serving_flask_app.image_formats import foreign_format_of, format_of, gif_size, webp_size
from tf_serving_flask_app.placement import Resize, place
from tf_serving_flask_app.scaling import Color

Size = tuple[int, int]
"""Width and height in pixels."""

_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
    "TIFF": TiffImageFile,
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
_QUARTER_TURNS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)

_MAX_RUN_LENGTH = 2_100_000  # 1920x1080 in the longest encoding; half a second of Pillow's time

_MAX_SCANNED = 5_000_000_000  # pixels times scans; half a second of libjpeg's time, and a hundred scans of 50 MP
_START_OF_SCAN = b"\xff\xda"  # marker of ITU-T T.81, B.1.1.3; what is compressed has no such bytes

# How many times as large as the frame a picture stays at least when it is reduced before it is resized: while a JPEG is
# decoded, and by Pillow's ``reducing_gap``.
_DRAFT_GAP, _REDUCING_GAP = 1.25, 6.0
_LEAST_SIDE = 320  # pixels that stay too: small frames are the most sensitive, and small pictures are decoded soon

_RAW_MODES: dict[Color, str] = {"rgb": "RGB", "bgr": "BGR", "grayscale": "L"}


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        stored: its pixels in Pillow's mode ``L`` or ``RGB``, see ``flatten``; as the file has them, so perhaps turned,
            and perhaps reduced while they were decoded.
        size: of the whole picture in the file, upright.
        part: width and height of the picture in ``stored``, which may be a fraction of a pixel larger.
        turn: what sets ``stored`` upright.
        reducible: it may be resized in two steps: it need not be exact, and was not reduced yet.
    """

    stored: Image.Image
    size: Size
    part: tuple[float, float]
    turn: Image.Transpose | None
    reducible: bool = False

    def fit(self, frame: Size | None, how: Resize) -> Image.Image:
        """Fit the upright picture into a frame, see ``place``; bilinear, antialiased, with black bars.

        Args:
            frame: the one that ``decode`` was given, if it was given one; None: the upright picture as it is.
            how: the picture lies in it.
        """
        if frame is None:
            return self._upright(self.stored)
        at = place(self.size, frame, how)
        size = (int(at.width), int(at.height)) if how == "pad" else frame
        # The part that stays is resized alone: covering a frame with a picture of one pixel's height would take
        # any amount of memory.
        lost = max(0, -at.left / at.width), max(0, -at.top / at.height)
        if self.turn in _QUARTER_TURNS:
            size, lost = size[::-1], lost[::-1]
        width, height = self.part
        left, top = lost[0] * width, lost[1] * height
        box = (left, top, width - left, height - top)
        image = self.stored
        if image.size != size or box != (0, 0, *size):
            # Turned when it is small: that takes a picture of 12 million pixels as long as all the rest.
            gap = _gap(_REDUCING_GAP, frame) if self.reducible else None
            image = image.resize(size, Image.Resampling.BILINEAR, box, gap)
        image = self._upright(image)
        if image.size == frame:
            return image
        bars = Image.new(image.mode, frame)
        bars.paste(image, (int(at.left), int(at.top)))
        return bars

    def _upright(self, image: Image.Image) -> Image.Image:
        return image if self.turn is None else image.transpose(self.turn)


def decode(
    data: bytes, max_pixels: int, frame: Size | None = None, how: Resize = "none", color: Color = "rgb"
) -> Picture:
    """Decode a JPEG, PNG, GIF (first frame), BMP, WebP or TIFF picture.

    Args:
        data: the file.
        max_pixels: that it may have.
        frame: into which it will be fitted, where that need not be exact: a large JPEG is decoded at a half, a quarter
            or an eighth of its size, and a large picture is resized in two steps. None: no pixel is lost.
        how: the picture will lie in it.
        color: that will be asked for; a grayscale picture is made of one in colour at once.

    Raises:
        InvalidImage: another format or no picture, a damaged or truncated one, or width times height above
            ``max_pixels``, which is found out before there is memory for a pixel.
    """
    name = format_of(data)
    if name is None:
        what = foreign_format_of(data)
        found = f"This is {what} file" if what else "These bytes are no picture" if data else "The picture is empty"
        raise InvalidImage(f"{found}; send a JPEG, PNG, GIF, BMP, WebP or TIFF picture.")
    try:
        image = _open(name, data, max_pixels)
        size, part = image.size, None
        if isinstance(image, JpegImageFile):
            image.decodermaxblock = len(data)  # one call of the decoder, with no copy of what it left
            if frame is not None:
                part = _draft(image, frame, how, color)
        image.load()
        reducible = frame is not None and part is None
        if part is None:
            size = part = image.size  # loading turns a TIFF and grows a GIF
        turn = _turn(image)
        flat = flatten(image)
        stored = flat.convert("L") if color == "grayscale" and flat.mode != "L" else flat
        return Picture(stored, size[::-1] if turn in _QUARTER_TURNS else size, part, turn, reducible)
    except (InvalidImage, MemoryError):
        raise  # memory that is short is the server's fault: the size of the picture was allowed
    except Exception as exc:
        # Pillow's parsers raise whatever a malformed file leads them to: struct.error, KeyError, ZeroDivisionError...
        reason = " ".join(str(exc).split())[:120] or type(exc).__name__
        raise InvalidImage(f"The {name} picture is truncated or damaged ({reason}); send the whole file.") from exc


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

    An opaque picture of 8 bits is exactly what Pillow's ``convert("RGB")`` makes of it. The array is read-only.
    """
    image, mode = flatten(image), "L" if color == "grayscale" else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    pixels = np.frombuffer(image.tobytes("raw", _RAW_MODES[color]), np.uint8)
    return pixels.reshape(image.height, image.width, len(mode))


def _open(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Read a picture's header with Pillow, unless it announces more than max_pixels."""
    # Pillow's plugins for these two take memory for the frame while they read the header.
    if announced := {"GIF": gif_size, "WebP": webp_size}.get(name):
        _check_size(*announced(data), max_pixels)
    image = _OPENERS[name](io.BytesIO(data))
    _check_size(*image.size, max_pixels)
    if isinstance(image, BmpImageFile) and image.tile[0].codec_name == "bmp_rle":
        _check_run_length(len(data), image.width * image.height)
    if isinstance(image, JpegImageFile) and "progressive" in image.info:
        _check_scans(data.count(_START_OF_SCAN), image.width * image.height)
    if isinstance(image, TiffImageFile):
        # A whole tile is decoded at once, however small the picture in it.
        _check_size(image.tag_v2.get(TILEWIDTH, 0), image.tag_v2.get(TILELENGTH, 0), max_pixels)
    return image


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if (pixels := width * height) > max_pixels:
        size = f"{width}x{height} = {pixels} pixels"
        raise InvalidImage(f"The picture has {size} and the limit is {max_pixels}; send a smaller one.")


def _check_run_length(size: int, pixels: int) -> None:
    # Pillow decodes these in Python, step by step, and a step may give no pixel.
    if max(size, pixels) > _MAX_RUN_LENGTH:
        raise InvalidImage(
            f"The BMP picture is run-length encoded and has more than {_MAX_RUN_LENGTH} pixels or bytes; send it"
            " uncompressed or as a PNG."
        )


def _check_scans(scans: int, pixels: int) -> None:
    # Each scan goes over the whole picture, and one that changes nothing takes but a few bytes.
    if scans * pixels > _MAX_SCANNED:
        raise InvalidImage(f"The JPEG picture of {pixels} pixels has {scans} scans, which is too many; save it anew.")


def _draft(image: JpegImageFile, frame: Size, how: Resize, color: Color) -> tuple[float, float] | None:
    """Have a JPEG reduced while it is decoded, where that leaves enough of it.

    Returns:
        The picture's part of what will be decoded, see ``Picture``; None: it is not reduced.
    """
    turned = _turn(image) in _QUARTER_TURNS
    at = place(image.size[::-1] if turned else image.size, frame, how)
    gap = _gap(_DRAFT_GAP, frame)
    width, height = math.ceil(gap * at.width), math.ceil(gap * at.height)
    wanted = (height, width) if turned else (width, height)
    # A lossless JPEG, which cannot be reduced, has no quantisation tables.
    if min(image.width // wanted[0], image.height // wanted[1]) < 2 or not image.quantization:
        return None
    drafted = image.draft("L" if color == "grayscale" else None, wanted)
    return drafted[1][2:] if drafted else None


def _gap(least: float, frame: Size) -> float:
    return max(least, _LEAST_SIDE / max(frame))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets a picture upright; for all but a JPEG, the picture must be loaded."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing, and the picture can be seen without it
        return None
    return _UPRIGHT.get(orientation)


def _from_integers(image: Image.Image) -> Image.Image:
    """A gray picture of 16 bits, also one that Pillow holds in 32, made one of 8 bits."""
    values = np.asarray(image).clip(0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8))
