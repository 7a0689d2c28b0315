"""The models that a process serves: loads them, finds them by name, follows those that live elsewhere, closes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.errors import (
    ConfigurationError,
    InvalidInput,
    LabelNotFound,
    ModelNotFound,
    NotFound,
    NotReady,
    ServingError,
    VersionNotFound,
)
from tf_serving_flask_app.loading import settle
from tf_serving_flask_app.metrics import LoadListener
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks import task_class
from tf_serving_flask_app.tasks.base import Task

logger = logging.getLogger(__name__)

FOLLOW_INTERVAL_S = 1.0
FIRST_LOOK_S = 3.0
"""How long the start waits for models that live elsewhere, so that those that are there are ready at once."""

AnyTask = TypeVar("AnyTask", bound=Task)


def load_task(spec: ModelSpec, settings: Settings) -> Task:
    """Load one model, check it against its spec and warm it up.

    Raises:
        ConfigurationError: model and spec do not go together, or the model cannot be loaded.
        ServingError: the model lives elsewhere and is not to be had now.
    """
    began = time.perf_counter()
    spec = settle(spec, settings)
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


@dataclass(frozen=True)
class VersionStatus:
    """How one version of a model fares, in TensorFlow Serving's words, and why it is not available."""

    version: str
    state: str
    error: str = ""


@dataclass
class Entry:
    """What is known of one model.

    Attributes:
        task: None until it is loaded; one that was loaded stays while the model is away, and says so when called.
        state: in TensorFlow Serving's words.
        reason: why it is not available, as far as it matters whether that was logged.
    """

    spec: ModelSpec
    kind: type[Task]
    task: Task | None = None
    state: str = "START"
    reason: str = ""

    @property
    def version(self) -> str:
        """The version that is served, else what the spec asks for."""
        if self.task is not None:
            return self.task.model.version
        return str(self.spec.version) if self.spec.version is not None else self.spec.version_label or "latest"


