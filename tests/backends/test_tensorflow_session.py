"""What every local backend promises, on the same model in each of the formats."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.models import Load, Models, make_spec, needs_bfloat16, softmax
from tf_serving_flask_app.backends import BACKENDS, backend_class
from tf_serving_flask_app.backends.graphs import one_line
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession
from tf_serving_flask_app.context import warm_context
from tf_serving_flask_app.errors import BackendFailed, InvalidInput
from tf_serving_flask_app.model import Model

pytestmark = pytest.mark.tensorflow

FORMATS = {
    "frozen_graph": "classifier",
    "saved_model": "saved_classifier",
    "keras": "sequential",
    "keras_h5": "sequential_h5",
}
ROOT = Path(__file__).parents[2]
X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(params=FORMATS)
def classifier(request: pytest.FixtureRequest, models: Models, load: Load) -> Any:
    """Loads scores = softmax(x @ MATRIX) from one of the formats, with fields of the spec."""
    path = getattr(models, FORMATS[request.param])
    return lambda **fields: load(request.param.removesuffix("_h5"), path, **fields)


def answer(backend: TensorFlowSession, x: np.ndarray = X) -> np.ndarray:
    return backend.run("serving_default", {"x": x})["scores"]


def graph_of(backend: TensorFlowSession) -> Any:
    return backend._session.graph


def operations_run(backend: TensorFlowSession, fetched: str, feeds: dict[str, np.ndarray]) -> set[str]:
    """The kinds of operations that a session really runs, after its optimisers."""
    import tensorflow as tf

    options, found = tf.compat.v1.RunOptions(output_partition_graphs=True), tf.compat.v1.RunMetadata()
    backend._session.run(fetched, feeds, options=options, run_metadata=found)
    return {node.op for partition in found.partition_graphs for node in partition.node}


def test_inputs_and_outputs_are_found(classifier: Any) -> None:
    (signature,) = classifier().signatures.values()
    assert signature.name == "serving_default"
    assert [str(info) for info in signature.inputs.values()] == ["x: float32[-1, 4]"]
    assert [str(info) for info in signature.outputs.values()] == ["scores: float32[-1, 3]"]


def test_answers_are_tensorflows_own(classifier: Any) -> None:
    scores = answer(classifier())
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, softmax(X), atol=1e-5)


def test_the_spec_can_name_inputs_and_outputs_anew(classifier: Any) -> None:
    backend = classifier(inputs={"rows": "x"}, outputs={"classes": "scores"})
    found = backend.run("serving_default", {"rows": X})
    np.testing.assert_allclose(found["classes"], softmax(X), atol=1e-5)


def test_no_variable_is_left_in_the_graph(classifier: Any) -> None:
    graph_def = graph_of(classifier()).as_graph_def()
    assert "VarHandleOp" not in {node.op for node in graph_def.node}
    assert all(node.op != "VarHandleOp" for function in graph_def.library.function for node in function.node_def)


def test_an_empty_batch_is_answered(classifier: Any) -> None:
    assert answer(classifier(), X[:0]).shape == (0, 3)


def test_session_options_reach_tensorflow(classifier: Any) -> None:
    config = classifier(session={"intra_op_threads": 3, "inter_op_threads": 2})._session._config
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 2)
    assert config.use_per_session_threads


@needs_bfloat16
def test_bfloat16_stays_near_float32_and_is_used(classifier: Any) -> None:
    scores = answer(classifier(session={"precision": "bfloat16"}))
    np.testing.assert_allclose(scores, softmax(X), atol=0.02)
    assert not np.array_equal(scores, answer(classifier()))


XLA = """
import json, pathlib, sys
import numpy as np
from tests.backends.models import make_spec
from tests.backends.test_tensorflow_session import operations_run
from tf_serving_flask_app.backends import backend_class
keras, chain = map(pathlib.Path, sys.argv[1:])
backend_class("keras")(make_spec("keras", keras))
x = np.linspace(-1, 1, 8, dtype=np.float32)
for xla in (False, True):
    backend = backend_class("frozen_graph")(make_spec("frozen_graph", chain, session={"xla": xla}))
    operations = operations_run(backend, "y:0", {"x:0": x})
    print(json.dumps([xla, "_XlaRun" in operations, backend.run("serving_default", {"x": x})["y"].tolist()]))
