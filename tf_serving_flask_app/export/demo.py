"""The demo: trains the two small models that ``./run.sh`` serves, keeps them if they are good, and measures them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export import demo_classifier, demo_detector
from tf_serving_flask_app.export.scenes import draw_scene
from tf_serving_flask_app.export.shapes import SHAPES, draw_picture

CLASSIFIER, DETECTOR = "shapes.frozen.pb", "shapes_detector.frozen.pb"
LABELS, LABEL_MAP = "shapes.txt", "shapes.pbtxt"
SAMPLE_SEED, SAMPLE_SIZE = 13, (320, 240)
SCENE_SAMPLES, SCENE_SEED, SCENE_SIZE = 3, 6, (480, 360)

Report = Callable[[str], None]


def export_demo(out: Path, report: Report) -> None:
    """Train the classifier and the detector, and write their graphs, ``shapes.txt`` and ``shapes.pbtxt``.

    Args:
        out: the folder to write to; made if it is not there.
        report: takes each line of what is being done.

    Raises:
        ConfigurationError: a model is not as good as a demo must be; it is not written then.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    classifier = demo_classifier.freeze(demo_classifier.train())
    keep_if_good(classifier, out / CLASSIFIER, lambda graph: _measure_classifier(graph, report))
    (out / LABELS).write_text("\n".join(SHAPES) + "\n")
    report(f"Wrote {out / CLASSIFIER} and {LABELS} after {time.monotonic() - began:.0f} s.")

    began = time.monotonic()
    detector = demo_detector.freeze(demo_detector.train())
    keep_if_good(detector, out / DETECTOR, lambda graph: _measure_detector(graph, report))
    items = [f"item {{\n  id: {number}\n  name: '{name}'\n}}\n" for number, name in enumerate(SHAPES, start=1)]
    (out / LABEL_MAP).write_text("".join(items))
    report(f"Wrote {out / DETECTOR} and {LABEL_MAP} after {time.monotonic() - began:.0f} s.")


def keep_if_good(graph_def: Any, path: Path, measure: Callable[[Path], None]) -> None:
    """Write a graph, all of it or nothing, if it is good enough.

    Args:
        graph_def: a ``GraphDef``.
        path: where to; what is there stays until the new graph is known to be good.
        measure: takes a file with the graph; raises if it is not good enough.
    """
    candidate = path.with_suffix(".new")
    try:
        candidate.write_bytes(graph_def.SerializeToString(deterministic=True))
        measure(candidate)
        os.replace(candidate, path)
    finally:
        candidate.unlink(missing_ok=True)


def evaluate_demo(folder: Path, report: Report) -> None:
    """Measure both models that ``export_demo`` wrote to a folder, on pictures that they were not trained on.

    Raises:
        ConfigurationError: a model is missing, or not as good as a demo must be.
    """
    _measure_classifier(folder / CLASSIFIER, report)
    _measure_detector(folder / DETECTOR, report)


def write_samples(folder: Path) -> None:
    """Draw a larger picture of each shape, as a JPEG named after it, and some scenes, ``scene-1.jpg`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SAMPLE_SEED)
    for name in SHAPES:
        draw_picture(rng, name, SAMPLE_SIZE).image.save(folder / f"{name}.jpg", quality=90)
    rng = np.random.default_rng(SCENE_SEED)
    for number in range(1, SCENE_SAMPLES + 1):
        draw_scene(rng, SCENE_SIZE).image.save(folder / f"scene-{number}.jpg", quality=85)


def _measure_classifier(graph: Path, report: Report) -> None:
    accuracy, pictures = demo_classifier.evaluate(graph), demo_classifier.EVALUATION_PICTURES
    report(f"Classifier: names {accuracy:.1%} of {pictures} pictures of another seed rightly.")
    if accuracy < demo_classifier.LEAST_ACCURACY:
        raise ConfigurationError(f"A demo's classifier must name {demo_classifier.LEAST_ACCURACY:.0%} rightly.")


def _measure_detector(graph: Path, report: Report) -> None:
    precision, scenes = demo_detector.evaluate(graph), demo_detector.EVALUATION_SCENES
    report(f"Detector: {precision:.3f} mAP at IoU 0.5 on {scenes} scenes of another seed.")
    if precision < demo_detector.LEAST_MAP:
        raise ConfigurationError(f"A demo's detector must reach {demo_detector.LEAST_MAP:.2f} mAP.")
