"""The yardstick of the smallest model: a Flask route as anybody writes it, with no TensorFlow behind it."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request


def create_app() -> Flask:
    """Make an application that takes numbers as JSON."""
    app = Flask("bare")

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    @app.post("/predict")
    def predict() -> Response:
        return jsonify(predictions=[number / 2 + 2 for number in request.get_json()["instances"]])

    return app
