"""The length of a body: what a client announces, if it can be one, and what was read."""

from __future__ import annotations

import io

import pytest

from tf_serving_flask_app.observability.body_bytes import CountedInput, announced_length


@pytest.mark.parametrize(("text", "length"), [("0", 0), ("44", 44), ("9" * 18, 10**18 - 1)])
def test_a_length_is_what_the_client_says(text: str, length: int) -> None:
    assert announced_length({"CONTENT_LENGTH": text}) == length


@pytest.mark.parametrize("text", ["", "-1", "+1", "1x", " 1", "1_0", "\u00b2", "\u0661", "9" * 19])
def test_what_is_no_length_announces_none(text: str) -> None:
    assert announced_length({"CONTENT_LENGTH": text}) is None
    assert announced_length({}) is None


def test_all_ways_to_read_are_counted() -> None:
    body = CountedInput(io.BytesIO(b"one\ntwo\nthree\nfour"))
    read = [body.read(2), body.readline(), *body.readlines(1), *body, body.read()]

    assert b"".join(read) == b"one\ntwo\nthree\nfour"
    assert body.bytes_read == 18
