"""The repository: all models or none, found by name where several fit, ready only when there is something to serve."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore
from threading import enumerate as threads
from typing import Any, ClassVar

import pytest

from tests.conftest import COLORS, ECHO, HALF
from tests.live.server import wait_until
from tests.numpy_backends import HalfPlusTwo, write_version
from tf_serving_flask_app import repository as repository_module
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import (
    ConfigurationError,
    InvalidInput,
    LabelNotFound,
    ModelNotFound,
    NotFound,
    NotReady,
    RemoteFailed,
    VersionNotFound,
)
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tasks.classification import Classification
from tf_serving_flask_app.tasks.tensor import TensorTask
from tf_serving_flask_app.tensors import Tensors

MakeSpecs = Callable[..., list[ModelSpec]]
MakeRepository = Callable[..., Repository]

made: list[HalfPlusTwo] = []


class Recorded(HalfPlusTwo):
    """Notes that it was made, and what it is called with."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.spec = spec
        self.calls: list[list[float]] = []
        made.append(self)

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        self.calls.append(inputs["x"].tolist())
        return super().run(signature, inputs)


class Unloadable(HalfPlusTwo):
    """Cannot be loaded."""

    def __init__(self, spec: ModelSpec) -> None:
        raise ConfigurationError("the file is no model")


class Elsewhere(HalfPlusTwo):
    """Lives in another server, which a test makes come and go: by an error, or by the version that is there."""

    remote = True
    error: ClassVar[Exception | None] = None
    present: ClassVar[int] = 1
    asked: ClassVar[Semaphore] = Semaphore(0)

    def __init__(self, spec: ModelSpec) -> None:
        self.asked.release()
        if self.error is not None:
            raise self.error
        super().__init__(spec)
        self.version = self.present
        made.append(self)

    def is_current(self) -> bool:
        return self.error is None and self.version == self.present


RECORDED = {**HALF, "name": "recorded", "backend": f"{__name__}:Recorded"}


def recorded() -> Recorded:
    """The one that was made."""
    (backend,) = made
    assert isinstance(backend, Recorded)
    return backend


ELSEWHERE = {**HALF, "name": "elsewhere", "backend": f"{__name__}:Elsewhere"}


@pytest.fixture(autouse=True)
def _nothing_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("error", None), ("present", 1), ("asked", Semaphore(0))):
        monkeypatch.setattr(Elsewhere, name, value)
    monkeypatch.setattr(repository_module, "FOLLOW_INTERVAL_S", 0.01)
    yield
    made.clear()


@pytest.fixture
def make(make_specs: MakeSpecs) -> Iterator[MakeRepository]:
    repositories: list[Repository] = []

    def make(*models: dict[str, Any], **environ: str) -> Repository:
        repositories.append(Repository(make_specs(*models) if models else [], Settings.from_environ(environ)))
        return repositories[-1]

    yield make
    for repository in repositories:
        repository.close()


def test_the_models_are_kept_in_the_order_of_the_spec(make: MakeRepository) -> None:
    assert [task.model.name for task in make(HALF, COLORS, ECHO)] == ["half", "colors", "echo"]


def test_it_is_ready_when_all_models_are_loaded(make: MakeRepository) -> None:
    repository = make(HALF, COLORS)

    assert repository.ready
    assert repository.states() == {"half": {"1": "AVAILABLE"}, "colors": {"1": "AVAILABLE"}}


def test_it_is_not_ready_with_nothing_to_serve(make: MakeRepository) -> None:
    repository = make()

    assert not repository.ready
    assert repository.states() == {}


def test_it_is_not_ready_while_it_drains_though_the_models_still_answer(make: MakeRepository) -> None:
    repository = make(HALF)
    repository.drain()

    assert not repository.ready
    assert repository.find("half", Task).model.name == "half"


