"""Files of pictures: each format is decoded upright, and nothing a client sends does harm."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import MAX_PIXELS, decoded, encode, photo, rgb
from tf_serving_flask_app.errors import InvalidImage
from tf_serving_flask_app.images import decode, to_array

# Pillow warns about damaged metadata of a picture that it can read. Its DecompressionBombWarning stays an error here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

TEST_DATA = Path(os.environ.get("TEST_DATA", Path(__file__).parents[1] / "../shared/data"))
ODD = TEST_DATA / "images/odd"
SENTENCE = r"^[A-Z][^\n]{10,250}; send [^\n;]+\.$"

needs_test_data = pytest.mark.skipif(not ODD.is_dir(), reason="TEST_DATA names no folder of test data")


# Decoding


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "MPO"])
def test_the_promised_formats_are_decoded_as_pillow_does(name: str) -> None:
    data = encode(photo(), name)
    np.testing.assert_array_equal(rgb(decoded(data)), rgb(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("name", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_of_many_frames_the_first_is_taken(name: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    data = encode(frames[0], name, save_all=True, append_images=frames[1:])
    assert rgb(decoded(data)).mean((0, 1)) == pytest.approx([255, 0, 0], abs=2)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "The picture is empty"),
        (b"\0", "These bytes are no picture"),
        (b"hello", "These bytes are no picture"),
        (b"<html></html>", "These bytes are no picture"),
        (bytes(1000), "These bytes are no picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "This is a HEIC file"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "This is an AVIF file"),
        (b"%PDF-1.7", "This is a PDF file"),
        (b"\xff\x0a\xfa\x1f", "This is a JPEG XL file"),
        (encode(photo(), "JPEG2000"), "This is a JPEG 2000 file"),
        (encode(photo(), "PPM"), "This is a PNM file"),
        (encode(photo(), "ICO"), "This is an ICO file"),
        (encode(photo(), "TGA"), "These bytes are no picture"),
    ],
)
def test_what_is_not_taken_is_named_with_what_is(data: bytes, found: str) -> None:
    with pytest.raises(InvalidImage, match=f"^{found}; send a JPEG, PNG, GIF, BMP, WebP or TIFF picture.$"):
        decoded(data)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_half_a_file_is_refused_as_truncated(name: str) -> None:
    data = encode(photo(200, 200), name)
    with pytest.raises(InvalidImage, match=r"is truncated or damaged .* send the whole file") as caught:
        decoded(data[: len(data) // 2])
    assert isinstance(caught.value.__cause__, Exception)


def test_memory_that_is_short_is_not_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)
    with pytest.raises(MemoryError):
        decoded(encode(photo(), "PNG"))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [(1, "abcd"), (2, "badc"), (3, "dcba"), (4, "cdab"), (5, "acbd"), (6, "cadb"), (7, "dbca"), (8, "bdac")],
)
def test_the_exif_orientation_is_applied(name: str, orientation: int, seen: str) -> None:
    corners = np.zeros((32, 48), np.uint8)
    corners[:16, :24], corners[:16, 24:], corners[16:, :24], corners[16:, 24:] = 0, 80, 160, 240  # a b c d
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = np.asarray(decoded(encode(Image.fromarray(corners), name, exif=exif)).convert("L"))
    assert found.shape == ((48, 32) if orientation > 4 else (32, 48))
    quarters = found[8, 8], found[8, -8], found[-8, 8], found[-8, -8]
    assert "".join("abcd"[round(int(value) / 80)] for value in quarters) == seen


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0rubbish" * 9, b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_exif_block_does_not_hide_the_picture(name: str, exif: bytes) -> None:
    assert decoded(encode(photo(), name, exif=exif)).size == (40, 30)


# Bombs


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, content, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def gif(canvas: tuple[int, int], frame: tuple[int, int], *, extensions: bytes = b"") -> bytes:
    """A GIF whose frame begins at (1, 1) and is to be replaced by the background, for which Pillow takes memory."""
    control = b"!\xf9\4\x08\0\0\0\0"
    header = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + bytes(6)
    return header + extensions + control + b"," + struct.pack("<HHHHB", 1, 1, *frame, 0) + b"\2\2\x44\1\0;"


def webp(width: int, height: int) -> bytes:
    """A WebP of one small frame on a canvas of the given size."""
    data = bytearray(encode(photo(), "WEBP", exif=b"Exif\0\0II*\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def lossless_webp(width: int, height: int) -> bytes:
    data = bytearray(encode(photo(), "WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    data[21:25] = ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    return bytes(data)


def lossy_webp(width: int, height: int) -> bytes:
    data = bytearray(encode(photo(), "WEBP"))
    assert data[12:16] == b"VP8 "
    data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def jpeg(width: int, height: int) -> bytes:
    data = encode(photo(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def bmp(width: int, height: int) -> bytes:
    data = encode(photo(), "BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def tiff(width: int, height: int, tile: tuple[int, int] = (16, 16)) -> bytes:
    """A TIFF of one deflated tile, which may be larger than the picture."""
    values = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile[0]), (323, tile[1])]
    content = zlib.compress(bytes(1000))
    entries = [(tag, 4, 1, value) for tag, value in [*values, (324, 200), (325, len(content))]]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + content


# All between the limit used here and the one at which Pillow itself stops.
BOMBS = {
    "png": png(9000, 9000),
    "jpeg": jpeg(9000, 9000),
    "bmp": bmp(9000, 9000),
    "gif canvas": gif((9000, 9000), (9, 9)),
    "gif frame": gif((9, 9), (8999, 8999)),
    "gif frame after extensions": gif(
        (9, 9), (8999, 8999), extensions=b"!\xfe\3a,b\1,\0" + b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    ),
    "webp": webp(9000, 9000),
    "webp lossless": lossless_webp(9000, 9000),
    "webp lossy": lossy_webp(9000, 9000),
    "tiff": tiff(9000, 9000),
    "tiff tile": tiff(9, 9, tile=(9008, 9008)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_above_the_limit_is_refused_with_size_and_limit(name: str) -> None:
    size = r"9008x9008 = 81144064" if name == "tiff tile" else r"9000x9000 = 81000000"
    with pytest.raises(InvalidImage, match=f"has {size} pixels and the limit is 50000000; send a smaller one.$"):
        decoded(BOMBS[name])


def test_refusing_a_bomb_takes_neither_memory_nor_time() -> None:
    script = """
