"""Compressed answers: for whom, when, and in which format."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from tf_serving_flask_app.apis.compression import compress

LARGE = b"0123456789" * 10_000


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("br", None),
        ("*", None),
        ("", None),
    ],
)
def test_the_client_chooses(header: str, coding: str | None) -> None:
    body, chosen = compress(LARGE, header)
    plain = gzip.decompress(body) if coding == "gzip" else zlib.decompress(body) if coding == "deflate" else body

    assert chosen == coding
    assert plain == LARGE
    assert (len(body) < len(LARGE)) is (coding is not None)


@pytest.mark.parametrize(
    "body", [b"0" * 1023, np.random.default_rng(0).normal(size=10_000).astype("float32").tobytes()]
)
def test_what_is_small_or_hardly_shrinks_is_sent_as_it_is(body: bytes) -> None:
    assert compress(body, "gzip") == (body, None)
