"""Version folders: which of them a spec asks for, and by what a change in one is noticed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import LatestVersions, ModelSpec

Fingerprint = tuple[tuple[str, int, int], ...]
"""Of each file: its path behind all links, its size in bytes, and when it was last written, in nanoseconds."""

NUMBER = re.compile("[0-9]{1,18}")
"""A version's number in a path or a folder's name: what fits into 63 bits."""


def numbered_folders(path: Path) -> dict[int, Path]:
    """Find the folders in a folder whose names are numbers, links to folders too; none where it cannot be read.

    Of several that mean the same number, ``7`` and ``007``, it is the one with the shortest name.
    """
    try:
        with os.scandir(path) as entries:
            numbers = [entry for entry in entries if NUMBER.fullmatch(entry.name)]
    except OSError:
        return {}
    found = {}
    for entry in sorted(numbers, key=lambda entry: len(entry.name), reverse=True):
        with suppress(OSError):  # a link to itself, or to where nobody may look, hides no other
            if entry.is_dir():
                found[int(entry.name)] = path / entry.name
    return found


def may_be_there(file: Path) -> bool:
    """Tell whether there is a file, as far as may be known: one in a folder that may not be read may be there."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def fingerprint(files: Iterable[Path]) -> Fingerprint:
    """Tell what files hold from what they held before, as far as that shows without reading them."""
    found = []
    for file in files:
        with suppress(OSError):  # gone since it was listed
            status = file.stat()
            # A link that is set anew may lead to a file of the same size and time: models of one shape, packed alike.
            found.append((os.path.realpath(file), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def sources_of(spec: ModelSpec, found: Mapping[int, Path]) -> Mapping[int, Path]:
    """Number what a backend found in the spec's path: a path that is one model has the number that the spec gives."""
    if spec.version is not None and list(found.values()) == [spec.path]:
        return {spec.version: spec.path}
    return found


def choose(spec: ModelSpec, numbers: Iterable[int]) -> list[int]:
    """Choose those versions that the spec asks for, the latest first."""
    latest_first = sorted(numbers, reverse=True)
    if spec.version is not None:
        return [number for number in latest_first if number == spec.version]
    if spec.versions is None:
        return latest_first[:1]
    if isinstance(spec.versions, LatestVersions):
        return latest_first[: spec.versions.latest]
    return [number for number in latest_first if spec.versions == "all" or number in spec.versions]


def pin(spec: ModelSpec, number: int, source: Path) -> ModelSpec:
    """Make the spec of one version."""
    if source == spec.path:
        return spec
    return spec.model_copy(update={"version": number, "versions": None, "version_labels": {}})


def check_versions(spec: ModelSpec, sources: Mapping[int, Path]) -> None:
    """Refuse a spec that asks for versions which are not there.

    Only what a person has just written is held to this: a server that runs goes on with the versions that are left.

    Raises:
        ConfigurationError: there are no version folders, one that is listed is missing, or a label names one that is
            not served.
    """
    if spec.versions is None and not spec.version_labels:
        return
    if list(sources.values()) == [spec.path]:
        raise ConfigurationError(
            f"{spec.path} is one model, not a folder of numbered versions; leave versions and version_labels out."
        )
    there_are = f"there are {', '.join(map(str, sorted(sources))) or 'none'}"
    for number in spec.versions if isinstance(spec.versions, list) else ():
        if number not in sources:
            raise ConfigurationError(f"versions: {spec.path} has no version {number}; {there_are}.")
    served = choose(spec, sources)
    for label, number in spec.version_labels.items():
        if number not in served:
            raise ConfigurationError(
                f"version_labels: {label!r} names version {number}, but served are"
                f" {', '.join(map(str, served)) or 'none'} ({there_are}); set `versions` so that it is served."
            )