import resource, sys, time
from tf_serving_flask_app.errors import InvalidImage
from tf_serving_flask_app.images import decode
blobs = [bytes.fromhex(line) for line in sys.stdin]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, resource.RLIM_INFINITY))  # half of what a bomb takes
for blob in blobs:
    begin = time.perf_counter()
    try:
        decode(blob, 50_000_000)
    except InvalidImage as exc:
        if "the limit is" in str(exc):  # not a decoder that found no memory
            print(time.perf_counter() - begin)
"""
    lines = "\n".join(blob.hex() for blob in BOMBS.values())
    result = subprocess.run(
        [sys.executable, "-c", script],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (result.returncode, result.stderr) == (0, "")
    times = [float(line) for line in result.stdout.split()]
    assert len(times) == len(BOMBS)
    assert max(times) < 0.2


@pytest.mark.parametrize("data", [encode(photo(), name) for name in ("PNG", "GIF", "WEBP", "TIFF")])
def test_the_limit_itself_is_allowed(data: bytes) -> None:
    assert decode(data, 40 * 30).size == (40, 30)
    with pytest.raises(InvalidImage, match="40x30 = 1200 pixels and the limit is 1199"):
        decode(data, 40 * 30 - 1)


def test_a_gif_frame_beyond_its_canvas_is_shown_whole() -> None:
    data = encode(photo(), "GIF")
    small_canvas = data[:6] + struct.pack("<HH", 9, 1) + data[10:]
    np.testing.assert_array_equal(rgb(decoded(small_canvas)), rgb(decoded(data)))


def test_pillows_own_limit_plays_no_part_below_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decoded(encode(photo(), "PNG")).size == (40, 30)


# Files that have made trouble elsewhere


def odd_files() -> list[Path]:
    return sorted(ODD.iterdir()) if ODD.is_dir() else []


def odd(name: str) -> bytes:
    return (ODD / f"pillow_{name}").read_bytes()


@needs_test_data
@pytest.mark.parametrize("path", odd_files(), ids=lambda path: path.name)
def test_an_odd_file_is_decoded_or_refused_in_one_sentence(path: Path) -> None:
    data = path.read_bytes()
    begin = time.perf_counter()
    try:
        image = decoded(data)
    except InvalidImage as exc:
        assert time.perf_counter() - begin < 0.2
        with pytest.raises(InvalidImage, match=SENTENCE):
            raise exc
    else:
        pixels = to_array(image, "rgb")
        assert pixels.shape == (image.height, image.width, 3)
        assert pixels.dtype == np.uint8


# The index calls these two readable. Pillow's first load() of them fails, and only a second one on the same object
# hands out the part that was decoded; TensorFlow refuses them too.
FAIL_ON_FIRST_LOAD = {"pillow_broken_data_stream.png", "pillow_truncated_end_chunk.png"}
TAKEN = {".jpg", ".mpo", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}


@needs_test_data
def test_every_odd_file_that_pillow_reads_in_our_formats_is_decoded() -> None:
    index = json.loads((TEST_DATA / "images/index.json").read_text(encoding="utf-8"))
    readable = {Path(entry["file"]).name for entry in index if entry["pillow_13"] == "ok"}
    refused = set()
    for path in odd_files():
        try:
            decoded(path.read_bytes())
        except InvalidImage:
            refused.add(path)
    assert {path.name for path in refused if path.suffix in TAKEN and path.name in readable} == FAIL_ON_FIRST_LOAD
    assert {path.name for path in odd_files() if path.suffix not in TAKEN} <= {path.name for path in refused}


@needs_test_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("decompression_bomb.gif", "65535x66601 = 4364696535 pixels"),
        ("bmp_b_reallybig.bmp", "3000000x2000000 = 6000000000000 pixels"),
        ("bmp_b_badwidth.bmp", "pixels and the limit is"),
        ("decompression_bomb.ico", "This is an ICO file"),
        ("png_decompression_dos.png", "Decompressed data too large"),
    ],
)
def test_an_odd_bomb_is_refused_for_the_right_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason):
        decoded(odd(name))


@needs_test_data
@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_same_photograph_in_each_orientation_looks_the_same(orientation: int) -> None:
    upright = to_array(decoded(odd("hopper.jpg")), "rgb").astype(int)
    turned = to_array(decoded(odd(f"hopper_orientation_{orientation}.jpg")), "rgb")
    assert np.abs(upright - turned).mean() < 6
    assert np.abs(upright - turned[:, ::-1]).mean() > 30


@needs_test_data
def test_a_cmyk_jpeg_looks_like_its_rgb_twin() -> None:
    cmyk, twin = (to_array(decoded(odd(f"pil_sample_{kind}.jpg")), "rgb") for kind in ("cmyk", "rgb"))
    assert np.abs(cmyk.astype(int) - twin).mean() < 8


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "MPO", "TIFF compressed"])
def test_damaged_files_give_a_picture_or_invalid_image_and_nothing_else(name: str) -> None:
    chance = random.Random(name)
    options = {"compression": "tiff_lzw"} if name == "TIFF compressed" else {}
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(), name.split()[0], **options, **({"exif": exif} if name not in ("GIF", "BMP") else {}))
    damaged = [data[:length] for length in range(0, len(data), max(1, len(data) // 40))]
    for _ in range(80):
        copy = bytearray(data)
        for _ in range(chance.choice((1, 1, 3, 20))):
            # Headers decide more than pixels do.
            copy[chance.randrange(chance.choice((64, len(data))) if len(data) > 64 else len(data))] = chance.randrange(
                256
            )
        damaged.append(bytes(copy))
    refused = []
    for blob, frame in itertools.product(damaged, (None, (8, 6))):
        try:
            image = decode(blob, 10_000, frame, "crop").fit(frame, "crop")
            assert image.mode in ("L", "RGB")
            assert image.size == (frame or image.size)
        except InvalidImage as exc:
            refused.append(str(exc))
    assert len(refused) > 20
    assert all(message.endswith(".") and message.isprintable() for message in refused)


# Modes


def progressive_jpeg(side: int, scans: int) -> bytes:
    """A grey JPEG of one colour that repeats a scan which changes nothing."""
    written = io.BytesIO()
    Image.new("L", (side, side), 128).save(written, "JPEG", progressive=True)
    head, *found = written.getvalue().removesuffix(b"\xff\xd9").split(b"\xff\xda")
    shortest = min(found[1:], key=len)  # the first has the mean of each block
    return b"\xff\xda".join([head, *found, *[shortest] * scans]) + b"\xff\xd9"


def test_a_progressive_jpeg_of_many_scans_is_decoded() -> None:
    assert decoded(progressive_jpeg(64, 300)).size == (64, 64)


def test_a_progressive_jpeg_whose_scans_would_take_seconds_is_refused_at_once() -> None:
    with pytest.raises(InvalidImage, match=r"of 49000000 pixels has 1\d\d scans, which is too many; save it anew"):
        decoded(progressive_jpeg(7000, 100))


def run_length_bmp(width: int, height: int, runs: bytes, bits: int = 8) -> bytes:
    palette = bytes(range(256)) * 4
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 1 if bits == 8 else 2, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + palette + runs


def test_a_run_length_bmp_is_decoded() -> None:
    image = decoded(run_length_bmp(6, 2, b"\2\1\4\7\0\0\6\3\0\1"))
    assert image.size == (6, 2)


@pytest.mark.parametrize(
    "data",
    [
        run_length_bmp(5000, 5000, b"\xff\1" * 10_000),
        run_length_bmp(5000, 5000, b"\0\0" * 10_000, bits=4),
        run_length_bmp(10, 10, b"\xff\1" * 5_000_000),
    ],
    ids=["many pixels", "many lines", "runs that give no pixel"],
)
def test_a_run_length_bmp_that_would_take_seconds_is_refused_at_once(data: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises(InvalidImage, match=r"run-length encoded and has more than 2100000 .*; send it uncompressed or"):
        decode(data, MAX_PIXELS)
    assert time.perf_counter() - began < 0.2
