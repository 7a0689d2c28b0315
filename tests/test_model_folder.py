"""A folder in place of a spec: what its files are by their names, and which of them are told to be at fault."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.model_folder import Found, find_models, is_saved_model
from tf_serving_flask_app.serving import models_of_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "served"
    path.mkdir()
    return path


def fill(folder: Path, *files: str) -> Found:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return find_models(folder)


@pytest.mark.parametrize(
    ("files", "name", "task", "backend", "labels"),
    [
        (["a.pb", "a.txt"], "a", "classification", "frozen_graph", "a.txt"),
        (["a.pb", "a.pbtxt"], "a", "classification", "frozen_graph", "a.pbtxt"),
        (["a.frozen.pb", "a.txt"], "a", "classification", "frozen_graph", "a.txt"),
        (["a.v2.keras", "a.v2.txt", "a.txt"], "a.v2", "classification", "keras", "a.v2.txt"),
        (["a.h5", "a.txt"], "a", "classification", "keras", "a.txt"),
        (["a.tflite", "a.txt"], "a", "classification", "tflite", "a.txt"),
        (["a/saved_model.pb", "a.txt"], "a", "classification", "saved_model", "a.txt"),
        (["a/saved_model.pb"], "a", "tensor", "saved_model", None),
        (["a/00000123/saved_model.pb"], "a", "tensor", "saved_model", None),
        (["a.pb", "labels.txt"], "a", "tensor", "frozen_graph", None),
        (["a.frozen.pb"], "a", "tensor", "frozen_graph", None),
        (["a.hdf5"], "a", "tensor", "keras", None),
    ],
)
def test_a_model_is_known_by_its_name_and_its_task_by_the_labels_beside_it(
    folder: Path, files: list[str], name: str, task: str, backend: str, labels: str | None
) -> None:
    (model,) = fill(folder, *files).models

    assert (model.name, model.task, model.backend) == (name, task, backend)
    assert model.labels == (folder / labels if labels else None)
    assert model.path == folder / files[0].split("/")[0]
    assert model.image.scale == "raw"


def test_all_models_are_found_in_the_order_of_their_names(folder: Path) -> None:
    found = fill(folder, "c.keras", "b/1/saved_model.pb", "a.pb", "a.txt", "README.md", "notes/todo.txt", ".hidden.pb")

    assert [model.name for model in found.models] == ["a", "b", "c"]
    assert found.faults == {}


def test_what_cannot_even_be_tried_is_a_fault_and_the_rest_stays(folder: Path) -> None:
    found = fill(folder, "a.h5", "a.pb", "b.pb", "my model.pb")

    assert [model.path.name for model in found.models] == ["a.h5", "b.pb"]
    assert found.faults.keys() == {folder / "a.pb", folder / "my model.pb"}
    assert found.faults[folder / "a.pb"] == "another model here is named 'a' too; rename one."
    assert "name: String should match pattern" in found.faults[folder / "my model.pb"]
    assert "'my model'" in found.faults[folder / "my model.pb"]


def test_a_fault_is_logged_with_file_and_reason_and_the_models_that_are_served_with_their_names(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fill(folder, "a.pb", "my model.pb")
    models = models_of_folder(folder)

    assert [model.name for model in models] == ["a"]
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.getMessage().startswith(f"{folder / 'my model.pb'} is not served: name: ")
    assert f"Serving the models in {folder}: a." in caplog.text


def test_a_folder_with_faults_only_is_refused(folder: Path) -> None:
    fill(folder, "my model.pb")
    with pytest.raises(ConfigurationError, match="none of its models can be served"):
        models_of_folder(folder)


@pytest.mark.parametrize("files", [[], ["labels.txt", "notes/todo.txt", "model.onnx"]])
def test_a_folder_without_a_model_is_refused_with_the_rules(folder: Path, files: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no model in it; a model is NAME\.pb") as caught:
        fill(folder, *files)
    assert str(caught.value).startswith(f"{folder}: ")


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        find_models(folder / "nothing")


@pytest.mark.parametrize("file", ["saved_model.pb", "1/saved_model.pb"])
def test_a_folder_that_is_a_saved_model_is_one_model(folder: Path, file: str) -> None:
    (model,) = fill(folder, file, "variables/variables.index").models

    assert is_saved_model(folder)
    assert (model.name, model.backend, model.path) == ("served", "saved_model", folder)


def test_a_relative_folder_gives_absolute_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.pb").touch()
    monkeypatch.chdir(folder.parent)

    assert [model.path for model in find_models(Path("served")).models] == [folder / "a.pb"]
