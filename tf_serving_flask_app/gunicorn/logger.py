"""gunicorn's own lines, sent the way of all others."""

from __future__ import annotations

from typing import Any

from gunicorn import glogging


class Logger(glogging.Logger):
    """Passes gunicorn's lines on to the root logger, whose handlers the server has set before.

    There is no access log: the application writes its access lines itself, as it knows more of a request.
    """

    def setup(self, cfg: Any) -> None:
        """Take the level, and add no handlers; called at the start and at each reload."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS[cfg.loglevel.lower()]
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = True

    @property
    def access_log_enabled(self) -> bool:
        """Off, also where ``GUNICORN_CMD_ARGS`` names a file for it."""
        return False
