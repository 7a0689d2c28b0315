"""What the server is measured against: a Flask route as anybody writes it, under the same gunicorn."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass

import numpy as np
from flask import Flask, Response, jsonify, request

from tf_serving_flask_app.gunicorn.server import serve
from tf_serving_flask_app.settings import Settings


@dataclass(frozen=True)
class Bare:
    """The application, as the server takes it."""

    wsgi: Flask
    serves_several: bool = False

    def count_refusal(self, method: str | None, status: int) -> None:
        """Nothing is counted."""

    def drain(self) -> None:
        """Nothing is to be done before the end."""

    def close(self) -> None:
        """Nothing is to be closed."""


def make_app() -> Flask:
    """Make an application that takes a tensor as JSON."""
    app = Flask("bare")

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    @app.post("/predict")
    def predict() -> Response:
        tensor = np.array(json.loads(request.get_data())["instances"], dtype=np.float32)
        return jsonify(predictions=tensor[:, 0, 0, 0].tolist())

    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # where the server listens is told there
    sys.exit(
        serve(
            Settings.from_environ(os.environ),
            lambda: Bare(make_app()),
            before_fork=lambda uid, gid: None,
            on_exit=lambda: None,
        )
    )
