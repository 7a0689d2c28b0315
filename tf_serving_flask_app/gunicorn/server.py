"""Serves an application with gunicorn: the settings, the operator's ``GUNICORN_CMD_ARGS``, and the exit code."""

from __future__ import annotations

import importlib
import logging
import os
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from gunicorn.app.base import BaseApplication

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.gunicorn.arbiter import Master, MasterHook
from tf_serving_flask_app.gunicorn.balance import Loads
from tf_serving_flask_app.gunicorn.workers import WORKER_CLASSES, leave

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from tf_serving_flask_app.settings import Settings

CONFIG_FILE = Path(__file__).resolve().parents[2] / "config" / "gunicorn.conf.py"

logger = logging.getLogger(__name__)


class Application(Protocol):
    """What runs in a process that answers requests."""

    @property
    def wsgi(self) -> WSGIApplication:
        """Answers requests, in several threads at once."""

    @property
    def serves_several(self) -> bool:
        """Whether requests are for several models: those for one must not keep those for others waiting."""

    def count_refusal(self, method: str | None, status: int) -> None:
        """A request was answered, or given up, without the application; ``method`` is None if it could not be read."""

    def drain(self) -> None:
        """The process was told to stop: from now on it is not ready; called once, and must not take long."""

    def close(self) -> None:
        """The last answer is out: free everything."""


def serve(
    settings: Settings,
    load: Callable[[], Application],
    *,
    before_fork: MasterHook = lambda uid, gid: None,
    reload: MasterHook = lambda uid, gid: None,
    on_exit: Callable[[], None] = lambda: None,
) -> int:
    """Serve until told to stop.

    Args:
        settings: what the environment says.
        load: makes the application; runs in each worker, after the fork. A ``ConfigurationError`` from it, at the
            first start, stops the server.
        before_fork: runs once in the master: what is slow and survives a fork, such as imports. It must leave the
            process with a single thread.
        reload: runs in the master at each SIGHUP, before the new workers start: reads what ``load`` uses anew. Where
            it raises, the old workers stay, and no new ones start.
        on_exit: runs once in the master, last of all.

    Returns:
        the exit code: 0 after a stop that was asked for, 2 if a setting, a spec or a model file is wrong, 1 for
        anything else. Only the master returns; the workers end in here.
    """
    master = os.getpid()
    code = 1
    try:
        Server(settings, load, reload).run(before_fork)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except ConfigurationError as error:
        logger.error("%s", error)
        code = 2
    except Exception:
        logger.exception("The server failed.")
    finally:
        if os.getpid() != master:
            leave(code)
        on_exit()
    return code