def test_closing_it_closes_the_models_and_ends_readiness(make: MakeRepository) -> None:
    repository = make(RECORDED)
    assert [backend.closed for backend in made] == [False]
    repository.close()

    assert [backend.closed for backend in made] == [True]
    assert not repository.ready


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ({**HALF, "backend": f"{__name__}:Unloadable"}, "the file is no model"),
        ({**HALF, "backend": f"{__name__}:Missing"}, "has no attribute 'Missing'"),
        ({**HALF, "backend": "json:loads"}, "is not a subclass of"),
        ({**HALF, "inputs": {"x": {"dtype": "int64"}}}, "the spec says 'x' is int64"),
        ({**HALF, "preprocess": "no_such_steps:run"}, "there is no module 'no_such_steps'"),
        ({**COLORS, "labels": ["red"]}, "1 labels for 3 classes"),
    ],
)
def test_a_second_model_that_fails_closes_the_first(make: MakeRepository, second: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make(RECORDED, second)

    assert [backend.closed for backend in made] == [True]


def test_a_model_that_does_not_fit_its_spec_is_closed_itself(make: MakeRepository) -> None:
    with pytest.raises(ConfigurationError, match="is no picture"):
        make({**RECORDED, "task": "classification"})

    assert [backend.closed for backend in made] == [True]


def test_a_model_has_run_once_on_zeros_before_it_is_served(make: MakeRepository) -> None:
    make(RECORDED)

    assert recorded().calls == [[0.0]]


def test_models_that_fail_are_skipped_and_named_where_that_is_asked_for(
    make_specs: MakeSpecs, caplog: pytest.LogCaptureFixture
) -> None:
    unloadable = {**HALF, "name": "unloadable", "backend": f"{__name__}:Unloadable"}
    specs = make_specs(unloadable, HALF, {**COLORS, "labels": ["red"]})
    with closing(Repository(specs, Settings.from_environ({}), skip_failing=True)) as repository:
        assert repository.ready
        assert [task.model.name for task in repository] == ["half"]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors[0] == f"{specs[0].path} is not served: the file is no model"
    assert "1 labels for 3 classes" in errors[1]


def test_who_listens_is_told_what_was_loaded_and_what_failed(make_specs: MakeSpecs) -> None:
    told: list[tuple[str, str, str]] = []
    unloadable = {**HALF, "name": "unloadable", "version": 4, "backend": f"{__name__}:Unloadable"}
    specs = make_specs(unloadable, {**HALF, "version": 3})
    Repository(specs, Settings.from_environ({}), skip_failing=True, on_load=lambda *what: told.append(what)).close()

    assert told == [("unloadable", "4", "failed"), ("half", "3", "loaded"), ("half", "3", "unloaded")]


def test_who_listens_is_told_of_models_elsewhere_that_come_and_go(
    make_specs: MakeSpecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: SimpleQueue[tuple[str, str, str]] = SimpleQueue()
    repository = Repository(make_specs(ELSEWHERE), Settings.from_environ({}), on_load=lambda *what: told.put(what))
    came = told.get(timeout=10)
    monkeypatch.setattr(Elsewhere, "error", RemoteFailed("gone"))
    went = told.get(timeout=10)
    monkeypatch.setattr(Elsewhere, "present", 2)
    monkeypatch.setattr(Elsewhere, "error", None)
    returned = [told.get(timeout=10) for _ in range(2)]
    repository.close()

    assert (came, went) == (("elsewhere", "1", "loaded"), ("elsewhere", "1", "failed"))
    assert returned == [("elsewhere", "2", "loaded"), ("elsewhere", "1", "unloaded")]


def test_models_that_all_fail_are_too_many_to_skip(make_specs: MakeSpecs) -> None:
    specs = make_specs({**HALF, "backend": f"{__name__}:Unloadable"})
    with pytest.raises(ConfigurationError, match="None of the models can be served"):
        Repository(specs, Settings.from_environ({}), skip_failing=True)


@pytest.mark.parametrize(("environ", "processes"), [({"WEB_CONCURRENCY": "1"}, 1), ({"WEB_CONCURRENCY": "1024"}, 1024)])
def test_automatic_threads_share_the_cores_among_the_processes(
    make: MakeRepository, environ: dict[str, str], processes: int
) -> None:
    make(RECORDED, **environ)

    assert recorded().spec.session.intra_op_threads == max(1, usable_cores() // processes)


def test_a_number_of_threads_in_the_spec_is_kept(make: MakeRepository) -> None:
    make({**RECORDED, "session": {"intra_op_threads": 7}})

    assert recorded().spec.session.intra_op_threads == 7


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("half", Task, "half"),
        ("echo", TensorTask, "echo"),
        ("colors", Classification, "colors"),
        ("colors", Task, "colors"),
        (None, Classification, "colors"),
    ],
)
def test_a_model_is_found_by_name_or_as_the_only_one_that_fits(
    make: MakeRepository, name: str | None, kind: type[Task], found: str
) -> None:
    assert make(HALF, COLORS, ECHO).find(name, kind).model.name == found


def test_the_model_that_is_found_is_named_in_the_requests_context(make: MakeRepository) -> None:
    repository, context = make({**HALF, "version": 7}), RequestContext("id", 0.0)
    repository.find("half", Task, context=context)

    assert (context.model_name, context.model_version) == ("half", "7")


@pytest.mark.parametrize(
    ("name", "kind", "error", "text"),
    [
        (None, Task, InvalidInput, "Several models fit; name one as 'modelname': half, colors, echo."),
        (None, TensorTask, InvalidInput, "Several models fit; name one as 'modelname': half, echo."),
        ("nope", Task, NotFound, "There is no model 'nope'; there are: half, colors, echo."),
        ("Half", Task, NotFound, "There is no model 'Half'; there are: half, colors, echo."),
        ("", Task, NotFound, "There is no model ''; there are: half, colors, echo."),
        ("half", Classification, NotFound, "Model 'half' is for tensor; for this there are: colors."),
    ],
)
def test_what_is_not_found_says_what_there_is(
    make: MakeRepository, name: str | None, kind: type[Task], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        make(HALF, COLORS, ECHO).find(name, kind)

    assert str(caught.value) == text


def test_without_a_fitting_model_the_list_of_models_is_pointed_to(make: MakeRepository) -> None:
    with pytest.raises(NotFound, match="No model here does that; GET / lists the models"):
        make(HALF).find(None, Classification)


def test_a_model_elsewhere_that_is_there_is_ready_at_once(make: MakeRepository) -> None:
    repository = make(ELSEWHERE, HALF)

    assert repository.ready
    assert repository.find("elsewhere", TensorTask).model.version == "1"


@pytest.mark.parametrize(
    ("error", "state", "level"),
    [
        (NotReady("it says so", "UNLOADING"), "UNLOADING", logging.WARNING),
        (RemoteFailed("cannot be reached"), "UNKNOWN", logging.WARNING),
        (ConfigurationError("it does not fit"), "END", logging.ERROR),
        (RuntimeError("a bug"), "UNKNOWN", logging.ERROR),
    ],
)
def test_a_model_elsewhere_may_come_later_and_that_it_is_away_is_logged_once(
    make: MakeRepository,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    state: str,
    level: int,
) -> None:
    monkeypatch.setattr(Elsewhere, "error", error)
    repository = make({**ELSEWHERE, "version": 7}, HALF)
    for _ in range(5):
        assert Elsewhere.asked.acquire(timeout=10)
    away = repository.states()
    with pytest.raises(NotReady) as caught:
        repository.find("elsewhere", Task)
    half = repository.find("half", Task)
    ready = repository.ready
    monkeypatch.setattr(Elsewhere, "error", None)
    wait_until(lambda: repository.ready, "readiness", 10)
    logged = [record for record in caplog.records if "model elsewhere is not ready" in record.getMessage()]

    assert away == {"elsewhere": {"7": state}, "half": {"1": "AVAILABLE"}}
    assert str(caught.value) == f"Model 'elsewhere' is not ready yet: it is {state}; try again later."
    assert half.model.name == "half"
    assert not ready
    assert [record.levelno for record in logged] == [level]


def test_a_model_elsewhere_that_went_away_is_still_asked_and_loaded_anew_when_it_returns(
    make: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make(ELSEWHERE)
    monkeypatch.setattr(Elsewhere, "error", RemoteFailed("cannot be reached"))
    wait_until(lambda: repository.states() == {"elsewhere": {"1": "UNKNOWN"}}, "its state", 10)
    assert repository.find("elsewhere", Task).model.version == "1"
    monkeypatch.setattr(Elsewhere, "error", None)
    wait_until(lambda: repository.ready, "readiness", 10)

    assert len(made) == 2


def test_a_new_version_elsewhere_takes_the_place_of_the_former_which_is_closed_when_no_request_needs_it(
    make: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make(ELSEWHERE)
    former: Task | None = repository.find("elsewhere", Task)
    monkeypatch.setattr(Elsewhere, "present", 2)
    wait_until(lambda: repository.states() == {"elsewhere": {"2": "AVAILABLE"}}, "the new version", 10)
    assert not made[0].closed
    assert repository.find("elsewhere", Task) is not former
    former = None
    wait_until(lambda: made[0].closed, "the end of the former", 10)

    assert [backend.closed for backend in made] == [True, False]


def test_a_model_elsewhere_that_does_not_fit_any_more_is_not_served(
    make: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make(ELSEWHERE)
    monkeypatch.setattr(Elsewhere, "error", ConfigurationError("it does not fit"))
    wait_until(lambda: repository.states() == {"elsewhere": {"latest": "END"}}, "its state", 10)
    with pytest.raises(NotReady):
        repository.find("elsewhere", Task)
    repository.close()

    assert [backend.closed for backend in made] == [True]


def test_one_thread_follows_all_models_and_closing_ends_it(make: MakeRepository) -> None:
    def following() -> list[str]:
        return [thread.name for thread in threads() if thread.name == "follow-models"]

    repository = make(HALF, ELSEWHERE)
    assert following() == ["follow-models"]
    repository.close()

    assert following() == []
    assert [backend.closed for backend in made] == [True]


def test_a_remote_model_without_a_model_server_stops_the_start(make: MakeRepository) -> None:
    with pytest.raises(ConfigurationError, match=r"model 'a': no model server is named: write `targets"):
        make({"name": "a", "backend": "tf_serving"})


def write_versions(folder: Path, *versions: int) -> dict[str, str]:
    """Write version folders, and give the model of a spec that serves them."""
    for version in versions:
        write_version(folder, version, str(version))
    return {"name": "m", "backend": "numpy_backends:Versioned", "path": str(folder)}


def test_what_was_asked_for_is_logged_with_how_it_ended(
    make: MakeRepository, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    repository = make(write_versions(tmp_path / "m", 1), MODEL_POLL_S="0")
    repository.load("m", 5)
    write_version(tmp_path / "m", 2, "two")
    with pytest.raises(ConfigurationError):
        repository.load("m", 5)
    logged = [record for record in caplog.records if "a request to" in record.getMessage()]

    assert [record.levelno for record in logged] == [logging.INFO, logging.ERROR]
    assert re.search(r"model m: a request to load it was done in all processes after \d", logged[0].getMessage())
    assert logged[1].getMessage().endswith("number.txt: no number")


class Unlisted(HalfPlusTwo):
    """Its files cannot be listed, in a way that nobody foresaw."""

    looks: ClassVar[Semaphore] = Semaphore(0)

    @classmethod
    def files(cls, path: Path) -> list[Path]:
        cls.looks.release()
        raise RuntimeError("a bug")


def test_a_look_that_fails_again_and_again_is_logged_once_and_the_model_serves_on(
    make: MakeRepository, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = Unlisted.files
    monkeypatch.setattr(Unlisted, "files", HalfPlusTwo.files)
    repository = make({**HALF, "backend": f"{__name__}:Unlisted"}, MODEL_POLL_S="0.01")
    monkeypatch.setattr(Unlisted, "files", bug)
    for _ in range(4):
        assert Unlisted.looks.acquire(timeout=10)

    assert repository.find("half", Task).model.name == "half"
    assert [record.getMessage() for record in caplog.records] == ["A look after the models failed."]


def test_new_versions_are_noticed(make: MakeRepository, tmp_path: Path) -> None:
    repository = make(write_versions(tmp_path / "m", 1), MODEL_POLL_S="0.01")
    write_version(tmp_path / "m", 2, "2")
    wait_until(lambda: repository.find("m", Task).model.version == "2", "the new version", 10)

    assert [task.model.version for task in repository] == ["2"]
    assert repository.states() == {"m": {"2": "AVAILABLE"}}
    assert [status.version for status in repository.status("m")] == ["2", "1"]


def test_without_polling_new_versions_wait_for_a_call(
    make: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "error", RemoteFailed("cannot be reached"))
    repository = make(write_versions(tmp_path / "m", 1), ELSEWHERE, MODEL_POLL_S="0")
    write_version(tmp_path / "m", 2, "2")
    for _ in range(5):  # so often the other model was looked after meanwhile
        assert Elsewhere.asked.acquire(timeout=10)
    before = repository.find("m", Task).model.version
    repository.load("m", 5)

    assert (before, repository.find("m", Task).model.version) == ("1", "2")


def test_a_version_that_cannot_be_served_is_an_error_of_a_ready_server(make: MakeRepository, tmp_path: Path) -> None:
    repository = make(write_versions(tmp_path / "m", 1), HALF, MODEL_POLL_S="0.01")
    write_version(tmp_path / "m", 2, "two")
    wait_until(repository.errors, "the error", 10)

    assert repository.ready
    assert repository.errors() == {"m": {"2": f"{tmp_path / 'm' / '2' / 'number.txt'}: no number"}}
    assert repository.states() == {"m": {"2": "END", "1": "AVAILABLE"}, "half": {"1": "AVAILABLE"}}


def test_an_unloaded_model_is_closed_not_found_and_no_reason_to_be_unready(make: MakeRepository) -> None:
    repository = make(RECORDED, HALF)
    repository.unload("recorded", 5)
    wait_until(lambda: made[0].closed, "its end", 10)

    assert repository.find(None, TensorTask).model.name == "half"
    assert repository.names() == ["recorded", "half"]
    assert (repository.ready, repository.errors()) == (True, {})
    assert repository.states() == {"recorded": {"1": "END"}, "half": {"1": "AVAILABLE"}}
    with pytest.raises(ModelNotFound, match="Model 'recorded' is unloaded; load it first"):
        repository.find("recorded", Task)


def test_with_its_only_model_unloaded_a_server_is_ready_to_load_it(make: MakeRepository) -> None:
    repository = make(RECORDED)
    repository.unload("recorded", 5)

    assert repository.ready
    with pytest.raises(NotFound, match="No model here does that"):
        repository.find(None, Task)
    repository.load("recorded", 5)
    assert repository.find(None, Task).model.name == "recorded"


@pytest.mark.parametrize("call", ["load", "unload", "status"])
def test_what_the_spec_does_not_have_is_not_found(make: MakeRepository, call: str) -> None:
    arguments = () if call == "status" else (5,)
    with pytest.raises(ModelNotFound, match="There is no model 'nope'; there are: half"):
        getattr(make(HALF), call)("nope", *arguments)


@pytest.mark.parametrize("error", [RemoteFailed("cannot be reached"), RuntimeError("a bug")])
def test_a_model_elsewhere_is_unloaded_and_loaded_too(
    make: MakeRepository, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    repository = make(ELSEWHERE, HALF)
    repository.unload("elsewhere", 5)
    with pytest.raises(ModelNotFound):
        repository.find("elsewhere", Task)
    state = repository.status("elsewhere")
    monkeypatch.setattr(Elsewhere, "error", error)
    with pytest.raises(ConfigurationError, match=str(error)):
        repository.load("elsewhere", 5)
    still = repository.status("elsewhere")
    monkeypatch.setattr(Elsewhere, "error", None)
    repository.load("elsewhere", 5)

    assert state == still
    assert (state[0].state, state[0].error) == ("END", "unloaded")
    assert repository.find("elsewhere", Task, version=1).model.version == "1"
    with pytest.raises(VersionNotFound):
        repository.find("elsewhere", Task, version=2)
    with pytest.raises(LabelNotFound):
        repository.find("elsewhere", Task, label="stable")


def test_wishes_hold_for_a_repository_that_is_made_later(make_specs: MakeSpecs, tmp_path: Path) -> None:
    settings, specs, folder = Settings.from_environ({}), make_specs(RECORDED, ELSEWHERE, HALF), tmp_path / "control"
    with closing(Repository(specs, settings, control_folder=folder)) as first:
        for name in ("recorded", "elsewhere", "half"):
            first.unload(name, 5)
        first.load("half", 5)
    made.clear()
    with closing(Repository(specs, settings, control_folder=folder)) as second:
        assert made == []
        assert [task.model.name for task in second] == ["half"]
        second.load("recorded", 5)
        assert [task.model.name for task in second] == ["recorded", "half"]


def test_a_wish_that_nobody_told_is_heeded_all_the_same(make_specs: MakeSpecs, tmp_path: Path) -> None:
    folder = tmp_path / "control"
    with closing(Repository(make_specs(HALF), Settings.from_environ({}), control_folder=folder)) as repository:
        (folder / "wishes.json").write_text(
            '{"half": {"number": 1, "loaded": false}, "gone": {"number": 1, "loaded": true}}'
        )
        wait_until(lambda: list(repository) == [], "unloading", 10)
