"""What is to be done again and again, at its own interval."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass
class Chore:
    """Something that is done again and again.

    Attributes:
        interval_s: the time from its end to its next begin.
        work: what is done; where it raises, that is logged, once for each reason in a row.
        due: when it is to be done next, on the clock of ``time.monotonic()``.
    """

    interval_s: float
    work: Callable[[], None]
    due: float = 0.0
    _failure: str = ""

    def do_if_due(self) -> None:
        """Do it, unless it is too early."""
        if time.monotonic() < self.due:
            return
        try:
            self.work()
            self._failure = ""
        except Exception as error:
            if repr(error) != self._failure:
                logger.exception("A look after the models failed.")
            self._failure = repr(error)
        self.due = time.monotonic() + self.interval_s
