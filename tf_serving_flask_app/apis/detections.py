"""Pictures in, boxes out: `/detect` and `/imageDetection`."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

from flask import Blueprint, Response, request

from tf_serving_flask_app.apis.uploads import lead_to_page, model_name, uploaded_picture
from tf_serving_flask_app.apis.wire import json_response, read_json_object, request_context
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.detection import Detection, Detector


def create_blueprint(repository: Repository) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("detections", __name__)

    @blueprint.post("/detect")
    def detect() -> Response:
        detector = repository.find(model_name(), Detector)
        asked = request.form.get("min_confidence") or request.args.get("min_confidence")
        detections = detector.detect(uploaded_picture(), request_context(), _share("min_confidence", asked))
        return json_response([detect_answer(detection) for detection in detections])

    @blueprint.get("/detect")
    def detect_in_a_browser() -> Response:
        return lead_to_page()

    @blueprint.post("/imageDetection")
    def image_detection() -> Response:
        began = time.perf_counter()
        body = read_json_object()
        name = body.get("model_name")
        if name is not None and not isinstance(name, str):
            raise InvalidInput("'model_name' must be a string.")
        context = request_context()
        detector = repository.find(name or None, Detector)
        detections = detector.detect(_picture(body), context, _share("threshold", body.get("threshold")))
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


def _share(name: str, value: Any) -> float | None:
    """A score to compare with, as a form or a JSON body has it; None where there is none."""
    if value is None or (isinstance(value, str) and not value):
        return None
    try:
        share = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise InvalidInput(f"{name!r} must be a number from 0 to 1, not {str(value)[:60]!r}.")
    return share


def _picture(body: dict[str, Any]) -> bytes:
    """The picture in a JSON body, base64 with or without a data URL's head.

    Raises:
        InvalidInput: there is none, or it is no base64.
    """
    image = body.get("image")
    if not isinstance(image, str) or not image:
        raise InvalidInput("'image' must be a picture's bytes in base64.")
    if image.startswith("data:"):
        image = image.partition(",")[2]
    try:
        # Some encoders break lines, and some leave the padding out.
        text = "".join(image.split()).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as exc:
        raise InvalidInput(f"'image' is not base64: {exc}.") from exc
