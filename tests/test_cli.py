"""The commands, run as a user runs them: what they print, their exit codes, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.backends.models import Models
from tests.numpy_backends import write_version
from tests.pictures import picture
from tests.test_detection import DETECTOR, scene
from tf_serving_flask_app.settings import VARIABLES

Run = Callable[..., "subprocess.CompletedProcess[str]"]

OWN_BACKEND = """
import numpy as np
from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.tensors import Signature, TensorInfo

FLOAT = np.dtype("float32")


class Brightness(Backend):
    def __init__(self, spec):
        self.version = 3
        image = TensorInfo("image", FLOAT, (None, 8, 8, 3))
        scores = TensorInfo("scores", FLOAT, (None, 2))
        self.signatures = {"serving_default": Signature("serving_default", {"image": image}, {"scores": scores})}

    def run(self, signature, inputs):
        bright = inputs["image"].mean(axis=(1, 2, 3)) / 255
        return {"scores": np.stack([1 - bright, bright], 1).astype("float32")}
"""
BRIGHTNESS = {
    "name": "brightness",
    "task": "classification",
    "backend": "own_backend:Brightness",
    "path": "model",
    "labels": ["dark", "bright"],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in a folder of its own; fails on a traceback."""

    def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tf_serving_flask_app", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec of a model whose backend, in NumPy, lies beside it; and two pictures."""
    (tmp_path / "model").touch()
    (tmp_path / "own_backend.py").write_text(OWN_BACKEND)
    (tmp_path / "white.png").write_bytes(picture("white"))
    (tmp_path / "black.png").write_bytes(picture("black"))
    path = tmp_path / "models.spec"
    path.write_text(yaml.safe_dump({"models": [BRIGHTNESS]}))
    return path


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


# check


def test_check_prints_what_it_found(run: Run, spec: Path) -> None:
    done = run("check", spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "brightness: ok, version 3, classification, own_backend:Brightness",
        "  serving_default: image: float32[-1, 8, 8, 3] -> scores: float32[-1, 2]",
    ]


def test_check_loads_each_version_that_the_spec_asks_for(run: Run, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        write_version(tmp_path / "m", version, str(version) if version < 3 else "three")
    model = {"name": "m", "backend": "tests.numpy_backends:Versioned", "path": "m"}
    models = [{**model, "versions": [1, 2]}, {**model, "name": "broken"}, {**model, "name": "gone", "versions": [4]}]
    spec = tmp_path / "versions.spec"
    spec.write_text(yaml.safe_dump({"models": models}))
    done = run("check", spec, PYTHONPATH=str(Path(__file__).resolve().parents[1]))

    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("m:")] == [
        f"m: ok, version {version}, tensor, tests.numpy_backends:Versioned" for version in (2, 1)
    ]
    assert done.stderr.splitlines() == [
        f"broken: {tmp_path / 'm' / '3' / 'number.txt'}: no number",
        f"gone: versions: {tmp_path / 'm'} has no version 4; there are 1, 2, 3.",
    ]


def test_check_prints_a_line_for_each_model_that_fails(run: Run, spec: Path) -> None:
    faulty = [
        {**BRIGHTNESS, "name": "few", "labels": ["dark"]},
        BRIGHTNESS,
        {**BRIGHTNESS, "name": "gone", "backend": "own_backend:Missing"},
    ]
    spec.write_text(yaml.safe_dump({"models": faulty}))
    done = run("check", spec)
    assert done.returncode == 1
    assert done.stdout.startswith("brightness: ok")
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["few", "gone"]
    assert "1 labels for 2 classes" in lines[0]
    assert "no attribute 'Missing'" in lines[1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("models: [", "models.spec, line 1: not valid YAML"),
        (
            "models:\n- {name: m, backend: keras, paht: x}",
            "line 2, models[0].paht: unknown key 'paht'; did you mean 'path'?",
        ),
        ("models: []", "models.spec, line 1, models"),
        ("models:\n- {name: m, backend: keras, path: gone.keras}", "gone.keras"),
    ],
)
def test_a_spec_with_a_fault_is_told_in_one_line(run: Run, spec: Path, text: str, fault: str) -> None:
    spec.write_text(text)
    done = run("check", spec)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert str(spec) in line


