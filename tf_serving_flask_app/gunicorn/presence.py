"""Whether the client of a request is still there."""

from __future__ import annotations

import select
from typing import Any


def has_gone(connection: Any) -> bool:
    """Tell whether a connection was closed, or half closed, by the client; to be asked while its request is in work.

    Until then the thread that reads and writes the connection waits for the answer and keeps it open, so its
    descriptor is no other's.

    Linux reports a reset as POLLHUP and POLLERR, but an ordinary close, and the end of a process, as POLLRDHUP alone,
    as it does for a client that only says that it will send no more (``shutdown(SHUT_WR)``). Those two look alike
    until something is sent. Clients that give up are common, and each would cost a call of the model; half-closing
    ones are rare. So both count as gone, as they do for nginx.

    It works below TLS, whose own farewell is followed by a close. To be asked from any thread.
    """
    descriptor = connection.fileno()
    if descriptor < 0:  # the worker stops and has closed it
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))
