"""What settings of a session, of the allocator and of oneDNN do to a model's call, against ``Session.make_callable``.

Run it with ``.venv/bin/python -m tests.benchmarks.session SPEC [--threads N] [--batch N] [--rounds N] [VARIANT...]``;
each variant is a process of its own, interleaved rounds, medians of the rounds' ratios. ``again`` is the same once
more: what differs less than it is noise. ``least`` compares the shortest processor times, which other load
disturbs least.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from tf_serving_flask_app.bench.helper import Helper
from tf_serving_flask_app.bench.machine import this_machine
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.spec_parts import SessionSpec
from tf_serving_flask_app.tensors import Signature

ROUND_S = 0.5
WARM_CALLS = 5

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
"""Parameters of glibc's ``mallopt``, from its malloc.h."""


@dataclass(frozen=True)
class Variant:
    """One way to run a model.

    Attributes:
        environ: set before TensorFlow is imported; None takes a variable away.
        mallopt: parameter -> value.
        config: sets fields of the session's ``ConfigProto``.
        inline: run operations in the caller's thread.
        raw: call by ``CallableOptions``, not by ``Session.make_callable``.
    """

    environ: Mapping[str, str] = field(default_factory=dict)
    mallopt: Mapping[int, int] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    inline: bool = False
    raw: bool = False


