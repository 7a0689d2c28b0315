"""TensorFlow Serving's paths: which model, version or label a request is for, and what it asks of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from flask import request
from werkzeug.routing import BaseConverter

from tf_serving_flask_app.errors import InvalidInput

POST = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict|explain)", re.I | re.A
)
GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?", re.I | re.A)
"""As in tensorflow/serving, model_servers/http_rest_api_util.cc; ``explain`` is KServe's."""

MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Target:
    """What a request is for.

    Attributes:
        name: the model's; None in ``/v1/models``.
        version: None for the latest.
        label: of a version, in place of ``version``.
        call: the last part of the path: ``predict``, ``metadata``...; ``status`` where the path ends before.
    """

    name: str | None
    version: int | None = None
    label: str | None = None
    call: str = "status"


def parse_path(method: str, path: str) -> Target:
    """Read a path as TensorFlow Serving does: in any case of its letters, its names decoded.

    Args:
        method: HTTP's.
        path: as it was sent, so that a ``%2F`` in a name does not end it.

    Raises:
        InvalidInput: it has no such path with this method, or the version is beyond int64.
    """
    found = {"POST": POST, "GET": GET}.get(method, re.compile("(?!)")).fullmatch(path)
    if found is None:
        raise InvalidInput(f"Malformed request: {method} {path}")
    name, version, label, call = found.groups()
    if version is not None and (len(version.lstrip("0")) > len(str(MAX_VERSION)) or int(version) > MAX_VERSION):
        raise InvalidInput(f"Failed to convert version: {version} to numeric.")
    return Target(
        name=name and unquote(name, errors="replace"),
        version=None if version is None else int(version),
        label=label and unquote(label, errors="replace"),
        call=(call or "status").lower(),
    )


def raw_path() -> str:
    """The request's path as it was sent, without the query."""
    uri: str = request.environ.get("RAW_URI") or quote(request.path, safe="/:")
    path = re.sub(r"^https?://[^/]*", "", uri.partition("?")[0], flags=re.I)
    return path.removeprefix(request.script_root)


class Segment(BaseConverter):
    """A name in a path; as in TensorFlow Serving it has no colon."""

    regex = "[^/:]+"


class VersionNumber(BaseConverter):
    """A version that surely is an int64; a longer one goes to the rule for all the rest, which says what is wrong."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        """See werkzeug."""
        return int(value)


class Rest(BaseConverter):
    """All that is left of a path, even nothing."""

    regex = ".*"
    part_isolating = False


CONVERTERS: dict[str, Any] = {"segment": Segment, "version": VersionNumber, "rest": Rest}
