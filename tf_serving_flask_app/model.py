"""One served model: what its name and version stand for, and the one way into its backend."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from functools import partial

import numpy as np

from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.batching import Batcher, batch_sizes, can_batch, has_rows_by_themselves
from tf_serving_flask_app.calls import Line
from tf_serving_flask_app.context import RequestContext, warm_context
from tf_serving_flask_app.errors import ConfigurationError, NotFound, ServingError, SignatureNotFound
from tf_serving_flask_app.spec import DEFAULT_SIGNATURE, ModelSpec
from tf_serving_flask_app.spec_parts import BatchingSpec
from tf_serving_flask_app.tensors import Signature, Tensors

logger = logging.getLogger(__name__)


class Model:
    """A loaded model with its spec; every call goes through ``run``."""

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self.name = spec.name
        self.version = str(backend.version)
        self._backend = backend
        # What computes only does one call at a time, whichever its signature.
        self._line = Line() if backend.computes_only else None
        batching = spec.batching or BatchingSpec(max_batch_size=8 if backend.joins_calls else 1)
        self._batchers = {
            signature.name: batcher
            for signature in backend.signatures.values()
            if (batcher := self._batcher(signature, batching) or self._queue(signature)) is not None
        }
        waits = spec.preprocess is not None or spec.postprocess is not None or batching.max_wait_ms > 0
        self._computes_only = backend.computes_only and not waits

    def _batcher(self, signature: Signature, batching: BatchingSpec) -> Batcher | None:
        """Join the calls of a signature, where the spec and its shapes allow it."""
        if batching.max_batch_size == 1 or not can_batch(signature):
            return None
        if self.spec.batching is None and not has_rows_by_themselves(signature):
            return None
        sizes = batch_sizes(batching.max_batch_size, few=self.spec.session.xla)
        ranks = {name: len(info.shape or ()) for name, info in signature.inputs.items()}
        run = partial(self._backend.run, signature.name)
        return Batcher(self.name, run, sizes, batching.max_wait_ms, self._line, ranks)

    def _queue(self, signature: Signature) -> Batcher | None:
        """Let calls that are not joined wait in order and in time, where more than one at once only share a core."""
        if self._line is None:
            return None
        return Batcher(self.name, partial(self._backend.run, signature.name), [1], line=self._line)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the model takes and gives, by signature name."""
        return self._backend.signatures

    @property
    def platform(self) -> str:
        """See ``Backend.platform``."""
        return self._backend.platform

    def signature(self, name: str | None = None) -> Signature:
        """Find a signature; without a name the one that the spec chose; where it chose none, the model's only one.

        Raises:
            SignatureNotFound: the model has none of that name; the text lists what it has.
        """
        signatures = self._backend.signatures
        wanted = name or self.spec.signature
        if wanted in signatures:
            return signatures[wanted]
        if name is None and wanted == DEFAULT_SIGNATURE and len(signatures) == 1:
            return next(iter(signatures.values()))
        raise SignatureNotFound(
            f"Model {self.name!r} has no signature {wanted[:60]!r}; it has {', '.join(sorted(signatures))}.", wanted
        )

    def joined_rows(self, signature: Signature) -> int:
        """Rows of the largest batch to which calls of a signature are joined; 1: they are not."""
        batcher = self._batchers.get(signature.name)
        return 1 if batcher is None else batcher.max_rows

    def warm_up(self, signature: Signature, row: Tensors) -> Tensors:
        """Run a signature on one row, and on batches of it in each size that joined calls will have.

        Libraries prepare each shape when they first see it. Where the model fails on a batch, or does not give a row
        for each, its calls are not joined.

        Raises:
            ServingError: it fails on the single row.
        """
        outputs = self.run(row, warm_context(), signature.name)
        batcher = self._batchers.get(signature.name)
        for size in batcher.sizes[1:] if batcher is not None else []:
            batch = {name: np.repeat(array, size, axis=0) for name, array in row.items()}
            try:
                answer = self._backend.run(signature.name, batch)
                fault = next((f"{name!r} has no row for each" for name in answer if len(answer[name]) != size), None)
            except ServingError as exc:
                fault = str(exc)
            if fault is not None:
                logger.info("model %s: calls are not joined, as a batch of %d fails: %s", self.name, size, fault)
                del self._batchers[signature.name]
                if (queue := self._queue(signature)) is not None:
                    self._batchers[signature.name] = queue
                break
        return outputs

    def check_spec(self) -> None:
        """Refuse a spec that promises a type or shape which the loaded model does not have.

        Raises:
            ConfigurationError: naming the model, the tensor and both sides.
        """
        if not self.spec.inputs and not self.spec.outputs:
            return
        try:
            signature = self.signature()
        except NotFound as exc:
            raise ConfigurationError(f"{exc} Name one: `signature:`.") from exc
        for named, found in ((self.spec.inputs, signature.inputs), (self.spec.outputs, signature.outputs)):
            for name, tensor in named.items():
                info = found.get(name)
                if info is None:
                    raise ConfigurationError(
                        f"model {self.name!r}: the spec names {name!r}, but the model has {', '.join(sorted(found))}."
                    )
                if tensor.dtype is not None and tensor.dtype not in (info.type_name, info.dtype.name):
                    raise ConfigurationError(
                        f"model {self.name!r}: the spec says {name!r} is {tensor.dtype}, but it is {info.type_name}."
                    )
                if tensor.shape is not None and info.shape is not None and tensor.shape != info.shape:
                    shape = [-1 if size is None else size for size in tensor.shape]
                    raise ConfigurationError(
                        f"model {self.name!r}: the spec says {name!r} has shape {shape}, but it is {info.shape_text}."
                    )

    def run(
        self, inputs: Tensors, context: RequestContext, signature: str | None = None, *, any_shape: bool = False
    ) -> Tensors:
        """Answer one call within the request's deadline.

        Args:
            inputs: by input name.
            context: the request's.
            signature: its name; None for the one that the spec chose.
            any_shape: leave the inputs' shapes to the backend, where it can tell itself which the model takes.

        Raises:
            InvalidInput: the inputs do not fit the signature, or the model refuses their values.
            DeadlineExceeded: before or after the call.
            RemoteFailed: the model server behind it failed.
            BackendFailed: the model failed.
        """
        if self.spec.timeout_s is not None and math.isfinite(context.deadline):  # a warm-up has no deadline
            context.deadline = min(context.deadline, time.monotonic() + self.spec.timeout_s)
        called = self.signature(signature)
        context.computes_only = self._computes_only
        called.check(inputs, any_shape=any_shape and self._backend.takes_any_shape)
        batcher = self._batchers.get(called.name)
        if batcher is not None:
            outputs = batcher.run(inputs, context)
        else:
            with context.stage("predict"):
                outputs = self._backend.run(called.name, inputs)
        context.check_deadline("while the model ran")
        return outputs

    def is_current(self) -> bool:
        """See ``Backend.is_current``."""
        return self._backend.is_current()

    def close(self) -> None:
        """Give back what the model holds."""
        self._backend.close()
