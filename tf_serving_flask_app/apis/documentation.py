"""What a route takes and gives, noted at the route itself, so that `/openapi.json` can be made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operation:
    """One route's documentation; its longer text is the view's docstring.

    Attributes:
        summary: one line.
        tag: the group it is shown in: ``Pictures``, ``TensorFlow Serving``, ``Open Inference Protocol``...
        body: media type -> the type that validates such a body; pydantic describes it, examples included.
        query: the type that validates the query's parameters.
        answers: status -> the type of that answer's JSON body, or None for an empty one; errors that every route has
            need not be told.
    """

    summary: str
    tag: str
    body: Mapping[str, Any] = field(default_factory=dict)
    query: Any = None
    answers: Mapping[int, Any] = field(default_factory=dict)


def documented(operation: Operation) -> Callable[[View], View]:
    """Note what a view takes and gives."""

    def note(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return note