class Repository:
    """Owns the models; made in each worker after the fork, closed by who made it."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        settings: Settings,
        *,
        skip_failing: bool = False,
        on_load: LoadListener = lambda *_: None,
    ) -> None:
        """Load all models; those that live elsewhere may come later.

        Args:
            specs: the models.
            settings: what the environment says.
            skip_failing: log a model that cannot be served and go on, as long as one is left.
            on_load: told of each load.

        Raises:
            ConfigurationError: one of them, or with ``skip_failing`` each, cannot be served as its spec says.
        """
        self._settings = settings
        self._on_load = on_load
        self._entries: dict[str, Entry] = {}
        self._retired: list[tuple[float, Task]] = []
        self._first_look, self._closing = Event(), Event()
        self._follower: Thread | None = None
        self.draining = False
        remote = []
        try:
            for spec in specs:
                entry = Entry(settle(spec, settings), task_class(spec.task))
                try:
                    if backend_class(spec.backend).remote:
                        remote.append(entry)
                    else:
                        entry.task, entry.state = load_task(entry.spec, settings), "AVAILABLE"
                        on_load(spec.name, entry.version, "loaded")
                    self._entries[spec.name] = entry
                except ConfigurationError as exc:
                    on_load(spec.name, entry.version, "failed")
                    if not skip_failing:
                        raise
                    logger.error("%s is not served: %s", spec.path, exc)
            if skip_failing and not self._entries:
                raise ConfigurationError("None of the models can be served; each has a line above that says why.")
        except BaseException:
            self.close()
            raise
        if remote:
            self._follower = Thread(target=self._follow, args=(remote,), name="follow-models", daemon=True)
            self._follower.start()
            self._first_look.wait(FIRST_LOOK_S)

    def __iter__(self) -> Iterator[Task]:
        return iter([entry.task for entry in self._entries.values() if entry.task is not None])

    @property
    def ready(self) -> bool:
        """True when there is something to serve, all of it is loaded and warm, and the server is not stopping."""
        available = [entry.state == "AVAILABLE" for entry in self._entries.values()]
        return bool(available) and all(available) and not self.draining

    def states(self) -> dict[str, dict[str, str]]:
        """Each model's versions and their states, in TensorFlow Serving's words."""
        return {name: {entry.version: entry.state} for name, entry in self._entries.items()}

    def names(self) -> list[str]:
        """The models' names, in the spec's order."""
        return list(self._entries)

    def status(self, name: str) -> list[VersionStatus]:
        """All versions of a model, the latest first.

        Raises:
            ModelNotFound: there is no such model.
        """
        if name not in self._entries:
            raise ModelNotFound(f"There is no model {name!r}; there are: {', '.join(self._entries)}.", name)
        entry = self._entries[name]
        return [VersionStatus(entry.version, entry.state, entry.reason)]

    def find(
        self, name: str | None, kind: type[AnyTask], *, version: int | None = None, label: str | None = None
    ) -> AnyTask:
        """Find a model for a route; the name may be left out where one model fits.

        Args:
            name: the model's.
            kind: what it must be able to do.
            version: one of those that are served; None for the latest.
            label: of a version, in place of ``version``.

        Raises:
            NotFound: no name is given, and no model does that.
            ModelNotFound: there is no such model, or it is for another task.
            VersionNotFound: it does not serve that version.
            LabelNotFound: it has no version of that label.
            InvalidInput: several fit and none is named.
            NotReady: it lives elsewhere and has not been there yet.
        """
        fitting = {key: entry for key, entry in self._entries.items() if issubclass(entry.kind, kind)}
        names = ", ".join(fitting) or "none"
        if name is None:
            if not fitting:
                raise NotFound("No model here does that; GET / lists the models and their tasks.")
            if len(fitting) > 1:
                raise InvalidInput(f"Several models fit; name one as 'modelname': {names}.")
            name = next(iter(fitting))
        if name not in fitting:
            if name in self._entries:
                raise ModelNotFound(
                    f"Model {name!r} is for {self._entries[name].spec.task}; for this there are: {names}.", name
                )
            raise ModelNotFound(f"There is no model {name!r}; there are: {names}.", name)
        task, state = fitting[name].task, fitting[name].state
        if label is not None:
            raise LabelNotFound(f"Model {name!r} has no version labelled {label!r}.", name, label)
        if version is not None and (task is None or task.model.version != str(version)):
            raise VersionNotFound(f"Model {name!r} does not serve version {version}.", name, version)
        if not isinstance(task, kind):
            raise NotReady(f"Model {name!r} is not ready yet: it is {state}; try again later.", state)
        return task

    def load(self, name: str, deadline_s: float) -> None:
        """Load a model, or load it anew."""
        raise InvalidInput(f"Model {name!r} cannot be loaded through the API yet.")

    def unload(self, name: str, deadline_s: float) -> None:
        """Unload a model."""
        raise InvalidInput(f"Model {name!r} cannot be unloaded through the API yet.")

    def drain(self) -> None:
        """Say from now on that the server is not ready, so that balancers send no more."""
        self.draining = True

    def close(self) -> None:
        """Close all models."""
        self._closing.set()
        if self._follower is not None:
            self._follower.join(FIRST_LOOK_S)  # it may wait for a model server that does not answer
        entries, self._entries = self._entries, {}
        for task in [entry.task for entry in entries.values() if entry.task] + [task for _, task in self._retired]:
            task.model.close()

    def _follow(self, entries: Sequence[Entry]) -> None:
        """The life of the thread that looks after models which live elsewhere."""
        while not self._closing.is_set():
            for entry in entries:
                if not self._closing.is_set():
                    self._look_after(entry)
            self._first_look.set()
            self._close_retired()
            self._closing.wait(FOLLOW_INTERVAL_S)

    def _look_after(self, entry: Entry) -> None:
        """See whether a model is still what was loaded, and if not, load it anew."""
        if entry.state == "AVAILABLE" and entry.task is not None and entry.task.model.is_current():
            return
        try:
            task = load_task(entry.spec, self._settings)
        except ConfigurationError as exc:
            # The other side's fault, maybe mended over there: no reason to stop, but nothing to serve either.
            self._unavailable(entry, "END", exc)
            self._replace(entry, None)
        except NotReady as exc:
            self._unavailable(entry, exc.state, exc)
        except Exception as exc:  # noqa: BLE001  # the thread must live on, whatever one model does
            self._unavailable(entry, "UNKNOWN", exc)
        else:
            self._replace(entry, task)
            entry.state, entry.reason = "AVAILABLE", ""

    def _unavailable(self, entry: Entry, state: str, error: Exception) -> None:
        """Note that a model is not to be had, and log it where that is news, so not each second."""
        reason = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
        if (entry.state, entry.reason) != (state, reason):
            expected = isinstance(error, ServingError) and not isinstance(error, ConfigurationError)
            traceback = None if isinstance(error, ServingError) else error
            level = logging.WARNING if expected else logging.ERROR
            logger.log(level, "model %s is not ready: %s", entry.spec.name, error, exc_info=traceback)
            self._on_load(entry.spec.name, entry.version, "failed")
        entry.state, entry.reason = state, reason

    def _replace(self, entry: Entry, task: Task | None) -> None:
        """Serve another task from now on; the former is closed when its last request must be over."""
        if entry.task is not None:
            self._retired.append((time.monotonic() + self._settings.request_timeout_s, entry.task))
            self._on_load(entry.spec.name, entry.version, "unloaded")
        entry.task = task
        if task is not None:
            self._on_load(entry.spec.name, entry.version, "loaded")
        if self._closing.is_set() and task is not None:  # too late: nobody else closes it
            task.model.close()

    def _close_retired(self) -> None:
        now = time.monotonic()
        for _, task in [retired for retired in self._retired if retired[0] < now]:
            task.model.close()
        self._retired = [retired for retired in self._retired if retired[0] >= now]
