"""Profiles requests with cProfile: the top frames into the log and, if wanted, a file that pstats opens."""

from __future__ import annotations

import cProfile
import io
import logging
import pstats
import re
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.observability.access_line import request_path

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_logger = logging.getLogger("tf_serving_flask_app.profile")


class Profiler:
    """WSGI middleware, inside AccessLog, that profiles one request at a time and never fails one.

    A request that finds another one being profiled runs unprofiled; the next profile tells how many did.
    A profiled answer is read to its end before the server gets it, so that its making is in the profile.

    Args:
        app: the application.
        function_limit: frames to show by own and by cumulative time.
        profile_dir: where to write a ``.prof`` file per profile, or None.
        as_json: log the frames as fields for a JSON log; else as the text of pstats.
    """

    def __init__(self, app: WSGIApplication, function_limit: int, profile_dir: Path | None, as_json: bool) -> None:
        self._app = app
        self._function_limit = function_limit
        self._profile_dir = profile_dir
        self._as_json = as_json
        # From Python 3.12 there is one cProfile per process; one rule for every version.
        self._active = threading.Lock()
        self._count = threading.Lock()
        self._skipped = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application for one request, profiled if no other request is."""
        if not self._active.acquire(blocking=False):
            return self._run_unprofiled(environ, start_response)
        profile = cProfile.Profile()
        try:
            try:
                profile.enable()
            except ValueError:  # a profiler that is not ours is at work
                return self._run_unprofiled(environ, start_response)
            try:
                return _read(self._app(environ, start_response))
            finally:
                profile.disable()
                self._report(profile, environ)
        finally:
            self._active.release()

    def _run_unprofiled(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._count:
            self._skipped += 1
        return self._app(environ, start_response)

    def _report(self, profile: cProfile.Profile, environ: WSGIEnvironment) -> None:
        try:
            with self._count:
                skipped, self._skipped = self._skipped, 0
            path = request_path(environ)
            extra = {"profile.skipped": skipped, "url.path": path, **self._frames(profile)}
            _logger.info("Profile of %s %s", environ["REQUEST_METHOD"], path, extra=extra)
            if self._profile_dir is not None:
                self._dump(profile, self._profile_dir, environ.get("tf_serving.request"))
        except Exception:
            _logger.exception("A profile could not be logged or written; the request is not affected")

    def _frames(self, profile: cProfile.Profile) -> dict[str, Any]:
        if self._as_json:
            frames = _frames(profile)
            return {
                "profile.own": _top(frames, "own_ms", self._function_limit),
                "profile.cumulative": _top(frames, "cumulative_ms", self._function_limit),
            }
        text = io.StringIO()
        stats = pstats.Stats(profile, stream=text)
        stats.sort_stats("tottime").print_stats(self._function_limit)
        stats.sort_stats("cumulative").print_stats(self._function_limit)
        return {"profile_text": text.getvalue().strip()}

    def _dump(self, profile: cProfile.Profile, folder: Path, context: RequestContext | None) -> None:
        request_id = re.sub(r"[^A-Za-z0-9._-]", "_", context.request_id if context else "unknown")
        folder.mkdir(parents=True, exist_ok=True)
        profile.dump_stats(folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{request_id}.prof")


def _read(body: Iterable[bytes]) -> list[bytes]:
    try:
        return list(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def _frames(profile: cProfile.Profile) -> list[dict[str, Any]]:
    profile.create_stats()
    return [
        {
            "function": function,
            "file": file,
            "line": line,
            "calls": calls,
            "own_ms": round(own_s * 1e3, 3),
            "cumulative_ms": round(cumulative_s * 1e3, 3),
        }
        for (file, line, function), (_, calls, own_s, cumulative_s, _) in profile.stats.items()
    ]


def _top(frames: list[dict[str, Any]], key: str, limit: int) -> list[dict[str, Any]]:
    return sorted(frames, key=lambda frame: frame[key], reverse=True)[:limit]
