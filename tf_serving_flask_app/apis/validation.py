"""Requests as pydantic types: read, validated, and where they do not fit, one sentence that says what to change."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tf_serving_flask_app.errors import InvalidInput

Record = TypeVar("Record", bound=BaseModel)

SHOWN = 60
"""Characters of a wrong value that an error quotes."""


def validate(kind: type[Record], data: Any) -> Record:
    """Validate what a client sent.

    Raises:
        InvalidInput: it does not fit.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        raise InvalidInput(sentence(exc)) from exc


def sentence(exc: ValidationError) -> str:
    """Say what to change first; a validator of ours that raises ``ValueError`` says it in its own words."""
    error = exc.errors(include_url=False)[0]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{field!r} is missing; send it."
    message = error["msg"].replace("Input should", f"{field!r} should", 1)
    return f"{message}, not {shown(error['input'])}."


def shown(value: Any) -> str:
    """A wrong value as an error quotes it: the beginning of it."""
    text = repr(value[:SHOWN]) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN + 2 else f"{text[:SHOWN]}..."
