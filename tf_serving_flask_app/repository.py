"""The models that a process serves: found by name, kept as their files and model servers are, loaded and unloaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar, cast

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.chores import Chore
from tf_serving_flask_app.context import RequestContext
from tf_serving_flask_app.control import Control, Wish, read_wishes
from tf_serving_flask_app.entries import Entry, RemoteEntry, VersionStatus
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput, ModelNotFound, NotFound, ServingError
from tf_serving_flask_app.loading import Loader
from tf_serving_flask_app.local_entry import LocalEntry
from tf_serving_flask_app.metrics import LoadListener
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task

logger = logging.getLogger(__name__)

FOLLOW_INTERVAL_S = 1.0
"""How often a model that lives elsewhere is asked for."""

FIRST_LOOK_S = 3.0
"""How long the start waits for models that live elsewhere, so that those that are there are ready at once."""

AnyTask = TypeVar("AnyTask", bound=Task)


def _nobody(model: str, version: str, what: str) -> None:
    """Stands for a listener."""


class Repository:
    """Owns the models; made in each worker after the fork, closed by who made it."""

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        settings: Settings,
        *,
        skip_failing: bool = False,
        on_load: LoadListener = _nobody,
        control_folder: Path | None = None,
    ) -> None:
        """Load all models; those that live elsewhere may come later.

        Args:
            specs: the models.
            settings: what the environment says.
            skip_failing: log a model that cannot be served and go on, as long as one is left.
            on_load: told of each version that was loaded, failed to load, or was unloaded; from several threads.
            control_folder: what the worker processes of a server share, see ``Control``; None: there is but this one.

        Raises:
            ConfigurationError: one of them, or with ``skip_failing`` each, cannot be served as its spec says.
        """
        self._settings = settings
        self._loader = Loader(settings, on_load)
        self._entries: dict[str, Entry] = {}
        self._control: Control | None = None
        self._control_folder = control_folder
        self._first_look, self._closing = Event(), Event()
        self._follower = Thread(target=self._follow, name="follow-models", daemon=True)
        self.draining = False
        try:
            for spec in specs:
                try:
                    self._entries[spec.name] = self._make_entry(spec)
                except ConfigurationError as exc:
                    if not skip_failing:
                        raise
                    logger.error("%s is not served: %s", spec.path, exc)
            if skip_failing and not self._entries:
                raise ConfigurationError("None of the models can be served; each has a line above that says why.")
            if control_folder is not None:
                # First listen, then read: what is asked for from now on is heard, what was before is read.
                self._control = Control(control_folder, self._heed)
                self._heed_all()
        except BaseException:
            self.close()
            raise
        self._follower.start()
        if any(isinstance(entry, RemoteEntry) for entry in self._entries.values()):
            self._first_look.wait(FIRST_LOOK_S)

    def _make_entry(self, spec: ModelSpec) -> Entry:
        wish = read_wishes(self._control_folder).get(spec.name) if self._control_folder is not None else None
        unloaded = wish is not None and not wish.loaded
        entry: Entry
        if backend_class(spec.backend).remote:
            entry = RemoteEntry(spec, self._loader)
            entry.unloaded = unloaded
        else:
            entry = LocalEntry(spec, self._loader)
            if unloaded:
                entry.start_unloaded()
            else:
                entry.start()
        entry.heeded = wish.number if wish is not None else 0
        return entry

    def __iter__(self) -> Iterator[Task]:
        """The latest version of each model that answers."""
        return iter([task for entry in self._entries.values() if (task := entry.latest) is not None])

    @property
    def ready(self) -> bool:
        """True when there is something to serve, each model answers or was unloaded, and the server is not stopping."""
        ready = [entry.ready for entry in self._entries.values()]
        return bool(ready) and all(ready) and not self.draining

    def states(self) -> dict[str, dict[str, str]]:
        """Each model's versions and their states, in TensorFlow Serving's words; none that has ended as it should."""
        return {
            name: {each.version: each.state for each in entry.statuses() if each.state != "END" or each.error}
            for name, entry in self._entries.items()
        }

    def errors(self) -> dict[str, dict[str, str]]:
        """What is wrong: model -> version -> why it cannot be served."""
        faults = {
            name: {each.version: each.error for each in entry.statuses() if each.error and not entry.unloaded}
            for name, entry in self._entries.items()
        }
        return {name: found for name, found in faults.items() if found}

    def names(self) -> list[str]:
        """The models' names, in the spec's order."""
        return list(self._entries)

    def status(self, name: str) -> list[VersionStatus]:
        """All versions of a model that are known, the latest first.

        Raises:
            ModelNotFound: there is no such model.
        """
        return self._entry(name).statuses()

    def find(
        self,
        name: str | None,
        kind: type[AnyTask],
        *,
        version: int | None = None,
        label: str | None = None,
        context: RequestContext | None = None,
    ) -> AnyTask:
        """Find a model for a route; the name may be left out where one model fits.

        Who has the task may call it as long as it holds it, whatever becomes of the model meanwhile; it must not be
        kept for longer than the request.

        Args:
            name: the model's.
            kind: what it must be able to do.
            version: one of those that are served; None for the latest.
            label: of a version, in place of ``version``.
            context: of the request, where the model is to answer it: log and metrics take the model's name from there.

        Raises:
            NotFound: no name is given, and no model does that.
            ModelNotFound: there is no such model, it was unloaded, or it is for another task.
            VersionNotFound: it does not serve that version.
            LabelNotFound: it has no version of that label.
            InvalidInput: several fit and none is named.
            NotReady: it lives elsewhere and has not been there yet.
        """
        if name is None:
            fitting = self._fitting(kind)
            if not fitting:
                raise NotFound("No model here does that; GET / lists the models and their tasks.")
            if len(fitting) > 1:
                raise InvalidInput(f"Several models fit; name one as 'modelname': {', '.join(fitting)}.")
            name = fitting[0]
        entry = self._entries.get(name)
        if entry is None or kind not in entry.kind.__mro__:  # issubclass() asks ABCMeta, in Python
            names = ", ".join(self._fitting(kind)) or "none"
            if entry is not None:
                raise ModelNotFound(f"Model {name!r} is for {entry.spec.task}; for this there are: {names}.", name)
            raise ModelNotFound(f"There is no model {name!r}; there are: {names}.", name)
        task = cast(AnyTask, entry.find(version, label))
        if context is not None:
            context.model_name, context.model_version = task.model.name, task.model.version
        return task

    def _fitting(self, kind: type[Task]) -> list[str]:
        """The names of the models that can do that, those that were unloaded left out."""
        return [name for name, entry in self._entries.items() if issubclass(entry.kind, kind) and not entry.unloaded]

    def load(self, name: str, deadline_s: float) -> None:
        """Load a model in every worker process; one that is loaded is loaded anew, and answers meanwhile.

        Raises:
            ModelNotFound: the spec has no such model.
            ConfigurationError: it cannot be loaded; one that was loaded, still is.
            DeadlineExceeded: not every process has done it in time; they go on.
        """
        self._ask(name, True, deadline_s)

    def unload(self, name: str, deadline_s: float) -> None:
        """Unload a model in every worker process, until it is loaded or the server reads its spec again (SIGHUP).

        Requests that have begun are answered; the model is closed when the last of them is.

        Raises:
            ModelNotFound: the spec has no such model.
            DeadlineExceeded: not every process has done it in time; they go on.
        """
        self._ask(name, False, deadline_s)

    def drain(self) -> None:
        """Say from now on that the server is not ready, so that balancers send no more."""
        self.draining = True

    def close(self) -> None:
        """Close all models."""
        if self._control is not None and not self._closing.is_set():
            self._control.close()
        self._closing.set()
        self._loader.wake()
        if self._follower.is_alive():
            self._follower.join(FIRST_LOOK_S)  # it may wait for a model server that does not answer
        self._entries = {}
        self._loader.close_all()

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise ModelNotFound(f"There is no model {name!r}; there are: {', '.join(self._entries)}.", name)
        return self._entries[name]

    def _ask(self, name: str, loaded: bool, deadline_s: float) -> None:
        entry = self._entry(name)
        began, what = time.monotonic(), f"model {name}: a request to {'load' if loaded else 'unload'} it"
        try:
            if self._control is not None:
                self._control.ask(name, loaded, deadline_s)
            else:
                self._heed_here(entry, loaded)
        except ServingError as exc:
            logger.error("%s failed after %.2f s: %s", what, time.monotonic() - began, exc)
            raise
        logger.info("%s was done in all processes after %.2f s", what, time.monotonic() - began)

    def _heed_here(self, entry: Entry, loaded: bool) -> None:
        """Load or unload a model where this process is the only one."""
        try:
            self._heed(entry.spec.name, Wish(entry.heeded + 1, loaded))
        except ServingError as exc:
            raise ConfigurationError(str(exc)) from exc
        except Exception as exc:
            raise ConfigurationError(f"{type(exc).__name__}: {exc}") from exc

    def _heed(self, name: str, wish: Wish) -> None:
        """Do what was asked for through the API, once."""
        entry = self._entries.get(name)
        if entry is None:  # skipped in this process, as it could not be loaded
            return
        with entry.lock:
            if wish.number > entry.heeded:
                entry.heeded = wish.number
                if wish.loaded:
                    entry.load()
                else:
                    entry.unload()

    def _heed_all(self) -> None:
        """Heed what no socket told: asked for while this process started, or by one that was killed meanwhile."""
        assert self._control_folder is not None
        for name, wish in read_wishes(self._control_folder).items():
            try:
                self._heed(name, wish)
            except Exception as error:  # noqa: BLE001  # the others are heeded all the same
                logger.error("model %s cannot be loaded: %s", name, error)

    def _follow(self) -> None:
        """The life of the thread that looks after the models, and closes those that nobody needs any more."""
        chores = [
            Chore(FOLLOW_INTERVAL_S if isinstance(entry, RemoteEntry) else self._settings.model_poll_s, entry.look)
            for entry in self._entries.values()
        ]
        if self._control is not None:
            chores.append(Chore(FOLLOW_INTERVAL_S, self._heed_all))
        chores = [chore for chore in chores if chore.interval_s]
        while not self._closing.is_set():
            for chore in chores:
                if not self._closing.is_set():
                    chore.do_if_due()
            self._first_look.set()
            due = min((chore.due for chore in chores), default=time.monotonic() + 60)
            self._loader.close_forgotten(max(0.0, due - time.monotonic()))
