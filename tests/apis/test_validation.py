"""What a client is told of a request that does not fit its type: one sentence, with the field and what it takes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator

from tf_serving_flask_app.apis.validation import shown, validate
from tf_serving_flask_app.errors import InvalidInput


class Inner(BaseModel):
    size: Annotated[int, Field(ge=1)] = 1


class Order(BaseModel):
    """A request of each kind of field."""

    name: str
    color: Literal["red", "blue"] = "red"
    parts: list[Inner] = []
    picture: str = ""

    @field_validator("picture")
    @classmethod
    def _picture(cls, value: str) -> str:
        if value == "no":
            raise ValueError("must be a picture")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Order:
        if self.name == "nobody":
            raise ValueError("Name somebody, nobody is not here.")
        return self


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "'name' is missing; send it."),
        ({"name": 5}, "'name' should be a valid string, not 5."),
        ({"name": "a", "color": "green"}, "'color' should be 'red' or 'blue', not 'green'."),
        ({"name": "a", "parts": [{}, {"size": 0}]}, "'parts.1.size' should be greater than or equal to 1, not 0."),
        ({"name": "a", "parts": [{"size": "x" * 99}]}, "an integer, not '" + "x" * 60 + "'."),
        ({"name": "a", "picture": "no"}, "'picture' must be a picture."),
        ({"name": "nobody"}, "Name somebody, nobody is not here."),
        ([], "The request should be a valid dictionary or instance of Order, not []."),
    ],
)
def test_the_first_fault_is_told_in_one_sentence(data: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(Order, data)

    assert str(caught.value).endswith(text)


def test_what_fits_is_taken() -> None:
    order = validate(Order, {"name": "a", "parts": [{"size": "3"}], "more": 1})

    assert order == Order(name="a", parts=[Inner(size=3)])


@pytest.mark.parametrize(
    ("value", "text"),
    [("a" * 61, repr("a" * 60)), ("\n", r"'\n'"), (1.5, "1.5"), ([1] * 99, "[1, 1, 1, 1, 1, 1, ...]"), (None, "None")],
)
def test_a_wrong_value_is_quoted_in_part(value: Any, text: str) -> None:
    assert shown(value) == text
