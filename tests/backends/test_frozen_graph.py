"""Frozen graphs: what is found in them, what the spec must name, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.models import Load, Models, Refusal
from tf_serving_flask_app.errors import InvalidInput

pytestmark = pytest.mark.tensorflow


def test_a_graph_of_several_placeholders_names_them_and_asks_for_inputs(models: Models, refusal: Refusal) -> None:
    text = refusal("frozen_graph", models.dropout)
    assert "3 placeholders (images:0, keep_prob:0, is_training:0)" in text
    assert "`inputs: {name: tensor}`" in text


def test_every_placeholder_can_be_an_input(models: Models, load: Load) -> None:
    inputs = {"x": "images", "keep": "keep_prob:0", "training": "is_training:0"}
    backend = load("frozen_graph", models.dropout, inputs=inputs)
    x = np.array([[1, 2, 3, 6]], np.float32)
    for training, expected in ((True, 1.5), (False, 6.0)):
        feeds = {"x": x, "keep": np.float32(0.5), "training": np.bool_(training)}
        found = backend.run("serving_default", {name: np.asarray(value) for name, value in feeds.items()})
        np.testing.assert_allclose(found["net/scores"], [expected])


def test_a_placeholder_that_the_outputs_need_and_the_spec_forgot_is_named(models: Models, refusal: Refusal) -> None:
    inputs = {"images": "images:0", "keep_prob": "keep_prob:0"}
    text = refusal("frozen_graph", models.dropout, inputs=inputs, outputs={"scores": "net/scores"})
    assert "is_training:0" in text
    assert "keep_prob" not in text


def test_placeholders_that_the_outputs_do_not_need_may_be_left_out(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.dropout, inputs={"x": "images"}, outputs={"mean": "net/mean"})
    found = backend.run("serving_default", {"x": np.array([[1, 2, 3, 6]], np.float32)})
    np.testing.assert_allclose(found["mean"], [3])


def test_strings_go_in_and_come_out_as_bytes(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.text)
    found = backend.run("serving_default", {"text": np.array(["straße".encode(), b"", b"a\0"], dtype=object)})
    assert found["upper"].tolist() == ["STRAßE".encode(), b"", b"A\0"]
    assert found["length"].tolist() == [7, 0, 2]


def test_each_output_of_one_operation_is_found(models: Models, load: Load) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    found = load("frozen_graph", models.halves).run("serving_default", {"x": x})
    assert list(found) == ["halves", "halves:1"]
    np.testing.assert_array_equal(found["halves"], x[:, :2])
    np.testing.assert_array_equal(found["halves:1"], x[:, 2:])


def test_inputs_and_results_of_a_frozen_function_are_told_from_what_its_loops_leave_over(
    tmp_path: Path, load: Load
) -> None:
    import tensorflow as tf

    from tf_serving_flask_app.backends.freeze import freeze_function

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def double_till_large(x: Any) -> Any:
        _, x = tf.while_loop(lambda i, x: tf.reduce_sum(x) < 100, lambda i, x: (i + 1, 2 * x), (0, x))
        return x, -x

    path = tmp_path / "function.pb"
    path.write_bytes(
        freeze_function(double_till_large.get_concrete_function()).graph.as_graph_def().SerializeToString()
    )
    backend = load("frozen_graph", path)
    found = backend.run("serving_default", {"x": np.array([1, 2], np.float32)})
    assert {name: value.tolist() for name, value in found.items()} == {"Identity": [64, 128], "Identity_1": [-64, -128]}


def test_an_output_can_be_any_tensor_of_the_graph(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.halves, outputs={"right": "halves:1", "same": "x"})
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    found = backend.run("serving_default", {"x": x})
    assert {name: value.tolist() for name, value in found.items()} == {"right": [[2, 3]], "same": [[0, 1, 2, 3]]}


def test_values_that_the_graph_refuses_are_the_clients_fault(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.picky)
    with pytest.raises(InvalidInput) as caught:
        backend.run("serving_default", {"x": np.array([0, 7], np.int32)})
    assert str(caught.value) == "The model refuses this input: indices[1] = 7 is not in [0, 3)"


def test_the_spec_chooses_signature_and_version(models: Models, load: Load) -> None:
    backend = load("frozen_graph", models.classifier, signature="classify", version=0)
    assert (list(backend.signatures), backend.version) == (["classify"], 0)
    assert load("frozen_graph", models.classifier).version == 1


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"inputs": {"x": "y"}}, "no tensor 'y:0'"),
        ({"outputs": {"p": "score:0"}}, "no tensor 'score:0'. The nearest is 'scores:0'."),
        ({"outputs": {"scores": "scores:1"}}, "no tensor 'scores:1'"),
        ({"outputs": {"scores": "scores:x"}}, "no tensor 'scores:x'"),
    ],
)
def test_a_tensor_that_does_not_exist_is_told_with_the_nearest(
    models: Models, refusal: Refusal, fields: dict[str, Any], fault: str
) -> None:
    text = refusal("frozen_graph", models.classifier, **fields)
    assert fault in text
    assert "inspect" in text


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the graph is empty"),
        (b"hello, I am no graph", "not a frozen graph"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a frozen graph"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, refusal: Refusal, content: bytes, fault: str) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(content)
    assert fault in refusal("frozen_graph", path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_graph_that_was_cut_off_is_refused(models: Models, tmp_path: Path, refusal: Refusal, kept: float) -> None:
    whole = models.classifier.read_bytes()
    path = tmp_path / "graph.pb"
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "not a frozen graph" in refusal("frozen_graph", path)


def test_a_folder_and_a_saved_model_are_told_apart_from_a_graph(models: Models, refusal: Refusal) -> None:
    assert "`backend: saved_model`" in refusal("frozen_graph", models.linear)
    assert "`backend: saved_model`" in refusal("frozen_graph", models.linear / "1/saved_model.pb")
    assert "not a frozen graph" in refusal("frozen_graph", models.sequential)


def test_an_operation_that_tensorflow_lacks_is_named(tmp_path: Path, refusal: Refusal) -> None:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = tf.float32.as_datatype_enum
    graph_def.node.add(name="y", op="SomebodysOwnOperation", input=["x"])
    path = tmp_path / "graph.pb"
    path.write_bytes(graph_def.SerializeToString())
    assert "SomebodysOwnOperation" in refusal("frozen_graph", path)


def test_a_graph_with_variables_in_it_is_told_that_it_is_not_frozen(tmp_path: Path, refusal: Refusal) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], "x")
        tf.multiply(x, tf.compat.v1.get_variable("w", initializer=2.0, use_resource=True), name="y")
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    assert "variable" in refusal("frozen_graph", path, outputs={"y": "y"})
