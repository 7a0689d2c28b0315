"""What can go wrong, as a tree of exceptions that knows nothing of HTTP.

::

    ServingError                 everything this package raises on purpose
    ├── ConfigurationError       a setting, a spec or a model file is wrong: the server does not start
    │   └── SessionRefused       processor, TensorFlow, backend or graph cannot do what `session` asks for
    ├── InvalidInput             what the client sent cannot be used
    │   └── InvalidImage         the bytes are not a picture that can be decoded
    ├── AccessDenied             a file outside the folder that may be read
    ├── NotFound                 no such model, version, signature or file
    │   ├── ModelNotFound
    │   ├── VersionNotFound
    │   ├── LabelNotFound
    │   └── SignatureNotFound
    ├── Overloaded               too many requests wait already
    ├── NotReady                 the model is not loaded yet, or the server is stopping
    ├── DeadlineExceeded         the answer would come too late
    ├── ClientGone               nobody waits for the answer any more
    ├── Unsupported              a protocol has this, but not here
    ├── RemoteFailed             the model server behind a model failed, or cannot be reached
    └── BackendFailed            the model, or a hook around it, failed on input that looked right

``apis/errors.py`` holds the one table that turns these into status codes.
"""

from __future__ import annotations

import re


class ServingError(Exception):
    """Base of every error this package raises on purpose; its text says what to change."""


class ConfigurationError(ServingError):
    """A setting, a spec or a model file cannot be used; the server must not start with it."""


class SessionRefused(ConfigurationError):
    """This processor, this TensorFlow, a backend or a graph cannot do what a spec's ``session`` asks for."""

    def __init__(self, model: str, field: str, reason: str) -> None:
        super().__init__(f"model {model!r}: session.{field}: {reason}; leave `{field}` out.")

    @staticmethod
    def is_told_by(line: str) -> bool:
        """Tell whether a line of another process's log is the text of one."""
        return re.match(r"model '[^']+': session\.\w+: ", line) is not None


class InvalidInput(ServingError):
    """What the client sent does not fit the model or the route."""


class InvalidImage(InvalidInput):
    """The bytes the client sent cannot be decoded as a picture, or as one of allowed size."""


class AccessDenied(ServingError):
    """The file the client named lies outside the folder from which files may be read."""


class NotFound(ServingError):
    """There is no model, version, signature or file of that name."""


class ModelNotFound(NotFound):
    """There is no model of that name, or it is for another task."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class VersionNotFound(NotFound):
    """The model does not serve that version."""

    def __init__(self, text: str, name: str, version: int) -> None:
        super().__init__(text)
        self.name = name
        self.version = version


class LabelNotFound(NotFound):
    """The model has no version of that label."""

    def __init__(self, text: str, name: str, label: str) -> None:
        super().__init__(text)
        self.name = name
        self.label = label


class SignatureNotFound(NotFound):
    """The model has no signature of that name."""

    def __init__(self, text: str, signature: str) -> None:
        super().__init__(text)
        self.signature = signature


class Overloaded(ServingError):
    """The process has as many requests waiting as it may hold."""


class NotReady(ServingError):
    """The model is still loading, or the server is stopping.

    Attributes:
        state: the model's state in TensorFlow Serving's words: START, LOADING, UNLOADING, END, UNKNOWN.
    """

    def __init__(self, text: str, state: str = "LOADING") -> None:
        super().__init__(text)
        self.state = state


class DeadlineExceeded(ServingError):
    """The request's deadline passed before its answer was there."""


class ClientGone(ServingError):
    """The client closed the connection, or its side of it, while its request waited to be begun."""

    def __init__(self) -> None:
        super().__init__(
            "The connection was closed from the client's side while the request waited, so it was not begun; keep the"
            " connection open until the answer is there."
        )


class Unsupported(ServingError):
    """The request is right by its protocol, but asks for what is not done here."""


class RemoteFailed(ServingError):
    """The model server that a model lives in failed, or cannot be reached; its text is for the operator."""


class BackendFailed(ServingError):
    """The model or a hook failed in a way that the client cannot mend."""
