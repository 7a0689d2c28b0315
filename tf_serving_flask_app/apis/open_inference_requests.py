"""What every route of the Open Inference Protocol reads alike: the JSON, and which model and version are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tf_serving_flask_app.apis.validation import Record, shown, validate
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.entries import VersionStatus
from tf_serving_flask_app.errors import InvalidInput, VersionNotFound
from tf_serving_flask_app.json_arrays import parse_json
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.tasks.base import Task

TAG = "Open Inference Protocol"

VERSION = re.compile(r"[0-9]{1,18}")


def parse_request(kind: type[Record], text: bytes) -> Record:
    """Parse a body's JSON and validate it.

    Raises:
        InvalidInput: it is no JSON, or does not fit.
    """
    try:
        data = parse_json(text)
    except ValueError as exc:
        raise InvalidInput(f"failed to parse the request JSON buffer: {exc}") from exc
    if not isinstance(data, dict):
        raise InvalidInput("failed to parse the request JSON buffer: it must be an object")
    return validate(kind, without_nulls(data) if b"null" in text else data)


def without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    """Take null as what is left out, in a request and the records in it: some clients write it."""
    return {name: _without_nulls(name, value) for name, value in record.items() if value is not None}


def _without_nulls(name: str, value: Any) -> Any:
    if name == "parameters" and isinstance(value, dict):
        return without_nulls(value)
    if name in ("inputs", "outputs") and isinstance(value, list):
        return [without_nulls(item) if isinstance(item, dict) else item for item in value]
    return value


def find_task(repository: Repository, name: str, version: str | None, context: RequestContext | None = None) -> Task:
    """Find a model; without a version the one that is served as the latest; see ``Repository.find``.

    Raises:
        InvalidInput: the version is no number.
        ServingError: see ``Repository.find``.
    """
    return repository.find(name, Task, version=version_number(version), context=context)


def statuses_of(repository: Repository, name: str, version: str | None) -> Sequence[VersionStatus]:
    """The states of a model's versions, or of the one that is named.

    Raises:
        InvalidInput: the version is no number.
        ModelNotFound: there is no such model.
        VersionNotFound: it has no such version.
    """
    number = version_number(version)
    statuses = repository.status(name)
    if number is None:
        return statuses
    found = [status for status in statuses if status.version == str(number)]
    if not found:
        raise VersionNotFound(f"Model {name!r} does not serve version {number}.", name, number)
    return found


def version_number(text: str | None) -> int | None:
    """Read a version in a path.

    Raises:
        InvalidInput: it is no number.
    """
    if text is None:
        return None
    if not VERSION.fullmatch(text):
        raise InvalidInput(
            f"failed to get model version from specified version string {shown(text)}, version should be a whole number"
        )
    return int(text)
