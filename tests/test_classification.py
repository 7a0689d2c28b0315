"""Classification: labels and scores, best first; a model that cannot classify stops the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.conftest import COLORS
from tests.numpy_backends import FLOAT, Colors
from tests.pictures import picture
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tasks.classification import Classification
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

MakeTask = Callable[[dict[str, Any]], Task]


class Scores(Colors):
    """Answers the same scores for every picture."""

    values = np.array([[0, 200, 7]], "uint8")

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = self.signatures["serving_default"].inputs
        scores = TensorInfo("scores", self.values.dtype, (None, None))
        self.signatures = {"serving_default": Signature("serving_default", inputs, {"scores": scores})}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"scores": self.values}


class BfloatScores(Scores):
    values = np.array([[0.5, 2, -1]], ml_dtypes.bfloat16)


class NanScores(Scores):
    values = np.array([[math.nan, 0.25, 0.5]], "float32")


class EqualScores(Scores):
    values = np.array([[0.25, 0.5, 0.5]], "float32")


class AnySize(Scores):
    """Tells the shape of the picture it got."""

    shape: tuple[int | None, ...] = (None, None, None, 3)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = {"image": TensorInfo("image", FLOAT, self.shape)}
        outputs = {"scores": TensorInfo("scores", FLOAT, None)}
        self.signatures = {"serving_default": Signature("serving_default", inputs, outputs)}

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"scores": np.array(inputs["image"].shape[1:], "float32")}


class Gray(AnySize):
    shape = (None, 8, 6, 1)


class ChannelsFirst(AnySize):
    shape = (1, 3, 8, 6)


class FailsOnBlack(Colors):
    """Cannot be warmed up with a black picture."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if not inputs["image"].any():
            raise BackendFailed("division by zero")
        return super().run(signature, inputs)


class TwoInputs(Colors):
    """Wants a number beside the picture."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        (signature,) = self.signatures.values()
        inputs = {**signature.inputs, "k": TensorInfo("k", FLOAT, ())}
        self.signatures = {"serving_default": Signature("serving_default", inputs, signature.outputs)}


def forget(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook that loses the scores."""
    return {}


def backend(kind: type) -> str:
    return f"{__name__}:{kind.__name__}"


@pytest.fixture
def make(make_specs: Callable[..., list[ModelSpec]]) -> MakeTask:
    return lambda model: load_task(make_specs(model)[0], Settings.from_environ({}))


@pytest.fixture
def make_classification(make: MakeTask) -> Callable[..., Classification]:
    def classification(kind: type = Colors, **fields: Any) -> Classification:
        task = make({**COLORS, "backend": backend(kind), **fields})
        assert isinstance(task, Classification)
        return task

    return classification


def context() -> RequestContext:
    return RequestContext("test", math.inf)


def test_a_picture_is_classified_best_first(make_classification: Callable[..., Classification]) -> None:
    predictions = make_classification().classify(picture("lime"), context())

    assert [(prediction.index, prediction.label) for prediction in predictions] == [
        (1, "green"),
        (0, "red"),
        (2, "blue"),
    ]
    assert predictions[0].confidence == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "order"),
    [(Scores, [1, 2, 0]), (BfloatScores, [1, 0, 2]), (NanScores, [2, 1, 0]), (EqualScores, [1, 2, 0])],
)
def test_scores_of_any_type_are_ordered_best_first_equal_ones_as_they_come_and_nan_last(
    make_classification: Callable[..., Classification], kind: type, order: list[int]
) -> None:
    assert [found.index for found in make_classification(kind).classify(picture(), context())] == order


@pytest.mark.parametrize(("kind", "value", "dtype"), [(Scores, 200, "uint8"), (BfloatScores, 2, "float32")])
def test_scores_keep_the_models_type_if_json_can_hold_it(
    make_classification: Callable[..., Classification], kind: type, value: int, dtype: str
) -> None:
    confidence = make_classification(kind).classify(picture(), context())[0].confidence

    assert (int(confidence), str(confidence.dtype)) == (value, dtype)


@pytest.mark.parametrize(
    ("kind", "image", "shape"),
    [
        (AnySize, {"resize": "none"}, [12, 16, 3]),
        (AnySize, {"width": 5, "height": 7}, [7, 5, 3]),
        (Gray, {}, [8, 6, 1]),
        (ChannelsFirst, {"layout": "channels_first"}, [3, 8, 6]),
    ],
)
def test_pictures_come_in_the_models_size_color_and_layout(
    make_classification: Callable[..., Classification], kind: type, image: dict[str, Any], shape: list[int]
) -> None:
    task = make_classification(kind, image=image)
    found = task.classify(picture(size=(16, 12)), context())

    assert {prediction.index: prediction.confidence for prediction in found} == dict(enumerate(shape))


def test_without_labels_classes_have_no_name(make_classification: Callable[..., Classification]) -> None:
    assert make_classification(labels=None).label(0) is None


def test_labels_may_be_more_than_the_classes(make_classification: Callable[..., Classification]) -> None:
    assert make_classification(labels=["a", "b", "c", "d"]).label(2) == "c"


@pytest.mark.parametrize("kind", [Colors, Scores])
def test_fewer_labels_than_classes_stop_the_start(
    make_classification: Callable[..., Classification], kind: type
) -> None:
    with pytest.raises(ConfigurationError, match=r"^model 'colors': 2 labels for 3 classes; labels need one name"):
        make_classification(kind, labels=["red", "green"])


def test_labels_are_read_from_a_file(make_classification: Callable[..., Classification], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("0:rouge\n1:vert\n2:bleu\n")

    assert make_classification(labels="names.txt").label(1) == "vert"


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"backend": "numpy_backends:HalfPlusTwo"}, "is no picture"),
        ({"backend": "numpy_backends:Echo"}, "has 2 inputs (text, count); name the one to use: `inputs: {image"),
        ({"backend": backend(FailsOnBlack)}, "model 'colors' fails on a black picture: division by zero"),
        ({"backend": backend(TwoInputs)}, "fails on a black picture: This model takes the inputs 'image', 'k'"),
    ],
)
def test_a_model_that_cannot_classify_stops_the_start(make: MakeTask, model: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make({**COLORS, **model})

    assert text in str(caught.value)


def test_a_short_timeout_does_not_hinder_warming_up(make_classification: Callable[..., Classification]) -> None:
    assert make_classification(timeout_s=1e-9).model.spec.timeout_s == 1e-9


def test_a_hook_that_loses_the_scores_is_named(make_classification: Callable[..., Classification]) -> None:
    task = make_classification(postprocess=f"{__name__}:forget")
    with pytest.raises(BackendFailed, match="the postprocess hook left out 'scores'"):
        task.classify(picture(), context())
