"""The models that a process serves: loads them, finds them by name, closes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput, NotFound
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks import task_class
from tf_serving_flask_app.tasks.base import Task

logger = logging.getLogger(__name__)

AnyTask = TypeVar("AnyTask", bound=Task)


def load_task(spec: ModelSpec, settings: Settings) -> Task:
    """Load one model, check it against its spec and warm it up.

    Raises:
        ConfigurationError: model and spec do not go together, or the model cannot be loaded.
    """
    began = time.perf_counter()
    if spec.session.intra_op_threads == "auto":
        threads = max(1, usable_cores() // settings.processes)
        session = spec.session.model_copy(update={"intra_op_threads": threads})
        spec = spec.model_copy(update={"session": session})
    model = Model(spec, backend_class(spec.backend)(spec))
    try:
        model.check_spec()
        task = task_class(spec.task)(model, settings)
        task.warm()
    except BaseException:
        model.close()
        raise
    logger.info(
        "model %s version %s is loaded and warm after %.2f s", model.name, model.version, time.perf_counter() - began
    )
    return task


class Repository:
    """Owns the loaded models; made in each worker after the fork, closed by who made it."""

    def __init__(self, specs: Sequence[ModelSpec], settings: Settings, *, skip_failing: bool = False) -> None:
        """Load all models.

        Args:
            specs: the models.
            settings: what the environment says.
            skip_failing: log a model that cannot be served and go on, as long as one is left.

        Raises:
            ConfigurationError: one of them, or with ``skip_failing`` each, cannot be served as its spec says.
        """
        self._tasks: dict[str, Task] = {}
        self.draining = False
        try:
            for spec in specs:
                try:
                    self._tasks[spec.name] = load_task(spec, settings)
                except ConfigurationError as exc:
                    if not skip_failing:
                        raise
                    logger.error("%s is not served: %s", spec.path, exc)
            if skip_failing and not self._tasks:
                raise ConfigurationError("None of the models can be served; each has a line above that says why.")
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    @property
    def ready(self) -> bool:
        """True when there is something to serve, all of it is loaded and warm, and the server is not stopping."""
        return bool(self._tasks) and not self.draining

    def states(self) -> dict[str, dict[str, str]]:
        """Each model's versions and their states, in TensorFlow Serving's words."""
        return {name: {task.model.version: "AVAILABLE"} for name, task in self._tasks.items()}

    def find(self, name: str | None, kind: type[AnyTask]) -> AnyTask:
        """Find a model for a route; the name may be left out where one model fits.

        Raises:
            NotFound: there is no such model, or it is for another task.
            InvalidInput: several fit and none is named.
        """
        fitting = {task.model.name: task for task in self if isinstance(task, kind)}
        names = ", ".join(fitting) or "none"
        if name is None:
            if len(fitting) == 1:
                return next(iter(fitting.values()))
            if not fitting:
                raise NotFound("No model here does that; GET / lists the models and their tasks.")
            raise InvalidInput(f"Several models fit; name one as 'modelname': {names}.")
        if name in fitting:
            return fitting[name]
        if name in self._tasks:
            raise NotFound(f"Model {name!r} is for {self._tasks[name].model.spec.task}; for this there are: {names}.")
        raise NotFound(f"There is no model {name!r}; there are: {names}.")

    def drain(self) -> None:
        """Say from now on that the server is not ready, so that balancers send no more."""
        self.draining = True

    def close(self) -> None:
        """Close all models."""
        for task in self:
            task.model.close()
        self._tasks = {}
