"""Pictures in, boxes out: `/detect` and `/imageDetection`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from tf_serving_flask_app.apis.documentation import PICTURE, Operation, documented
from tf_serving_flask_app.apis.parameters import ModelName, ModelQuery, Share
from tf_serving_flask_app.apis.uploads import RAW_BODIES, TO_PAGE, PictureForm, lead_to_page, read_picture
from tf_serving_flask_app.apis.validation import read_json
from tf_serving_flask_app.apis.wire import json_response, request_context
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.detection import Detection, Detector
from tf_serving_flask_app.tensors import bytes_from_base64

MinConfidence = Annotated[
    Share, Field(description="Report detections from this score on; else the spec's, else the setting's.")
]


def _decode_base64(image: Any) -> bytes:
    """Decode base64 with or without a data URL's head."""
    if not isinstance(image, str) or not image:
        raise ValueError("must be a picture's bytes in base64")
    if image.startswith("data:"):
        image = image.partition(",")[2]
    try:
        return bytes_from_base64(image)
    except ValueError as exc:
        raise ValueError(f"is not base64: {exc}") from exc


class DetectOptions(ModelQuery):
    """What may go with a picture, in the query or in the form."""

    min_confidence: MinConfidence = None


class DetectForm(PictureForm, DetectOptions):
    """A form with a picture."""


class ImageDetectionRequest(BaseModel):
    """A picture in JSON."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": PICTURE, "threshold": 0.5}]})

    model_name: ModelName = None
    threshold: MinConfidence = None
    image: Annotated[
        bytes,
        BeforeValidator(_decode_base64),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
        Field(description="The picture in base64, with or without the head of a data URL."),
    ]


ClassId = Annotated[int, Field(description="As the label map counts.")]
Label = Annotated[str | None, Field(description="The class's name, if it has one.")]
Side = Annotated[float, Field(ge=0, le=1)]


class Found(BaseModel):
    """One object in the picture."""

    class_id: Annotated[ClassId, Field(alias="class")]
    label: Label
    confidence: float
    bounding_box: Annotated[
        tuple[Side, Side, Side, Side],
        Field(description="x1, y1, x2, y2 as shares of the upright picture's width and height."),
    ]


class HitBox(BaseModel):
    """A box, as shares of the upright picture's width and height."""

    x1: Side
    y1: Side
    x2: Side
    y2: Side


class ImageDetection(BaseModel):
    """One object in the picture."""

    class_id: ClassId
    score: float
    class_label: Label
    hit_box: HitBox


class ImageDetectionAnswer(BaseModel):
    """The objects, best first, and how long it took."""

    detections: list[ImageDetection]
    controller_time: Annotated[float, Field(description="Seconds in all.")]
    tfserve_time: Annotated[float, Field(description="Seconds of these in the model.")]


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("detections", __name__)

    @blueprint.post("/detect")
    @documented(
        Operation(
            "Find the objects in a picture, best first",
            "Pictures",
            query=DetectOptions,
            body={"multipart/form-data": DetectForm, **RAW_BODIES},
            answers={200: list[Found]},
        )
    )
    def detect() -> Response:
        sent = read_picture(DetectForm)
        context = request_context()
        detector = repository.find(sent.modelname, Detector, context=context)
        detections = detector.detect(sent.file, context, sent.min_confidence)
        return json_response([detect_answer(detection) for detection in detections])

    @blueprint.get("/detect")
    @documented(TO_PAGE)
    def detect_in_a_browser() -> Response:
        return lead_to_page()

    @blueprint.post("/imageDetection")
    @documented(
        Operation(
            "Find the objects in a picture that comes in JSON",
            "Pictures",
            body={"application/json": ImageDetectionRequest},
            answers={200: ImageDetectionAnswer},
        )
    )
    def image_detection() -> Response:
        began = time.perf_counter()
        body = read_json(ImageDetectionRequest)
        context = request_context()
        detector = repository.find(body.model_name or None, Detector, context=context)
        detections = detector.detect(body.image, context, body.threshold)
        return json_response(
            {
                "detections": [image_detection_answer(detection) for detection in detections],
                "controller_time": round(time.perf_counter() - began, 4),
                "tfserve_time": round(context.stages["predict"] / 1e9, 4),
            }
        )

    return blueprint


def detect_answer(detection: Detection) -> dict[str, Any]:
    """One object as `/detect` answers it."""
    return {
        "class": detection.class_id,
        "label": detection.label,
        "confidence": detection.score,
        "bounding_box": detection.box,
    }


def image_detection_answer(detection: Detection) -> dict[str, Any]:
    """One object as `/imageDetection` answers it."""
    return {
        "class_id": detection.class_id,
        "score": detection.score,
        "class_label": detection.label,
        "hit_box": dict(zip(("x1", "y1", "x2", "y2"), detection.box, strict=True)),
    }
