"""A model whose files are here: its versions follow its files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.entries import Entry, VersionStatus
from tf_serving_flask_app.errors import NotReady, ServingError
from tf_serving_flask_app.loading import Loader
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.versions import Fingerprint, choose, fingerprint, pin, sources_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why a version could not be loaded, and what its files were then: it is not tried again before they change."""

    files: Fingerprint
    error: str


class LocalEntry(Entry):
    """A model in files or version folders.

    A version that cannot be loaded leaves those that serve as they are; where the spec asks for the latest, the next
    older one that can be is taken. The last version that serves is never unloaded because of the files.
    """

    def __init__(self, spec: ModelSpec, loader: Loader) -> None:
        super().__init__(spec, loader)
        self._backend = backend_class(spec.backend)
        self._loaded: dict[int, Fingerprint] = {}
        self._seen: dict[int, Fingerprint] = {}
        self._failures: Mapping[int, Failure] = {}
        self._loading: int | None = None
        self._number: int | None = None
        self._known: list[int] = []
        self._without_files = False

    @property
    def ready(self) -> bool:
        """See ``Entry``."""
        return self.unloaded or bool(self._tasks)

    @property
    def labels(self) -> Mapping[str, int]:
        """Those of the spec."""
        return self.spec.version_labels

    def statuses(self) -> list[VersionStatus]:
        """Those that serve, load, failed, or were served before."""
        tasks, loading = self._tasks, self._loading
        known = self._retired_statuses()
        if self.unloaded:
            known |= {version: VersionStatus(str(version), "END", "unloaded") for version in self._known}
        known |= {version: VersionStatus(str(version), "AVAILABLE") for version in tasks}
        for version, failure in self._failures.items():
            if version in choose(self.spec, {*tasks, version}):  # else nobody misses it
                state = "AVAILABLE" if version in tasks else "END"
                known[version] = VersionStatus(str(version), state, failure.error)
        if loading is not None and loading not in tasks:
            known[loading] = VersionStatus(str(loading), "LOADING")
        return [known[version] for version in sorted(known, reverse=True)]

    def start(self) -> None:
        """Load for the first time.

        Raises:
            ConfigurationError: no version of it can be served.
        """
        with self.lock:
            errors = self._follow(at_once=True)
            if self._tasks:
                self._log(errors)
            elif errors:
                raise next(iter(errors.values()))
            else:  # nothing looks like a version: the backend says best what is wrong
                self._answer_with(self._load(self.spec, None), None)

    def start_unloaded(self) -> None:
        """Begin without it, as somebody has asked for."""
        self._known = choose(self.spec, self._sources())
        self.unloaded = True

    def look(self) -> None:
        """Follow the files; what is still being written is left alone until it looks the same twice."""
        with self.lock:
            if not self.unloaded:
                self._log(self._follow(at_once=False))

    def load_anew(self) -> None:
        """Load all that the spec asks for beside what is served; see ``Entry``."""
        self._failures, self._loaded = {}, {}
        errors = self._follow(at_once=True)
        if errors and self.unloaded:
            self.unload()  # all of it or nothing
        if errors:
            raise next(iter(errors.values()))
        if not self._tasks:
            self._answer_with(self._load(self.spec, None), None)

    def unload(self) -> None:
        """See ``Entry``."""
        with self.lock:
            self._known = list(self._tasks) or self._known
            super().unload()
            self._failures, self._loaded = {}, {}

    def _sources(self) -> Mapping[int, Path]:
        found = sources_of(self.spec, self._backend.versions(self.spec.path))
        if self._number is not None and list(found.values()) == [self.spec.path]:
            return {self._number: self.spec.path}  # which is only known once it has been loaded
        return found

    def _follow(self, *, at_once: bool) -> dict[int, Exception]:
        """Load what the spec asks for and is not loaded; once that is complete, retire what it does not ask for.

        Returns:
            The versions that cannot be loaded, and why, the latest first.
        """
        errors: dict[int, Exception] = {}
        sources, before, seen = self._sources(), self._seen, dict[int, Fingerprint]()
        self._seen = seen

        def files(version: int) -> Fingerprint:
            if version not in seen:
                seen[version] = self._fingerprint(sources[version])
            return seen[version]

        self._failures = {
            version: failure
            for version, failure in self._failures.items()
            if version in sources and files(version) == failure.files
        }
        self._retired = {version: task for version, task in self._retired.items() if version in sources}
        while True:
            usable = [version for version in sources if version in self._tasks or version not in self._failures]
            chosen = choose(self.spec, usable)
            pending = [
                version
                for version in chosen
                if version not in self._failures and self._loaded.get(version) != files(version)
            ]
            complete = [version for version in pending if at_once or before.get(version) == files(version)]
            if not complete:
                break
            version = complete[0]
            sources = self._sources()  # while the last one was loaded, this one may have gone
            if version not in sources:
                continue
            try:
                task = self._load(pin(self.spec, version, sources[version]), version)
            except NotReady:  # the server is stopping
                break
            except Exception as error:  # noqa: BLE001  # whatever a model does, the others are served
                errors[version] = error
                self._failures = {**self._failures, version: Failure(files(version), _text(error))}
                continue
            now = self._fingerprint(sources[version])
            if now != files(version) and not at_once:
                # It may be half of the one and half of the other. At the start and on demand it is better than nothing,
                # and loaded anew at the next look.
                logger.info(
                    "model %s version %d changed while it was loaded; it is loaded anew", self.spec.name, version
                )
                seen[version] = now
                break
            alone = sources[version] == self.spec.path
            self._loaded[self._answer_with(task, None if alone else version)] = files(version)
        self._note_absence(bool(chosen))
        if chosen and not pending:
            self._serve({version: task for version, task in self._tasks.items() if version in chosen})
            self._loaded = {version: self._loaded[version] for version in chosen if version in self._loaded}
        return errors

    def _fingerprint(self, source: Path) -> Fingerprint:
        try:
            return fingerprint(self._backend.files(source))
        except OSError:  # gone since it was found
            return ()

    def _note_absence(self, present: bool) -> None:
        """Log once that nothing of what is served is there any more."""
        absent = bool(self._tasks) and not present
        if absent and not self._without_files:
            versions = ", ".join(map(str, sorted(self._tasks)))
            logger.warning(
                "model %s: %s holds none of its versions now; version %s serves on",
                self.spec.name,
                self.spec.path,
                versions,
            )
        self._without_files = absent

    def _load(self, spec: ModelSpec, version: int | None) -> Task:
        """Load a version; None is what the spec names, whatever its number."""
        self._loading = version
        try:
            return self._loader.load(spec)
        except NotReady:
            raise
        except Exception:
            self._loader.on_load(spec.name, "latest" if version is None else str(version), "failed")
            raise
        finally:
            self._loading = None

    def _answer_with(self, task: Task, version: int | None) -> int:
        """Answer with a version from now on; returns its number, for None the one that it knows itself."""
        if version is None:
            version = self._number = int(task.model.version)
        self._serve({**self._tasks, version: task})
        return version

    def _log(self, errors: Mapping[int, Exception]) -> None:
        for version, error in errors.items():
            logger.error(
                "model %s version %d cannot be served, so version %s is: %s",
                self.spec.name,
                version,
                ", ".join(map(str, sorted(self._tasks))),
                error,
                exc_info=None if isinstance(error, ServingError) else error,
            )


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, ServingError) else f"{type(error).__name__}: {error}"
