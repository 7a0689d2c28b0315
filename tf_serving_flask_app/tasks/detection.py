"""Detection: a picture in, boxes with their classes and scores out."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.placement import place
from tf_serving_flask_app.ranking import ranked
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.tasks.picture import PictureTask
from tf_serving_flask_app.tensors import Array, TensorInfo

logger = logging.getLogger(__name__)

PARTS = ("boxes", "scores", "classes", "count")
API_NAMES: Mapping[str, str] = {
    "boxes": "detection_boxes",
    "scores": "detection_scores",
    "classes": "detection_classes",
    "count": "num_detections",
}
API_RANKS: Mapping[str, int] = {
    "detection_anchor_indices": 2,
    "detection_boxes": 3,
    "detection_classes": 2,
    "detection_keypoints": 4,
    "detection_masks": 4,
    "detection_multiclass_scores": 3,
    "detection_scores": 2,
    "num_detections": 1,
    "raw_detection_boxes": 3,
    "raw_detection_scores": 3,
}
"""What the Object Detection API's exporter gives, in alphabetical order, and the rank of each with its batch of one.

https://github.com/tensorflow/models/blob/master/research/object_detection/exporter_lib_v2.py
"""
REQUIRED = ("detection_boxes", "detection_classes", "detection_scores")


@dataclass(frozen=True)
class Detection:
    """One object in a picture.

    Attributes:
        class_id: as the label map counts.
        label: the class's name, if it has one.
        score: 0..1.
        box: x1, y1, x2, y2 as shares of the upright picture's width and height, 0..1.
    """

    class_id: int
    label: str | None
    score: np.floating[Any]
    box: tuple[np.float32, ...]


class Detector(PictureTask):
    """A model with one picture as its input and the Object Detection API's outputs."""

    def __init__(self, model: Model, settings: Settings) -> None:
        super().__init__(model, settings)
        spec = model.spec
        self.min_confidence = settings.min_confidence if spec.min_confidence is None else spec.min_confidence
        self._outputs = find_parts(model.name, self._signature.outputs)
        self._log_detections = settings.log_detections

    def warm(self) -> None:
        """Look for objects in a black picture; tells whether the outputs are what they are taken for."""
        try:
            self._read(self.run_blank())
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(
                f"model {self.model.name!r}: its outputs are not boxes, scores and classes: {exc}."
            ) from exc

    def detect(self, picture: bytes, context: RequestContext, min_confidence: float | None = None) -> list[Detection]:
        """Find the objects in an encoded picture, best first, at or above a score.

        Args:
            picture: the encoded picture.
            context: the request.
            min_confidence: None: the spec's, else the setting's.

        Raises:
            InvalidImage: it cannot be decoded.
        """
        threshold = self.min_confidence if min_confidence is None else min_confidence
        with context.stage("decode"):
            pixels, size = self._image.read(picture)
        shape = pixels.shape
        height, width = shape[1:3] if self._image.layout == "channels_last" else shape[2:4]
        outputs = self.call({self._input.name: pixels}, context)
        with context.stage("postprocess"):
            boxes, scores, classes = self._read(outputs)
            shares = self._to_picture(boxes, size, (width, height))
            order = ranked(scores)
            if self._log_detections:
                for index in order.tolist():
                    logger.info(
                        "%s: class %d score %.4f box %s", self.model.name, classes[index], scores[index], shares[index]
                    )
            return [
                Detection(int(classes[index]), self.label(int(classes[index])), scores[index], tuple(shares[index]))
                for index in order[scores[order] >= threshold].tolist()
            ]

    def _read(self, outputs: Mapping[str, Any]) -> tuple[Array, Array, Array]:
        """Take boxes [n, 4], scores [n] and class ids [n] out of the model's answer."""
        missing = [part for part in self._outputs.values() if part not in outputs]
        if missing:
            raise BackendFailed(f"the postprocess hook left out {', '.join(missing)}.")
        found = {part: np.asarray(outputs[name]) for part, name in self._outputs.items()}
        scores = found["scores"].reshape(-1)
        count = int(found["count"].reshape(-1)[0]) if "count" in found else scores.size
        count = min(count, scores.size)
        # Quantised graphs give 4.01176 for class 4.
        classes = np.rint(found["classes"].reshape(-1)[:count]).astype(int) + self.model.spec.class_offset
        return found["boxes"].reshape(-1, 4)[:count], scores[:count], classes

    def _to_picture(self, boxes: Array, size: tuple[int, int], frame: tuple[int, int]) -> Array:
        """Turn the model's boxes into x1, y1, x2, y2 as shares of the picture that the client sent."""
        width, height = frame
        at = place(size, frame, self._image.resize)
        pixels = boxes[:, [1, 0, 3, 2]].astype(np.float64)
        if self.model.spec.boxes == "normalized":
            pixels *= (width, height, width, height)
        shares = (pixels - (at.left, at.top) * 2) / (at.width, at.height, at.width, at.height)
        clipped: Array = shares.clip(0, 1).astype(np.float32)
        return clipped


def find_parts(model: str, outputs: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Find which output holds boxes, scores, classes and, if there is one, the count.

    By the names in the spec, by the Object Detection API's, or among ``Identity``, ``Identity_1``... by rank.

    Raises:
        ConfigurationError: none of these tells; the text says what to name.
    """
    for names in ({part: part for part in PARTS}, API_NAMES):
        found = {part: name for part, name in names.items() if name in outputs}
        if found.keys() >= {"boxes", "scores", "classes"}:
            return found
    by_api_name = _by_rank(outputs)
    if by_api_name is not None:
        return {part: by_api_name[name] for part, name in API_NAMES.items() if name in by_api_name}
    listed = ", ".join(str(info) for info in outputs.values())
    raise ConfigurationError(
        f"model {model!r}: which of the outputs are boxes, scores and classes? There are {listed}. Name them:"
        " `outputs: {boxes: TENSOR, scores: TENSOR, classes: TENSOR}`."
    )


def _by_rank(outputs: Mapping[str, TensorInfo]) -> dict[str, str] | None:
    """Tell a frozen TensorFlow 2 export's outputs: numbered in the alphabetical order of the API's names.

    Returns:
        API name -> output name, or None if the ranks fit no choice of the API's outputs, or several that differ.
    """
    if not all(re.fullmatch(r"Identity(_\d+)?", name) for name in outputs):
        return None
    in_order = sorted(outputs, key=lambda name: int(name.partition("_")[2] or 0))
    ranks = [len(outputs[name].shape or ()) for name in in_order]
    choices = [
        dict(zip(chosen, in_order, strict=True))
        for chosen in itertools.combinations(API_RANKS, len(in_order))
        if set(REQUIRED) <= set(chosen) and [API_RANKS[name] for name in chosen] == ranks
    ]
    wanted = [{name: choice.get(name) for name in API_NAMES.values()} for choice in choices]
    return choices[0] if choices and all(each == wanted[0] for each in wanted) else None
