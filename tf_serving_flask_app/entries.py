"""One model of the spec with its versions: those that answer, and those that come, go or fail."""

from __future__ import annotations

import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from tf_serving_flask_app.errors import (
    ConfigurationError,
    LabelNotFound,
    ModelNotFound,
    NotReady,
    ServingError,
    VersionNotFound,
)
from tf_serving_flask_app.loading import Loader, settle
from tf_serving_flask_app.memory import give_back_memory
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks import task_class
from tf_serving_flask_app.tasks.base import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionStatus:
    """How one version of a model fares.

    Attributes:
        version: decimal digits; what the spec asks for where nothing is loaded yet.
        state: in TensorFlow Serving's words: START, LOADING, AVAILABLE, UNLOADING, END, UNKNOWN.
        error: why it is not available, or why what its files hold now is not; or empty.
    """

    version: str
    state: str
    error: str = ""


class Entry(ABC):
    """One model of the spec.

    ``find`` and ``statuses`` take no lock: they are answered while a version loads.

    Attributes:
        kind: its task's class.
        lock: held by who loads or unloads.
        unloaded: somebody asked for that through the API.
        heeded: the number of the last such wish that was heeded.
    """

    def __init__(self, spec: ModelSpec, loader: Loader) -> None:
        self.spec = settle(spec, loader.settings)
        self.kind = task_class(spec.task)
        self.lock = threading.RLock()
        self.unloaded = False
        self.heeded = 0
        self._loader = loader
        self._tasks: Mapping[int, Task] = {}
        self._retired: dict[int, weakref.ref[Task]] = {}

    @property
    def latest(self) -> Task | None:
        """What answers where no version is asked for."""
        tasks = self._tasks
        return tasks[max(tasks)] if tasks else None

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, int]:
        """Label -> version."""

    @abstractmethod
    def statuses(self) -> list[VersionStatus]:
        """All versions that are known, the latest first."""

    @abstractmethod
    def look(self) -> None:
        """See whether what is served is still what there is, and if not, load that."""

    @abstractmethod
    def load_anew(self) -> None:
        """Load what the spec asks for, whatever is served already.

        Raises:
            ServingError: it cannot be loaded; what was served, still is.
        """

    def find(self, version: int | None, label: str | None) -> Task:
        """Find the task of a version.

        Raises:
            ModelNotFound: the model was unloaded.
            VersionNotFound: it does not serve that version.
            LabelNotFound: it has no version of that label, or does not serve that one now.
            NotReady: it lives elsewhere and has not been there yet.
        """
        tasks, name = self._tasks, self.spec.name
        if self.unloaded:
            raise ModelNotFound(f"Model {name!r} is unloaded; load it first.", name)
        if label is not None:
            version = self.labels.get(label)
            if version not in tasks:
                raise LabelNotFound(f"Model {name!r} has no version labelled {label!r}.", name, label)
        if version is not None:
            if version not in tasks:
                raise VersionNotFound(f"Model {name!r} does not serve version {version}.", name, version)
            return tasks[version]
        if not tasks:
            state = self.statuses()[0].state
            raise NotReady(f"Model {name!r} is not ready yet: it is {state}; try again later.", state)
        return tasks[max(tasks)]

    def load(self) -> None:
        """Load it, or load it anew, and answer from then on; see ``load_anew``."""
        with self.lock:
            self.load_anew()
            self.unloaded = False
        give_back_memory()

    def unload(self) -> None:
        """Answer no more, and let go of what is loaded."""
        with self.lock:
            self.unloaded = True
            self._serve({})

    def _serve(self, tasks: Mapping[int, Task]) -> None:
        """Answer with these tasks from now on; the others are closed when their last request is done."""
        for version, task in self._tasks.items():
            if task is not tasks.get(version):
                self._retired[version] = weakref.ref(task)
        self._tasks = tasks

    def _retired_statuses(self) -> dict[int, VersionStatus]:
        return {
            version: VersionStatus(str(version), "UNLOADING" if task() is not None else "END")
            for version, task in dict(self._retired).items()
        }


class RemoteEntry(Entry):
    """A model that lives in another server: it may come later, and it goes when that says so."""

    def __init__(self, spec: ModelSpec, loader: Loader) -> None:
        super().__init__(spec, loader)
        self._state, self._reason = "START", ""

    @property
    def ready(self) -> bool:
        """See ``Entry``."""
        return self.unloaded or self._state == "AVAILABLE"

    @property
    def labels(self) -> Mapping[str, int]:
        """The label that the model server was asked for."""
        version = max(self._tasks, default=None)
        return {self.spec.version_label: version} if self.spec.version_label and version is not None else {}

    def statuses(self) -> list[VersionStatus]:
        """The one version that the model server is asked for."""
        version = max(self._tasks, default=self.spec.version)
        shown = str(version) if version is not None else self.spec.version_label or "latest"
        return [
            VersionStatus(shown, "END", "unloaded")
            if self.unloaded
            else VersionStatus(shown, self._state, self._reason)
        ]

    def look(self) -> None:
        """Ask whether the model is still what was loaded, and if not, load it anew."""
        with self.lock:
            task = self.latest
            if self.unloaded or (self._state == "AVAILABLE" and task is not None and task.model.is_current()):
                return
            del task
            try:
                self.load_anew()
            except ConfigurationError as exc:
                # The other side's fault, maybe mended over there: no reason to stop, but nothing to serve either.
                self._unavailable("END", exc)
                self._serve({})
            except NotReady as exc:
                self._unavailable(exc.state, exc)
            except Exception as exc:  # noqa: BLE001  # who looks must live on, whatever one model does
                self._unavailable("UNKNOWN", exc)

    def load_anew(self) -> None:
        """Ask the model server for what it has; see ``Entry``."""
        task = self._loader.load(self.spec)
        self._serve({int(task.model.version): task})
        self._state, self._reason = "AVAILABLE", ""

    def _unavailable(self, state: str, error: Exception) -> None:
        """Note that a model is not to be had, and log it where that is news, so not each second."""
        reason = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
        if (self._state, self._reason) != (state, reason):
            expected = isinstance(error, ServingError) and not isinstance(error, ConfigurationError)
            traceback = None if isinstance(error, ServingError) else error
            level = logging.WARNING if expected else logging.ERROR
            logger.log(level, "model %s is not ready: %s", self.spec.name, error, exc_info=traceback)
            self._loader.on_load(self.spec.name, self.statuses()[0].version, "failed")
        self._state, self._reason = state, reason
