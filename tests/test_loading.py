"""Loading: a task is ready when it is there, and its model is closed as soon as nobody holds the task."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import COLORS, HALF
from tests.numpy_backends import HalfPlusTwo
from tests.pictures import picture
from tf_serving_flask_app.context import RequestContext, warm_context
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput, NotReady
from tf_serving_flask_app.loading import Loader, load_task, settle
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tasks.classification import Classification
from tf_serving_flask_app.tasks.detection import Detector

MakeSpecs = Callable[..., list[ModelSpec]]

DETECTOR = {"name": "boxes", "task": "detection", "backend": "numpy_backends:BrightBox", "path": "model"}

made: list[HalfPlusTwo] = []


class Recorded(HalfPlusTwo):
    """Notes that it was made."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        made.append(self)


RECORDED = {**HALF, "backend": f"{__name__}:Recorded"}


@pytest.fixture(autouse=True)
def _nothing_made() -> Iterator[None]:
    yield
    made.clear()


@pytest.fixture
def told() -> list[tuple[str, str, str]]:
    """What the loader's listener was told."""
    return []


@pytest.fixture
def loader(told: list[tuple[str, str, str]]) -> Loader:
    return Loader(Settings.from_environ({}), lambda *event: told.append(event))


def test_loading_a_model_is_logged_with_name_and_version(
    make_specs: MakeSpecs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load_task(make_specs({**HALF, "version": 3})[0], Settings.from_environ({}))

    assert "model half version 3 is loaded and warm after" in caplog.text


def test_the_model_server_comes_from_the_settings_where_the_spec_names_none(make_specs: MakeSpecs) -> None:
    settings = Settings.from_environ({"APP_TFSERVING_HOST": "models"})
    first, second = make_specs(
        {"name": "a", "backend": "tf_serving"}, {"name": "b", "backend": "tf_serving", "targets": ["c:1"]}
    )

    assert settle(first, settings).targets == ["models:8500"]
    assert settle(second, settings).targets == ["c:1"]


def test_while_requests_are_profiled_their_calls_are_not_joined(make_specs: Callable[..., list[ModelSpec]]) -> None:
    (spec,) = make_specs({**HALF, "batching": {"max_batch_size": 4}})
    profiled, plain = (settle(spec, Settings.from_environ({"FLASK_PROFILE": flag})).batching for flag in ("1", ""))

    assert profiled is not None
    assert profiled.max_batch_size == 1
    assert plain == spec.batching


def use(task: Task) -> None:
    """Answer a request, and fail another."""
    context = warm_context()
    if isinstance(task, Classification):
        task.classify(picture("red"), context)
    elif isinstance(task, Detector):
        task.detect(picture("red"), context, None)
    else:
        task.predict({"x": [1.0]}, context)
    with pytest.raises(InvalidInput):
        task.predict({"nope": 1}, RequestContext("id", context.deadline))


@pytest.mark.parametrize("model", [HALF, COLORS, DETECTOR], ids=lambda model: model["name"])
def test_a_task_that_nobody_holds_is_closed_without_the_help_of_the_collector(
    make_specs: MakeSpecs, loader: Loader, told: list[tuple[str, str, str]], model: dict[str, Any]
) -> None:
    gc.disable()
    try:
        task = loader.load(make_specs(model)[0])
        use(task)
        loader.close_forgotten(0)
        assert [what for *_, what in told] == ["loaded"]
        del task
        loader.close_forgotten(0)
    finally:
        gc.enable()

    assert told == [(model["name"], "1", "loaded"), (model["name"], "1", "unloaded")]


def test_a_model_is_not_closed_while_a_request_holds_its_task(make_specs: MakeSpecs, loader: Loader) -> None:
    task = loader.load(make_specs(RECORDED)[0])
    entered, leave = threading.Event(), threading.Event()

    def request(task: Task) -> None:
        entered.set()
        leave.wait(10)

    thread = threading.Thread(target=request, args=(task,))
    thread.start()
    entered.wait(10)
    del task
    loader.close_forgotten(0)
    assert not made[0].closed
    leave.set()
    thread.join()
    del thread
    loader.close_forgotten(10)

    assert made[0].closed


def test_closing_all_closes_what_is_still_held_once_and_loads_no_more(
    make_specs: MakeSpecs, loader: Loader, told: list[tuple[str, str, str]]
) -> None:
    (spec,) = make_specs(RECORDED)
    task = loader.load(spec)
    loader.close_all()
    with pytest.raises(NotReady, match="stopping"):
        loader.load(spec)
    del task
    loader.close_forgotten(0)

    assert [backend.closed for backend in made] == [True, True]
    assert told == [("half", "1", "loaded"), ("half", "1", "unloaded")]


def test_a_wait_for_models_to_close_can_be_ended(loader: Loader) -> None:
    waiting = threading.Thread(target=loader.close_forgotten, args=(60,))
    waiting.start()
    loader.wake()
    waiting.join(10)

    assert not waiting.is_alive()


def test_a_model_without_a_model_server_says_where_to_name_one(make_specs: MakeSpecs) -> None:
    with pytest.raises(ConfigurationError, match="write `targets"):
        settle(make_specs({"name": "a", "backend": "tf_serving"})[0], Settings.from_environ({}))
