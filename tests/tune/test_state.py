"""What is kept of an interrupted search, and when it counts no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune.conftest import DEFAULT, pairs, trial
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.tune.agreement import Agreement
from tf_serving_flask_app.tune.state import State, default_file
from tf_serving_flask_app.tune.trials import Final, Trial

ONE = replace(DEFAULT, workers=1)


def test_trials_and_the_final_are_found_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.json"
    kept = State(file, "same")
    refused = Trial(ONE, refused="no luck")
    measured = replace(trial(DEFAULT, 1.1, 1.2), agreement=Agreement(0.0, float("inf"), 64, "a note"))
    final = Final(1.0, [ONE], [[*pairs([1.5])[0]]])
    for each in (trial(ONE, 9.0), refused, measured):
        kept.keep(each)
    kept.keep_final(final)
    again = State(file, "same")

    assert again.trial(ONE, 1.0) == refused
    assert again.trial(DEFAULT, 1.0) == measured
    assert again.final([ONE], 1.0) == final
    assert again.final([DEFAULT], 1.0) is None
    assert list(file.parent.iterdir()) == [file]


def test_another_identity_or_a_fresh_start_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    State(file, "first").keep(trial(ONE, 1.0))

    assert State(file, "second").trial(ONE, 1.0) is None
    State(file, "first").keep(trial(ONE, 1.0))
    assert State(file, "first", fresh=True).trial(ONE, 1.0) is None


def test_much_shorter_measurements_are_made_anew(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json", "same")
    state.keep(trial(ONE, 1.0))

    assert state.trial(ONE, 2.0) is not None
    assert state.trial(ONE, 2.5) is None


@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_of_something_else_is_refused_and_stays(fresh: bool, tmp_path: Path) -> None:
    file = tmp_path / "precious.txt"
    file.write_text("mine")
    with pytest.raises(ConfigurationError, match="does not hold what tune keeps; name another with --state"):
        State(file, "same", fresh=fresh)

    assert file.read_text() == "mine"


def test_a_folder_that_goes_meanwhile_is_told(tmp_path: Path) -> None:
    state = State(tmp_path / "kept" / "state.json", "same")
    state.file.unlink()
    state.file.parent.rmdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        state.keep(Trial(ONE, refused="no"))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written \(.*\); name another with --state"):
        State(tmp_path / "file" / "state.json", "same")


def test_results_are_kept_in_the_users_cache() -> None:
    file = default_file("half", "0123456789abcdef0123", {"XDG_CACHE_HOME": "/cache"})

    assert file == Path("/cache/tf_serving_flask_app/tune/half-0123456789abcdef.json")
    assert default_file("half", "0", {}).is_relative_to(Path.home() / ".cache")
