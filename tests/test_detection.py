"""Detection: boxes come back where the client's picture has the object, however the model saw it."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw

from tests.numpy_backends import FLOAT, BrightBox
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.detection import Detection, Detector, find_parts
from tf_serving_flask_app.tensors import Signature, TensorInfo

MakeDetector = Callable[..., Detector]

DETECTOR = {
    "name": "bright",
    "task": "detection",
    "backend": "numpy_backends:BrightBox",
    "path": "model",
    "image": {"resize": "none"},
    "labels": ["nothing", "lamp", "sun"],
}
IN_FRAME = {**DETECTOR, "backend": "numpy_backends:BrightBoxInFrame", "boxes": "pixels"}
SIZE = (200, 100)
BOX = (80, 20, 140, 60)
SHARES = (0.4, 0.2, 0.7, 0.6)


@pytest.fixture
def make(make_specs: Callable[..., list[ModelSpec]]) -> MakeDetector:
    def load(model: dict[str, Any], **environ: str) -> Detector:
        task = load_task(make_specs(model)[0], Settings.from_environ(environ))
        assert isinstance(task, Detector)
        return task

    return load


def scene(orientation: int = 1) -> bytes:
    """A dark picture with a bright rectangle at BOX, its pixels stored so that EXIF's orientation sets it upright."""
    image = Image.new("RGB", SIZE)
    ImageDraw.Draw(image).rectangle((BOX[0], BOX[1], BOX[2] - 1, BOX[3] - 1), fill="white")
    stored = {1: None, 6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180, 2: Image.Transpose.FLIP_LEFT_RIGHT}
    turn = stored[orientation]
    image = image if turn is None else image.transpose(turn)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    return data.getvalue()


def detect(detector: Detector, picture: bytes, min_confidence: float | None = None) -> list[Detection]:
    return detector.detect(picture, RequestContext("test", math.inf), min_confidence)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6])
def test_a_box_is_x1_y1_x2_y2_of_the_upright_picture(make: MakeDetector, orientation: int) -> None:
    (found,) = detect(make(DETECTOR), scene(orientation))

    assert [float(side) for side in found.box] == pytest.approx(SHARES, abs=1e-6)
    assert (found.class_id, found.label) == (1, "lamp")
    assert float(found.score) == pytest.approx(0.9)


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_a_box_is_mapped_back_from_what_the_model_saw(make: MakeDetector, resize: str) -> None:
    (found,) = detect(make({**IN_FRAME, "image": {"resize": resize}}), scene())

    assert [float(side) for side in found.box] == pytest.approx(SHARES, abs=0.02)


@pytest.mark.parametrize(
    ("spec", "environ", "asked", "count"),
    [
        ({}, {}, None, 1),
        ({}, {"MIN_CONFIDENCE": "0.4"}, None, 2),
        ({"min_confidence": 0.4}, {}, None, 2),
        ({"min_confidence": 0.4}, {"MIN_CONFIDENCE": "0.95"}, None, 2),
        ({"min_confidence": 0.4}, {}, 0.5, 1),
        ({}, {}, 0.0, 2),
        ({}, {}, 1.0, 0),
    ],
)
def test_the_requests_confidence_goes_before_the_specs_and_that_before_the_setting(
    make: MakeDetector, spec: dict[str, Any], environ: dict[str, str], asked: float | None, count: int
) -> None:
    assert len(detect(make({**DETECTOR, **spec}, **environ), scene(), asked)) == count


def test_class_ids_are_rounded_and_offset_and_what_is_beyond_the_count_is_left_out(make: MakeDetector) -> None:
    plain = detect(make(DETECTOR), scene(), 0.0)
    shifted = detect(make({**DETECTOR, "class_offset": 1}), scene(), 0.0)

    assert [(each.class_id, each.label) for each in plain] == [(1, "lamp"), (2, "sun")]
    assert [(each.class_id, each.label) for each in shifted] == [(2, "sun"), (3, None)]


@pytest.mark.parametrize(("debug", "lines"), [("True", 2), ("False", 0)])
def test_debug_logs_every_detection_with_its_score(
    make: MakeDetector, caplog: pytest.LogCaptureFixture, debug: str, lines: int
) -> None:
    detector = make(DETECTOR, DEBUG=debug)
    with caplog.at_level(logging.INFO):
        detect(detector, scene())

    logged = [record.getMessage() for record in caplog.records if "score" in record.getMessage()]
    assert len(logged) == lines
    assert all("0.9" in line or "0.45" in line for line in logged)


RANKS = {
    "all eight, as TensorFlow 2 exports": ([2, 3, 2, 3, 2, 1, 3, 3], (1, 4, 2, 5)),
    "four": ([3, 2, 2, 1], (0, 2, 1, 3)),
    "without anchor indices and multiclass scores": ([3, 2, 2, 1, 3, 3], (0, 2, 1, 3)),
    "with masks": ([3, 2, 4, 2, 1], (0, 3, 1, 4)),
}


@pytest.mark.parametrize("name", RANKS)
def test_the_outputs_of_a_frozen_export_are_told_by_their_ranks(name: str) -> None:
    ranks, (boxes, scores, classes, count) = RANKS[name]
    names = ["Identity", *(f"Identity_{number}" for number in range(1, len(ranks)))]
    shapes = dict(zip(names, ranks, strict=True))
    outputs = {each: TensorInfo(each, FLOAT, (1, *[None] * (rank - 1))) for each, rank in reversed(shapes.items())}

    assert find_parts("m", outputs) == {
        "boxes": names[boxes],
        "scores": names[scores],
        "classes": names[classes],
        "count": names[count],
    }


@pytest.mark.parametrize("ranks", [[2, 2], [3, 2, 2, 2, 1, 3, 3, 3, 3], [1, 2, 3]])
def test_outputs_that_nothing_tells_apart_must_be_named(ranks: list[int]) -> None:
    names = ["Identity", *(f"Identity_{number}" for number in range(1, len(ranks)))]
    outputs = {
        name: TensorInfo(name, FLOAT, (1, *[None] * (rank - 1))) for name, rank in zip(names, ranks, strict=True)
    }

    with pytest.raises(ConfigurationError, match=r"Name them: `outputs: \{boxes: TENSOR"):
        find_parts("m", outputs)


class NotBoxes(BrightBox):
    """Calls something boxes that has three numbers each."""

    def run(self, signature: str, inputs: Any) -> Any:
        return {**super().run(signature, inputs), "detection_boxes": np.zeros((1, 5, 3), FLOAT)}


class Named(BrightBox):
    """Names its outputs as the spec's words do, and gives no count."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        signature = self.signatures["serving_default"]
        self._own = dict(zip(("boxes", "scores", "classes"), self.names, strict=False))
        outputs = {part: signature.outputs[name] for part, name in self._own.items()}
        self.signatures = {signature.name: Signature(signature.name, signature.inputs, outputs)}

    def run(self, signature: str, inputs: Any) -> Any:
        answer = super().run(signature, inputs)
        return {part: answer[name] for part, name in self._own.items()}


def test_a_model_without_a_count_answers_all_it_has(make: MakeDetector) -> None:
    found = detect(make({**DETECTOR, "backend": "tests.test_detection:Named"}), scene(), 0.5)

    assert [each.class_id for each in found] == [3, 1]


def test_a_model_whose_boxes_are_none_does_not_start(make: MakeDetector) -> None:
    with pytest.raises(ConfigurationError, match="not boxes, scores and classes"):
        make({**DETECTOR, "backend": "tests.test_detection:NotBoxes"})
