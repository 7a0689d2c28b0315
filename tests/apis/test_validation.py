"""Requests as pydantic types: the sentence where they do not fit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from tf_serving_flask_app.apis.validation import validate
from tf_serving_flask_app.errors import InvalidInput


class Inner(BaseModel):
    number: int


class Outer(BaseModel):
    inner: list[Inner]

    @field_validator("inner")
    @classmethod
    def _some(cls, value: list[Inner]) -> list[Inner]:
        if not value:
            raise ValueError("Send at least one.")
        return value


def test_what_fits_is_a_record() -> None:
    assert validate(Outer, {"inner": [{"number": 1}]}).inner[0].number == 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "'inner' is missing; send it."),
        ({"inner": []}, "Send at least one."),
        ({"inner": 1}, "'inner' should be a valid list, not 1."),
        ({"inner": [{"number": "x" * 100}]}, f"not '{'x' * 60}'."),
        ({"inner": [{"number": list(range(100))}]}, "'inner.0.number' should be a valid integer, not [0, 1, 2,"),
    ],
)
def test_the_first_thing_to_change_is_told(data: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(Outer, data)

    assert sentence in str(caught.value)