"""


def test_xla_compiles_only_where_the_spec_asks_for_it_whatever_model_is_the_processs_first(models: Models) -> None:
    command = [sys.executable, "-c", XLA, str(models.sequential), str(models.chain)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    plain, compiled = map(json.loads, done.stdout.splitlines())

    assert (plain[:2], compiled[:2]) == ([False, False], [True, True])
    np.testing.assert_allclose(compiled[2], plain[2], atol=1e-5)


def test_shapes_that_the_signature_does_not_note_are_left_to_the_graph(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.chain)
    outputs = backend.run("serving_default", {"x": np.zeros((2, 3), np.float32)})

    assert backend.takes_any_shape
    assert outputs["y"].shape == (2, 3)


def test_a_shape_that_the_graph_cannot_compute_with_is_the_clients_fault(classifier: Any) -> None:
    with pytest.raises(InvalidInput, match="The model refuses this input: "):
        classifier().run("serving_default", {"x": np.zeros((2, 3), np.float32)})


def test_an_output_that_is_an_input_or_another_output_is_given_in_any_shape(models: Models, load: Load) -> None:
    names = {"y": "y:0", "same": "y:0", "x": "x:0"}
    backend = load("frozen_graph", models.chain, inputs={"x": "x:0"}, outputs=names)
    x = np.zeros((2, 3), np.float32)
    outputs = backend.run("serving_default", {"x": x})

    assert list(outputs) == ["y", "same", "x"]
    np.testing.assert_array_equal(outputs["x"], x)
    np.testing.assert_array_equal(outputs["same"], outputs["y"])


def test_tensors_are_told_by_their_names_in_the_graph(models: Models, load: Load) -> None:
    signature = load("frozen_graph", models.chain, inputs={"in": "x:0"}).signatures["serving_default"]

    assert [info.tensor for info in (*signature.inputs.values(), *signature.outputs.values())] == ["x:0", "y:0"]


def test_the_graph_is_finished_and_does_not_grow(classifier: Any) -> None:
    backend = classifier()
    before = len(graph_of(backend).get_operations())
    for _ in range(200):
        answer(backend)
    assert len(graph_of(backend).get_operations()) == before
    assert graph_of(backend).finalized


@pytest.mark.parametrize("threads", [1, 2])
def test_many_rounds_of_a_loop_are_no_burden_to_a_thread(models: Models, load: Load, threads: int) -> None:
    backend = load("saved_model", models.loops, session={"inter_op_threads": threads})
    inputs = {"x": np.zeros(1, np.float32), "times": np.array(20_000, np.int32), "up": np.array(True)}
    with ThreadPoolExecutor(1) as pool:
        outputs = pool.submit(backend.run, "serving_default", inputs).result()

    assert outputs["y"].tolist() == [1]


def test_concurrent_calls_each_get_their_own_answer(classifier: Any) -> None:
    backend = classifier()
    batches = [np.random.default_rng(seed).normal(size=(1 + seed % 7, 4)).astype(np.float32) for seed in range(320)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda batch: answer(backend, batch), batches))
    for batch, scores in zip(batches, found, strict=True):
        np.testing.assert_allclose(scores, softmax(batch), atol=1e-5)


@pytest.mark.parametrize(
    "x",
    [np.zeros((2, 5), np.float32), np.zeros((4,), np.float32), np.array([[b"a"] * 4], dtype=object)],
    ids=["width", "rank", "strings"],
)
def test_what_does_not_fit_is_the_clients_fault_told_in_one_line(classifier: Any, x: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"^The model refuses this input: \S.{10,}$") as caught:
        answer(classifier(), x)
    assert "{{" not in str(caught.value)


def test_a_model_refuses_what_its_signature_does_not_take(classifier: Any) -> None:
    model = Model(make_spec("frozen_graph", Path("unused")), classifier())
    for x, reason in ((X.astype(np.float64), "is float64, but"), (X[:, :3], r"has shape \[5, 3\], but")):
        with pytest.raises(InvalidInput, match=reason):
            model.run({"x": x}, warm_context())
    assert model.run({"x": X}, warm_context())["scores"].shape == (5, 3)


def test_a_call_after_close_fails_and_the_graph_is_freed(models: Models) -> None:
    backend = backend_class("saved_model")(make_spec("saved_model", models.saved_classifier))
    assert isinstance(backend, TensorFlowSession)
    graph = weakref.ref(graph_of(backend))
    backend.close()
    with pytest.raises(BackendFailed, match="closed"):
        answer(backend)
    backend.close()  # a second time does no harm
    del backend
    gc.collect()
    assert graph() is None


def test_tensors_lists_every_tensor_of_the_graph(models: Models, load: Load) -> None:
    found = {info.name: info for info in load("saved_model", models.vocabulary).tensors()}
    assert str(found["serving_default_words:0"]) == "serving_default_words:0: string[-1]"
    handles = [info for info in found.values() if info.type_name == "void"]
    assert handles


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("indices[0] = 7 is not in [0, 3)\n\t [[{{node y}}]]", "indices[0] = 7 is not in [0, 3)"),
        ("{{function_node f}} bad shape [[{{node y}}]]", "bad shape"),
        ("2 root error(s) found.\n  (0) INVALID_ARGUMENT: bad shape\n\t [[{{node y}}]]\n  (1) ...", "bad shape"),
        ("Graph execution error:\n\nDetected at node y defined at:\n\nbad shape", "bad shape"),
        (
            "2 objects could not be loaded, for example:\n\nDense has 1 variable\n",
            "2 objects could not be loaded, for example: Dense has 1 variable",
        ),
        ("", "ValueError"),
    ],
)
def test_only_the_reason_is_taken_of_what_tensorflow_says(text: str, reason: str) -> None:
    assert one_line(ValueError(text)) == reason


def test_before_fork_imports_tensorflow_and_starts_no_thread() -> None:
    code = """
import os, sys
from tf_serving_flask_app.backends import BACKENDS, backend_class
for kind in BACKENDS:
    backend_class(kind).before_fork()
assert {"tensorflow", "keras", "grpc", "tensorflow_serving"} <= sys.modules.keys()
print(len(os.listdir("/proc/self/task")))
"""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert set(BACKENDS) == {"frozen_graph", "saved_model", "keras", "tflite", "tf_serving"}


def test_a_graph_that_joins_calls_by_itself_gets_several_at_once(tmp_path: Path, load: Load) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        forever_us = 10**9
        join = tf.nondifferentiable_batch_function(1, 2, forever_us, allowed_batch_sizes=[2])
        tf.identity(join(lambda rows: rows / 2 + 2)(x), name="y")
    (tmp_path / "joins.pb").write_bytes(graph.as_graph_def().SerializeToString())
    backend = load("frozen_graph", tmp_path / "joins.pb", inputs={"x": "x:0"}, outputs={"y": "y:0"})
    with ThreadPoolExecutor(2) as pool:
        inputs = [{"x": np.array([number], np.float32)} for number in (0, 2)]
        calls = [pool.submit(backend.run, "serving_default", each) for each in inputs]

        assert [call.result(60)["y"].tolist() for call in calls] == [[2.0], [3.0]]
