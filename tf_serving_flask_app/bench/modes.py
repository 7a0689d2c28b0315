"""The ways to serve that can be measured; of its own, as the command line shows them without importing the rest."""

from __future__ import annotations

from collections.abc import Mapping

MODES: Mapping[str, Mapping[str, str]] = {
    "eventlet": {"FLASK_MODE": "multiprocess", "FLASK_WORKER_CLASS": "eventlet"},
    "gevent": {"FLASK_MODE": "multiprocess", "FLASK_WORKER_CLASS": "gevent"},
    "gthread": {"FLASK_MODE": "multiprocess", "FLASK_WORKER_CLASS": "gthread"},
    "sync": {"FLASK_MODE": "multiprocess", "FLASK_WORKER_CLASS": "sync"},
    "multithreaded": {"FLASK_MODE": "multithreaded"},
}
"""The ways to serve -> what chooses them."""
