"""What a model is for: one file a task, between the routes and the model. A new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Mapping

from tf_serving_flask_app.imports import import_from_string
from tf_serving_flask_app.tasks.base import Task

TASKS: Mapping[str, str] = {
    "classification": "tf_serving_flask_app.tasks.classification:Classification",
    "detection": "tf_serving_flask_app.tasks.detection:Detector",
    "tensor": "tf_serving_flask_app.tasks.tensor:TensorTask",
}


def task_class(name: str) -> type[Task]:
    """Find the class behind a spec's ``task:``."""
    found: type[Task] = import_from_string(TASKS[name])
    return found