def test_check_prints_the_schema_of_specs(run: Run, spec: Path) -> None:
    done = run("check", "--schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert schema["required"] == ["models"]
    model = schema["$defs"]["ModelSpec"]
    assert {"name", "task", "backend", "path", "image", "labels", "session"} <= model["properties"].keys()
    assert set(model["required"]) == {"name", "backend"}, "a model of tf_serving has no path"
    assert all(field.get("description") or "$ref" in str(field) for field in model["properties"].values())


# predict


def test_predict_prints_the_apis_json_a_line_for_each_picture(run: Run, spec: Path) -> None:
    done = run("predict", spec, "white.png", "black.png", "-m", "brightness")
    assert (done.returncode, done.stderr) == (0, "")
    white, black = map(json.loads, done.stdout.splitlines())
    assert white == {
        "class": "bright",
        "confidence": 1.0,
        "predictions": [
            {"class": 1, "label": "bright", "confidence": 1.0},
            {"class": 0, "label": "dark", "confidence": 0.0},
        ],
    }
    assert black["class"] == "dark"


def test_predict_finds_objects_with_a_detector(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scene.png").write_bytes(scene())
    (tmp_path / "detector.spec").write_text(json.dumps({"models": [{**DETECTOR, "path": "."}]}))
    done = run("predict", tmp_path / "detector.spec", "scene.png", PYTHONPATH=os.pathsep.join(sys.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert [found["label"] for found in json.loads(done.stdout)] == ["lamp"]


def test_predict_goes_on_after_a_file_that_is_no_picture(run: Run, spec: Path) -> None:
    done = run("predict", spec, "models.spec", "white.png")
    assert done.returncode == 1
    assert json.loads(done.stdout)["class"] == "bright"
    assert list(json.loads(last_line(done))) == ["error"]


def test_predict_with_a_name_that_no_model_has_lists_those_there_are(run: Run, spec: Path) -> None:
    done = run("predict", spec, "white.png", "-m", "brightnes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are: brightness" in json.loads(last_line(done))["error"]


# settings


def test_settings_lists_every_variable_with_its_value_its_default_and_its_meaning(run: Run) -> None:
    done = run("settings", PORT="8080")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split("=")[0] for line in lines[::2]] == list(VARIABLES)
    assert "PORT=8080  (default: 5000)" in lines
    assert all(line.startswith("    ") and line.strip() for line in lines[1::2])


def test_a_setting_that_does_not_parse_is_named(run: Run) -> None:
    done = run("settings", PORT="http")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: PORT='http': ")
    assert len(done.stderr.splitlines()) == 1


# usage


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["chekc"], "No such command 'chekc'"),
        (["check"], "Name a spec file, or --schema."),
        (["inspect"], "Missing argument 'MODEL'"),
        (["predict", "models.spec"], "Missing argument 'IMAGES...'"),
        (["predict", "models.spec", "gone.png"], "'gone.png' does not exist"),
        (["predict", "gone.spec", "white.png"], "gone.spec: the spec cannot be read"),
        (["inspect", "gone.pb"], "gone.pb: there is no such file or folder"),
        (["inspect", "models.spec"], "not a model that can be served"),
        (["settings", "--verbose"], "No such option"),
        (["bench", "--seconds", "nan"], "nan is not a finite number"),
        (["tune", "models.spec", "--budget", "inf"], "inf is not a finite number"),
    ],
)
def test_bad_usage_ends_with_the_reason_and_2(run: Run, spec: Path, arguments: list[str], fault: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert fault in last_line(done)


def test_help_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in ("check", "inspect", "predict", "settings", "export"):
        assert f"\n  {command} " in done.stdout


# With TensorFlow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


@pytest.mark.tensorflow
def test_inspect_lists_tensors_signatures_and_a_spec(run: Run, models: Models) -> None:
    done = run("inspect", models.classifier)
    assert done.returncode == 0
    tensors, signature, spec = done.stdout.split("\n\n")
    assert "x:0: float32[-1, 4]" in tensors.splitlines()
    assert "scores:0: float32[-1, 3]" in tensors.splitlines()
    assert signature.splitlines() == [
        "signature serving_default",
        "  inputs:  x: float32[-1, 4]",
        "  outputs: scores: float32[-1, 3]",
    ]
    assert spec.startswith("# A spec for it")
    assert yaml.safe_load(spec)["models"][0]["name"] == "classifier"


@pytest.mark.tensorflow
def test_inspect_of_a_folder_tells_what_each_file_is_and_prints_one_spec_for_all(
    run: Run, models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "damaged.pb").write_bytes(b"no model")
    (folder / "rows.pb").write_bytes(models.classifier.read_bytes())
    shutil.copytree(models.bytes_classifier, folder / "pictures")
    (folder / "pictures.txt").write_text("red\ngreen\nblue\n")
    listed, printed = run("inspect", folder), run("inspect", folder, "--spec")
    head, spec = listed.stdout.split("\n\n")

    assert listed.returncode == printed.returncode == 0
    damaged, *rest = head.splitlines()
    assert damaged.startswith(f"damaged.pb: cannot be served: {folder / 'damaged.pb'}: not a frozen graph")
    assert rest == [
        "pictures: classification, saved_model",
        "  serving_default: image: uint8[-1, 8, 8, 3] -> scores: float32[-1, 3]",
        "rows.pb: tensor, frozen_graph",
        "  serving_default: x: float32[-1, 4] -> scores: float32[-1, 3]",
    ]
    assert spec == "# A spec for them (--spec prints only this):\n" + printed.stdout
    assert "damaged.pb: cannot be served" in printed.stderr
    (tmp_path / "all.spec").write_text(printed.stdout)
    checked = run("check", "all.spec")
    assert (checked.returncode, checked.stdout.count(": ok")) == (0, 2), checked.stderr
    assert yaml.safe_load(printed.stdout)["models"][0]["labels"] == str(folder / "pictures.txt")


@pytest.mark.tensorflow
def test_inspect_of_a_folder_of_damaged_models_ends_with_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "damaged.pb").write_bytes(b"no model")
    done = run("inspect", ".", "--spec")

    assert (done.returncode, done.stdout) == (2, "")
    assert "none of its models can be served" in last_line(done)


@pytest.mark.tensorflow
def test_what_inspect_prints_as_spec_is_checked_and_a_damaged_model_beside_it_is_told(
    run: Run, models: Models, tmp_path: Path
) -> None:
    printed = run("inspect", "--spec", models.bytes_classifier)
    assert printed.returncode == 0
    (model,) = yaml.safe_load(printed.stdout)["models"]
    (tmp_path / "damaged.pb").write_bytes(b"no model")
    damaged = {"name": "damaged", "backend": "frozen_graph", "path": "damaged.pb"}
    (tmp_path / "both.spec").write_text(yaml.safe_dump({"models": [damaged, model]}))
    done = run("check", "both.spec")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "bytes_classifier: ok, version 1, classification, saved_model",
        "  serving_default: image: uint8[-1, 8, 8, 3] -> scores: float32[-1, 3]",
    ]
    faults = [line for line in done.stderr.splitlines() if line.startswith("damaged: ")]
    assert len(faults) == 1
    assert "damaged.pb: not a frozen graph" in faults[0]
    # TensorFlow's loader warns that it is deprecated, which is no news to who serves a model.
    assert "deprecated" not in done.stderr
