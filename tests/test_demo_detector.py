"""The demo's detector: the graph in the repository is as good as it says, and what makes it does what it says."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tf_serving_flask_app.backends.frozen_graph import find_inputs, find_outputs, read_graph_def
from tf_serving_flask_app.backends.graphs import import_graph
from tf_serving_flask_app.export.demo import DETECTOR, LABEL_MAP
from tf_serving_flask_app.export.demo_detector import (
    CELLS,
    MOST_DETECTIONS,
    MOST_DIFFERENCE,
    OUTPUTS,
    SIDE,
    USUAL_DISTANCE,
    build,
    decode,
    draw_scenes,
    evaluate,
    freeze,
    loss,
    make_targets,
    turn_boxes,
    turn_pictures,
)
from tf_serving_flask_app.export.mean_average_precision import Objects, mean_average_precision
from tf_serving_flask_app.export.shapes import SHAPES

DEMO = Path(__file__).resolve().parents[1] / "specs" / "demo"
TURNS = list(itertools.product((False, True), repeat=3))


def perfect_answers(there: list[Objects]) -> np.ndarray:
    """What a network that had learnt everything would say: the targets, as logits and logarithms."""
    targets = make_targets(there)
    centres = np.where(targets[..., : len(SHAPES)] == 1, 8.0, -8.0)
    distances = np.log(np.maximum(targets[..., len(SHAPES) : -1], 1e-3) / USUAL_DISTANCE)
    return np.concatenate([centres, distances], axis=3).astype(np.float32)


def test_scenes_for_training_come_in_the_networks_size_with_boxes_as_parts_of_it() -> None:
    pictures, there = draw_scenes(5, 8)

    assert pictures.shape == (8, SIDE, SIDE, 3)
    assert len(there) == 8
    for objects in there:
        assert (objects.boxes[:, :2] < objects.boxes[:, 2:]).all()
        assert objects.boxes.min() >= 0
        assert objects.boxes.max() <= 1


def test_a_target_has_one_centre_for_each_shape_and_distances_that_lead_to_its_edges() -> None:
    box = (0.2, 0.3, 0.5, 0.7)
    (target,) = make_targets([Objects(np.array([box]), np.array([2]), np.ones(1))])
    row, column = int(0.35 * CELLS), int(0.5 * CELLS)
    y, x = (row + 0.5) / CELLS, (column + 0.5) / CELLS
    up, left, down, right = target[row, column, len(SHAPES) : -1]

    assert np.argwhere(target[..., : len(SHAPES)] == 1).tolist() == [[row, column, 2]]
    assert (y - up, x - left, y + down, x + right) == pytest.approx(box)
    assert target[..., -1].sum() == 9


def test_distances_count_in_no_cell_outside_a_small_box() -> None:
    (target,) = make_targets([Objects(np.array([(0.5, 0.5, 0.56, 0.56)]), np.array([0]), np.ones(1))])

    assert target[..., -1].sum() == 1
    assert target[..., len(SHAPES) : -1].min() >= 0


@pytest.mark.parametrize("turn", TURNS)
def test_boxes_are_turned_as_their_pictures_are(turn: tuple[bool, bool, bool]) -> None:
    picture = np.zeros((1, 10, 10, 1))
    picture[0, 1:3, 4:9] = 1
    turned = turn_boxes(Objects(np.array([(0.1, 0.4, 0.3, 0.9)]), np.array([0]), np.ones(1)), *turn)
    rows, columns = np.nonzero(turn_pictures(picture, *turn)[0, ..., 0])

    expected = [rows.min() / 10, columns.min() / 10, (rows.max() + 1) / 10, (columns.max() + 1) / 10]
    assert turned.boxes[0].tolist() == pytest.approx(expected)


@pytest.mark.tensorflow
def test_perfect_answers_are_decoded_into_exactly_what_is_there() -> None:
    _, there = draw_scenes(6, 12)
    outputs = {name: value.numpy() for name, value in decode(perfect_answers(there)).items()}
    counts = outputs["num_detections"].astype(int)
    found = [
        Objects(boxes[:count], classes[:count].astype(int) - 1, scores[:count])
        for boxes, classes, scores, count in zip(
            outputs["detection_boxes"], outputs["detection_classes"], outputs["detection_scores"], counts, strict=True
        )
    ]

    assert outputs["detection_boxes"].shape == (12, MOST_DETECTIONS, 4)
    assert counts.tolist() == [len(objects.classes) for objects in there]
    assert mean_average_precision(there, found, least_iou=0.99) == 1


@pytest.mark.tensorflow
def test_the_loss_is_least_for_perfect_answers() -> None:
    _, there = draw_scenes(6, 12)
    targets, perfect = make_targets(there), perfect_answers(there)
    shifted = np.roll(perfect, 1, axis=2)
    larger = perfect + np.array([0] * len(SHAPES) + [0.2] * 4, np.float32)

    best = float(loss(targets, perfect))
    assert 0 <= best < 0.05
    assert float(loss(targets, larger)) > best + 0.1
    assert float(loss(targets, shifted)) > best + 1


@pytest.mark.tensorflow
def test_folding_batch_norms_into_the_convolutions_changes_no_answer() -> None:
    model = build(normalised=True)
    rng = np.random.default_rng(4)
    for layer in model.layers:
        # An untrained normalisation does nothing, and would not show a mistake in the folding.
        layer.set_weights([weight * rng.uniform(0.7, 1.3, weight.shape) for weight in layer.get_weights()])
    graph_def = freeze(model)  # compares both, within MOST_DIFFERENCE

    assert MOST_DIFFERENCE <= 1e-4
    assert {node.name for node in graph_def.node} >= {"image", *OUTPUTS}
    assert not any("BatchNorm" in node.op or "Variable" in node.op for node in graph_def.node)


@pytest.mark.tensorflow
def test_the_detector_reaches_80_map_on_scenes_of_a_seed_that_nobody_chose_it_by() -> None:
    assert evaluate(DEMO / DETECTOR, scenes=100, seed=20) >= 0.80


@pytest.mark.tensorflow
def test_the_detector_is_small_and_has_the_outputs_of_the_object_detection_api() -> None:
    assert (DEMO / DETECTOR).stat().st_size < 1_500_000
    graph = import_graph(read_graph_def(DEMO / DETECTOR), DEMO / DETECTOR)
    shapes = {name: tensor.shape.as_list() for name, tensor in (find_inputs(graph) | find_outputs(graph)).items()}
    assert shapes == {
        "image": [None, SIDE, SIDE, 3],
        "detection_boxes": [None, MOST_DETECTIONS, 4],
        "detection_classes": [None, MOST_DETECTIONS],
        "detection_scores": [None, MOST_DETECTIONS],
        "num_detections": [None],
    }


def test_the_label_map_counts_the_shapes_from_1() -> None:
    words = (DEMO / LABEL_MAP).read_text().split()

    assert words[words.index("id:") + 1] == "1"
    assert [word.strip("'") for before, word in itertools.pairwise(words) if before == "name:"] == list(SHAPES)
