"""Loads models, and closes each when the last request that holds it is done."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from queue import Empty, SimpleQueue

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError, NotReady
from tf_serving_flask_app.memory import give_back_memory
from tf_serving_flask_app.metrics import LoadListener
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import BatchingSpec
from tf_serving_flask_app.tasks import task_class
from tf_serving_flask_app.tasks.base import Task

logger = logging.getLogger(__name__)


def load_task(spec: ModelSpec, settings: Settings) -> Task:
    """Load one model, check it against its spec and warm it up.

    Raises:
        ConfigurationError: model and spec do not go together, or the model cannot be loaded.
        ServingError: the model lives elsewhere and is not to be had now.
    """
    began = time.perf_counter()
    spec = settle(spec, settings)
    backend = backend_class(spec.backend)
    backend.check_session(spec)
    model = Model(spec, backend(spec))
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


def settle(spec: ModelSpec, settings: Settings) -> ModelSpec:
    """Fill in what a spec leaves to the settings and the machine.

    Raises:
        ConfigurationError: it names no model server, and neither do the settings.
    """
    settled: dict[str, object] = {}
    if spec.session.intra_op_threads == "auto":
        threads = max(1, usable_cores() // settings.processes)
        settled["session"] = spec.session.model_copy(update={"intra_op_threads": threads})
    if settings.profile:
        # In a joined call the model runs in one request's thread, and the profiles of the others would not show it.
        settled["batching"] = BatchingSpec(max_batch_size=1)
    if spec.backend == "tf_serving" and not spec.targets:
        if settings.tfserving_target is None:
            raise ConfigurationError(
                f"model {spec.name!r}: no model server is named: write `targets: [host:8500]` into the spec, or set"
                " APP_TFSERVING_HOST and APP_TFSERVING_PORT."
            )
        settled["targets"] = [settings.tfserving_target]
    return spec.model_copy(update=settled)


class Loader:
    """Loads tasks and owns their models.

    Who has a task from here just forgets it when it is not to be served any more. Its model is closed once nobody
    holds the task, so no request ever meets a closed model, and none keeps one longer than it needs it.
    """

    def __init__(self, settings: Settings, on_load: LoadListener) -> None:
        self.settings = settings
        self.on_load = on_load
        self._lock = threading.Lock()
        self._forgotten: SimpleQueue[Model | None] = SimpleQueue()
        self._owned: list[weakref.finalize[[Model | None], Task]] = []
        self._closed = False

    def load(self, spec: ModelSpec) -> Task:
        """Load and warm a model; see ``load_task``.

        Raises:
            NotReady: also when everything has been closed meanwhile.
        """
        task = load_task(spec, self.settings)
        with self._lock:
            if self._closed:
                task.model.close()
                raise NotReady("The server is stopping.", "END")
            # A finaliser may run in any thread at any moment, so it does nothing but pass the model on.
            finalizer = weakref.finalize(task, self._forgotten.put, task.model)
            finalizer.atexit = False
            self._owned = [*(owned for owned in self._owned if owned.alive), finalizer]
        self.on_load(spec.name, task.model.version, "loaded")
        return task

    def close_forgotten(self, wait_s: float) -> None:
        """Close the models that nobody needs any more; wait for the first, unless ``wake`` is called."""
        try:
            model = self._forgotten.get(timeout=wait_s)
        except Empty:
            return
        closed = model is not None
        while model is not None:
            self._close(model)
            del model
            model = None if self._forgotten.empty() else self._forgotten.get()
        if closed:
            give_back_memory()

    def wake(self) -> None:
        """End a wait in ``close_forgotten``."""
        self._forgotten.put(None)

    def close_all(self) -> None:
        """Close every model, also those that are still held, and load no more."""
        with self._lock:
            self._closed = True
            for finalizer in self._owned:
                finalizer()
        while not self._forgotten.empty():
            model = self._forgotten.get()
            if model is not None:
                self._close(model)

    def _close(self, model: Model) -> None:
        model.close()
        logger.info("model %s version %s is unloaded", model.name, model.version)
        self.on_load(model.name, model.version, "unloaded")
