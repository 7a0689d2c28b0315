"""A model's versions follow its folders, and what serves goes on to serve whatever happens to them."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HALF
from tests.numpy_backends import HalfPlusTwo, Versioned, write_version
from tf_serving_flask_app.context import warm_context
from tf_serving_flask_app.entries import VersionStatus
from tf_serving_flask_app.errors import ConfigurationError, LabelNotFound, ModelNotFound, VersionNotFound
from tf_serving_flask_app.loading import Loader
from tf_serving_flask_app.local_entry import LocalEntry
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec

MakeEntry = Callable[..., LocalEntry]
Events = list[tuple[str, str, str]]


class Mined(Versioned):
    """Its loading fails in a way that nobody foresaw where the number is 13, and waits for the test where it is 14."""

    entered = threading.Event()
    leave = threading.Event()
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        if self.number == 13:
            raise RuntimeError("out of luck")
        if self.number == 14:
            self.entered.set()
            self.leave.wait(10)
        type(self).meanwhile()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the versions 1 and 2."""
    for version in (1, 2):
        write_version(tmp_path / "models", version, str(version))
    return tmp_path / "models"


@pytest.fixture
def events() -> Events:
    """What was loaded, failed and was unloaded."""
    return []


@pytest.fixture
def make(models: Path, make_specs: Callable[..., list[ModelSpec]], events: Events) -> MakeEntry:
    """Make an entry that has not started."""
    loader = Loader(Settings.from_environ({}), lambda *event: events.append(event))

    def make(**model: Any) -> LocalEntry:
        spec = {"name": "m", "backend": f"{__name__}:Mined", "path": str(models), **model}
        return LocalEntry(make_specs(spec)[0], loader)

    return make


def answer(entry: LocalEntry, version: int | None = None, label: str | None = None) -> float:
    """The number that is added."""
    task = entry.find(version, label)
    return float(task.infer({"x": task.model.signature().inputs["x"].dtype.type([0])}, warm_context())["first"][0])


def states(entry: LocalEntry) -> dict[str, str]:
    return {status.version: status.state for status in entry.statuses()}


def look_twice(entry: LocalEntry) -> None:
    entry.look()
    entry.look()


def rewrite(models: Path, version: int, number: str) -> None:
    """Change a version's file, at a time that no clock can confuse with the last."""
    file = models / str(version) / "number.txt"
    changed = file.stat().st_mtime_ns + 1_000_000_000
    file.write_text(number)
    os.utime(file, ns=(changed, changed))


def test_without_a_policy_the_latest_version_is_served(make: MakeEntry) -> None:
    entry = make()
    entry.start()

    assert (answer(entry), answer(entry, 2)) == (2, 2)
    assert states(entry) == {"2": "AVAILABLE"}
    with pytest.raises(VersionNotFound, match="does not serve version 1"):
        entry.find(1, None)


def test_a_new_version_takes_over_when_it_looks_the_same_twice(make: MakeEntry, models: Path, events: Events) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, "3")
    entry.look()
    after_one = answer(entry)
    entry.look()

    assert (after_one, answer(entry)) == (2, 3)
    assert states(entry) == {"3": "AVAILABLE", "2": "END"}
    assert events == [("m", "2", "loaded"), ("m", "3", "loaded")]


def test_a_version_that_is_still_being_written_is_left_alone(make: MakeEntry, models: Path) -> None:
    entry = make()
    entry.start()
    (models / "3").mkdir()
    look_twice(entry)
    (models / "3" / "number.txt").write_text("3")
    entry.look()
    rewrite(models, 3, "33")
    entry.look()
    while_written = answer(entry)
    entry.look()

    assert (while_written, answer(entry)) == (2, 33)


def test_the_former_version_ends_with_the_last_request_that_holds_it(make: MakeEntry, models: Path) -> None:
    entry = make()
    entry.start()
    held: Any = entry.find(None, None)
    write_version(models, 3, "3")
    look_twice(entry)
    while_held = states(entry)
    held = None

    assert held is None
    assert while_held == {"3": "AVAILABLE", "2": "UNLOADING"}
    assert states(entry) == {"3": "AVAILABLE", "2": "END"}


@pytest.mark.parametrize(("number", "error"), [("three", "number.txt: no number"), ("13", "RuntimeError: out of luck")])
def test_a_broken_new_version_leaves_the_old_one_and_is_reported_once_for_each_change(
    make: MakeEntry, models: Path, events: Events, caplog: pytest.LogCaptureFixture, number: str, error: str
) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, number)
    for _ in range(5):
        entry.look()
    (broken, good) = entry.statuses()
    rewrite(models, 3, "30")
    look_twice(entry)
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]

    assert (broken.version, broken.state) == ("3", "END")
    assert broken.error.endswith(error)
    assert good == VersionStatus("2", "AVAILABLE")
    assert entry.ready
    assert "model m version 3 cannot be served, so version 2 is: " in logged.getMessage()
    assert events == [("m", "2", "loaded"), ("m", "3", "failed"), ("m", "3", "loaded")]
    assert answer(entry) == 30
    assert states(entry)["3"] == "AVAILABLE"


