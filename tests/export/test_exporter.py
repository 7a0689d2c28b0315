"""An export, from what a user names to the files that serve it; after a fault there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.backends.models import Models
from tests.export.networks import every_kind, keras_2_file
from tests.pictures import picture
from tf_serving_flask_app.app import create_app
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export.exporter import export_by_name
from tf_serving_flask_app.export.package import difference, keep, staging
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.spec_file import load_spec

pytestmark = pytest.mark.tensorflow

NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


def export(what: Path | str, out: Path, labels: Path | None = None, weights: str | None = None) -> dict[str, Any]:
    """Export quietly; the entry of the spec that was written."""
    lines: list[str] = []
    spec = export_by_name(str(what), weights, labels, out, out, lines.append)
    assert all(line.startswith("[") and " s] " in line for line in lines)
    (entry,) = yaml.safe_load(spec.read_text())["models"]
    assert isinstance(entry, dict)
    return entry


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_export(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tf_serving_flask_app", "export", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=100, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_classifier_of_pictures_is_served_as_it_was_written_with_its_labels(tmp_path: Path) -> None:
    import keras

    every_kind(keras).save(tmp_path / "three kinds.keras")
    (tmp_path / "kinds.txt").write_text("ant\nbee\ncow\n")
    out = tmp_path / "out"
    entry = export(tmp_path / "three kinds.keras", out)
    app = create_app(Settings.from_environ({}), load_spec(out / "three_kinds.spec").models)
    response = app.test_client().post("/classify", data=picture(), content_type="image/png")
    app.extensions["repository"].close()

    assert files(out) == ["three_kinds.frozen.pb", "three_kinds.spec", "three_kinds.txt"]
    assert entry == {
        "name": "three_kinds",
        "task": "classification",
        "backend": "frozen_graph",
        "path": "three_kinds.frozen.pb",
        "inputs": {"image": "image:0"},
        "outputs": {"scores": "scores:0"},
        "image": {"scale": "raw"},
        "labels": "three_kinds.txt",
    }
    assert response.status_code == 200, response.text
    assert {"ant", "bee", "cow"} == {item["label"] for item in response.get_json()["predictions"]}


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("two_inputs", ["ant", "zebra"], ["difference", "total"]),
        ("listed", ["zebra", "ant"], ["total", "difference"]),
        ("recurrent", ["ids"], ["y"]),
        ("linear", ["x"], ["y"]),
        ("loops", None, None),
        ("bytes_classifier", None, None),
    ],
)
def test_other_models_keep_the_names_of_their_tensors(
    models: Models, tmp_path: Path, name: str, inputs: list[str] | None, outputs: list[str] | None
) -> None:
    entry = export(getattr(models, name), tmp_path)  # compares the answers

    assert entry["backend"] == "frozen_graph"
    assert inputs is None or list(entry["inputs"]) == inputs
    assert outputs is None or list(entry["outputs"]) == outputs


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vocabulary", "serve it with `backend: saved_model`"),
        ("lookup", "lookup table"),
        ("classifier", r"a frozen graph already is served as it is"),
    ],
)
def test_what_cannot_be_frozen_is_refused_and_nothing_is_left(
    models: Models, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        export(getattr(models, name), tmp_path / "new" / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_model_that_answers_at_random_is_no_export(tmp_path: Path) -> None:
    import keras

    image = keras.Input((3,), name="x")
    model = keras.Model(image, keras.layers.Lambda(lambda x: x + keras.random.normal((3,)), output_shape=(3,))(image))
    model.export(tmp_path / "dice", verbose=False)
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"answers otherwise than its source|other state"):
        export(tmp_path / "dice", tmp_path)
    assert files(tmp_path) == ["dice", "kept.txt"]


def test_labels_that_are_too_few_are_refused(tmp_path: Path) -> None:
    import keras

    every_kind(keras).save(tmp_path / "m.keras")
    (tmp_path / "two.txt").write_text("a\nb\n")
    with pytest.raises(ConfigurationError, match="2 labels for 3 classes"):
        export(tmp_path / "m.keras", tmp_path / "out", labels=tmp_path / "two.txt")
    assert not (tmp_path / "out").exists()


def test_a_keras_2_file_that_keras_3_refuses_goes_through_tf_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    path = keras_2_file(tmp_path)
    with pytest.raises(TypeError, match="groups"):
        keras.models.load_model(path, compile=False)
    assert export(path, tmp_path / "out")["task"] == "classification"
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ConfigurationError, match=r"of Keras 2\..*-m pip install tf_keras"):
        export(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_without_a_network_the_files_to_bring_are_named(tmp_path: Path) -> None:
    done = run_export("mobilenet", "--out", tmp_path / "out", KERAS_HOME=str(tmp_path / "keras"), **NO_NETWORK)

    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "bring the file mobilenet_1_0_224_tf.h5 from https://" in last
    assert str(tmp_path / "keras" / "models") in last
    assert "--weights FILE" in last
    assert "imagenet_class_index.json" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["mobilnet"], "no such file, folder or application; did you mean 'mobilenet'?"),
        (["demo", "--weights", "none"], "takes neither --weights nor --labels"),
    ],
)
def test_bad_usage_is_told_in_one_line(arguments: list[str], fault: str) -> None:
    done = run_export(*arguments)
    assert done.returncode == 2
    assert fault in done.stderr.splitlines()[-1]


def test_an_export_replaces_what_was_there_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "m.spec").write_text("old")
    (tmp_path / "other.spec").write_text("other")
    with staging(tmp_path) as folder:
        (folder / "m.spec").write_text("new")
        keep(folder, tmp_path)

    assert files(tmp_path) == ["m.spec", "other.spec"]
    assert (tmp_path / "m.spec").read_text() == "new"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="use --out DIR"), staging(tmp_path / "file" / "out"):
        pytest.fail("it cannot be made")


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ([0.5], [0.50009], True),
        ([0.5], [0.5002], False),
        ([1000.0], [1000.09], True),
        ([1000.0], [1000.2], False),
        ([0.001, 0.001], [0.00100001, 0.001], True),
        ([0.001, 0.001], [0.00105, 0.001], False),
        ([0.0], [0.0], True),
        ([float("nan")], [1.0], False),
        ([1.0], [float("nan")], False),
        ([1.0, 2.0], [1.0], False),
    ],
)
def test_answers_may_differ_by_rounding_only(found: list[float], wanted: list[float], same: bool) -> None:
    arrays = np.array(found, np.float32), np.array(wanted, np.float32)
    if same:
        assert difference("y", *arrays) <= 0.1
    else:
        with pytest.raises(ConfigurationError, match="'y'"):
            difference("y", *arrays)
