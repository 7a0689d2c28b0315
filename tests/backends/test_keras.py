"""Keras models: the names of inputs and outputs, answers equal to Keras' own, and files that are none."""

from __future__ import annotations

import gc
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.models import Load, Models, Refusal
from tests.export.networks import keras_2_file

pytestmark = pytest.mark.tensorflow

A, Z = np.array([[1, 2, 3]], np.float32), np.array([[10, 20, 30]], np.float32)


def kerass_own(path: Path, inputs: Any) -> Any:
    import keras

    return keras.models.load_model(path, compile=False)(inputs, training=False)


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [("two_inputs", ["ant", "zebra"], ["difference", "total"]), ("listed", ["zebra", "ant"], ["total", "difference"])],
    ids=["dict", "list"],
)
def test_several_inputs_and_outputs_keep_their_names_and_values(
    models: Models, load: Load, model: str, inputs: list[str], outputs: list[str]
) -> None:
    backend = load("keras", getattr(models, model))
    (signature,) = backend.signatures.values()
    assert (list(signature.inputs), list(signature.outputs)) == (inputs, outputs)
    found = backend.run("serving_default", {"ant": A, "zebra": Z})
    np.testing.assert_array_equal(found["total"], Z + A)
    np.testing.assert_array_equal(found["difference"], Z - A)


def test_an_embedding_and_an_lstm_answer_as_in_keras_and_are_frozen(models: Models, load: Load) -> None:
    ids = np.random.default_rng(2).integers(0, 10, (3, 5)).astype(np.int32)
    backend = load("keras", models.recurrent)
    expected = np.asarray(kerass_own(models.recurrent, ids).numpy())
    np.testing.assert_allclose(backend.run("serving_default", {"ids": ids})["y"], expected, atol=1e-5)
    operations = {operation.type for operation in backend._session.graph.get_operations()}
    assert not operations & {"VarHandleOp", "ReadVariableOp", "ResourceGather"}


def test_channels_first_is_answered(models: Models, load: Load) -> None:
    image = np.random.default_rng(3).random((2, 3, 8, 8)).astype(np.float32)
    found = load("keras", models.channels_first).run("serving_default", {"image": image})["scores"]
    powers = np.exp(image.mean(axis=(2, 3)))
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), atol=1e-5)


def test_layers_that_only_train_at_random_do_not_when_served(models: Models, load: Load) -> None:
    backend = load("keras", models.regularised)
    found = [backend.run("serving_default", {"x": A})["y"] for _ in range(3)]
    np.testing.assert_array_equal(found, [A, A, A])


def test_a_file_of_keras_2_that_keras_3_refuses_is_served_through_tf_keras(load: Load, tmp_path: Path) -> None:
    import tf_keras

    path = keras_2_file(tmp_path)
    picture = np.random.default_rng(3).random((2, 16, 16, 3)).astype(np.float32)
    wanted = tf_keras.models.load_model(path, compile=False)(picture, training=False).numpy()
    np.testing.assert_allclose(
        load("keras", path).run("serving_default", {"picture": picture})["best"], wanted, atol=1e-6
    )


def test_without_tf_keras_the_line_that_installs_it_is_told(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keras_2_file(tmp_path)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    assert "-m pip install tf_keras" in refusal("keras", path)


def test_nothing_of_keras_stays_in_memory(models: Models, load: Load) -> None:
    import keras

    load("keras", models.recurrent)
    kept = [type(thing).__name__ for thing in gc.get_objects() if issubclass(type(thing), keras.Model | keras.Layer)]
    assert kept == []


def test_a_lookup_table_is_refused_with_the_remedy_and_the_remedy_works(
    models: Models, load: Load, refusal: Refusal, tmp_path: Path
) -> None:
    import keras

    text = refusal("keras", models.lookup)
    assert "lookup table" in text
    assert "model.export('FOLDER')" in text
    keras.models.load_model(models.lookup).export(tmp_path / "lookup", verbose=False)
    backend = load("saved_model", tmp_path / "lookup")
    (output,) = backend.run("serving_default", {"words": np.array([b"dog", b"cat", b"cow"], dtype=object)}).values()
    assert output.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"inputs": {"image": "y"}}, "the signature has no tensor 'y'; it has 'x'"),
        ({"outputs": {"p": "score"}}, "no tensor 'score'; it has 'scores'"),
    ],
)
def test_a_name_that_the_model_does_not_have_is_told_with_those_it_has(
    models: Models, refusal: Refusal, fields: dict[str, Any], fault: str
) -> None:
    assert fault in refusal("keras", models.sequential, **fields)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.parametrize("content", [b"", b"hello, I am no model", bytes(2000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, refusal: Refusal, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    fault = "not a .keras file" if name.endswith(".keras") else "cannot be served"
    assert fault in refusal("keras", path)


@pytest.mark.parametrize("model", ["sequential", "sequential_h5"])
@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_a_model_that_was_cut_off_is_refused(
    models: Models, tmp_path: Path, refusal: Refusal, model: str, kept: float
) -> None:
    whole: Path = getattr(models, model)
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * kept)])
    fault = "not a .keras file" if path.suffix == ".keras" else "cannot be served: Unable"
    assert fault in refusal("keras", path)


def test_weights_that_do_not_fit_the_configuration_are_refused(
    models: Models, tmp_path: Path, refusal: Refusal
) -> None:
    path = tmp_path / "mixed.keras"
    with (
        zipfile.ZipFile(models.sequential) as right,
        zipfile.ZipFile(models.recurrent) as wrong,
        zipfile.ZipFile(path, "w") as mixed,
    ):
        for name in ("metadata.json", "config.json"):
            mixed.writestr(name, right.read(name))
        mixed.writestr("model.weights.h5", wrong.read("model.weights.h5"))
    assert "cannot be served" in refusal("keras", path)


def test_files_and_folders_of_other_kinds_are_refused(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    assert "one .keras or .h5 file" in refusal("keras", models.linear)
    renamed = tmp_path / "graph.keras"
    renamed.write_bytes(models.classifier.read_bytes())
    assert "not a .keras file" in refusal("keras", renamed)
    assert "cannot be served" in refusal("keras", models.classifier)
