"""A SavedModel of TensorFlow 1 or 2: a folder with saved_model.pb, or one of numbered version folders of those."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tf_serving_flask_app.backends.freeze import can_freeze, freeze_session, holds_state
from tf_serving_flask_app.backends.graphs import bind, import_graph, one_line
from tf_serving_flask_app.backends.tensorflow_session import INIT_SIGNATURE, TensorFlowSession, session_config
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.versions import NUMBER, may_be_there, numbered_folders

logger = logging.getLogger(__name__)

SERVE_TAG = "serve"
FILE = "saved_model.pb"


class SavedModel(TensorFlowSession):
    """Serves every signature of a SavedModel, with its assets and tables.

    TensorFlow 1's loader reads both generations, and some public models that ``tf.saved_model.load`` refuses. Where
    the signatures only read plain variables, these are folded into constants and the model runs as a frozen graph.
    """

    platform = "tensorflow_savedmodel"

    def __init__(self, spec: ModelSpec) -> None:
        """Load the version that the spec names, else the latest."""
        import tensorflow as tf
        from tensorflow.python.util import deprecation

        folder, version = find_version(spec.path, spec.version)
        meta_graph = read_meta_graph(folder)
        signatures = dict(meta_graph.signature_def)
        signatures.pop(INIT_SIGNATURE, None)
        session = tf.compat.v1.Session(graph=tf.Graph(), config=session_config(spec.session))
        try:
            with session.graph.as_default(), deprecation.silence():
                tf.compat.v1.saved_model.loader.load(session, list(meta_graph.meta_info_def.tags), str(folder))
            bindings = _bindings(session.graph, signatures)
        except (tf.errors.OpError, OSError, ValueError, TypeError, RuntimeError, KeyError) as exc:
            session.close()
            raise ConfigurationError(f"{folder}: this SavedModel cannot be loaded: {one_line(exc)}") from exc
        names = {tensor.op.name for sides in bindings.values() for side in sides for tensor in side.values()}
        loaded, stateful = session, holds_state(session.graph_def, names)
        session, bindings = _frozen(session, bindings, folder, spec)
        # Joined, calls that change a variable would change it once and not each: a counter would lose counts.
        self.joins_calls = session is not loaded or not stateful
        if spec.signature in bindings:
            inputs, outputs = bindings[spec.signature]
            bindings[spec.signature] = (bind(spec.inputs, inputs, folder), bind(spec.outputs, outputs, folder))
        methods = {name: signature.method_name for name, signature in signatures.items()}
        self._start(spec, session, bindings, version, methods)

    @classmethod
    def versions(cls, path: Path) -> Mapping[int, Path]:
        """The folder itself if it is a SavedModel, else its numbered folders that are."""
        if os.path.isfile(path / FILE):
            return {_own_number(path): path}
        return {number: folder for number, folder in numbered_folders(path).items() if may_be_there(folder / FILE)}

    @classmethod
    def files(cls, path: Path) -> Iterable[Path]:
        """All files in a version's folder: the graph, the variables and the assets."""
        return [Path(folder, name) for folder, _, names in os.walk(path) for name in names]


def find_version(path: Path, version: int | None) -> tuple[Path, int]:
    """Find the folder that holds saved_model.pb, and its version.

    Raises:
        ConfigurationError: neither the folder nor one of its numbered folders is a SavedModel.
    """
    if os.path.isfile(path / FILE):
        return path, _own_number(path) if version is None else version
    versions = numbered_folders(path)
    if not versions:
        raise ConfigurationError(
            f"{path}: not a SavedModel: it has neither a saved_model.pb nor numbered folders that hold one."
        )
    chosen = max(versions) if version is None else version
    if chosen not in versions:
        raise ConfigurationError(f"{path}: there is no version {chosen}; there are {sorted(versions)}.")
    if not may_be_there(versions[chosen] / FILE):
        raise ConfigurationError(f"{versions[chosen]}: not a SavedModel: it has no saved_model.pb.")
    return versions[chosen], chosen


def _own_number(folder: Path) -> int:
    """The number in its name, or in that of the folder to which it is a link."""
    names = (folder.name, folder.resolve().name)
    return next((int(name) for name in names if NUMBER.fullmatch(name)), 1)


def read_meta_graph(folder: Path) -> Any:
    """Read the graph that is meant for serving, with its signatures; nothing is loaded yet.

    Raises:
        ConfigurationError: the file is corrupt, or has no graph tagged ``serve``.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as SavedModelProto

    saved_model = SavedModelProto()
    try:
        saved_model.ParseFromString((folder / FILE).read_bytes())
    except (DecodeError, OSError) as exc:
        raise ConfigurationError(
            f"{folder / FILE}: not the file of a SavedModel, or a damaged one: {one_line(exc)}"
        ) from exc
    for meta_graph in saved_model.meta_graphs:
        if SERVE_TAG in meta_graph.meta_info_def.tags:
            if not meta_graph.signature_def:
                raise ConfigurationError(f"{folder}: the SavedModel has no signatures; export it with some.")
            return meta_graph
    raise ConfigurationError(f"{folder}: the SavedModel has no graph tagged {SERVE_TAG!r}.")


def _bindings(graph: Any, signatures: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Find each signature's tensors in the loaded graph."""
    return {
        name: (
            {key: graph.get_tensor_by_name(info.name) for key, info in sorted(signature.inputs.items())},
            {key: graph.get_tensor_by_name(info.name) for key, info in sorted(signature.outputs.items())},
        )
        for name, signature in signatures.items()
        if signature.outputs
    }


def _frozen(session: Any, bindings: Any, folder: Path, spec: ModelSpec) -> tuple[Any, Any]:
    """Replace the session by one on the frozen graph, where the model allows it."""
    import tensorflow as tf

    tensors = [tensor for sides in bindings.values() for side in sides for tensor in side.values()]
    if not can_freeze(session.graph_def, tensors):
        return session, bindings
    try:
        graph = import_graph(freeze_session(session, tensors), folder)
    except (tf.errors.OpError, ValueError, RuntimeError, KeyError, ConfigurationError) as exc:
        # TensorFlow folds most models, not all; one that it cannot fold gives the same answers, only slower.
        logger.info("%s: served with its variables, which cannot be folded: %s", folder, one_line(exc))
        return session, bindings
    session.close()
    found = {
        name: tuple({key: graph.get_tensor_by_name(tensor.name) for key, tensor in side.items()} for side in sides)
        for name, sides in bindings.items()
    }
    return tf.compat.v1.Session(graph=graph, config=session_config(spec.session)), found