def test_a_broken_version_is_not_reported_any_more_when_a_later_one_serves_or_when_it_is_gone(
    make: MakeEntry, models: Path
) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, "three")
    look_twice(entry)
    shutil.rmtree(models / "3")
    entry.look()
    gone = states(entry)
    write_version(models, 4, "four")
    look_twice(entry)
    write_version(models, 5, "5")
    look_twice(entry)

    assert gone == {"2": "AVAILABLE"}
    assert states(entry) == {"5": "AVAILABLE", "2": "END"}


def test_versions_that_are_all_broken_are_each_tried_once(make: MakeEntry, models: Path, events: Events) -> None:
    entry = make()
    entry.start()
    for version in (3, 4):
        write_version(models, version, "nothing")
    for _ in range(5):
        entry.look()

    assert answer(entry) == 2
    assert sorted(events) == [("m", "2", "loaded"), ("m", "3", "failed"), ("m", "4", "failed")]


def test_where_the_latest_is_broken_at_the_start_the_next_older_one_serves(make: MakeEntry, models: Path) -> None:
    write_version(models, 3, "three")
    entry = make()
    entry.start()

    assert answer(entry) == 2
    assert states(entry) == {"3": "END", "2": "AVAILABLE"}


@pytest.mark.parametrize(("version", "number"), [(None, "x"), (1, "x")])
def test_without_a_version_that_can_be_served_the_start_fails_with_the_latest_ones_reason(
    make: MakeEntry, models: Path, version: int | None, number: str
) -> None:
    for each in (1, 2):
        rewrite(models, each, number)
    with pytest.raises(ConfigurationError, match=rf"models/{version or 2}/number.txt: no number"):
        make(version=version).start()


def test_a_pinned_version_that_is_missing_is_the_backends_to_explain(make: MakeEntry) -> None:
    with pytest.raises(KeyError):
        make(version=7).start()


def test_a_removed_version_is_unloaded_but_never_the_last(make: MakeEntry, models: Path) -> None:
    entry = make(versions="all")
    entry.start()
    shutil.rmtree(models / "2")
    look_twice(entry)
    one_left = states(entry)
    shutil.rmtree(models / "1")
    look_twice(entry)

    assert one_left == {"1": "AVAILABLE"}
    assert answer(entry) == 1


def test_where_the_latest_is_removed_the_one_before_serves_again(make: MakeEntry, models: Path) -> None:
    entry = make()
    entry.start()
    shutil.rmtree(models / "2")
    look_twice(entry)

    assert answer(entry) == 1


def test_a_version_whose_files_change_is_loaded_anew(make: MakeEntry, models: Path) -> None:
    entry = make()
    entry.start()
    rewrite(models, 2, "22")
    look_twice(entry)
    changed = answer(entry)
    rewrite(models, 2, "broken")
    look_twice(entry)
    (status,) = entry.statuses()

    assert (changed, answer(entry)) == (22, 22)
    assert status.state == "AVAILABLE"
    assert status.error.endswith("no number")


def test_a_version_that_changes_while_it_is_loaded_does_not_serve_before_it_is_loaded_anew(
    make: MakeEntry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, "3")
    monkeypatch.setattr(Mined, "meanwhile", staticmethod(lambda: rewrite(models, 3, "33")))
    look_twice(entry)
    monkeypatch.setattr(Mined, "meanwhile", staticmethod(lambda: None))
    mixed = states(entry)
    entry.look()

    assert mixed == {"2": "AVAILABLE"}
    assert answer(entry) == 33


def test_a_version_that_vanishes_while_it_is_loaded_changes_nothing(
    make: MakeEntry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, "3")
    monkeypatch.setattr(Mined, "meanwhile", staticmethod(lambda: (models / "3").rename(models / "3.gone")))
    for _ in range(4):
        entry.look()

    assert states(entry) == {"2": "AVAILABLE"}


def test_a_link_to_a_release_that_is_set_anew_is_followed(make: MakeEntry, models: Path) -> None:
    link = models / "5"
    write_version(models.parent / "releases", 1, "51")
    write_version(models.parent / "releases", 2, "52")
    link.symlink_to(models.parent / "releases" / "1")
    entry = make()
    entry.start()
    before = answer(entry)
    (models / "new").symlink_to(models.parent / "releases" / "2")
    (models / "new").rename(link)
    look_twice(entry)

    assert (before, answer(entry)) == (51, 52)


