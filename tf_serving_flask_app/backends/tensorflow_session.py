"""A TensorFlow session on a graph, with a prepared callable for each signature: what all local models run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np

from tf_serving_flask_app.backends.acceleration import check_graph, check_machine
from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.backends.graphs import one_line, tensor_info
from tf_serving_flask_app.backends.padding import absorb_padding
from tf_serving_flask_app.errors import BackendFailed, ConfigurationError, InvalidInput, Overloaded, ServingError
from tf_serving_flask_app.spec import ModelSpec
from tf_serving_flask_app.spec_parts import SessionSpec
from tf_serving_flask_app.tensors import PREDICT_METHOD, Signature, TensorInfo, Tensors

NVIDIA_DRIVER = Path("/dev/nvidiactl")

INIT_SIGNATURE = "__saved_model_init_op"
"""Not one to call: where TensorFlow 2 keeps the operation that initialises a SavedModel."""

JOINS_CALLS = frozenset({"Batch", "BatchFunction"})
"""Operations that hold a call until others join it."""

CALLERS_THREAD = -1
"""What ``RunOptions.inter_op_thread_pool`` says for it, in TensorFlow's config.proto."""


def import_tensorflow() -> Any:
    """Import TensorFlow, and let XLA compile for a processor, in those sessions that ask for it.

    TensorFlow looks at the latter once, when the process makes its first session or runs its first operation, whichever
    model that is for. So whatever may be first goes through here.
    """
    import tensorflow
    from tensorflow.python.client.pywrap_tf_session import TF_SetTfXlaCpuGlobalJit

    TF_SetTfXlaCpuGlobalJit(True)
    return tensorflow


def session_config(spec: SessionSpec) -> Any:
    """Make the ``ConfigProto`` of one model: its own thread pools, so that models do not share settings.

    Nothing else is set, in it or in oneDNN's environment: with InceptionV3, batch 1 and one thread, no other rewrite,
    executor, cache or allocator was faster than TensorFlow's own choice by more than the same run once again was; with
    MobileNet the runs differed too much to tell. ``tests/benchmarks/session.py`` measures it again.
    """
    tf = import_tensorflow()
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=spec.intra_op_threads,
        inter_op_parallelism_threads=spec.inter_op_threads,
        use_per_session_threads=True,
    )
    if not NVIDIA_DRIVER.exists():
        # Else TensorFlow looks for GPUs all the same, and logs an error when it finds none.
        config.device_count["GPU"] = 0
    rewrite = config.graph_options.rewrite_options
    if spec.precision == "bfloat16":
        rewrite.auto_mixed_precision_onednn_bfloat16 = rewrite.ON
    if spec.xla:
        config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.ON_1
    return config


