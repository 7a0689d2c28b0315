"""A user's own steps around a model, named in the spec by import path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, ServingError
from tf_serving_flask_app.imports import import_from_string

Hook = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes named arrays and returns named arrays; see README, "Hooks"."""


def load_hook(path: str) -> Hook:
    """Import a hook, so that each failure in it says whose it is.

    A hook may raise ``InvalidInput`` to answer 400; what else it raises becomes ``BackendFailed``.

    Raises:
        ConfigurationError: it cannot be imported, or cannot be called.
    """
    function = import_from_string(path)
    if not callable(function):
        raise ConfigurationError(f"hook {path!r} is {type(function).__name__}, not a function.")

    def hook(tensors: dict[str, Any]) -> dict[str, Any]:
        try:
            result = function(tensors)
        except ServingError:
            raise
        except Exception as exc:
            raise BackendFailed(f"hook {path!r} raised {type(exc).__name__}: {exc}") from exc
        if not isinstance(result, dict):
            raise BackendFailed(f"hook {path!r} returned {type(result).__name__}, not a dict of name to array.")
        return result

    return hook
