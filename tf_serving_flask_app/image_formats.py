"""What the first bytes of a picture tell: its format, and for some its size."""

from __future__ import annotations

import re
import struct

_SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{12}[\x0c(48@l|]\0\0\0", re.DOTALL),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "TIFF": re.compile(rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)"),
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


def format_of(data: bytes | memoryview) -> str | None:
    """Name the format of a picture that can be decoded, though it may be damaged; None if it is of no such format."""
    return next((name for name, signature in _SIGNATURES.items() if signature.match(data)), None)


def foreign_format_of(data: bytes) -> str | None:
    """Name the format of a picture that cannot be decoded, with its article."""
    return next((name for name, signature in _FOREIGN.items() if signature.match(data)), None)


def gif_size(data: bytes) -> tuple[int, int]:
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


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas, from the first chunk: extended, lossless or lossy."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
