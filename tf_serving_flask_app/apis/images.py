"""Pictures in, labels out: `/classify` and `/classification`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from flask import Blueprint, Response
from pydantic import BaseModel, Field, model_validator

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.parameters import ModelName, ModelQuery
from tf_serving_flask_app.apis.uploads import RAW_BODIES, TO_PAGE, PictureForm, lead_to_page, read_picture
from tf_serving_flask_app.apis.validation import read_query
from tf_serving_flask_app.apis.wire import json_response, request_context
from tf_serving_flask_app.errors import AccessDenied, NotFound
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.classification import Classification, Prediction


class ClassificationQuery(BaseModel):
    """A picture on the server."""

    file_name: Annotated[
        str | None, Field(description="The picture's path inside the server's image folder.", examples=["star.jpg"])
    ] = None
    file_path: Annotated[str | None, Field(description="The same as `file_name`.")] = None
    modelname: ModelName = None

    @model_validator(mode="after")
    def _names_a_picture(self) -> ClassificationQuery:
        if not (self.file_name or self.file_path):
            raise ValueError("Name a picture on the server: /classification?file_name=PATH.")
        return self


Confidence = Annotated[float | None, Field(description="Null where the model's own score is no number.")]


class RankedClass(BaseModel):
    """One of the best classes."""

    index: Annotated[int, Field(alias="class", description="The class's index in the model's output.")]
    label: Annotated[str | None, Field(description="Its name, if the model has labels.")]
    confidence: Confidence


class ClassifyAnswer(BaseModel):
    """The best class, and the best few of them."""

    name: Annotated[str, Field(alias="class", description="The best class's name, or its index if it has none.")]
    confidence: Confidence
    predictions: Annotated[list[RankedClass], Field(description="Best first, as many as `top_k` of the spec says.")]


def create_blueprint(repository: Repository, image_folder: Path) -> Blueprint:
    """Make the routes; files named by a client are read from ``image_folder`` only."""
    blueprint = Blueprint("images", __name__)

    @blueprint.post("/classify")
    @documented(
        Operation(
            "Name what is in a picture",
            "Pictures",
            query=ModelQuery,
            body={"multipart/form-data": PictureForm, **RAW_BODIES},
            answers={200: ClassifyAnswer},
        )
    )
    def classify() -> Response:
        sent = read_picture(PictureForm)
        context = request_context()
        model = repository.find(sent.modelname, Classification, context=context)
        return json_response(classify_answer(model.classify(sent.file, context, model.model.spec.top_k)))

    @blueprint.get("/classify")
    @documented(TO_PAGE)
    def classify_in_a_browser() -> Response:
        return lead_to_page()

    @blueprint.get("/classification")
    @documented(
        Operation(
            "Name what is in a picture that is on the server, with the probability of every label",
            "Pictures",
            query=ClassificationQuery,
            answers={200: dict[str, Confidence]},
        )
    )
    def classification() -> Response:
        query = read_query(ClassificationQuery)
        context = request_context()
        model = repository.find(query.modelname, Classification, context=context)
        picture = read_inside(image_folder, query.file_name or query.file_path or "")
        predictions = model.classify(picture, context)
        return json_response(probabilities(predictions))

    return blueprint


def classify_answer(predictions: list[Prediction]) -> dict[str, object]:
    """Make `/classify`'s answer of the predictions, best first."""
    best = [
        {"class": prediction.index, "label": prediction.label, "confidence": prediction.confidence}
        for prediction in predictions
    ]
    first = predictions[0]
    return {"class": _name(first), "confidence": first.confidence, "predictions": best}


def probabilities(predictions: list[Prediction]) -> dict[str, np.floating[Any]]:
    """Make `/classification`'s answer: every label with its probability, best first.

    Some label files name two classes alike; the later of the two gets its index behind it, so that none is lost.
    """
    answer: dict[str, np.floating[Any]] = {}
    for prediction in predictions:
        name = _name(prediction)
        answer[name if name not in answer else f"{name} ({prediction.index})"] = prediction.confidence
    return answer


def _name(prediction: Prediction) -> str:
    return str(prediction.index) if prediction.label is None else prediction.label


def read_inside(folder: Path, name: str) -> bytes:
    """Read a regular file inside a folder, whatever a client names.

    Raises:
        AccessDenied: the name leads outside, by ``..``, an absolute path or a link, or to no regular file.
        NotFound: there is no such file.
    """
    try:
        root = folder.resolve(strict=True)
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError) as exc:
        raise NotFound(f"There is no picture {name!r} in the server's image folder.") from exc
    if not path.is_relative_to(root):
        raise AccessDenied(f"{name!r} is outside the server's image folder; name a picture inside it.")
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError) as exc:
        raise NotFound(f"There is no picture {name!r} in the server's image folder.") from exc
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AccessDenied(f"{name!r} is a folder or a device; name a picture.")
    with os.fdopen(descriptor, "rb") as file:
        return file.read()
