"""InceptionV3, exported by the command and served by a real server, answers what Keras does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.export.networks import shake
from tests.live.server import ROOT, LiveServer

MOST_SECONDS = 120.0
CLASSES = 1000

pytestmark = pytest.mark.tensorflow


@pytest.mark.timeout(300)
def test_an_exported_inception_v3_answers_within_a_ten_thousandth_of_keras(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(6)
    model = shake(keras.applications.InceptionV3(weights=None))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 20, bias])  # else all classes would be as likely
    weights, labels, picture = tmp_path / "w.weights.h5", tmp_path / "index.json", tmp_path / "picture.png"
    model.save_weights(weights)
    labels.write_text(json.dumps({str(index): [f"n{index}", f"class {index}"] for index in range(CLASSES)}))
    pixels = np.random.default_rng(7).integers(0, 256, (299, 299, 3), np.uint8)
    Image.fromarray(pixels).save(picture)
    scaled = keras.applications.inception_v3.preprocess_input(pixels[np.newaxis].astype(np.float32))
    wanted = model(scaled, training=False).numpy()[0]
    keras.backend.clear_session()

    arguments = ["inception_v3", "--weights", weights, "--labels", labels, "--out", tmp_path / "out"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tf_serving_flask_app", "export", *map(str, arguments)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert seconds < MOST_SECONDS
    (spec,) = (tmp_path / "out").glob("*.spec")
    assert f"./run.sh -s {spec}" in done.stdout

    with LiveServer("-s", spec, environ={"IMAGE_FOLDER": str(tmp_path), "WEB_CONCURRENCY": "1"}) as server:
        found = server.get("/classification?file_name=picture.png").json()

    assert len(found) == CLASSES
    assert wanted.max() > 0.01
    np.testing.assert_allclose([found[f"class {index}"] for index in range(CLASSES)], wanted, rtol=0, atol=1e-4)


def test_the_spec_for_inception_v3_says_what_an_export_writes(tmp_path: Path) -> None:
    from tf_serving_flask_app.spec_file import load_spec

    for name in ("inception_v3.frozen.pb", "inception_v3.txt"):
        (tmp_path / "inception_v3").mkdir(exist_ok=True)
        (tmp_path / "inception_v3" / name).touch()
    (model,) = load_spec(ROOT / "specs" / "inceptionv3.spec", tmp_path).models

    assert model.inputs["image"].tensor == "image:0"
    assert model.outputs["scores"].tensor == "scores:0"
    assert (model.image.width, model.image.height, model.image.scale) == (299, 299, "inception")
