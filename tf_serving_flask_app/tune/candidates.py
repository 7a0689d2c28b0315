"""What can be tried: the settings of a candidate, and which are worth a try, the most promising first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec import ModelSpec


@dataclass(frozen=True)
class Candidate:
    """Settings to serve a model with; of the environment (workers) and of its spec (the others)."""

    workers: int
    intra_op_threads: int
    inter_op_threads: int
    precision: Literal["float32", "bfloat16"]
    xla: bool
    max_batch_size: int

    def __str__(self) -> str:
        parts = [f"{self.workers} x {self.intra_op_threads}"]
        parts += [f"inter-op {self.inter_op_threads}"] if self.inter_op_threads > 1 else []
        parts += [self.precision, *(["xla"] if self.xla else []), f"batch {self.max_batch_size}"]
        return ", ".join(parts)

    @property
    def exact(self) -> Candidate:
        """The same with the numbers that the model was made for: float32, not compiled anew."""
        return replace(self, precision="float32", xla=False)


@dataclass(frozen=True)
class Space:
    """What there is to choose from.

    Attributes:
        default: what spec and environment say now.
        cores: that this machine can use.
        concurrency: requests at once: no batch can be larger.
        auto_threads: whether the spec leaves the threads to the number of workers.
        several_workers: whether there may be more than one.
        threads: whether the model heeds threads.
        compiles: whether it heeds the other settings of a TensorFlow session.
        batches: whether its calls are joined now, be it that the model allows it or that the spec asks for it.
    """

    default: Candidate
    cores: int
    concurrency: int
    auto_threads: bool
    several_workers: bool
    threads: bool
    compiles: bool
    batches: bool

    def spec_changes(self, candidate: Candidate) -> dict[str, dict[str, Any]]:
        """The candidate's settings that the spec does not give already: section -> key -> value."""
        session: dict[str, Any] = {}
        given = self.threads_of(candidate.workers) if self.auto_threads else self.default.intra_op_threads
        if candidate.intra_op_threads != given:
            session["intra_op_threads"] = candidate.intra_op_threads
        for key in ("inter_op_threads", "precision", "xla"):
            if getattr(candidate, key) != getattr(self.default, key):
                session[key] = getattr(candidate, key)
        changes = {"session": session} if session else {}
        if candidate.max_batch_size != self.default.max_batch_size:
            changes["batching"] = {"max_batch_size": candidate.max_batch_size}
        return changes

    def threads_of(self, workers: int) -> int:
        """The threads with which so many workers share the cores."""
        return max(1, self.cores // workers)


def space_of(model: ModelSpec, settings: Settings, concurrency: int, joined_rows: int) -> Space:
    """Tell what there is to choose from for a model.

    Args:
        model: as its spec has it.
        settings: as the environment has them.
        concurrency: requests at once.
        joined_rows: of the largest batch to which its calls are joined, as its server says; 1: they are not.
    """
    session, cores = model.session, usable_cores()
    auto = session.intra_op_threads == "auto"
    threads = max(1, cores // settings.processes) if session.intra_op_threads == "auto" else session.intra_op_threads
    tensorflow = model.backend in ("frozen_graph", "saved_model", "keras")
    return Space(
        Candidate(settings.processes, threads, session.inter_op_threads, session.precision, session.xla, joined_rows),
        cores,
        concurrency,
        auto,
        several_workers=settings.mode == "multiprocess",
        threads=tensorflow or model.backend == "tflite",
        compiles=tensorflow,
        batches=joined_rows > 1,
    )


Stage = Callable[[Space, Candidate], Iterable[Candidate]]
"""From what there is and the best so far to what to try next."""


def exact_numbers(space: Space, best: Candidate) -> Iterable[Candidate]:
    """What agreement is measured against, where the default is something else."""
    return [best.exact]


def fewer_workers(space: Space, best: Candidate) -> Iterable[Candidate]:
    """The cores in the hands of fewer workers, then all of them in the hands of each."""
    if space.several_workers:
        workers = best.workers // 2
        while workers:
            yield from _split(space, best, workers, space.threads_of(workers))
            workers //= 2
    yield from _split(space, best, best.workers, 2 * space.threads_of(best.workers))


def precision(space: Space, best: Candidate) -> Iterable[Candidate]:
    """The other precision."""
    if space.compiles:
        yield replace(best, precision="float32" if best.precision == "bfloat16" else "bfloat16")


def xla(space: Space, best: Candidate) -> Iterable[Candidate]:
    """With XLA, or without."""
    if space.compiles:
        yield replace(best, xla=not best.xla)


def batch_sizes(space: Space, best: Candidate) -> Iterable[Candidate]:
    """No batches, then as large ones as there are requests at once, then those between."""
    if space.batches:
        largest = 1 << (space.concurrency - 1).bit_length()
        for size in dict.fromkeys((1, min(largest, 64), 4, 2)):
            if size <= largest:
                yield replace(best, max_batch_size=size)


def more_workers(space: Space, best: Candidate) -> Iterable[Candidate]:
    """More workers than cores, and operations beside each other."""
    if space.several_workers:
        yield from _split(space, best, 2 * space.cores, 1)
        yield from _split(space, best, space.cores, 1)
    if space.compiles:
        yield replace(best, inter_op_threads=2 if best.inter_op_threads == 1 else 1)


STAGES: Sequence[Stage] = (exact_numbers, precision, fewer_workers, xla, batch_sizes, more_workers)
"""In this order, each from the best that the ones before have found. Precision is early, as it may make more of a
difference than all else together; where the processor cannot, it costs a start."""


def _split(space: Space, best: Candidate, workers: int, threads: int) -> Iterable[Candidate]:
    if space.threads:
        yield replace(best, workers=workers, intra_op_threads=threads)
    elif workers != best.workers:
        yield replace(best, workers=workers)
