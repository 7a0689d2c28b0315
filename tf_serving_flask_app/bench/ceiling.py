"""The ceiling: the same decode and the same model in as many processes, with nothing between them and the work."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.usage import Memory, memory
from tf_serving_flask_app.bench.work import Work
from tf_serving_flask_app.context import RequestContext, warm_context
from tf_serving_flask_app.cores import usable_cores
from tf_serving_flask_app.errors import ServingError
from tf_serving_flask_app.memory import keep_memory_together
from tf_serving_flask_app.repository import Repository
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.spec_parts import BatchingSpec
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tasks.classification import Classification
from tf_serving_flask_app.tasks.detection import Detector

START_TOGETHER_S = 0.05

Call = Callable[[int, RequestContext], object]


@dataclass(frozen=True)
class Turn:
    """A stretch of work: ``threads`` threads until ``end``, counting from ``begin``; ``time.perf_counter()``."""

    threads: int
    start: float
    begin: float
    end: float


@dataclass
class Calls:
    """What was done in it.

    Attributes:
        latencies: seconds of each call that ended in the time that counts.
        made: all calls.
        cpu_s: processor time of them all.
        stages: seconds in each stage, of them all.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    made: int = 0
    cpu_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, other: Calls) -> None:
        """Take in what another thread or process did."""
        self.latencies.extend(other.latencies)
        self.made += other.made
        self.cpu_s += other.cpu_s
        self.add_stages(other.stages)

    def add_stages(self, stages: Mapping[str, float]) -> None:
        """Take in the seconds of each stage."""
        for name, spent in stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + spent


class Ceiling:
    """Processes that each load the model as a worker does; ended by ``close``."""

    def __init__(self, processes: int, spec: Path, assets: Path | None, environ: Mapping[str, str], work: Work) -> None:
        self._helpers: list[Helper[Turn, Calls]] = []
        try:
            for number in range(processes):
                helper = Helper(make_loop, spec, assets, dict(environ), work, name=f"process {number} of the ceiling")
                self._helpers.append(helper)
            for helper in self._helpers:
                helper.wait_ready()
        except BaseException:
            self.close()
            raise

    def run(self, concurrency: int, warmup_s: float, seconds: float) -> Calls:
        """Keep so many calls under way, spread evenly."""
        start = time.perf_counter() + START_TOGETHER_S
        begin = start + warmup_s
        threads, more = divmod(concurrency, len(self._helpers))
        for index, helper in enumerate(self._helpers):
            helper.give(Turn(threads + (index < more), start, begin, begin + seconds))
        total = Calls()
        for helper in self._helpers:
            total.add(helper.answer())
        return total

    def memory(self) -> Memory:
        """What the processes hold."""
        return sum((memory(helper.process.pid or 0) for helper in self._helpers), Memory())

    def close(self) -> None:
        """End the processes."""
        for helper in self._helpers:
            helper.close()


def make_loop(spec: Path, assets: Path | None, environ: Mapping[str, str], work: Work) -> Callable[[Turn], Calls]:
    """Load the model and return what works for a turn; in a process of its own.

    Raises:
        ServingError: it cannot be loaded.
    """
    sys.path.append(str(spec.resolve().parent))  # where hooks and backends are looked up
    (model,) = (model for model in load_spec(spec, assets).models if model.name == work.model)
    alone = model.model_copy(update={"batching": BatchingSpec(max_batch_size=1)})
    settings = Settings.from_environ(environ)
    keep_memory_together(max(2, usable_cores() // settings.processes))  # as the server does
    repository = Repository([alone], settings)
    call = _call(repository.find(work.model, Task), work)
    return lambda turn: _take_turn(call, turn)


def _call(task: Task, work: Work) -> Call:
    pictures, tensors = work.pictures, work.tensors
    if tensors is not None:
        return lambda number, context: task.infer(tensors, context)
    if isinstance(task, Classification):
        return lambda number, context: task.classify(pictures[number % len(pictures)], context, task.model.spec.top_k)
    assert isinstance(task, Detector)
    return lambda number, context: task.detect(pictures[number % len(pictures)], context)


def _take_turn(call: Call, turn: Turn) -> Calls:
    done = [Calls() for _ in range(turn.threads)]
    failures: list[ServingError] = []

    def work(calls: Calls, first: int) -> None:
        try:
            for number in itertools.count(first):
                context = warm_context()
                began = time.perf_counter()
                if began >= turn.end:
                    return
                call(number, context)
                ended = time.perf_counter()
                calls.made += 1
                calls.add_stages({name: spent / 1e9 for name, spent in context.stages.items()})
                if turn.begin <= ended < turn.end:
                    calls.latencies.append(ended - began)
        except ServingError as exc:
            failures.append(exc)

    time.sleep(max(0.0, turn.start - time.perf_counter()))
    cpu = time.process_time()
    threads = [threading.Thread(target=work, args=(calls, index)) for index, calls in enumerate(done)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    total = Calls(cpu_s=time.process_time() - cpu)
    for calls in done:
        total.add(calls)
    return total
