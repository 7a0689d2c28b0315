"""Objects by import path: hooks, backends from other packages, and this package's own tables of names."""

from __future__ import annotations

import importlib
from typing import Any

from tf_serving_flask_app.errors import ConfigurationError


def import_from_string(path: str) -> Any:
    """Import what ``"package.module:attribute"`` names; the attribute may be dotted (``Class.method``).

    Raises:
        ConfigurationError: one line that tells apart a path that is not of this form, a module that does not
            exist, one that exists and fails while it is imported, and one that lacks the attribute.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise ConfigurationError(f"{path!r} is not an import path; write 'package.module:attribute'.")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # The name tells whether this module is missing or one that it imports, which has another remedy.
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise _failed(path, module_name, exc) from exc
        raise ConfigurationError(
            f"{path!r}: there is no module {exc.name!r}; check the spelling, install it or put its folder on"
            " PYTHONPATH."
        ) from exc
    except Exception as exc:  # a foreign module may raise anything while it is imported
        raise _failed(path, module_name, exc) from exc
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            raise ConfigurationError(f"{path!r}: module {module_name!r} has no attribute {attribute!r}.") from exc
    return found


def _failed(path: str, module_name: str, exc: Exception) -> ConfigurationError:
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())
    return ConfigurationError(f"{path!r}: module {module_name!r} fails to import: {reason}")