BASE = "none"
ON, OFF, AGGRESSIVE = 1, 2, 3
REWRITE = "graph_options.rewrite_options."
VARIANTS: Mapping[str, Variant] = {
    BASE: Variant(),
    "again": Variant(),
    "arenas": Variant(mallopt={M_ARENA_MAX: 2}),
    "mmap_off": Variant(mallopt={M_ARENA_MAX: 2, M_MMAP_MAX: 0}),
    "mmap_threshold": Variant(mallopt={M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 1 << 25}),
    "trim": Variant(mallopt={M_ARENA_MAX: 2, M_TRIM_THRESHOLD: 1 << 28}),
    "keep": Variant(mallopt={M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 1 << 25, M_TRIM_THRESHOLD: 1 << 28}),
    "keep_all": Variant(mallopt={M_ARENA_MAX: 2, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 1 << 30, M_TOP_PAD: 1 << 24}),
    "system_allocator": Variant({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}),
    "no_onednn": Variant({"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "frozen_weights": Variant({"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}),
    "primitive_cache": Variant({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8192"}),
    "tf_primitive_cache": Variant({"TF_ONEDNN_PRIM_CACHE_SIZE": "8192"}),
    "caller_thread": Variant({"TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD": "1"}),
    "avx512": Variant({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}),
    "avx2": Variant({"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "fast_conv": Variant({"TF_ONEDNN_ENABLE_FAST_CONV": "1"}),
    "fpmath_bf16": Variant({"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}),
    "inter_op_2": Variant(config={"inter_op_parallelism_threads": 2}),
    "global_threads": Variant(config={"use_per_session_threads": False}),
    "single_executor": Variant(config={"experimental.executor_type": "SINGLE_THREADED_EXECUTOR"}),
    "raw": Variant(raw=True),
    "inline": Variant(raw=True, inline=True),
    "inline_single": Variant(raw=True, inline=True, config={"experimental.executor_type": "SINGLE_THREADED_EXECUTOR"}),
    "no_layout": Variant(config={REWRITE + "layout_optimizer": OFF}),
    "no_remapping": Variant(config={REWRITE + "remapping": OFF}),
    "aggressive": Variant(config={REWRITE + "remapping": AGGRESSIVE, REWRITE + "constant_folding": AGGRESSIVE}),
    "any_size": Variant(config={REWRITE + "min_graph_nodes": -1}),
    "no_rewrites": Variant(config={REWRITE + "disable_meta_optimizer": True}),
    "bfloat16": Variant(config={REWRITE + "auto_mixed_precision_onednn_bfloat16": ON}),
    "bfloat16_frozen": Variant(
        {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}, config={REWRITE + "auto_mixed_precision_onednn_bfloat16": ON}
    ),
    "bfloat16_keep": Variant(
        mallopt={M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 1 << 25, M_TRIM_THRESHOLD: 1 << 28},
        config={REWRITE + "auto_mixed_precision_onednn_bfloat16": ON},
    ),
}


@dataclass(frozen=True)
class Turn:
    """What one call took: seconds of wall clock and of the processor, page faults, and memory in use (bytes)."""

    wall: float
    cpu: float
    faults: float
    memory: int
    answer: np.ndarray


def make_loop(spec: Path, name: str, threads: int, batch: int) -> Callable[[float], Turn]:
    """Load a model's graph into a session of a variant's settings; in a process of its own."""
    variant = VARIANTS[name]
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", **variant.environ})
    for parameter, value in variant.mallopt.items():
        assert ctypes.CDLL(None).mallopt(parameter, value)
    from tf_serving_flask_app.backends import backend_class
    from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession, session_config
    from tf_serving_flask_app.memory import give_back_memory

    def config_of_variant(session: SessionSpec) -> Any:
        config = session_config(session)
        for path, value in variant.config.items():
            *parents, last = path.split(".")
            record = config
            for parent in parents:
                record = getattr(record, parent)
            setattr(record, last, value)
        return config

    model = load_spec(spec, None).models[0].model_copy(update={"session": SessionSpec(intra_op_threads=threads)})
    kind = backend_class(model.backend)
    setattr(sys.modules[kind.__module__], session_config.__name__, config_of_variant)
    backend = kind(model)
    assert isinstance(backend, TensorFlowSession)
    signature = backend.signatures[model.signature]
    call = _callable(backend._session, signature, variant)
    shape = [batch if size is None else size for size in next(iter(signature.inputs.values())).shape or ()]
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    # As in the server, where it is never the main thread that calls: glibc gives it another arena.
    thread = ThreadPoolExecutor(1)
    for _ in range(WARM_CALLS):
        thread.submit(call, x).result()
    give_back_memory()

    def loop(seconds: float) -> Turn:
        return thread.submit(turn, seconds).result()

    def turn(seconds: float) -> Turn:
        call(x)
        before, began, calls = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), 0
        while (taken := time.perf_counter() - began) < seconds:
            answer = call(x)
            calls += 1
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        faults = (after.ru_minflt - before.ru_minflt) / calls
        return Turn(taken / calls, cpu / calls, faults, pages * resource.getpagesize(), np.asarray(answer[0]))

    return loop


def _callable(session: Any, signature: Signature, variant: Variant) -> Callable[..., Any]:
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    feeds = [info.tensor for info in signature.inputs.values()]
    fetches = [info.tensor for info in signature.outputs.values()]
    if not variant.raw:
        wanted, given = [[session.graph.get_tensor_by_name(name) for name in side] for side in (fetches, feeds)]
        return cast(Callable[..., Any], session.make_callable(wanted, feed_list=given))
    options = CallableOptions(feed=feeds, fetch=fetches)
    if variant.inline:
        options.run_options.inter_op_thread_pool = -1
    return cast(Callable[..., Any], session._make_callable_from_options(options))


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("variants", nargs="*", help=f"of {', '.join(VARIANTS)}; none: all")
    asked = parser.parse_intermixed_args()
    names = [BASE, *(name for name in asked.variants or VARIANTS if name != BASE)]
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with ExitStack() as stack:
        helpers: dict[str, Helper[float, Turn]] = {}
        for name in list(names):
            helper: Helper[float, Turn] = Helper(
                make_loop, asked.spec, name, asked.threads, asked.batch, name=f"the variant {name}"
            )
            helpers[name] = stack.enter_context(closing(helper))
            try:
                helper.wait_ready()
            except ConfigurationError as exc:
                print(f"{name}: {exc}")
                names.remove(name)
        for number in range(asked.rounds):
            for name in reversed(names) if number % 2 else names:
                helpers[name].give(ROUND_S)
                turns[name].append(helpers[name].answer())
    print(this_machine("tensorflow"))
    print(f"{asked.spec.name}, {asked.threads} threads, batch {asked.batch}, {asked.rounds} rounds of {ROUND_S} s")
    titles = ["wall ms", "cpu ms", "faults", "MB", "wall", "cpu", "least", "difference"]
    print(" ".join([f"{'variant':>18}", *(f"{title:>10}" for title in titles)]))
    base = turns[BASE]
    for name in names:
        own = turns[name]
        wall, cpu = (
            statistics.median(getattr(turn, what) / getattr(other, what) for turn, other in zip(own, base, strict=True))
            for what in ("wall", "cpu")
        )
        figures = [statistics.median(getattr(turn, what) for turn in own) for what in ("wall", "cpu", "faults")]
        least = min(turn.cpu for turn in own) / min(turn.cpu for turn in base)
        difference = np.abs(own[0].answer - base[0].answer).max() / np.abs(base[0].answer).max()
        shown = [
            f"{figures[0] * 1e3:.3f}",
            f"{figures[1] * 1e3:.3f}",
            f"{figures[2]:.1f}",
            f"{own[-1].memory / 1e6:.0f}",
        ]
        shown += [f"{wall:.3f}", f"{cpu:.3f}", f"{least:.3f}", f"{difference:.1e}"]
        print(" ".join([f"{name:>18}", *(f"{text:>10}" for text in shown)]))


if __name__ == "__main__":
    main()
