"""A served model: signatures are found and checked, calls are timed, deadlines hold, specs may not promise more."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.numpy_backends import FLOAT, HalfPlusTwo
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, DeadlineExceeded, InvalidInput, NotFound
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Array, Signature, TensorInfo, Tensors

MakeModel = Callable[..., Model]


class TwoSignatures(HalfPlusTwo):
    """The same function under two names, neither of them the usual one."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        (signature,) = self.signatures.values()
        self.signatures = {
            "first": Signature("first", signature.inputs, signature.outputs),
            "second": Signature("second", {"z": TensorInfo("z", FLOAT, None)}, {}),
        }

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"called": np.array([signature])}


class Late(HalfPlusTwo):
    """Takes longer than the request may."""

    def __init__(self, spec: ModelSpec, context: RequestContext) -> None:
        super().__init__(spec)
        self.context = context

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.context.deadline = -math.inf
        return super().run(signature, inputs)


@pytest.fixture
def make_spec(make_specs: Callable[..., list[ModelSpec]]) -> Callable[..., ModelSpec]:
    def make(**fields: Any) -> ModelSpec:
        (spec,) = make_specs({"name": "half", "backend": "numpy_backends:HalfPlusTwo", "path": "model", **fields})
        return spec

    return make


@pytest.fixture
def make_model(make_spec: Callable[..., ModelSpec]) -> MakeModel:
    def make(kind: type[HalfPlusTwo] = HalfPlusTwo, **fields: Any) -> Model:
        spec = make_spec(**fields)
        return Model(spec, kind(spec))

    return make


def context(deadline: float = math.inf) -> RequestContext:
    return RequestContext("test", deadline)


def x(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, "float32")}


def test_a_call_answers_and_leaves_its_time_in_the_context(make_model: MakeModel) -> None:
    request = context()
    outputs = make_model().run(x(4, 6), request)

    assert outputs["y"].tolist() == [4.0, 5.0]
    assert request.stages.keys() == {"predict"}


