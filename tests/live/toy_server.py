"""A server with a toy application, as a process of its own: what ``test_workers`` starts. The environment steers it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.gunicorn.server import serve
from tf_serving_flask_app.gunicorn.workers import ServingWorker
from tf_serving_flask_app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


LARGE = 16 << 20
"""Bytes of an answer that no socket's buffers hold."""


class Injected(Response):
    """An answer with a header that is two, past Flask's own check."""

    def get_wsgi_response(self, environ: WSGIEnvironment) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        return [b"body"], "200 OK", [("Content-Length", "4"), ("X-One", "1\r\nX-Two: 2")]


@dataclass(frozen=True)
class Toy:
    """The application and a record of what its server told it."""

    wsgi: Flask
    serves_several: bool = False

    def count_refusal(self, method: str | None, status: int) -> None:
        logging.info("refused %s %d", method, status)

    def drain(self) -> None:
        logging.info("drained %d", os.getpid())

    def close(self) -> None:
        logging.info("closed %d", os.getpid())


def make_app(settings: Settings) -> Flask:
    """Make an application that echoes, sleeps and breaks."""
    app = Flask("toy")
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_content_length)

    @app.route("/echo", methods=["GET", "POST"])
    def echo() -> Response:
        return Response(request.get_data(), mimetype="application/octet-stream")

    @app.get("/livez")
    @app.get("/readyz")
    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.post("/sleep/<float:seconds>")
    def sleep(seconds: float) -> str:
        with Path(os.environ["TOY_STARTED"]).open("ab") as started:
            started.write(b".")
        time.sleep(seconds)
        return "slept"

    @app.get("/break")
    def break_down() -> str:
        raise SystemExit(7)

    @app.get("/large")
    def large() -> Response:
        return Response(b"x" * LARGE, mimetype="application/octet-stream")

    @app.get("/inject")
    def inject() -> Response:
        return Injected()

    @app.errorhandler(HTTPException)
    def as_json(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    return app


def main() -> int:
    """Serve with gunicorn."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environ(os.environ)
    ServingWorker.header_timeout_s = float(os.environ.get("TOY_HEADER_S", ServingWorker.header_timeout_s))

    def load() -> Toy:
        failure = Path(os.environ["TOY_FAILURE"])
        if failure.exists():
            text = failure.read_text(encoding="utf-8")
            if text == "sleep":
                logging.info("loading for long")
                time.sleep(60)
            raise ConfigurationError(text) if text.startswith("model.spec") else ValueError(text)
        return Toy(make_app(settings))

    return serve(
        settings,
        load,
        before_fork=lambda uid, gid: logging.info("threads before the fork: %d", len(os.listdir("/proc/self/task"))),
        on_exit=lambda: logging.info("the end"),
    )


if __name__ == "__main__":
    sys.exit(main())
