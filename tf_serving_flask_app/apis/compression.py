"""Answers made smaller for clients that ask for it."""

from __future__ import annotations

import zlib

from werkzeug.http import parse_accept_header

LEVEL = 1
"""The fastest: a model server's time is worth more than the last bytes."""

LEAST_BYTES = 1024
SAMPLE_BYTES = 1 << 14
WORTH_IT = 0.8
"""Numbers of a neural network hardly shrink: where a sample keeps more than this share of its size, the rest is not
compressed, at 30 ms a megabyte only to save a tenth."""

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""What zlib calls the formats; ``deflate`` is zlib's own (RFC 9110, 8.4.1.2)."""


def compress(body: bytes, accepted: str | None) -> tuple[bytes, str | None]:
    """Compress a body where the client accepts that and it is worth it.

    Args:
        body: of the answer.
        accepted: the request's ``Accept-Encoding``, if it has one.

    Returns:
        the body, and its ``Content-Encoding`` if it has one now.
    """
    if accepted is None or len(body) < LEAST_BYTES:
        return body, None
    coding = parse_accept_header(accepted).best_match(["identity", *WINDOW_BITS])
    if coding not in WINDOW_BITS:
        return body, None
    sample = body[:SAMPLE_BYTES]
    if len(zlib.compress(sample, LEVEL)) > WORTH_IT * len(sample):
        return body, None
    return zlib.compress(body, LEVEL, WINDOW_BITS[coding]), coding
