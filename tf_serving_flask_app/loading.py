"""What a model needs before it can be loaded."""

from __future__ import annotations

from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec


def settle(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """Fill in what a spec leaves to the settings and the machine.

    Raises:
        ConfigurationError: it names no model server, and neither do the settings.
    """
    settled: dict[str, object] = {}
    if spec.session.intra_op_threads == "auto":
        threads = max(1, usable_cores() // settings.processes)
        settled["session"] = spec.session.model_copy(update={"intra_op_threads": threads})
    if spec.backend == "tf_serving" and not spec.targets:
        if settings.tfserving_target is None:
            raise ConfigurationError(
                f"model {spec.name!r}: no model server is named: write `targets: [host:8500]` into the spec, or set"
                " APP_TFSERVING_HOST and APP_TFSERVING_PORT."
            )
        settled["targets"] = [settings.tfserving_target]
    return spec.model_copy(update=settled)
