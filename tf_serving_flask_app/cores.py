"""How many processor cores this process may really use, limits of containers and services counted."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Return the cores this process may use: its affinity, capped by the CPU quotas of its cgroups, at least 1.

    A quota of 1.5 processors counts as 2. The smallest counts, of this process's cgroup and of all above it: a
    container sees its own as the root, a service that systemd limits lies below. Both cgroup versions are read:
    https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``) and
    https://docs.kernel.org/scheduler/sched-bwc.html (``cpu.cfs_quota_us``).

    Args:
        cgroups: where they are mounted.
        own: the file that tells this process's, see cgroups(7).
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(math.ceil, _quotas(cgroups, own))]))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """The CPU quotas that hold for this process, in processors."""
    for folder in _folders(cgroups, own, ""):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)  # "max" is none
    for folder in _folders(cgroups / "cpu", own, "cpu"):
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                yield int(quota) / int(period)


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folder of this process's cgroup and of those above it; the root, where it lies outside of what is mounted."""
    place = PurePosixPath("/")
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                place = PurePosixPath(path)
    for each in [PurePosixPath("/")] if ".." in place.parts else [place, *place.parents]:
        yield root / each.relative_to("/")