class TensorFlowSession(Backend):
    """Runs signatures of a TensorFlow graph; the subclasses say where graph and signatures come from.

    A subclass's ``__init__`` calls ``_start`` with an open session.
    """

    takes_any_shape = True
    joins_calls = True

    @classmethod
    def before_fork(cls) -> None:
        """Import TensorFlow: seconds and 200 MB that the workers then share (it starts no thread)."""
        import_tensorflow()

    @classmethod
    def check_session(cls, spec: ModelSpec) -> None:
        """See ``Backend.check_session``; what depends on the graph is checked when it is loaded."""
        check_machine(spec)

    def _start(
        self,
        spec: ModelSpec,
        session: Any,
        bindings: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
        version: int,
        methods: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take over a session.

        Args:
            spec: the model's.
            session: an open ``tf.compat.v1.Session`` whose variables and tables are initialised.
            bindings: signature name -> (input name -> graph tensor, output name -> graph tensor).
            version: the model's version.
            methods: signature name -> what it is for, where the model says so; see ``Signature.method``.

        Raises:
            ConfigurationError: ``spec.session`` asks for what changes nothing in this graph; the session is closed.
        """
        self._session = session
        self.version = version
        self.signatures = {
            name: Signature(
                name,
                {key: tensor_info(key, tensor) for key, tensor in inputs.items()},
                {key: tensor_info(key, tensor) for key, tensor in outputs.items()},
                methods.get(name) or PREDICT_METHOD,
            )
            for name, (inputs, outputs) in sorted(bindings.items())
        }
        fed = {info.tensor for signature in self.signatures.values() for info in signature.inputs.values()}
        self._without_padding = absorb_padding(session.graph, fed)
        self._calls: dict[tuple[str, bool], Callable[..., list[Any]]] = {}
        kinds = {operation.type for operation in session.graph.get_operations()}
        self.computes_only = spec.session.inter_op_threads == 1 and not kinds & JOINS_CALLS
        # Calls of several threads would else share the processor and hold the memory of all their tensors at once.
        self._turn: AbstractContextManager[object] = Lock() if self.computes_only else nullcontext()
        # A request must never add to the graph: that leaks memory and slows every later call.
        session.graph.finalize()
        only = next(iter(self.signatures.values())) if len(self.signatures) == 1 else None
        signature = self.signatures.get(spec.signature, only)
        # A signature without inputs changes the model's state.
        if (spec.session.xla or spec.session.precision != "float32") and signature is not None and signature.inputs:
            try:
                check_graph(spec, session, computed_as(signature, self._without_padding))
            except ConfigurationError:
                session.close()
                raise

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        """Run the graph once; see ``Backend.run``."""
        called = self.signatures[signature]
        # A signature may note narrower shapes than the graph takes, and the copy is for those noted.
        unpadded = bool(self._without_padding) and all(
            info.accepts_shape(inputs[name].shape) for name, info in called.inputs.items()
        )
        call = self._calls.get((signature, unpadded))
        try:
            if call is None:  # many models have signatures that nobody calls
                tensors = computed_as(called, self._without_padding) if unpadded else called
                call = prepared_call(self._session, tensors, inline=self.computes_only)
                self._calls[signature, unpadded] = call
            with self._turn:
                values = call(*[inputs[name] for name in called.inputs])
        except Exception as exc:
            error = told(exc)
            if error is None:
                raise
            raise error from exc
        return {name: np.asarray(value) for name, value in zip(called.outputs, values, strict=True)}

    def tensors(self) -> list[TensorInfo]:
        """List every tensor of the model's graph under its own name."""
        copies = set(self._without_padding.values())
        return [
            tensor_info(tensor.name, tensor)
            for operation in self._session.graph.get_operations()
            for tensor in operation.outputs
            if tensor.name not in copies
        ]

    def close(self) -> None:
        """Close the session; the graph goes with this object."""
        self._calls = {}
        self._session.close()


def prepared_call(session: Any, signature: Signature, *, inline: bool) -> Callable[..., list[Any]]:
    """Prepare a call that leaves the shapes of its inputs to the graph, as TensorFlow Serving does.

    ``Session.make_callable`` compares them with what the graph notes, in Python, which takes ten times as long as the
    call of a small model; TensorFlow's runtime does not.

    Args:
        session: the ``tf.compat.v1.Session``.
        signature: what to call.
        inline: run the operations in the thread that calls, one after the other; else in the session's threads. Handing
            them over takes longer than a small model: 0.02 ms of 0.03 for y = x / 2 + 2; a large one does not notice.
    """
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    feeds = [info.tensor for info in signature.inputs.values()]
    wanted = [info.tensor for info in signature.outputs.values()]
    # The runtime takes each tensor once, and none that is given.
    fetches = [name for name in dict.fromkeys(wanted) if name not in feeds]
    options = CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = CALLERS_THREAD if inline else 0
    run: Callable[..., list[Any]] = session._make_callable_from_options(options)
    if fetches == wanted:
        return run

    def call(*values: Any) -> list[Any]:
        found = {**dict(zip(feeds, values, strict=True)), **dict(zip(fetches, run(*values), strict=True))}
        return [found[name] for name in wanted]

    return call


def computed_as(signature: Signature, others: Mapping[str, str]) -> Signature:
    """Name other tensors of the graph for a signature's outputs: tensor -> one that holds the same."""
    outputs = {
        name: replace(info, tensor=others.get(info.tensor, info.tensor)) for name, info in signature.outputs.items()
    }
    return replace(signature, outputs=outputs)


def told(exc: Exception) -> ServingError | None:
    """What a client is told of what TensorFlow raised; None where the fault is none of TensorFlow's."""
    import tensorflow as tf

    # The last two are what feeding raises for a shape or type that the placeholder cannot hold.
    if isinstance(exc, (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, ValueError, TypeError)):
        return InvalidInput(f"The model refuses this input: {one_line(exc)}")
    if isinstance(exc, tf.errors.ResourceExhaustedError):
        return Overloaded("The model ran out of memory; send smaller inputs or fewer at once.")
    return BackendFailed(one_line(exc)) if isinstance(exc, tf.errors.OpError) else None
