"""What a route takes and gives, noted at the route itself, so that `/openapi.json` can be made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import WithJsonSchema

View = TypeVar("View", bound=Callable[..., Any])

Binary = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
"""A body, or a file of a form, that is bytes and not text."""

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
"""A PNG of one red pixel in base64, for examples."""


@dataclass(frozen=True)
class Operation:
    """One route's documentation; its longer text is the view's docstring.

    Attributes:
        summary: one line.
        tag: the section it is shown in, one of ``openapi.SECTIONS``.
        body: media type -> the type that validates such a body; pydantic describes it, examples included. A form is
            a model with a field a form field, ``Binary`` where that is a file.
        body_required: False where a request may come without a body.
        query: the type that validates the query's parameters.
        headers: the type of the headers that matter to the route, by their names as aliases.
        answers: status -> the type of that answer's JSON body, or None for an empty one, or media type -> type where
            it is not JSON; errors that every route has need not be told.
        hidden: True for a route that is nothing to document, such as a page's static files.
    """

    summary: str
    tag: str
    body: Mapping[str, Any] = field(default_factory=dict)
    body_required: bool = True
    query: Any = None
    headers: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    hidden: bool = False


def answer(description: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write an answer in OpenAPI's way: media type -> JSON Schema."""
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    described: dict[str, Any] = {"description": description, "headers": headers}
    if content:
        described["content"] = {media_type: {"schema": schema} for media_type, schema in content.items()}
    return described


@cache
def path_template(rule: str) -> str:
    """Write a route's rule as OpenAPI does: ``/v1/models/<segment:name>`` is ``/v1/models/{name}``."""
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule)


def documented(operation: Operation) -> Callable[[View], View]:
    """Note what a view takes and gives."""

    def note(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return note


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What was noted at a view, if anything."""
    operation: Operation | None = getattr(view, "operation", None)
    return operation
