"""Pictures as strings among raw tensors: decoded by the task, in one call where the model takes that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import COLORS
from tests.numpy_backends import FLOAT, BrightBox, BrightBoxInFrame, Colors
from tests.pictures import picture
from tf_serving_flask_app.context import warm_context
from tf_serving_flask_app.errors import InvalidImage, InvalidInput
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tasks.picture import as_tensor, join_answers
from tf_serving_flask_app.tensors import Array, Tensors

MakeTask = Callable[..., Task]


class Batches(Colors):
    """Answers for each picture with how many it was together."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        count = len(inputs["image"])
        return {**super().run(signature, inputs), "calls": np.full(count, count)}


class Uneven(BrightBox):
    """Finds as many things as a picture has columns."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        count = inputs["image"].shape[2]
        values = (np.zeros((1, count, 4)), np.zeros((1, count)), np.ones((1, count)), [count])
        return {name: np.asarray(value, FLOAT) for name, value in zip(self.names, values, strict=True)}


def double(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook behind the model."""
    return {name: value * 2 for name, value in tensors.items()}


@pytest.fixture
def make(make_specs: Callable[..., list[ModelSpec]]) -> MakeTask:
    """Load one model; settings are given as environment variables."""
    return lambda model, **environ: load_task(make_specs(model)[0], Settings.from_environ(environ))


def strings(*values: bytes) -> Array:
    array: Array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def detector(backend: type[BrightBox]) -> dict[str, Any]:
    return {"name": "find", "task": "detection", "backend": f"{backend.__module__}:{backend.__name__}", "path": "model"}


def test_the_picture_is_the_input_that_takes_pictures(make: MakeTask) -> None:
    colors = make(COLORS)

    assert colors.takes_pictures("image")
    assert not colors.takes_pictures("scores")


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_pictures_go_to_a_model_of_any_batch_in_one_call(make: MakeTask, shape: tuple[int, ...]) -> None:
    pictures = strings(picture("red"), picture("blue", (40, 30), "JPEG")).reshape(shape)
    batches = make({**COLORS, "backend": f"{__name__}:Batches"})
    outputs = batches.infer({"image": pictures}, warm_context())

    assert outputs["scores"].argmax(axis=1).tolist() == [0, 2]
    assert outputs["calls"].tolist() == [2, 2]


def test_pictures_go_to_a_model_of_a_batch_of_one_in_turn(make: MakeTask) -> None:
    pictures = strings(picture("black", (64, 64)), picture("white", (64, 64)))
    found = make(detector(BrightBoxInFrame)).infer({"image": pictures}, warm_context())

    assert {name: array.shape for name, array in found.items()} == {
        "detection_boxes": (2, 3, 4),
        "detection_scores": (2, 3),
        "detection_classes": (2, 3),
        "num_detections": (2,),
    }
    assert found["detection_boxes"][:, 0].tolist() == [[0, 0, 0, 0], [0, 0, 64, 64]]


def test_answers_that_differ_in_shape_are_refused(make: MakeTask) -> None:
    find = make(detector(Uneven))
    one = find.infer({"image": strings(picture(size=(16, 12)))}, warm_context())

    assert one["detection_scores"].shape == (1, 16)
    with pytest.raises(InvalidInput, match=r"'detection_boxes' has a shape of its own for each\. Send one picture"):
        find.infer({"image": strings(picture(size=(16, 12)), picture(size=(8, 6)))}, warm_context())


def test_pictures_see_the_hooks_and_numbers_do_not(make: MakeTask) -> None:
    colors = make({**COLORS, "postprocess": f"{__name__}:double"})
    pictures = colors.infer({"image": strings(picture("red"))}, warm_context())
    numbers = colors.infer({"image": np.ones((1, 8, 8, 3), FLOAT)}, warm_context())

    assert pictures["scores"].sum() == pytest.approx(2)
    assert numbers["scores"].sum() == pytest.approx(1)


def test_numbers_are_called_by_any_signature_and_pictures_by_the_specs(make: MakeTask) -> None:
    colors = make(COLORS)
    pictures = strings(picture("red"))

    assert "scores" in colors.infer({"image": pictures}, warm_context(), "serving_default")
    with pytest.raises(InvalidInput, match="Pictures go to the signature 'serving_default' only"):
        colors.infer({"image": pictures}, warm_context(), "other")


def test_which_picture_cannot_be_decoded_is_told(make: MakeTask) -> None:
    with pytest.raises(InvalidImage, match=r"^Picture 2 of 3: "):
        make(COLORS).infer({"image": strings(picture(), b"none", picture())}, warm_context())


@pytest.mark.parametrize("shape", [(), (0,), (0, 1), (1, 2), (1, 1, 1)])
def test_pictures_of_another_shape_are_refused(make: MakeTask, shape: tuple[int, ...]) -> None:
    array = np.empty(shape, dtype=object)
    array.fill(picture())

    with pytest.raises(InvalidInput, match=r"in the shape \[N\] or \[N, 1\], with N at least 1, not"):
        make(COLORS).infer({"image": array}, warm_context())


def test_pictures_may_have_together_as_many_pixels_as_one_may_have(make: MakeTask) -> None:
    colors = make(COLORS, MAX_IMAGE_PIXELS="192")
    three, four = (strings(*[picture()] * number) for number in (3, 4))

    assert len(colors.infer({"image": three}, warm_context())["scores"]) == 3
    with pytest.raises(InvalidInput, match="4 pictures are too many at once: together they have more than the 192"):
        colors.infer({"image": four}, warm_context())


@pytest.mark.parametrize(
    "answers",
    [
        [{"a": np.zeros((1, 2))}, {"a": np.zeros((1, 3))}],
        [{"a": np.zeros((2, 2))}, {"a": np.zeros((2, 2))}],
        [{"a": np.zeros(())}, {"a": np.zeros(())}],
        [{"a": np.zeros(1)}, {"b": np.zeros(1)}],
    ],
)
def test_only_batches_of_one_that_are_alike_are_joined(answers: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInput, match="The answers to these 2 pictures cannot be put together"):
        join_answers(answers)


def test_what_hooks_answer_becomes_tensors() -> None:
    assert as_tensor("a", [1, 2]).tolist() == [1, 2]
    assert as_tensor("a", ["ä", "b\0"]).tolist() == ["ä".encode(), b"b\0"]
    assert as_tensor("a", strings(b"x\0")).tolist() == [b"x\0"]


@pytest.mark.parametrize("value", [{"a": 1}, None, [[1], [2, 3]], [b"a", None]])
def test_what_is_no_tensor_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="The hook's 'a' is no tensor"):
        as_tensor("a", value)
