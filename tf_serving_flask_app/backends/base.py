"""The seam between the server and whatever runs a model: one method, ``run``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from tf_serving_flask_app.errors import SessionRefused
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors


class Backend(ABC):
    """One loaded model.

    It is made in the worker process, after the fork, from a spec whose path is absolute and whose
    ``session.intra_op_threads`` is a number; ``run`` is called from many threads at once.

    Raises (on making one):
        ConfigurationError: the model cannot be loaded as the spec says; the text says why.
    """

    signatures: Mapping[str, Signature]
    """What the model takes and gives, by signature name; set by ``__init__``, at least one."""

    version: int
    """The version that was loaded; set by ``__init__``."""

    platform: ClassVar[str] = "custom"
    """What runs the model and in which format, in the words of the Open Inference Protocol."""

    remote: ClassVar[bool] = False
    """True where the model lives in another server and so comes and goes: making a ``Backend`` of it may then also
    raise ``NotReady`` or ``RemoteFailed``, and is tried again and again."""

    takes_any_shape: ClassVar[bool] = False
    """True where ``run`` may get shapes that the signature does not name, since the model itself refuses what it cannot
    compute with: exporters often note a shape that is narrower than what the graph takes."""

    joins_calls: bool = False
    """True where a call of several rows costs less than as many calls and leaves nothing behind, so that calls are
    joined unless the spec says otherwise; see ``batching``."""

    computes_only: bool = False
    """True where ``run`` does nothing but compute, and does so in the thread that calls: then the processor's time in
    that thread tells how long a call lasts."""

    @abstractmethod
    def __init__(self, spec: ModelSpec) -> None:
        """Load the model that the spec names."""

    @classmethod
    def before_fork(cls) -> None:
        """Import what is slow and safe to import in the master, so that each new worker starts at once.

        It must start no thread and open no session, device or channel: those do not survive a fork.
        """

    @classmethod
    def check_session(cls, spec: ModelSpec) -> None:
        """Refuse what ``spec.session`` asks for and this kind of backend, or this machine, cannot do; before a load.

        Raises:
            SessionRefused: naming the field, the reason and the remedy.
        """
        asked = {"precision": spec.session.precision != "float32", "xla": spec.session.xla}
        if any(asked.values()):
            field = next(name for name, is_asked in asked.items() if is_asked)
            reason = f"this is for models that TensorFlow runs in this process, which backend {spec.backend} does not"
            raise SessionRefused(spec.name, field, reason)

    @classmethod
    def versions(cls, path: Path) -> Mapping[int, Path]:
        """Find what can be loaded: version -> its file or folder, of numbered folders only those that look complete.

        A path that is one model is itself the only one; its number is a guess, which a spec's ``version`` overrides.
        To load one of several, a backend is made from a spec whose ``version`` names it. Asked again and again.
        """
        return {1: path}

    @classmethod
    def files(cls, path: Path) -> Iterable[Path]:
        """List what a version is made of, so that it is loaded anew when one of these changes; asked again and again.

        Args:
            path: one of those that ``versions`` found.
        """
        return [path] if path.is_file() else []

    @abstractmethod
    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Answer one call: arrays that ``signatures[signature]`` accepts in, its outputs out.

        Raises:
            InvalidInput: the model itself refuses the values.
            BackendFailed: anything else that went wrong in the model.
        """

    def tensors(self) -> list[TensorInfo]:
        """List every tensor inside the model, for `./run.sh inspect`, as far as the backend can tell."""
        return []

    def is_current(self) -> bool:
        """Tell whether what was loaded is there and is still what answers; asked each second of a remote model."""
        return True

    def close(self) -> None:
        """Give back what the model holds; ``run`` is not called afterwards."""
