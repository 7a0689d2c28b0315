"""SavedModels: signatures, versions, tables, state, what is frozen and what is not, and folders that are none."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.keras_models import MATRIX
from tests.backends.models import Load, Models, Refusal
from tf_serving_flask_app.backends.saved_model import SavedModel, find_version, read_meta_graph
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.tensors import PREDICT_METHOD, REGRESS_METHOD, Array

pytestmark = pytest.mark.tensorflow

NOBODY = 65534
X = np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)


def operations(backend: TensorFlowSession) -> set[str]:
    return {operation.type for operation in backend._session.graph.get_operations()}


def words(*values: bytes) -> Array:
    return np.array(values, dtype=object)


def copy(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / model.name))


def rewrite(folder: Path, change: Any) -> None:
    """Change the saved_model.pb of a folder."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved_model = SavedModel.FromString(path.read_bytes())
    change(saved_model.meta_graphs[0])
    path.write_bytes(saved_model.SerializeToString())


def test_the_tensors_of_a_frozen_model_keep_the_names_that_its_signatures_give_them(models: Models, load: Load) -> None:
    backend = load("saved_model", models.linear / "2")
    (x,) = backend.signatures["serving_default"].inputs.values()

    assert "VarHandleOp" not in operations(backend)
    assert x.tensor == "serving_default_x:0"


def test_a_signature_keeps_its_method_and_its_tensors_names(test_data: Path, load: Load) -> None:
    backend = load("saved_model", test_data / "models/tfserving/saved_model_half_plus_two_cpu")
    regress = backend.signatures["regress_x_to_y"]

    assert regress.method == REGRESS_METHOD
    assert backend.signatures["serving_default"].method == PREDICT_METHOD
    assert (regress.inputs["inputs"].tensor, regress.outputs["outputs"].tensor) == ("tf_example:0", "y:0")


def test_every_signature_is_served_frozen(models: Models, load: Load) -> None:
    backend = load("saved_model", models.linear / "2")
    assert sorted(backend.signatures) == ["serving_default", "twice"]
    assert [str(info) for info in backend.signatures["twice"].outputs.values()] == [
        "x: float32[-1, 4]",
        "z: float32[-1, 3]",
    ]
    expected = X @ (2 * MATRIX)
    found = backend.run("serving_default", {"x": X})["y"]
    np.testing.assert_allclose(found, expected + np.array([1, 2, 3]), atol=1e-5)
    twice = backend.run("twice", {"x": X})
    np.testing.assert_allclose(twice["z"], 2 * expected, atol=1e-5)
    np.testing.assert_array_equal(twice["x"], X)
    assert "VarHandleOp" not in operations(backend)


@pytest.mark.parametrize(("version", "served"), [(None, 10), (1, 1), (2, 2)])
def test_of_numbered_folders_the_latest_or_the_one_named_is_served(
    models: Models, load: Load, version: int | None, served: int
) -> None:
    backend = load("saved_model", models.linear, version=version)
    assert backend.version == served
    expected = X @ (served * MATRIX) + np.array([1, 2, 3])
    np.testing.assert_allclose(backend.run("serving_default", {"x": X})["y"], expected, atol=1e-5)


