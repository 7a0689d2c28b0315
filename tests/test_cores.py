"""Cores: the smaller of what the process may run on and what its container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tf_serving_flask_app.cores import usable_cores

AFFINITY = len(os.sched_getaffinity(0))


def write_v1(cgroup: Path, quota: str, period: str | None = "100000") -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    if period is not None:
        (cgroup / "cpu/cpu.cfs_period_us").write_text(f"{period}\n")


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == AFFINITY


@pytest.mark.parametrize(
    ("quota_and_period", "cores"),
    [
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("100000 50000", 2),
        ("9900000 100000", 99),
        ("max 100000", AFFINITY),
    ],
)
def test_the_quota_of_version_2_is_rounded_up_and_caps_the_affinity(
    tmp_path: Path, quota_and_period: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota_and_period}\n")

    assert usable_cores(tmp_path) == min(cores, AFFINITY)


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("150000", 2), ("10000", 1), ("-1", AFFINITY)])
def test_the_quota_of_version_1_counts_where_there_is_no_version_2(tmp_path: Path, quota: str, cores: int) -> None:
    write_v1(tmp_path, quota)

    assert usable_cores(tmp_path) == min(cores, AFFINITY)


def test_an_empty_file_of_version_2_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").touch()
    write_v1(tmp_path, "100000")

    assert usable_cores(tmp_path) == 1


def test_a_quota_of_version_1_without_its_period_says_nothing(tmp_path: Path) -> None:
    write_v1(tmp_path, "100000", period=None)

    assert usable_cores(tmp_path) == AFFINITY


@pytest.mark.parametrize(
    ("root", "slice_of", "service", "cores"),
    [
        ("max 100000", "max 100000", "100000 100000", 1),
        ("max 100000", "100000 100000", "9900000 100000", 1),
        ("100000 100000", "max 100000", "max 100000", 1),
        (None, None, "100000 100000", 1),
        (None, "max 100000", "max 100000", AFFINITY),
    ],
)
def test_the_smallest_quota_of_a_service_and_of_what_is_above_it_counts(
    tmp_path: Path, root: str | None, slice_of: str | None, service: str, cores: int
) -> None:
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/elsewhere\n0::/system.slice/model.service\n")
    folder = tmp_path / "system.slice/model.service"
    folder.mkdir(parents=True)
    for place, quota in ((tmp_path, root), (folder.parent, slice_of), (folder, service)):
        if quota is not None:
            (place / "cpu.max").write_text(f"{quota}\n")

    assert usable_cores(tmp_path, own) == cores


def test_version_1_has_a_place_of_its_own_for_the_processor(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:memory:/other\n4:cpu,cpuacct:/limited\n0::/\n")
    (tmp_path / "cpu/limited").mkdir(parents=True)
    (tmp_path / "cpu/limited/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/limited/cpu.cfs_period_us").write_text("100000\n")

    assert usable_cores(tmp_path, own) == 1


@pytest.mark.parametrize("path", ["/docker/1a2b", "/../../other"])
def test_a_cgroup_that_the_container_does_not_see_leaves_the_root(tmp_path: Path, path: str) -> None:
    own = tmp_path / "own"
    own.write_text(f"0::{path}\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    assert usable_cores(tmp_path, own) == 1


def test_the_machine_itself_has_a_core_to_use() -> None:
    assert 1 <= usable_cores() <= AFFINITY
