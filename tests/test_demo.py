"""The demo model in the repository is as good as it says, and can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_serving_flask_app.export.demo_classifier import MOST_DIFFERENCE, build, evaluate, freeze
from tf_serving_flask_app.export.shapes import SHAPES

DEMO = Path(__file__).resolve().parents[1] / "specs" / "demo"

pytestmark = pytest.mark.tensorflow


def test_the_demo_names_97_of_100_pictures_of_a_seed_that_nobody_chose_it_by() -> None:
    assert evaluate(DEMO / "shapes.frozen.pb", pictures=1000, seed=20) >= 0.97


def test_the_demo_is_small_and_its_labels_are_the_shapes() -> None:
    assert (DEMO / "shapes.frozen.pb").stat().st_size < 600_000
    assert (DEMO / "shapes.txt").read_text().split() == list(SHAPES)


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
