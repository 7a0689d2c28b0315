"""From a spec file or a folder of models to a server of the kind that ``FLASK_ENV`` and ``FLASK_MODE`` ask for."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.hooks import load_hook
from tf_serving_flask_app.labels import read_labels
from tf_serving_flask_app.memory import give_back_memory, keep_memory_together
from tf_serving_flask_app.metrics import Metrics
from tf_serving_flask_app.model_folder import find_models
from tf_serving_flask_app.observability.logs import configure_logging
from tf_serving_flask_app.observability.output import capture_output
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.shared_values import SharedFolder
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.versions import check_versions

if TYPE_CHECKING:
    from flask import Flask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedApplication:
    """The application of one process, and what its server tells it: to drain, and to close."""

    wsgi: Flask

    @property
    def _repository(self) -> Repository:
        repository: Repository = self.wsgi.extensions["repository"]
        return repository

    @property
    def serves_several(self) -> bool:
        """Whether there is more than one model."""
        return len(self._repository.names()) > 1

    def count_refusal(self, method: str | None, status: int) -> None:
        """Count a request that was answered without the application."""
        metrics: Metrics = self.wsgi.extensions["metrics"]
        metrics.count_refusal(method, status)

    def drain(self) -> None:
        """Say that the process is not ready any more."""
        self._repository.drain()

    def close(self) -> None:
        """Close the models."""
        self._repository.close()


class Served:
    """What a server serves, as its master knows it: read at the start and anew at each SIGHUP; never loaded here."""

    def __init__(self, settings: Settings, folder: Path | None, spec: Path, assets: Path | None) -> None:
        """Read it.

        Args:
            settings: what the environment says.
            folder: of models to serve, or None.
            spec: the spec file to serve where there is no folder.
            assets: folder of the spec's relative paths, or None for its own.

        Raises:
            ConfigurationError: it cannot be served, as far as that shows without loading it.
        """
        self._settings = settings
        self._folder = folder
        self._spec = spec
        self._assets = assets
        self._models = self._read()
        try:
            self._shared = SharedFolder()
        except OSError as exc:
            raise ConfigurationError(f"No temporary folder can be written ({exc}); name one in TMPDIR.") from exc
        self._reads = 0

    def load(self) -> ServedApplication:
        """Make the application of one process."""
        app = create_app(
            self._settings,
            self._models,
            skip_failing=self._folder is not None,
            metrics=Metrics(self._shared.path),
            control_folder=self._control_folder if self._reads else None,
        )
        give_back_memory()
        return ServedApplication(app)

    @property
    def _control_folder(self) -> Path:
        """Of the workers since the last read: what was unloaded in the former ones is loaded in these."""
        return self._shared.path / f"control-{self._reads}"

    def before_fork(self, uid: int, gid: int) -> None:
        """Import what is slow, and make the folder that the workers share.

        Args:
            uid: the user that the workers run as.
            gid: their group.
        """
        for kind in {model.backend for model in self._models}:
            backend_class(kind).before_fork()
        # What was imported stays: so the workers' collectors need not look through it, which takes a third of a second
        # with TensorFlow and writes to the memory that they share.
        gc.freeze()
        for former in self._shared.path.glob("control-*"):
            if not any(former.glob("*.sock")):
                shutil.rmtree(former, ignore_errors=True)
        self._reads += 1
        self._control_folder.mkdir(mode=0o700, parents=True)
        if (uid, gid) != (os.geteuid(), os.getegid()):
            for path in (self._shared.path, self._control_folder):
                os.chown(path, uid, gid)

    def reload(self, uid: int, gid: int) -> None:
        """Read it anew, and do for it what is done before a fork; code of hooks and backends stays as it is.

        Raises:
            ConfigurationError: it cannot be served; what was served before, still is.
        """
        former, self._models = self._models, self._read()
        try:
            self.before_fork(uid, gid)
        except BaseException:
            self._models = former
            raise

    def close(self) -> None:
        """Remove what was made."""
        self._shared.remove()

    def _read(self) -> list[ModelSpec]:
        if self._folder is not None:
            return models_of_folder(self._folder)
        models = load_spec(self._spec, self._assets).models
        check_without_loading(models)
        return models


def serve(spec: Path | None, assets: Path | None, default_spec: Path, environ: Mapping[str, str]) -> int:
    """Serve until told to stop.

    Args:
        spec: the spec file; None: the models in ``MODEL_FOLDER``, else in ``./models`` if there is one, else
            ``default_spec``.
        assets: folder of the spec's relative paths, or None for its own.
        default_spec: what to serve where nothing else is named.
        environ: the settings.

    Returns:
        the process's exit code: 0 after a stop that was asked for, 2 if a setting, the spec or a model is wrong (one
        line has said so), 1 for anything else.
    """
    if environ.get("FLASK_ENV") == "development":
        configure_logging("development")
        return _serve(spec, assets, default_spec, environ, lambda: None)
    output = capture_output()
    configure_logging("production", output=output)
    return _serve(spec, assets, default_spec, environ, output.close)


def _serve(
    spec: Path | None,
    assets: Path | None,
    default_spec: Path,
    environ: Mapping[str, str],
    on_exit: Callable[[], None],
) -> int:
    try:
        settings = Settings.from_environ(environ)
        if spec is None and assets is not None:
            raise ConfigurationError("-a names the folder of a spec's relative paths: give the spec too, with -s.")
        folder = None if spec is not None else settings.model_folder or _models_here()
        spec = spec or default_spec
        if folder is None:
            # Where a user keeps a spec, there they keep the hooks that it names.
            sys.path.append(str(spec.resolve().parent))
        keep_memory_together(max(2, usable_cores() // settings.processes))
        served = Served(settings, folder, spec, assets)
    except ConfigurationError as exc:
        logger.error("%s", exc)
        on_exit()
        return 2

    def end() -> None:
        served.close()
        on_exit()

    if settings.environment == "development":
        from tf_serving_flask_app.development import serve_development

        return serve_development(settings, served.load, extra_files=[spec] if folder is None else [], on_exit=end)
    if environ.get("FLASK_DEBUG"):
        logger.warning("FLASK_DEBUG does nothing in production; set FLASK_ENV=development to debug.")
    from tf_serving_flask_app.gunicorn.server import serve as serve_with_gunicorn

    return serve_with_gunicorn(settings, served.load, before_fork=served.before_fork, reload=served.reload, on_exit=end)


def _models_here() -> Path | None:
    """The folder ``models`` of the working folder, if there is one."""
    folder = Path("models")
    return folder if folder.is_dir() else None


def models_of_folder(folder: Path) -> list[ModelSpec]:
    """Find the models in a folder, and log what looks like one but cannot be served.

    Raises:
        ConfigurationError: none is left.
    """
    found = find_models(folder)
    for path, fault in found.faults.items():
        logger.error("%s is not served: %s", path, fault)
    if not found.models:
        raise ConfigurationError(f"{folder}: none of its models can be served.")
    logger.info("Serving the models in %s: %s.", folder, ", ".join(model.name for model in found.models))
    return found.models


def check_without_loading(models: Sequence[ModelSpec]) -> None:
    """Find what is wrong with a spec's models as far as that shows before TensorFlow is imported.

    Raises:
        ConfigurationError: a backend or hook that cannot be imported, labels that cannot be read, or versions that
            are not there.
    """
    for model in models:
        try:
            check_versions(model, backend_class(model.backend).versions(model.path))
            for hook in (model.preprocess, model.postprocess):
                if hook is not None:
                    load_hook(hook)
            if model.labels is not None:
                read_labels(model.labels)
        except ConfigurationError as exc:
            raise ConfigurationError(f"model {model.name!r}: {exc}") from exc
