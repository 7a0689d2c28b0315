"""Tasks: how a picture becomes an input, and what the fields of `/predict` take."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from tests.conftest import COLORS, ECHO, HALF
from tests.numpy_backends import FLOAT, Echo, HalfPlusTwo
from tests.pictures import picture
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import ConfigurationError, InvalidImage, InvalidInput
from tf_serving_flask_app.loading import load_task
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Field, Task, image_input
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

MakeTask = Callable[[dict[str, Any]], Task]


class RefusesZeros(HalfPlusTwo):
    """Refuses what it is warmed up with."""

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if not inputs["x"].all():
            raise InvalidInput("no zeros")
        return super().run(signature, inputs)


class UnknownRank(Echo):
    """Gives back strings and numbers of any shape."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        inputs = {"s": TensorInfo("s", np.dtype(object), None), "n": TensorInfo("n", FLOAT, None)}
        self.signatures = {"serving_default": Signature("serving_default", inputs, inputs)}


def count(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook before the model."""
    return {name: value + 1 for name, value in tensors.items()}


def name_it(tensors: dict[str, Any]) -> dict[str, Any]:
    """A hook behind the model, whose answer is not only arrays."""
    return {**tensors, "named": "half", "many": [1, None]}


@pytest.fixture
def make(make_specs: Callable[..., list[ModelSpec]]) -> MakeTask:
    return lambda model: load_task(make_specs(model)[0], Settings.from_environ({}))


def context() -> RequestContext:
    return RequestContext("test", math.inf)


def as_json(answer: dict[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


# How a picture becomes an input


@pytest.mark.parametrize(
    ("shape", "image", "tensor_shape"),
    [
        ((None, 8, 6, 3), {}, (1, 8, 6, 3)),
        ((1, 8, 6, 3), {"width": 6, "height": 8}, (1, 8, 6, 3)),
        ((None, None, None, 3), {"width": 6, "height": 8}, (1, 8, 6, 3)),
        ((None, 8, None, 3), {"width": 6}, (1, 8, 6, 3)),
        (None, {"width": 6, "height": 8}, (1, 8, 6, 3)),
        ((None, None, None, None), {"resize": "none"}, (1, 12, 16, 3)),
        ((None, 8, 6, 1), {}, (1, 8, 6, 1)),
        ((None, 8, 6, None), {"color": "grayscale"}, (1, 8, 6, 1)),
        ((None, 3, 8, 6), {"layout": "channels_first"}, (1, 3, 8, 6)),
    ],
)
def test_size_and_channels_come_from_the_inputs_shape_or_the_spec(
    make_specs: Callable[..., list[ModelSpec]],
    shape: tuple[int | None, ...] | None,
    image: dict[str, Any],
    tensor_shape: tuple[int, ...],
) -> None:
    (spec,) = make_specs({**HALF, "image": image})
    tensor = image_input(spec, TensorInfo("image", FLOAT, shape), 1000).tensor(picture(size=(16, 12)))

    assert (tensor.shape, tensor.dtype) == (tensor_shape, FLOAT)


@pytest.mark.parametrize(
    ("shape", "image", "text"),
    [
        ((None, 8, 8), {}, "is no picture; a picture needs the shape"),
        ((), {}, "is no picture"),
        ((None, 8, 8, 3), {"width": 9}, "image.width is 9, but the input image: float32[-1, 8, 8, 3] takes 8; leave"),
        ((None, 8, 8, 3), {"height": 9}, "image.height is 9"),
        ((None, 8, 8, 3), {"width": 9, "resize": "none"}, "image.width is 9"),
        ((None, None, None, 3), {}, "takes any size: set image.width, or `resize: none`"),
        ((None, None, 8, 3), {}, "takes any size: set image.height, or `resize: none`"),
        (None, {}, "takes any size"),
        ((None, 8, 8, 4), {}, "takes 4 channels, but image.color is rgb (is image.layout right?)"),
        ((None, 8, 8, 3), {"color": "grayscale"}, "takes 3 channels, but image.color is grayscale"),
        ((None, 8, 8, 1), {"color": "rgb"}, "takes 1 channels, but image.color is rgb"),
        ((None, 8, 8, 3), {"layout": "channels_first"}, "takes 8 channels, but image.color is rgb (is image.layout"),
        ((None, 3, 8, 8), {}, "takes 8 channels"),
        ((None, 8, 8, 1), {"scale": "caffe"}, "grayscale"),
        ((None, 8, 8, 3), {"scale": "y + 1"}, "scale: 'y + 1' cannot be used"),
    ],
)
def test_an_input_that_contradicts_the_spec_or_leaves_the_size_open_is_refused(
    make_specs: Callable[..., list[ModelSpec]],
    shape: tuple[int | None, ...] | None,
    image: dict[str, Any],
    text: str,
) -> None:
    (spec,) = make_specs({**HALF, "image": image})
    with pytest.raises(ConfigurationError) as caught:
        image_input(spec, TensorInfo("image", FLOAT, shape), 1000)

    assert text in str(caught.value)
    assert str(caught.value).startswith("model 'half': ")


def test_strings_are_no_picture(make_specs: Callable[..., list[ModelSpec]]) -> None:
    (spec,) = make_specs(HALF)
    with pytest.raises(ConfigurationError, match="is no picture"):
        image_input(spec, TensorInfo("image", np.dtype(object), (None, 8, 8, 3)), 1000)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [({}, [255, 0, 0]), ({"color": "bgr"}, [0, 0, 255]), ({"scale": "caffe"}, [-103.939, -116.779, 131.32])],
)
def test_caffe_models_take_bgr_unless_the_spec_says_otherwise(
    make_specs: Callable[..., list[ModelSpec]], image: dict[str, Any], pixel: list[float]
) -> None:
    (spec,) = make_specs({**HALF, "image": image})
    tensor = image_input(spec, TensorInfo("image", FLOAT, (None, 8, 8, 3)), 1000).tensor(picture("red"))

    assert tensor[0, 0, 0].tolist() == pytest.approx(pixel)


def test_an_input_that_the_spec_calls_an_image_is_checked_at_the_start(make: MakeTask) -> None:
    with pytest.raises(ConfigurationError, match="is no picture"):
        make({**HALF, "inputs": {"x": {"type": "image"}}})


# Fields of /predict


@pytest.mark.parametrize(
    ("model", "fields", "answer"),
    [
        (HALF, {"x": 4}, {"y": 4.0}),
        (HALF, {"x": "4"}, {"y": 4.0}),
        (HALF, {"x": [4]}, {"y": [4.0]}),
        (HALF, {"x": "[4, 6]"}, {"y": [4.0, 5.0]}),
        (HALF, {"x": []}, {"y": []}),
        (ECHO, {"text": "a", "count": "[1, 2]"}, {"text": "a", "count": [1, 2]}),
        (ECHO, {"text": ["a", "b"], "count": [[1, 2]]}, {"text": ["a", "b"], "count": [[1, 2]]}),
        (ECHO, {"text": "a", "count": [[1, 2]]}, {"text": ["a"], "count": [[1, 2]]}),
        (ECHO, {"text": b"\xff", "count": [1, 2]}, {"text": {"b64": "/w=="}, "count": [1, 2]}),
        (ECHO, {"text": "[1]", "count": [1, 2]}, {"text": "[1]", "count": [1, 2]}),
    ],
)
def test_a_single_item_is_answered_without_the_batch_dimension_and_a_batch_with_it(
    make: MakeTask, model: dict[str, Any], fields: dict[str, Field], answer: dict[str, Any]
) -> None:
    assert as_json(make(model).predict(fields, context())) == answer


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"s": "a", "n": 1}, {"s": ["a"], "n": 1.0}),
        ({"s": ["a"], "n": [1]}, {"s": ["a"], "n": [1.0]}),
        ({"s": [["a"], ["b"]], "n": [[1]]}, {"s": [["a"], ["b"]], "n": [[1.0]]}),
    ],
)
def test_where_the_rank_is_unknown_a_string_becomes_a_batch_and_all_else_stays(
    make: MakeTask, fields: dict[str, Field], answer: dict[str, Any]
) -> None:
    task = make({**HALF, "backend": f"{__name__}:UnknownRank"})

    assert as_json(task.predict(fields, context())) == answer


@pytest.mark.parametrize(
    ("model", "fields", "text"),
    [
        (HALF, {}, "Model 'half' takes the fields 'x' (number); got none."),
        (HALF, {"x": 1, "z": 2}, "Model 'half' takes the fields 'x' (number); got 'x', 'z'."),
        (ECHO, {"text": "a"}, "Model 'echo' takes the fields 'text' (text), 'count' (number); got 'text'."),
        (HALF, {"x": "four"}, "Field 'x' takes a number or a JSON list of numbers, not 'four'."),
        (HALF, {"x": ""}, "Field 'x' takes a number or a JSON list of numbers, not ''."),
        (HALF, {"x": "NaN"}, "Field 'x' takes a number or a JSON list of numbers, not 'NaN'."),
        (HALF, {"x": '["4"]'}, "Input 'x' takes float32 values; got \"['4']\"."),
        (HALF, {"x": None}, "Input 'x' takes float32 values; got 'None'."),
        (HALF, {"x": b"4"}, "Field 'x' takes numbers, not a file; send them as JSON text."),
        (HALF, {"x": [[4]]}, "Input 'x' has shape [1, 1], but this model takes [-1]."),
        (ECHO, {"text": "a", "count": [1, 2, 3]}, "Input 'count' has shape [1, 3], but this model takes [-1, 2]."),
        ({**HALF, "inputs": {"x": {"type": "file"}}}, {"x": "4"}, "Field 'x' takes an uploaded file"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_with_what_it_takes(
    make: MakeTask, model: dict[str, Any], fields: dict[str, Field], text: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(model).predict(fields, context())

    assert str(caught.value).startswith(text)


def test_an_image_field_takes_an_uploaded_picture(make: MakeTask) -> None:
    task = make({**COLORS, "task": "tensor", "labels": None, "inputs": {"image": {"type": "image"}}})

    assert task.predict({"image": picture("blue")}, context())["scores"].round(3).tolist() == [0, 0, 1]
    with pytest.raises(InvalidInput, match="takes an uploaded file"):
        task.predict({"image": "blue"}, context())
    with pytest.raises(InvalidImage, match="no picture"):
        task.predict({"image": b"blue"}, context())


def test_hooks_work_before_and_behind_the_model_and_are_timed(make: MakeTask) -> None:
    request = context()
    hooks = {"preprocess": f"{__name__}:count", "postprocess": f"{__name__}:name_it"}
    answer = make({**HALF, **hooks}).predict({"x": 3}, request)

    assert answer == {"y": 4.0, "named": "half", "many": [1, None]}
    assert request.stages.keys() == {"decode", "preprocess", "predict", "postprocess"}


def test_a_tensor_model_that_refuses_zeros_is_served_all_the_same(
    make: MakeTask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    task = make({**HALF, "backend": f"{__name__}:RefusesZeros"})

    assert task.predict({"x": 4}, context()) == {"y": 4.0}
    assert "model half: signature serving_default is not warmed up: no zeros" in caplog.text
