"""Requests as pydantic types: read, validated, and where they do not fit, one sentence that says what to change."""

from __future__ import annotations

import reprlib
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.datastructures import MultiDict

from tf_serving_flask_app.apis.wire import read_json_object
from tf_serving_flask_app.errors import InvalidInput

Record = TypeVar("Record", bound=BaseModel)

SHOWN = 60
"""Characters of a wrong text that an error quotes."""


def read_query(kind: type[Record]) -> Record:
    """Validate the query's parameters; an empty one counts as left out.

    Raises:
        InvalidInput: they do not fit.
    """
    return validate(kind, filled(request.args))


def read_json(kind: type[Record]) -> Record:
    """Validate the body, a JSON object.

    Raises:
        InvalidInput: it is something else, or does not fit.
    """
    return validate(kind, read_json_object())


def filled(fields: MultiDict[str, Any]) -> dict[str, Any]:
    """The fields of a form or a query that are not empty, the first of those with the same name."""
    return {name: value for name, value in fields.items() if value}


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
    """Say what to change first.

    A validator of ours raises ``ValueError``: that of a field with what follows its name, ``must be a picture``, that
    of a whole type with the sentence itself.
    """
    error = exc.errors(include_url=False)[0]
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        return f"{field!r} {text}." if field else text
    if error["type"] == "missing":
        return f"{field!r} is missing; send it."
    return f"{error['msg'].replace('Input', repr(field) if field else 'The request', 1)}, not {shown(error['input'])}."


def shown(value: Any) -> str:
    """A wrong value as an error quotes it: the beginning of it."""
    return repr(value[:SHOWN]) if isinstance(value, str) else reprlib.repr(value)