class Server(BaseApplication):
    """What gunicorn calls an application: the configuration, and the way to load what is served.

    Later layers win: ``config/gunicorn.conf.py``, the settings, a file named by ``--config`` in
    ``GUNICORN_CMD_ARGS``, the other arguments in there.
    """

    def __init__(
        self, settings: Settings, load: Callable[[], Application], reload: MasterHook = lambda uid, gid: None
    ) -> None:
        """Read the configuration.

        Raises:
            ConfigurationError: gunicorn does not accept it, or it would not work.
        """
        self.cfg: Any = None
        self.settings = settings
        self.loads = Loads()
        self._load = load
        self._reload = reload
        super().__init__(prog="gunicorn")

    def do_load_config(self) -> None:
        """Read all layers; called at the start and at each reload."""
        try:
            self.load_default_config()
            self.load_config()
            self.cfg.validate()
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"gunicorn's configuration: {error}") from error

    def load_config(self) -> None:
        """Apply the layers one on the other."""
        self._apply(str(CONFIG_FILE), runpy.run_path(str(CONFIG_FILE)))
        self._apply("the settings", gunicorn_settings(self.settings))
        arguments = self._arguments()
        if location := arguments.pop("config", None):
            self._apply(location, read_config(location))
        self._apply("GUNICORN_CMD_ARGS", arguments)
        self._check()

    def load(self) -> Application:
        """Make the application; gunicorn calls this in each worker, never in the master."""
        return self._load()

    def reload(self) -> bool:
        """Read again what is served, and the configuration; keep the old of that which is wrong now.

        Returns:
            whether new workers are to take the old ones' place.
        """
        try:
            self._reload(self.cfg.uid, self.cfg.gid)
        except ConfigurationError as error:
            logger.error("SIGHUP changes nothing, what was served before still is. %s", error)
            return False
        except Exception:
            logger.exception("SIGHUP changes nothing, what was served before still is.")
            return False
        former = self.cfg
        try:
            self.do_load_config()
        except ConfigurationError as error:
            self.cfg = former
            logger.error("The configuration stays as it was. %s", error)
        return True

    def run(self, before_fork: MasterHook = lambda uid, gid: None) -> None:
        """Start the master; returns only by an exception, in the master and in each worker."""
        if self.cfg.print_config:
            print(self.cfg)
        elif not self.cfg.check_config:
            Master(self, before_fork).run()

    def _apply(self, source: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in self.cfg.settings:
                try:
                    self.cfg.set(name, value)
                except Exception as error:
                    raise ConfigurationError(f"{source}: {name}={value!r} cannot be used: {error}") from error

    def _arguments(self) -> dict[str, Any]:
        """Parse ``GUNICORN_CMD_ARGS`` as gunicorn does, but complain in one line."""

        def fail(message: str) -> NoReturn:
            raise ConfigurationError(f"GUNICORN_CMD_ARGS: {message}")

        parser = self.cfg.parser()
        parser.error = fail
        arguments = vars(parser.parse_args(self.cfg.get_cmd_args_from_env()))
        return {name: value for name, value in arguments.items() if value is not None and name != "args"}

    def _check(self) -> None:
        """Refuse what would hang or be ignored, and put our workers in the place of gunicorn's."""
        if self.cfg.preload_app:
            raise ConfigurationError(
                "preload_app is refused: the threads, sessions and channels of a loaded model do not survive the fork,"
                " and every request would hang. Without it TensorFlow is still imported once, before the fork."
            )
        if self.cfg.daemon:
            raise ConfigurationError("daemon is refused: leave it to systemd, a container or nohup to run the server.")
        name = self.cfg.settings["worker_class"].get()
        if name == "sync" and self.cfg.threads > 1:
            name = "gthread"  # as gunicorn does
        if name not in WORKER_CLASSES:
            raise ConfigurationError(f"worker_class={name!r}: take one of {', '.join(WORKER_CLASSES)}.")
        self.cfg.set("worker_class", WORKER_CLASSES[name])
        if self.settings.metrics_port is not None:
            bind = [*self.cfg.settings["bind"].get(), listen_address(self.settings.host, self.settings.metrics_port)]
            self.cfg.set("bind", list(dict.fromkeys(bind)))


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """What our settings mean in gunicorn's words."""
    threaded = settings.mode == "multithreaded"
    worker_class = "gthread" if threaded else settings.worker_class
    return {
        "bind": listen_address(settings.host, settings.port),
        "workers": 1 if threaded else settings.web_concurrency,
        "worker_class": worker_class,
        "threads": 1 if worker_class == "sync" else settings.threads,
        "certfile": settings.tls_cert and str(settings.tls_cert),
        "keyfile": settings.tls_key and str(settings.tls_key),
        "loglevel": "info" if settings.environment == "production" else "debug",
        "logger_class": "tf_serving_flask_app.gunicorn.logger.Logger",
    }


def listen_address(host: str, port: int) -> str:
    """Name and port in one, as gunicorn wants them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_config(location: str) -> Mapping[str, Any]:
    """Read the file, or with ``python:`` the module, that ``--config`` names."""
    if location.startswith("python:"):
        return vars(importlib.import_module(location.removeprefix("python:")))
    return runpy.run_path(location.removeprefix("file:"))
