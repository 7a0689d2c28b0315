"""Joins calls that wait together into one call of the model, and splits its answer; nobody waits for company.

While the model is busy, what arrives is the next batch. While it is not, a call goes at once, in its own thread: alone,
it pays for two locks. No thread and no timer belong to this: the first of those that wait makes the next call for all
of its batch, when the one before it is done.

The sizes of batches are few enough for each to be warmed up, as the libraries below prepare each shape anew. What is
over waits for the next.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Condition
from types import MappingProxyType

import numpy as np

from tf_serving_flask_app.calls import Call, Line
from tf_serving_flask_app.context import CLIENT_LOOK_S, RequestContext
from tf_serving_flask_app.errors import BackendFailed, ServingError
from tf_serving_flask_app.tensors import Signature, TensorInfo, Tensors

logger = logging.getLogger(__name__)

GONE_SEEN_S = 0.5
"""How long a call stays in the queue after its client has gone, where the model takes longer for the call before it."""


def can_batch(signature: Signature) -> bool:
    """Tell whether calls of a signature can be joined: the first dimension of each of its tensors is free."""
    tensors = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs and signature.outputs) and all(
        info.shape is not None and len(info.shape) > 0 and info.shape[0] is None for info in tensors
    )


def has_rows_by_themselves(signature: Signature) -> bool:
    """Tell whether a row's answer can be taken to have the same shape in every batch.

    Where the inputs note each dimension but the first, and an output has another that is free, it is the values that
    decide how long that is: the longest row of a batch decides for all.
    """

    def fixed(tensors: Mapping[str, TensorInfo]) -> bool:
        return all(info.shape is not None and None not in info.shape[1:] for info in tensors.values())

    return fixed(signature.outputs) or not fixed(signature.inputs)


def batch_sizes(max_batch_size: int, *, few: bool = False) -> list[int]:
    """The sizes that joined calls have: 1 to 8, then 10, 12, 14, 16, 20, 24... up to the largest.

    A row costs no more in a batch of 3, 5, 6 or 7 than in one of 4 or 8 (InceptionV3 and MobileNet, float32 and
    bfloat16), so nothing is gained by filling batches up to powers of two.

    Args:
        max_batch_size: the largest that is allowed.
        few: powers of two only, where it takes long to prepare a size.
    """
    digits = 1 if few else 3
    return [size for size in range(1, max_batch_size + 1) if size % (1 << max(0, size.bit_length() - digits)) == 0]


class Batcher:
    """The way into one signature of a model, for many threads at once.

    Attributes:
        sizes: rows that joined calls may have.
        max_rows: the most that a batch of several calls has; 1: calls are not joined.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Tensors], Tensors],
        sizes: Sequence[int],
        max_wait_ms: float = 0.0,
        line: Line | None = None,
        ranks: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Prepare; nothing is started.

        Args:
            name: the model's, for the log.
            run: calls the model; the tensors' first dimension is the batch.
            sizes: rows that joined calls may have, see ``batch_sizes``.
            max_wait_ms: how long to wait for company.
            line: where its calls wait; None: in one of their own.
            ranks: of the inputs whose first dimension is the batch; a call that has another is not joined.
        """
        self.sizes = sizes
        self._name = name
        self._run = run
        self.max_rows = max(sizes)
        self._ranks = ranks
        self._window_s = max_wait_ms / 1000
        self._line = line or Line()
        self._lock = self._line.lock

    def run(self, inputs: Tensors, context: RequestContext) -> Tensors:
        """Answer one call, joined with others where some wait.

        Raises:
            DeadlineExceeded: before its turn came, or before the answer was there.
            ClientGone: nobody waits for the answer any more, and its turn has not come.
            ServingError: what the model says to these inputs; those of others in the batch have no part in it.
        """
        context.check_deadline("before predict")
        arrived = time.perf_counter_ns()
        with self._lock:
            alone = self._line.free > 0 and not self._window_s
            if alone:
                self._line.free -= 1
        if alone:
            return self._run_alone(inputs, context, arrived)
        due = min(time.monotonic() + CLIENT_LOOK_S, context.deadline)
        call = Call(inputs, *self._rows_and_kind(inputs), context, due, arrived)
        with self._lock:
            if self._line.free:
                self._line.free -= 1
                call.leads = True
            else:
                call.news = Condition(self._lock)
                self._line.waiting.append(call)
                self._line.arrival.notify_all()
                self._wait(call, call.news)
        if call.leads:
            self._lead(call)
        if not call.began:
            assert call.error is not None
            raise call.error
        context.record("queue", call.began - arrived)
        context.record("predict", call.took)
        context.joined = call.joined
        if call.error is not None:
            raise call.error
        assert call.outputs is not None
        return call.outputs

    def _run_alone(self, inputs: Tensors, context: RequestContext, arrived: int) -> Tensors:
        """Call the model at once, for a call that waits for nobody, then give the turn to who has waited longest."""
        began = time.perf_counter_ns()
        try:
            return self._run(inputs)
        finally:
            took = time.perf_counter_ns() - began
            self._give_turn_on()
            context.record("queue", began - arrived)
            context.record("predict", took)
            context.joined = 1

    def _wait(self, call: Call, news: Condition) -> None:
        """Wait, with the lock, until a call leads or is over; one whose answer nobody waits for leaves the queue."""
        while not call.leads and not call.over:
            left = max(0.0, call.context.deadline - time.monotonic())
            if news.wait(min(left, GONE_SEEN_S)):
                continue
            if call in self._line.waiting:
                self._dismiss_if_unwanted(call)
            elif not call.leads and not call.over:  # others run its batch
                call.context.check_deadline("while the request waited for the model")

    def _lead(self, leader: Call) -> None:
        """Run a batch, then give the turn to who has waited longest."""
        batch = [leader]
        try:
            with self._lock:
                if self._window_s:
                    self._await_company(leader)
                now = time.monotonic()
                if leader.due <= now:
                    leader.check_wanted()
                for call in [call for call in self._line.waiting if call.due <= now]:
                    self._dismiss_if_unwanted(call)
                batch = self._company(leader)
                self._line.waiting = [call for call in self._line.waiting if call not in batch]
            self._answer(batch)
        finally:
            self._give_turn_on(batch)

    def _give_turn_on(self, answered: Sequence[Call] = ()) -> None:
        """Let who has waited longest lead, and tell those that were answered."""
        with self._lock:
            if self._line.waiting:
                successor = self._line.waiting.pop(0)
                successor.leads = True
                successor.tell()
            else:
                self._line.free += 1
            for call in answered:
                call.over = True
                call.tell()

    def _await_company(self, leader: Call) -> None:
        """Wait for a full batch until the leader has waited as long as the spec says, but not beyond its deadline."""
        waited_s = (time.perf_counter_ns() - leader.arrived) / 1e9
        left = min(self._window_s - waited_s, leader.context.deadline - time.monotonic())

        def full() -> bool:
            return sum(call.rows for call in self._company(leader)) >= self.max_rows

        self._line.arrival.wait_for(full, max(0.0, left))

    def _dismiss_if_unwanted(self, call: Call) -> None:
        """Take a call whose answer nobody waits for out of the queue."""
        try:
            call.check_wanted()
        except ServingError as error:
            self._line.waiting.remove(call)
            call.error, call.over = error, True
            call.tell()

    def _company(self, leader: Call) -> list[Call]:
        """Who of those that wait can go with a call, itself first: as many as make a batch of a size in use."""
        batch, rows = [leader], leader.rows
        for call in self._line.waiting:
            if call.kind == leader.kind and rows + call.rows <= self.max_rows:
                batch.append(call)
                rows += call.rows
        while len(batch) > 1 and rows not in self.sizes:
            rows -= batch.pop().rows
        return batch

    def _answer(self, batch: Sequence[Call]) -> None:
        """Call the model; where a batch fails, its parts go by themselves, so that only those calls fail that must."""
        began = time.perf_counter_ns()
        try:
            outputs = self._joined(batch)
        except Exception as error:  # noqa: BLE001  # raised again where the call was made
            if len(batch) > 1:
                for part in self._parts(batch):
                    self._answer_late(part)
                return
            outputs, batch[0].error = [{}], error
        took = time.perf_counter_ns() - began
        for call, output in zip(batch, outputs, strict=True):
            call.outputs, call.began, call.took, call.joined = output, began, took, len(batch)

    def _parts(self, batch: Sequence[Call]) -> Sequence[Sequence[Call]]:
        """The halves of a batch, if they have sizes in use, else each call; calls that are not joined are parts too."""
        middle = len(batch) // 2
        halves = batch[:middle], batch[middle:]
        joins = self.max_rows > 1 and all(sum(call.rows for call in half) in self.sizes for half in halves)
        return halves if joins else [[call] for call in batch]

    def _answer_late(self, part: Sequence[Call]) -> None:
        """Answer a part of a batch that failed, as far as it is still waited for; none waits for the parts after it."""
        wanted = []
        for call in part:
            try:
                call.check_wanted()
            except ServingError as error:
                call.error = error
            else:
                wanted.append(call)
        if wanted:
            self._answer(wanted)
        with self._lock:
            for call in part:
                call.over = True
                call.tell()

    def _joined(self, batch: Sequence[Call]) -> list[Tensors]:
        """Call the model once, for the inputs of all; returns the outputs of each."""
        if len(batch) == 1:
            return [self._run(batch[0].inputs)]
        inputs = {name: np.concatenate([call.inputs[name] for call in batch]) for name in batch[0].inputs}
        outputs = self._run(inputs)
        ends = list(itertools.accumulate(call.rows for call in batch))
        if any(output.shape[:1] != (ends[-1],) for output in outputs.values()):
            self.max_rows = 1
            logger.warning(
                "model %s: its outputs are not a row for each row of its inputs, so its calls are not joined; say so in"
                " the spec: `batching: {max_batch_size: 1}`.",
                self._name,
            )
            raise BackendFailed("the outputs of a batch cannot be told apart")
        return [
            {name: output[end - call.rows : end] for name, output in outputs.items()}
            for call, end in zip(batch, ends, strict=True)
        ]

    def _rows_and_kind(self, inputs: Tensors) -> tuple[int, object]:
        """The first dimension of a call's inputs, and what must be equal in others for them to join."""
        first, *others = {array.shape[:1] for array in inputs.values()} or {()}
        fits = all(array.ndim == self._ranks.get(name, array.ndim) for name, array in inputs.items())
        if others or not first or not first[0] or not fits:
            return 1, object()  # joins nobody
        return first[0], (self, *((name, array.dtype, array.shape[1:]) for name, array in inputs.items()))
