"""Compressed bodies: inflated if they are what they say, and never beyond the bound."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from tf_serving_flask_app.apis.content_encoding import MOST_MEMBERS, decoded
from tf_serving_flask_app.errors import InvalidInput

TEXT = b'{"x": [4, 5]}'
MOST = 1000
ZIPPED = gzip.compress(TEXT, mtime=0)
"""Without the time, by which the processes that share the tests would name them differently."""


def bare(data: bytes) -> bytes:
    """Deflate without zlib's header."""
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


CODED = {
    "gzip": ZIPPED,
    "x-gzip": ZIPPED,
    "GZip": ZIPPED,
    "gzip ": gzip.compress(TEXT[:5], mtime=0) + gzip.compress(TEXT[5:], mtime=0) + b"\0" * 20,
    "deflate": zlib.compress(TEXT),
    "Deflate": bare(TEXT),
    "identity": TEXT,
    "deflate, gzip": gzip.compress(zlib.compress(TEXT), mtime=0),
    "identity, gzip, deflate": bare(ZIPPED),
    ",": TEXT,
}


@pytest.mark.parametrize("codings", CODED)
def test_a_body_is_inflated(codings: str) -> None:
    assert decoded(CODED[codings], codings, MOST) == TEXT
    assert decoded(CODED[codings], codings, None) == TEXT


@pytest.mark.parametrize("codings", ["br", "gzip, br", "zstd", "gzip;q=1", "*", ", ".join(["gzip"] * 5), "x" * 5000])
def test_another_coding_is_not_taken(codings: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        decoded(b"", codings, MOST)

    assert "send gzip, deflate or identity" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("body", "codings"),
    [
        (TEXT, "gzip"),
        (b"", "gzip"),
        (ZIPPED[:-1], "gzip"),
        (ZIPPED[:5], "gzip"),
        (ZIPPED + b"more", "gzip"),
        (ZIPPED[:-8] + b"\1" * 8, "gzip"),
        (TEXT, "deflate"),
        (b"", "deflate"),
        (zlib.compress(TEXT)[:-1], "deflate"),
        (zlib.compress(TEXT) + b"more", "deflate"),
        (bare(TEXT)[:-1], "deflate"),
        (bare(TEXT) + b"more", "deflate"),
        (ZIPPED, "gzip, gzip"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_bad_input(body: bytes, codings: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decoded(body, codings, MOST)

    assert "as its Content-Encoding says" in str(caught.value)


@pytest.mark.parametrize("codings", ["gzip", "deflate", "gzip, gzip"])
def test_the_bound_is_exact(codings: str) -> None:
    most, more = b"x" * MOST, b"x" * (MOST + 1)
    for coding in codings.split(", "):
        most, more = (bare(body) if coding == "deflate" else gzip.compress(body) for body in (most, more))

    assert decoded(most, codings, MOST) == b"x" * MOST
    with pytest.raises(RequestEntityTooLarge):
        decoded(more, codings, MOST)


def test_members_share_the_bound() -> None:
    with pytest.raises(RequestEntityTooLarge):
        decoded(gzip.compress(b"x" * (MOST // 2 + 1)) * 2, "gzip", MOST)


def test_a_body_of_a_great_many_members_is_bad_input() -> None:
    few, many = gzip.compress(b"x") * MOST_MEMBERS, gzip.compress(b"") * (MOST_MEMBERS + 1)

    assert decoded(few, "gzip", MOST) == b"x" * MOST_MEMBERS
    with pytest.raises(InvalidInput, match="it has more than 100 members"):
        decoded(many, "gzip", MOST)


def test_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20), 1)
    tracemalloc.start()
    try:
        with pytest.raises(RequestEntityTooLarge):
            decoded(bomb, "gzip", 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 << 20


@pytest.mark.parametrize("codings", ["gzip", "deflate", "deflate, gzip", "identity"])
def test_a_route_takes_a_compressed_body(client: FlaskClient, codings: str) -> None:
    response = client.post(
        "/predict/half", data=CODED[codings], headers={"Content-Encoding": codings}, content_type="application/json"
    )

    assert (response.status_code, response.json) == (200, {"y": [4.0, 4.5]})


@pytest.mark.parametrize(
    ("body", "codings", "status", "text"),
    [
        (TEXT, "br", 415, "Content-Encoding 'br' is not taken; send gzip, deflate or identity"),
        (TEXT, "gzip", 400, "The body is not gzip, as its Content-Encoding says: "),
        (ZIPPED[:-1], "gzip", 400, "it ends early"),
        (gzip.compress(b"[" + b"1," * 50_000 + b"1]", mtime=0), "gzip", 413, "100000 bytes that are taken; send less"),
    ],
)
def test_a_route_says_what_is_wrong_with_a_compressed_body(
    client: FlaskClient, body: bytes, codings: str, status: int, text: str
) -> None:
    response = client.post(
        "/predict/half", data=body, headers={"Content-Encoding": codings}, content_type="application/json"
    )

    assert response.status_code == status
    assert response.json is not None
    assert text in response.json["error"]
