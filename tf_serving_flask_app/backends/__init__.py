"""What runs a model: one file a kind, the only place that knows TensorFlow or gRPC.

A new backend is one file here and one row in ``BACKENDS``; one of somebody else's needs no row, the spec names it as
``"package.module:Class"``. See ``base.Backend`` for the contract.
"""

from __future__ import annotations

from collections.abc import Mapping

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.imports import import_from_string

BACKENDS: Mapping[str, str] = {
    "frozen_graph": "tf_serving_flask_app.backends.frozen_graph:FrozenGraph",
    "saved_model": "tf_serving_flask_app.backends.saved_model:SavedModel",
    "keras": "tf_serving_flask_app.backends.keras:KerasModel",
    "tflite": "tf_serving_flask_app.backends.tflite:TFLiteModel",
    "tf_serving": "tf_serving_flask_app.backends.tf_serving:TensorFlowServing",
}


def backend_class(kind: str) -> type[Backend]:
    """Find the class behind a spec's ``backend:``.

    Raises:
        ConfigurationError: it cannot be imported, or is not a ``Backend``.
    """
    found = import_from_string(BACKENDS.get(kind, kind))
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise ConfigurationError(f"backend {kind!r} is not a subclass of tf_serving_flask_app.backends.base.Backend.")
    return found
