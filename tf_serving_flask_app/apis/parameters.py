"""Parameters that several routes take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from tf_serving_flask_app.apis.validation import shown

ModelName = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "examples": [""]}),
    Field(description="The model's name; may be left out, or empty, where one model fits."),
]
"""Its example is what Swagger UI fills a form with, so that a form that nobody has touched is answered."""


class ModelPath(BaseModel):
    """What paths name, in every protocol."""

    name: Annotated[str, Field(description="The model's name.", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    version: Annotated[str, Field(description="One of the model's versions.", pattern="^[0-9]{1,18}$", examples=["1"])]
    label: Annotated[str, Field(description="A label that the spec gave one of the model's versions.")]


class ModelQuery(BaseModel):
    """The model in the query."""

    modelname: ModelName = None


def _share(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value):
        return None
    try:
        share = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1
    except (ValueError, OverflowError):
        share = -1
    if not 0 <= share <= 1:
        raise ValueError(f"must be a number from 0 to 1, not {shown(value)}")
    return share


Share = Annotated[
    float | None,
    BeforeValidator(_share),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "examples": [0.5]}),
]
"""A score to compare with, as a form or a JSON body has it; None where there is none."""