def test_a_model_whose_folder_cannot_be_read_for_a_while_serves_on_and_that_is_logged_once(
    make: MakeEntry, models: Path, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make()
    entry.start()
    models.rename(models.parent / "away")
    for _ in range(3):
        entry.look()
    away = answer(entry)
    (models.parent / "away").rename(models)
    look_twice(entry)
    logged = [record.getMessage() for record in caplog.records]

    assert (away, answer(entry)) == (2, 2)
    assert logged == [f"model m: {models} holds none of its versions now; version 2 serves on"]
    assert events == [("m", "2", "loaded")]


def test_an_end_of_the_server_while_a_version_loads_is_no_failure(
    make: MakeEntry, models: Path, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    entry = make()
    entry.start()
    entry._loader.close_all()
    write_version(models, 3, "3")
    look_twice(entry)

    assert events == [("m", "2", "loaded"), ("m", "2", "unloaded")]
    assert caplog.records == []


class Own(HalfPlusTwo):
    """Knows its version by itself."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.version = 3


def test_a_model_may_know_its_version_itself(make: MakeEntry, models: Path, events: Events) -> None:
    file = models.parent / "single"
    file.write_text("one")
    entry = make(name="own", backend=f"{__name__}:Own", path=str(file))
    entry.start()
    for _ in range(3):
        entry.look()
    file.write_text("another")
    for _ in range(3):
        entry.look()

    assert entry.find(3, None).model.version == "3"
    assert states(entry) == {"3": "AVAILABLE"}
    assert events == [("own", "3", "loaded")] * 2


def test_a_single_file_is_followed_too(make: MakeEntry, models: Path, events: Events) -> None:
    file = models.parent / "single"
    file.write_text("one")
    entry = make(**{**HALF, "path": str(file), "version": 7})
    entry.start()
    file.write_text("another")
    look_twice(entry)
    file.unlink()
    look_twice(entry)

    assert entry.find(7, None).model.version == "7"
    assert [event for event in events if event[2] == "loaded"][:2] == [("half", "7", "loaded")] * 2


def test_several_versions_are_found_by_number_and_by_label(make: MakeEntry, models: Path) -> None:
    entry = make(versions={"latest": 2}, version_labels={"stable": 1, "canary": 2})
    entry.start()
    before = (answer(entry), answer(entry, 1), answer(entry, label="stable"), answer(entry, label="canary"))
    write_version(models, 3, "3")
    look_twice(entry)

    assert before == (2.0, 1.0, 1.0, 2.0)
    assert (answer(entry), answer(entry, label="canary")) == (3, 2)
    for label in ("stable", "nope"):
        with pytest.raises(LabelNotFound, match=f"has no version labelled '{label}'"):
            entry.find(None, label)


def test_what_is_unloaded_is_not_found_until_it_is_loaded_again(make: MakeEntry, events: Events) -> None:
    entry = make(versions="all")
    entry.start()
    entry.unload()
    entry.look()
    unloaded = entry.statuses()
    with pytest.raises(ModelNotFound, match="is unloaded; load it first"):
        entry.find(2, None)
    ready = entry.ready
    entry.load()

    assert unloaded == [VersionStatus("2", "END", "unloaded"), VersionStatus("1", "END", "unloaded")]
    assert ready
    assert (answer(entry), answer(entry, 1)) == (2, 1)


def test_what_begins_unloaded_is_not_loaded_but_known(make: MakeEntry, events: Events) -> None:
    entry = make()
    entry.start_unloaded()
    entry.look()

    assert entry.statuses() == [VersionStatus("2", "END", "unloaded")]
    assert events == []


def test_what_cannot_be_loaded_again_stays_unloaded(make: MakeEntry, models: Path) -> None:
    entry = make(versions="all")
    entry.start()
    entry.unload()
    rewrite(models, 2, "two")
    with pytest.raises(ConfigurationError, match="no number"):
        entry.load()

    with pytest.raises(ModelNotFound):
        entry.find(None, None)


def test_loading_what_is_loaded_loads_it_anew_and_takes_a_new_version_at_once(
    make: MakeEntry, models: Path, events: Events
) -> None:
    entry = make()
    entry.start()
    entry.load()
    write_version(models, 3, "3")
    entry.load()
    write_version(models, 4, "four")
    with pytest.raises(ConfigurationError, match="no number"):
        entry.load()

    assert answer(entry) == 3
    assert [event[1:] for event in events][:3] == [("2", "loaded"), ("2", "loaded"), ("3", "loaded")]
    assert entry.statuses()[0].error.endswith("no number")


def test_while_a_version_loads_the_old_one_answers_and_the_status_says_so(make: MakeEntry, models: Path) -> None:
    entry = make()
    entry.start()
    write_version(models, 3, "14")
    entry.look()
    loading = threading.Thread(target=entry.look)
    loading.start()
    assert Mined.entered.wait(10)
    number, meanwhile = answer(entry), states(entry)
    Mined.leave.set()
    loading.join()

    assert number == 2
    assert meanwhile == {"3": "LOADING", "2": "AVAILABLE"}
    assert answer(entry) == 14
