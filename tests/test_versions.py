"""Versions: which are chosen, what is refused, and what makes a change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HALF
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.versions import (
    check_versions,
    choose,
    fingerprint,
    may_be_there,
    numbered_folders,
    pin,
    sources_of,
)

MakeSpecs = Callable[..., list[ModelSpec]]


def folders(spec: ModelSpec, *numbers: int) -> dict[int, Path]:
    return {number: spec.path / str(number) for number in numbers}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ({}, [10]),
        ({"version": 2}, [2]),
        ({"version": 7}, []),
        ({"versions": {"latest": 1}}, [10]),
        ({"versions": {"latest": 2}}, [10, 2]),
        ({"versions": {"latest": 9}}, [10, 2, 1]),
        ({"versions": "all"}, [10, 2, 1]),
        ({"versions": [1, 10]}, [10, 1]),
        ({"versions": [1, 7]}, [1]),
        ({"version_labels": {"old": 1}}, [10]),
    ],
)
def test_versions_are_chosen_by_number_the_latest_first(
    make_specs: MakeSpecs, policy: dict[str, Any], chosen: list[int]
) -> None:
    assert choose(make_specs({**HALF, **policy})[0], [1, 10, 2]) == chosen


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"versions": [1, 3]}, "has no version 3; there are 1, 2."),
        ({"version_labels": {"stable": 1}}, "'stable' names version 1, but served are 2 (there are 1, 2)"),
        ({"versions": {"latest": 1}, "version_labels": {"stable": 1}}, "set `versions` so that it is served."),
        ({"versions": "all", "version_labels": {"stable": 3}}, "'stable' names version 3, but served are 2, 1"),
    ],
)
def test_versions_that_are_not_there_are_refused(make_specs: MakeSpecs, policy: dict[str, Any], text: str) -> None:
    (spec,) = make_specs({**HALF, **policy})
    with pytest.raises(ConfigurationError) as caught:
        check_versions(spec, folders(spec, 1, 2))

    assert text in str(caught.value)


@pytest.mark.parametrize("policy", [{"versions": "all"}, {"version_labels": {"stable": 1}}])
def test_a_path_that_is_one_model_has_no_versions_to_choose_from(make_specs: MakeSpecs, policy: dict[str, Any]) -> None:
    (spec,) = make_specs({**HALF, **policy})
    with pytest.raises(ConfigurationError, match="is one model, not a folder of numbered versions"):
        check_versions(spec, {1: spec.path})


def test_labels_of_served_versions_are_accepted(make_specs: MakeSpecs) -> None:
    (spec,) = make_specs({**HALF, "versions": {"latest": 2}, "version_labels": {"stable": 1, "canary": 2}})
    check_versions(spec, folders(spec, 1, 2))


def test_one_model_has_the_number_that_the_spec_gives_it(make_specs: MakeSpecs) -> None:
    plain, numbered = make_specs(HALF, {**HALF, "name": "numbered", "version": 7})

    assert sources_of(plain, {3: plain.path}) == {3: plain.path}
    assert sources_of(numbered, {3: plain.path}) == {7: plain.path}
    assert sources_of(numbered, folders(plain, 3)) == folders(plain, 3)


def test_a_version_of_several_is_loaded_by_its_number_alone(make_specs: MakeSpecs) -> None:
    (spec,) = make_specs({**HALF, "versions": "all", "version_labels": {"stable": 3}})
    pinned = pin(spec, 3, spec.path / "3")

    assert (pinned.version, pinned.versions, pinned.version_labels) == (3, None, {})
    assert pin(spec, 1, spec.path) is spec


def test_folders_are_versions_if_their_names_are_numbers(tmp_path: Path) -> None:
    for name in ("1", "00000123", "2.tmp", "x", ".3", "-4"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").touch()

    assert numbered_folders(tmp_path) == {1: tmp_path / "1", 123: tmp_path / "00000123"}
    assert numbered_folders(tmp_path / "nowhere") == {}


def test_of_two_names_for_a_number_the_shorter_counts_and_what_is_no_ascii_number_is_none(tmp_path: Path) -> None:
    for name in ("007", "7", "0008", "08", "\u0663", "9" * 19):
        (tmp_path / name).mkdir()

    assert numbered_folders(tmp_path) == {7: tmp_path / "7", 8: tmp_path / "08"}


def test_links_to_folders_are_versions_and_one_that_leads_nowhere_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    for name, target in (("1", "release"), ("2", "gone"), ("3", "3"), ("4", "release")):
        (tmp_path / name).symlink_to(target)

    assert numbered_folders(tmp_path) == {1: tmp_path / "1", 4: tmp_path / "4"}


def test_what_may_not_be_looked_at_may_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    known = [may_be_there(path) for path in (tmp_path / "file", tmp_path, tmp_path / "gone")]

    def refuse(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", refuse)  # root, as whom tests may run, is refused nothing

    assert known == [True, False, False]
    assert may_be_there(tmp_path / "secret" / "file")


def test_a_fingerprint_changes_when_a_link_is_set_anew_to_a_file_of_the_same_size_and_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        os.utime(tmp_path / name / "file", ns=(1, 1))
    link = tmp_path / "current"
    link.symlink_to("a")
    before = fingerprint([link / "file"])
    link.unlink()
    link.symlink_to("b")

    assert fingerprint([link / "file"]) != before


def test_a_fingerprint_changes_with_names_sizes_and_times_and_with_nothing_else(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("one")
    os.utime(file, ns=(1, 1))
    before = fingerprint([file])
    file.write_text("two")
    os.utime(file, ns=(9, 1))
    same = fingerprint([file])
    os.utime(file, ns=(1, 2))
    later = fingerprint([file])
    file.write_text("three")
    os.utime(file, ns=(1, 1))
    longer = fingerprint([file])
    other.touch()

    assert before == same
    assert longer == fingerprint([tmp_path / "gone", file])
    assert len({before, later, longer, fingerprint([file, other]), fingerprint([])}) == 5