@pytest.mark.parametrize(
    ("inputs", "error", "text"),
    [
        ({"z": np.zeros(1, "float32")}, InvalidInput, "takes the inputs 'x', but got 'z'"),
        ({"x": np.zeros(1)}, InvalidInput, "is float64"),
        (x(-1), InvalidInput, "x must not be negative"),
        (x(13), BackendFailed, "secret internals"),
    ],
)
def test_a_call_that_fails_is_refused(
    make_model: MakeModel, inputs: dict[str, Array], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make_model().run(inputs, context())


def test_any_shape_goes_to_a_backend_that_judges_shapes_itself(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, matrix = make_model(), {"x": np.zeros((2, 2), "float32")}
    with pytest.raises(InvalidInput, match="has shape"):
        model.run(matrix, context(), any_shape=True)
    monkeypatch.setattr(HalfPlusTwo, "takes_any_shape", True)
    with pytest.raises(InvalidInput, match="has shape"):
        model.run(matrix, context())

    assert model.run(matrix, context(), any_shape=True)["y"].shape == (2, 2)


class OneAtATime(HalfPlusTwo):
    """Says when a call is in it, and stays there until it may leave."""

    computes_only = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.entered, self.may_leave = threading.Event(), threading.Event()

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.entered.set()
        assert self.may_leave.wait(10)
        return super().run(signature, inputs)


def test_a_call_that_cannot_be_joined_is_late_at_its_deadline_and_not_when_the_model_is_free(
    make_spec: Callable[..., ModelSpec],
) -> None:
    spec = make_spec(batching={"max_batch_size": 1})
    backend = OneAtATime(spec)
    model = Model(spec, backend)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(model.run, x(4), context())
        assert backend.entered.wait(10)
        with pytest.raises(DeadlineExceeded, match="waited for the model"):
            model.run(x(6), context(time.monotonic() + 0.1))
        assert not first.done()
        backend.may_leave.set()

        assert first.result(10)["y"].tolist() == [4.0]


class OneRowOnly(HalfPlusTwo):
    """Says that its first dimension is free, but fails on a batch."""

    joins_calls = True

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        if len(inputs["x"]) > 1:
            raise InvalidInput("one at a time")
        return super().run(signature, inputs)


class Counter(HalfPlusTwo):
    """Finds only when it is loaded that its calls leave something behind, as a SavedModel with variables does."""

    joins_calls = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.joins_calls = False


class Total(HalfPlusTwo):
    """Gives one number for the whole batch."""

    joins_calls = True

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"].sum(keepdims=True)}


def warmed(model: Model) -> list[int]:
    """Warm a model up; returns the sizes of the batches that its backend saw."""
    sizes: list[int] = []
    run = model._backend.run

    def noting(signature: str, inputs: Tensors) -> Tensors:
        sizes.append(len(inputs["x"]))
        return run(signature, inputs)

    model._backend.run = noting  # type: ignore[method-assign]
    for batcher in model._batchers.values():
        batcher._run = partial(noting, "serving_default")
    model.warm_up(model.signature(), x(0))
    return sizes


def test_calls_are_joined_where_the_spec_asks_for_it_and_each_size_is_warmed_up(make_model: MakeModel) -> None:
    assert warmed(make_model(batching={"max_batch_size": 6})) == [1, 2, 3, 4, 5, 6]
    assert warmed(make_model(batching={"max_batch_size": 1})) == [1]
    assert warmed(make_model()) == [1]


@pytest.mark.parametrize("kind", [OneRowOnly, Total])
def test_calls_are_not_joined_where_a_batch_fails_in_the_warm_up(
    make_model: MakeModel, kind: type[HalfPlusTwo], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = make_model(kind)

    assert model.joined_rows(model.signature()) == 8
    assert warmed(model) == [1, 2]
    assert model.joined_rows(model.signature()) == 1
    assert "calls are not joined, as a batch of 2 fails" in caplog.text


def test_a_loaded_model_decides_whether_its_calls_are_joined_unless_the_spec_asks_for_it(
    make_model: MakeModel,
) -> None:
    models = [make_model(Counter), make_model(Counter, batching={"max_batch_size": 4})]

    assert [model.joined_rows(model.signature()) for model in models] == [1, 4]


class Words(HalfPlusTwo):
    """Says that an answer's length depends on values, as that of a text's words does."""

    joins_calls = True

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        (signature,) = self.signatures.values()
        y = replace(signature.outputs["y"], shape=(None, None))
        self.signatures = {signature.name: replace(signature, outputs={"y": y})}


def test_calls_whose_answers_would_take_each_others_length_are_joined_only_where_the_spec_asks_for_it(
    make_model: MakeModel,
) -> None:
    models = [make_model(Words), make_model(Words, batching={"max_batch_size": 4})]

    assert [model.joined_rows(model.signature()) for model in models] == [1, 4]


def test_a_joined_call_is_checked_and_timed_as_any_other(make_model: MakeModel) -> None:
    model, request = make_model(batching={"max_batch_size": 8}), context()
    with pytest.raises(DeadlineExceeded, match="before predict"):
        model.run(x(1), context(-math.inf))

    assert model.run(x(4), request)["y"].tolist() == [4]
    assert request.stages.keys() == {"queue", "predict"}
    assert request.joined == 1


def test_no_call_begins_after_the_deadline(make_model: MakeModel) -> None:
    with pytest.raises(DeadlineExceeded, match="before predict"):
        make_model().run(x(1), context(-math.inf))


def test_an_answer_that_comes_too_late_is_not_given(make_spec: Callable[..., ModelSpec]) -> None:
    request, spec = context(), make_spec()
    with pytest.raises(DeadlineExceeded, match="while the model ran"):
        Model(spec, Late(spec, request)).run(x(1), request)

    assert request.stages.keys() == {"predict"}


def test_the_specs_timeout_shortens_the_deadline(make_model: MakeModel) -> None:
    request = context(time.monotonic() + 1000)
    make_model(timeout_s=60).run(x(1), request)

    assert request.deadline - time.monotonic() <= 60


def test_the_specs_timeout_never_lengthens_the_deadline(make_model: MakeModel) -> None:
    deadline = time.monotonic() + 50
    request = context(deadline)
    make_model(timeout_s=60).run(x(1), request)

    assert request.deadline == deadline


def test_a_call_without_a_deadline_has_all_the_time_to_warm_up(make_model: MakeModel) -> None:
    assert make_model(timeout_s=1e-9).run(x(4), context())["y"].tolist() == [4.0]


def test_a_signature_is_found_by_name(make_model: MakeModel) -> None:
    model = make_model(TwoSignatures, signature="first")

    assert (model.signature().name, model.signature("second").name) == ("first", "second")
    assert model.run({"z": np.zeros(3, "float32")}, context(), "second")["called"].tolist() == ["second"]


def test_a_signature_that_the_spec_names_must_exist_even_if_there_is_only_one(make_model: MakeModel) -> None:
    with pytest.raises(NotFound, match=r"no signature 'other'; it has serving_default\.$"):
        make_model(signature="other").signature()


def test_a_named_signature_must_exist_even_if_there_is_only_one(make_model: MakeModel) -> None:
    with pytest.raises(NotFound, match=r"^Model 'half' has no signature 'other'; it has serving_default\.$"):
        make_model().signature("other")


def test_among_several_signatures_none_is_guessed(make_model: MakeModel) -> None:
    with pytest.raises(NotFound, match=r"no signature 'serving_default'; it has first, second\.$"):
        make_model(TwoSignatures).signature()


def test_a_spec_that_promises_nothing_is_accepted(make_model: MakeModel) -> None:
    make_model(TwoSignatures).check_spec()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inputs": {"x": {"dtype": "float32", "shape": [-1]}}, "outputs": {"y": {"dtype": "float32"}}},
        {"inputs": {"x": "x"}},
        {"inputs": {"x": {"type": "number"}}},
    ],
)
def test_a_spec_that_tells_the_truth_is_accepted(make_model: MakeModel, fields: dict[str, Any]) -> None:
    make_model(**fields).check_spec()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"inputs": {"x": {"dtype": "int64"}}}, "the spec says 'x' is int64, but it is float32."),
        ({"outputs": {"y": {"dtype": "string"}}}, "the spec says 'y' is string, but it is float32."),
        ({"inputs": {"x": {"shape": [None, 2]}}}, "the spec says 'x' has shape [-1, 2], but it is [-1]."),
        ({"inputs": {"x": {"shape": [3]}}}, "the spec says 'x' has shape [3], but it is [-1]."),
        ({"inputs": {"z": "x"}}, "the spec names 'z', but the model has x."),
        ({"outputs": {"x": {}}}, "the spec names 'x', but the model has y."),
    ],
)
def test_a_spec_that_promises_something_else_is_refused(
    make_model: MakeModel, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_model(**fields).check_spec()

    assert str(caught.value) == f"model 'half': {text}"


def test_a_spec_whose_signature_is_not_there_is_refused(make_model: MakeModel) -> None:
    with pytest.raises(ConfigurationError, match=r"it has first, second\. Name one: `signature:`\.$"):
        make_model(TwoSignatures, inputs={"x": "x"}).check_spec()


def test_closing_a_model_closes_its_backend(make_spec: Callable[..., ModelSpec]) -> None:
    backend = HalfPlusTwo(make_spec())
    Model(make_spec(), backend).close()

    assert backend.closed
