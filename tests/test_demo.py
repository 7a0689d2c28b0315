"""The demo's classifier in the repository is as good as it says, and can be made again; a worse model is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_serving_flask_app.backends.frozen_graph import read_graph_def
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export.demo import CLASSIFIER, LABELS, SCENE_SAMPLES, keep_if_good, write_samples
from tf_serving_flask_app.export.demo_classifier import MOST_DIFFERENCE, build, evaluate, freeze
from tf_serving_flask_app.export.shapes import SHAPES

SPECS = Path(__file__).resolve().parents[1] / "specs"
DEMO, SAMPLES = SPECS / "demo", SPECS / "samples"

pytestmark = pytest.mark.tensorflow


def test_the_demo_names_97_of_100_pictures_of_a_seed_that_nobody_chose_it_by() -> None:
    assert evaluate(DEMO / CLASSIFIER, pictures=1000, seed=20) >= 0.97


def test_the_demo_is_small_and_its_labels_are_the_shapes() -> None:
    assert (DEMO / CLASSIFIER).stat().st_size < 600_000
    assert (DEMO / LABELS).read_text().split() == list(SHAPES)


def test_folding_batch_norms_into_the_convolutions_changes_no_answer() -> None:
    model = build(normalised=True)
    rng = np.random.default_rng(4)
    for layer in model.layers:
        # An untrained normalisation does nothing, and would not show a mistake in the folding.
        layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    graph_def = freeze(model)  # compares both, within MOST_DIFFERENCE

    assert MOST_DIFFERENCE <= 1e-4
    assert {node.name for node in graph_def.node} >= {"image", "scores"}
    assert not any("BatchNorm" in node.op or "Variable" in node.op for node in graph_def.node)


@pytest.fixture
def graph_def() -> Any:
    """The graph in the repository, as one that was just frozen."""
    return read_graph_def(DEMO / CLASSIFIER)


def test_a_model_that_is_good_enough_is_kept(graph_def: Any, tmp_path: Path) -> None:
    measured: list[bytes] = []
    path = tmp_path / CLASSIFIER
    keep_if_good(graph_def, path, lambda graph: measured.append(graph.read_bytes()))

    assert [path.read_bytes()] == measured
    assert read_graph_def(path) == graph_def
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_is_not_good_enough_leaves_what_was_there_and_nothing_else(graph_def: Any, tmp_path: Path) -> None:
    def measure(_: Path) -> None:
        raise ConfigurationError("worse")

    path = tmp_path / CLASSIFIER
    path.write_bytes(b"better")
    with pytest.raises(ConfigurationError, match="worse"):
        keep_if_good(graph_def, path, measure)

    assert path.read_bytes() == b"better"
    assert list(tmp_path.iterdir()) == [path]


def test_the_samples_are_a_small_picture_of_each_shape_and_some_scenes(tmp_path: Path) -> None:
    write_samples(tmp_path)

    scenes = [f"scene-{number}" for number in range(1, SCENE_SAMPLES + 1)]
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted([*SHAPES, *scenes])
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 60_000
        assert path.read_bytes() == (SAMPLES / path.name).read_bytes()