def test_a_numbered_folder_is_a_version_once_it_has_its_graph_and_all_its_files_count(
    models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "linear"
    shutil.copytree(models.linear, folder)
    (folder / "11").mkdir()
    found = SavedModel.versions(folder)
    files = {str(path.relative_to(folder / "2")) for path in SavedModel.files(found[2])}

    assert found == {number: folder / str(number) for number in (1, 2, 10)}
    assert {"saved_model.pb", "variables/variables.index"} <= files
    assert SavedModel.versions(folder / "2") == {2: folder / "2"}
    assert SavedModel.versions(tmp_path / "nowhere") == {}


def test_a_version_that_is_not_there_is_told_with_those_that_are(models: Models, refusal: Refusal) -> None:
    assert "no version 3; there are [1, 2, 10]" in refusal("saved_model", models.linear, version=3)


@pytest.mark.parametrize(("version", "served"), [(None, 2), (0, 0), (7, 7)])
def test_a_folder_without_versions_has_its_own_number_or_the_specs(
    models: Models, load: Load, version: int | None, served: int
) -> None:
    assert load("saved_model", models.linear / "2", version=version).version == served


def test_a_link_to_a_version_has_its_number(tmp_path: Path) -> None:
    (tmp_path / "releases" / "3").mkdir(parents=True)
    (tmp_path / "releases" / "3" / "saved_model.pb").touch()
    current, seven = tmp_path / "current", tmp_path / "7"
    for link in (current, seven):
        link.symlink_to("releases/3")

    assert SavedModel.versions(current) == {3: current}
    assert SavedModel.versions(seven) == {7: seven}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read")
def test_a_version_that_may_not_be_read_is_refused_with_the_reason_and_hides_no_other() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        for name, mode in (("1", 0o755), ("2", 0o700)):
            (folder / name).mkdir()
            (folder / name / "saved_model.pb").touch()
            (folder / name).chmod(mode)
        os.seteuid(NOBODY)
        try:
            found = SavedModel.versions(folder)
            chosen, _ = find_version(folder, 2)
            with pytest.raises(ConfigurationError, match=r"2/saved_model.pb: .*Permission denied"):
                read_meta_graph(chosen)
        finally:
            os.seteuid(0)

    assert found == {1: folder / "1", 2: folder / "2"}


def test_a_table_from_an_asset_works_and_keeps_the_session_unfrozen(models: Models, load: Load) -> None:
    backend = load("saved_model", models.vocabulary)
    found = backend.run("serving_default", {"words": words(b"dog", b"cow", b"cat")})
    assert found["ids"].tolist() == [1, 3, 0]
    assert found["y"].tolist() == [10, 30, 0]
    assert "VarHandleOp" in operations(backend)


def test_a_variable_that_a_signature_changes_keeps_its_state(models: Models, load: Load) -> None:
    backend = load("saved_model", models.counter)
    assert "VarHandleOp" in operations(backend)
    sums = [backend.run("serving_default", {"by": np.array([by], np.float32)})["sum"].item() for by in (1, 2, 4)]
    assert sums == [1, 3, 7]
    assert backend.run("total", {})["sum"].item() == 7


def test_two_copies_of_a_model_share_no_state(models: Models, load: Load) -> None:
    first, second = load("saved_model", models.counter), load("saved_model", models.counter)
    first.run("serving_default", {"by": np.array([5], np.float32)})
    assert second.run("total", {})["sum"].item() == 0


@pytest.mark.parametrize(("times", "up", "expected"), [(0, True, 3), (2, True, 19), (3, False, 53)])
def test_variables_in_loops_conditions_and_nested_functions_are_frozen(
    models: Models, load: Load, times: int, up: bool, expected: float
) -> None:
    backend = load("saved_model", models.loops)
    feeds = {"x": np.array([2], np.float32), "times": np.array(times, np.int32), "up": np.array(up)}
    assert backend.run("serving_default", feeds)["y"].tolist() == [expected]
    assert "VarHandleOp" not in operations(backend)


def test_variables_that_are_gathered_inside_functions_are_served_as_they_are(
    models: Models, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ids = np.array([3, 0, 3], np.int32)
    rows = load("saved_model", models.embedding).run("serving_default", {"ids": ids})["rows"]
    np.testing.assert_array_equal(rows, MATRIX[ids])
    assert "cannot be folded" not in caplog.text  # it was not even tried


@pytest.mark.parametrize(
    ("name", "joins"),
    [("linear", True), ("noise", True), ("counter", False), ("vocabulary", False), ("embedding", False)],
)
def test_calls_of_a_model_that_keeps_state_are_not_joined(models: Models, load: Load, name: str, joins: bool) -> None:
    assert load("saved_model", getattr(models, name)).joins_calls is joins


def test_a_random_operation_stays_random_when_frozen(models: Models, load: Load) -> None:
    backend = load("saved_model", models.noise)
    assert "VarHandleOp" not in operations(backend)
    answers = {tuple(backend.run("serving_default", {"x": np.zeros(4, np.float32)})["y"]) for _ in range(5)}
    assert len(answers) == 5


def test_a_model_that_tensorflow_cannot_freeze_is_served_as_it_is(
    models: Models, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # Folding this one goes wrong inside TensorFlow, if it is tried.
    monkeypatch.setattr("tf_serving_flask_app.backends.saved_model.can_freeze", lambda *_: True)
    backend = load("saved_model", models.embedding)
    assert "VarHandleOp" in operations(backend)
    assert backend.run("serving_default", {"ids": np.array([1], np.int32)})["rows"].shape == (1, 3)
    assert f"{models.embedding}: served with its variables, which cannot be folded" in caplog.text


@pytest.mark.parametrize("name", ["saved_classifier", "vocabulary", "counter", "loops", "bytes_classifier"])
def test_types_and_shapes_are_those_of_the_signature(models: Models, load: Load, name: str) -> None:
    import tensorflow as tf

    backend = load("saved_model", getattr(models, name))
    written = read_meta_graph(getattr(models, name)).signature_def
    for signature in backend.signatures.values():
        for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            protos = getattr(written[signature.name], side)
            assert tensors.keys() == protos.keys()
            for key, info in tensors.items():
                assert info.dtype == tf.as_dtype(protos[key].dtype).as_numpy_dtype
                assert info.shape == tuple(tf.TensorShape(protos[key].tensor_shape).as_list())


def test_the_spec_renames_the_tensors_of_its_signature(models: Models, load: Load, refusal: Refusal) -> None:
    names: dict[str, Any] = {"signature": "twice", "inputs": {"rows": "x"}, "outputs": {"doubled": "z"}}
    backend = load("saved_model", models.linear, **names)
    assert list(backend.run("twice", {"rows": X})) == ["doubled"]
    assert list(backend.run("serving_default", {"x": X})) == ["y"]
    assert "no tensor 'y'; it has 'x', 'z'" in refusal(
        "saved_model", models.linear / "1", signature="twice", outputs={"scores": "y"}
    )


def test_what_is_no_saved_model_is_refused(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "1").mkdir()
    assert "it has no saved_model.pb" in refusal("saved_model", tmp_path)
    assert "neither a saved_model.pb nor numbered folders" in refusal("saved_model", tmp_path / "1")
    assert "neither a saved_model.pb nor numbered folders" in refusal("saved_model", models.classifier)
    assert "neither a saved_model.pb nor numbered folders" in refusal("saved_model", models.sequential)


def test_folders_whose_names_are_no_numbers_are_no_versions(tmp_path: Path, refusal: Refusal) -> None:
    for name in ("variables", "1a", "²"):
        (tmp_path / name).mkdir()
    assert "nor numbered folders" in refusal("saved_model", tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_saved_model_pb_that_was_cut_off_is_refused(
    models: Models, tmp_path: Path, refusal: Refusal, kept: float
) -> None:
    folder = copy(models.saved_classifier, tmp_path)
    path = folder / "saved_model.pb"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert refusal("saved_model", folder)


def test_a_frozen_graph_under_the_name_is_refused(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "saved_model.pb").write_bytes(models.classifier.read_bytes())
    assert refusal("saved_model", tmp_path)


def test_damaged_or_missing_variables_are_refused(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    folder = copy(models.saved_classifier, tmp_path)
    (data,) = (folder / "variables").glob("variables.data*")
    data.write_bytes(data.read_bytes()[:-20])
    assert "cannot be loaded" in refusal("saved_model", folder)
    shutil.rmtree(folder / "variables")
    assert "variables" in refusal("saved_model", folder)


def test_a_missing_asset_is_named(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    folder = copy(models.vocabulary, tmp_path)
    (folder / "assets/words.txt").unlink()
    assert "words.txt" in refusal("saved_model", folder)


def test_a_graph_that_is_not_for_serving_or_has_no_signature_is_refused(
    models: Models, tmp_path: Path, refusal: Refusal
) -> None:
    folder = copy(models.saved_classifier, tmp_path)
    rewrite(folder, lambda graph: graph.signature_def.clear())
    assert "has no signatures" in refusal("saved_model", folder)
    rewrite(folder, lambda graph: graph.meta_info_def.ClearField("tags"))
    assert "no graph tagged 'serve'" in refusal("saved_model", folder)


def test_a_signature_of_tensors_that_do_not_exist_is_refused(models: Models, tmp_path: Path, refusal: Refusal) -> None:
    folder = copy(models.saved_classifier, tmp_path)
    rewrite(folder, lambda graph: setattr(graph.signature_def["serving_default"].inputs["x"], "name", "nowhere:0"))
    assert "nowhere" in refusal("saved_model", folder)
