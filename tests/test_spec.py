"""Specs: what is understood, and that each fault is one line that names file, line, field and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WriteSpec
from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.spec import NO_PATH, Spec
from tf_serving_flask_app.spec_file import load_spec
from tf_serving_flask_app.spec_parts import TensorSpec

MODEL = "models:\n  - name: a\n    backend: keras\n    path: model\n"


def fault_of(path: Path, assets: Path | None = None) -> str:
    """The one line that refuses a spec, without the path of the spec that it begins with."""
    with pytest.raises(ConfigurationError) as caught:
        load_spec(path, assets)
    text = str(caught.value)
    assert text.isprintable(), text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ("    lables: x\n", ", line 5, models[0].lables: unknown key 'lables'; did you mean 'labels'?"),
        ("    image: {widht: 8}\n", ", line 5, models[0].image.widht: unknown key 'widht'; did you mean 'width'?"),
        ("    image:\n      height: 8\n      widht: 8\n", ", line 7, models[0].image.widht: unknown key 'widht'"),
        ("    session: {zzz: 1}\n", "unknown key 'zzz'; known keys are intra_op_threads, inter_op_threads, precision"),
        ("    inputs: {x: {tensr: y}}\n", ", line 5, models[0].inputs.x.tensr: unknown key 'tensr'; did you mean"),
        ("    inputs: {shape: {tensr: y}}\n", ", models[0].inputs.shape.tensr: unknown key 'tensr'; did you mean"),
        ('    inputs: {"a\\nb": {tensr: y}}\n', r", line 5, models[0].inputs.'a\nb'.tensr: unknown key 'tensr'"),
        ('    "a\\nb": 1\n', r", line 5, models[0].'a\nb': unknown key 'a\nb'; known keys are name, task"),
        ("    1: 2\n", ", line 5, models[0].1: Keys should be strings"),
        ("  - path: model\n    backend: keras\n", ", line 5, models[1]: the key 'name' is missing. A name of letters"),
        ("  - name: b\n    backend: keras\n", ", line 5, models[1]: the key 'path' is missing. File or folder"),
        ("  - lables: x\n", ", line 5, models[1].lables: unknown key 'lables'; did you mean 'labels'?"),
        ("  - 7\n", ", line 5, models[1]: Input should be a valid dictionary"),
        ("    name: b\n", ", line 5: the key 'name' is given twice; keep one."),
        ("    image: {width: 1, width: 2}\n", ", line 5: the key 'width' is given twice; keep one."),
        ("  - name: a\n    backend: keras\n    path: model\n", ", line 5, models[1].name: another model is named 'a'"),
        ("    image: 8\n", ", line 5, models[0].image: Input should be a valid dictionary"),
        ("    image: {width: wide}\n", "models[0].image.width: Input should be a valid integer, not 'wide'. Pixels"),
        ("    image: {width: '8'}\n", "models[0].image.width: Input should be a valid integer, not '8'. Pixels"),
        ("    image: {width: true}\n", "models[0].image.width: Input should be a valid integer, not True. Pixels"),
        ("    image: {width: 0}\n", "models[0].image.width: Input should be greater than or equal to 1, not 0."),
        (
            f"    image: {{width: 0x{'f' * 5000}}}\n",
            "should be less than or equal to 16384, not a number of that size.",
        ),
        (f"    image: {{width: {'9' * 5000}}}\n", ": not valid YAML: Exceeds the limit"),
        (
            "    image: {color: bgra}\n",
            "models[0].image.color: Input should be 'rgb', 'bgr' or 'grayscale', not 'bgra'.",
        ),
        ("    version: yes\n", "models[0].version: Input should be a valid integer, not True. A whole number."),
        ("    version: -1\n", "models[0].version: Input should be greater than or equal to 0, not -1."),
        ("    top_k: 0\n", "models[0].top_k: Input should be greater than or equal to 1, not 0."),
        ("    image: {height: 0}\n", "models[0].image.height: Input should be greater than or equal to 1, not 0."),
        (
            "    session: {inter_op_threads: 0}\n",
            "inter_op_threads: Input should be greater than or equal to 1, not 0.",
        ),
        ("    top_k: 1.5\n", "models[0].top_k: Input should be a valid integer, not 1.5. How many classes"),
        ("    timeout_s: 0\n", "models[0].timeout_s: Input should be greater than 0, not 0. Shorter deadline"),
        ("    timeout_s: .inf\n", "models[0].timeout_s: Input should be a finite number, not inf."),
        ("    timeout_s: .nan\n", "models[0].timeout_s: Input should be a finite number, not nan."),
        (
            "    inputs: [x]\n",
            "models[0].inputs: Input should be a valid dictionary, not a list. Public name -> tensor",
        ),
        ("    inputs: {1: x}\n", "models[0].inputs.1: Input should be a valid string, not 1."),
        ("    inputs: {x: {type: picture}}\n", "inputs.x.type: Input should be 'image', 'file', 'text' or 'number'"),
        ("    inputs: {x: {shape: [1, 2.5]}}\n", "models[0].inputs.x.shape[1]: Input should be a valid integer"),
        ("    inputs: {x: {shape: [-2]}}\n", "shape[0]: Input should be greater than or equal to -1, not -2. Shape"),
        ("    labels: [cat, yes]\n", "models[0].labels: YAML reads a name as True; put it in quotes. A .txt file"),
        ("    labels: missing.txt\n", ", line 5, models[0].labels: there is no '"),
        ("    task: clasification\n", "models[0].task: Input should be 'classification'"),
        ("    preprocess: my hook\n", "models[0].preprocess: String should match pattern"),
        ("    postprocess: steps.finish\n", '"package.module:function".'),
        ("    session: {intra_op_threads: 0}\n", "models[0].session.intra_op_threads: Input should be greater than"),
        ("    session: {precision: float16}\n", "session.precision: Input should be 'float32' or 'bfloat16'"),
        ("    \tversion: 1\n", ", line 5: not valid YAML: "),
        ("    image: [8\n", ", line 6: not valid YAML: "),
        ("    image: *other\n", ", line 5: not valid YAML: found undefined alias 'other'."),
        ("    ? [a]\n    : 1\n", ", line 5: not valid YAML: while constructing a mapping found unhashable key."),
        ("---\nmodels: []\n", ", line 5: not valid YAML: expected a single document in the stream"),
        ("    version: !!int ''\n", ": not valid YAML: a value does not fit its !!tag; leave the tag out."),
        ("    version: !!bool x\n", ": not valid YAML: a value does not fit its !!tag; leave the tag out."),
        ("    version: 2001-99-99\n", ": not valid YAML: month must be in 1..12."),
        ("    version: !python/name:os.system\n", ", line 5: not valid YAML: could not determine a constructor"),
        ("    version: \0\n", ": not valid YAML: unacceptable character #x0000"),
    ],
)
def test_a_fault_in_a_model_is_one_line_with_line_field_and_remedy(
    write_spec: WriteSpec, added: str, fault: str
) -> None:
    assert fault in fault_of(write_spec(MODEL + added))


SAVED_MODEL = "models:\n  - name: a\n    backend: saved_model\n    path: model\n"


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ("versions: newest", "versions: Input should be 'all', not 'newest'. saved_model: which numbered folders"),
        ("versions: 3", ", line 5, models[0].versions: Input should be 'all', not 3."),
        ("versions: []", "versions: List should have at least 1 item after validation"),
        ("versions: [1, x]", "versions: Input should be a valid integer, not 'x'."),
        ("versions: {latest: 0}", "versions.latest: Input should be greater than or equal to 1, not 0. How many"),
        ("versions: {lates: 1}", "versions: unknown key 'lates'; did you mean 'latest'?"),
        ("versions: {}", "versions: the key 'latest' is missing. How many of the latest"),
        (
            "versions: all\n    version: 1",
            "versions: version chooses one version already; leave versions or version out",
        ),
        ("version: 1\n    version_labels: {a: 1}", "leave version_labels or version out"),
        ("versions: [1]\n    version_labels: {a: 2}", "'a' names version 2, which `versions` does not list"),
        ("version_labels: {a: x}", "version_labels.a: Input should be a valid integer, not 'x'."),
    ],
)
def test_a_fault_in_the_versions_is_one_line_too(write_spec: WriteSpec, added: str, fault: str) -> None:
    assert fault in fault_of(write_spec(f"{SAVED_MODEL}    {added}\n"))


@pytest.mark.parametrize(
    ("backend", "text"),
    [("frozen_graph", "is one file"), ("keras", "is one file"), ("tflite", "is one file"), ("tf_serving", "server's")],
)
@pytest.mark.parametrize("field", ["versions: all", "version_labels: {a: 1}"])
def test_versions_are_refused_where_there_are_no_folders_of_them(
    write_spec: WriteSpec, backend: str, text: str, field: str
) -> None:
    path = "" if backend == "tf_serving" else "    path: model\n"
    assert text in fault_of(write_spec(f"models:\n  - name: a\n    backend: {backend}\n{path}    {field}\n"))


@pytest.mark.parametrize("policy", ["{latest: 2}", "all", "[1, 3]"])
def test_versions_may_be_given_in_three_forms_with_labels(write_spec: WriteSpec, policy: str) -> None:
    text = f"{SAVED_MODEL}    versions: {policy}\n    version_labels: {{stable: 1}}\n"
    (model,) = load_spec(write_spec(text)).models

    assert model.version_labels == {"stable": 1}


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ("path: model", ", line 4, models[0].path: a model of tf_serving has no path here; leave it out. File or"),
        ("targets: [nowhere]", ", line 4, models[0].targets[0]: String should match pattern"),
        ("targets: [ftp://a:1]", ", line 4, models[0].targets[0]: String should match pattern"),
        ("targets: [a:1, http://a:2]", ", line 4, models[0].targets: the targets of one model speak one protocol"),
        ("version: 1\n    version_label: x", ", models[0].version_label: version and version_label both choose"),
        ("targets: ['http://a:1']\n    tls: {}", ", models[0].tls: targets of http:// are not encrypted"),
        ("tls: {cert: model}", ", line 4, models[0].tls: cert and key go together: give both, or neither"),
        ("tls: {kea: model}", ", line 4, models[0].tls.kea: unknown key 'kea'; did you mean 'key'?"),
        ("tls: {ca: nowhere}", ", line 4, models[0].tls.ca: there is no '"),
    ],
)
def test_a_fault_in_a_remote_model_is_one_line_too(write_spec: WriteSpec, added: str, fault: str) -> None:
    assert fault in fault_of(write_spec(f"models:\n  - name: a\n    backend: tf_serving\n    {added}\n"))


@pytest.mark.parametrize("field", ["targets: ['a:1']", "remote_model: b", "version_label: c", "tls: {}"])
def test_what_is_for_remote_models_is_refused_for_local_ones(write_spec: WriteSpec, field: str) -> None:
    assert "this is for `backend: tf_serving` only; leave it out" in fault_of(write_spec(f"{MODEL}    {field}\n"))


def test_a_remote_model_needs_nothing_but_its_name(write_spec: WriteSpec, tmp_path: Path) -> None:
    text = "models:\n  - name: a\n    backend: tf_serving\n    tls: {ca: model}\n"
    (model,) = load_spec(write_spec(text)).models

    assert model.path is NO_PATH
    assert model.targets == []
    assert model.tls is not None
    assert model.tls.ca == tmp_path / "model"


@pytest.mark.parametrize(
    ("line", "changed", "fault"),
    [
        ("name: a", "name: a b", ", line 2, models[0].name: String should match pattern"),
        ("name: a", "name: ../a", "not '../a'. A name of letters, digits"),
        ("name: a", 'name: "a\\n"', r"not 'a\n'. A name of letters, digits"),
        ("name: a", "name: yes", "models[0].name: Input should be a valid string, not True. A name of letters"),
        ("name: a", f"name: {'a' * 129}", "models[0].name: String should have at most 128 characters"),
        (
            "keras",
            "kears",
            ", line 3, models[0].backend: Input should be"
            " 'frozen_graph', 'saved_model', 'keras', 'tflite' or 'tf_serving'",
        ),
        ("keras", "my.module", '"package.module:Class" of your own.'),
        ("path: model", "path: nowhere", "relative paths are looked up in the assets folder (-a) if given, else"),
        ("path: model", f"path: {'m' * 300}", ", line 4, models[0].path: there is no '"),
        ("path: model", 'path: "a\\nb"', r"/a\nb'; relative paths"),
        ("path: model", 'path: "a\\0b"', r"/a\x00b'; relative paths"),
        ("path: model", "path:", ", line 4, models[0].path: Input is not a valid path, not None. File or folder"),
    ],
)
def test_a_value_that_cannot_be_is_refused(write_spec: WriteSpec, line: str, changed: str, fault: str) -> None:
    assert fault in fault_of(write_spec(MODEL.replace(line, changed)))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", ": a spec is a mapping with the key 'models', a list of models."),
        ("# nothing\n", ": a spec is a mapping with the key 'models', a list of models."),
        ("- name: a\n", ": a spec is a mapping with the key 'models', a list of models."),
        ("models\n", ": a spec is a mapping with the key 'models', a list of models."),
        ("models:\n", ", line 1, models: Input should be a valid list, not None. The list of models to serve"),
        ("models: []\n", ", line 1, models: List should have at least 1 item"),
        ("models: {a: 1}\n", ", line 1, models: Input should be a valid list, not a mapping."),
        ("modles: []\n", ", line 1, modles: unknown key 'modles'; did you mean 'models'?"),
        ("{}\n", ", line 1: the key 'models' is missing. The list of models to serve, at least one."),
        ("models: [1]\nmodels: [2]\n", ", line 2: the key 'models' is given twice; keep one."),
        ("models: &a [*a]\n", ", line 1, models[0]: Input should be a valid dictionary"),
        ("models: &a\n  x: *a\n", ", line 1, models: Input should be a valid list, not a mapping."),
        ("models: " + "[" * 1000, ": not valid YAML: maximum recursion depth exceeded"),
        (b"models: \xff\xfe\n", ": the spec cannot be read: 'utf-8' codec can't decode byte 0xff in position 8"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(write_spec: WriteSpec, content: str | bytes, fault: str) -> None:
    assert fault in fault_of(write_spec(content))


def test_aliases_of_aliases_are_refused_at_once(write_spec: WriteSpec) -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)]

    assert "unknown key 'a0'" in fault_of(write_spec(f"a0: &a0 [x]\n{''.join(lines)}"))


def test_a_missing_spec_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "the spec cannot be read: [Errno 2] No such file" in fault_of(tmp_path / "missing.spec")


def test_a_missing_assets_folder_is_refused_by_its_name(write_spec: WriteSpec, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigurationError) as caught:
        load_spec(write_spec(MODEL), missing)

    assert str(caught.value) == f"{missing}: there is no such assets folder (-a)."


def test_what_is_left_out_has_its_default(write_spec: WriteSpec, tmp_path: Path) -> None:
    (model,) = load_spec(write_spec(MODEL)).models

    assert model.model_dump(exclude={"image", "session"}) == {
        "name": "a",
        "task": "tensor",
        "backend": "keras",
        "path": tmp_path / "model",
        "version": None,
        "versions": None,
        "version_labels": {},
        "version_label": None,
        "targets": [],
        "remote_model": None,
        "tls": None,
        "signature": "serving_default",
        "inputs": {},
        "outputs": {},
        "labels": None,
        "top_k": 5,
        "min_confidence": None,
        "boxes": "normalized",
        "class_offset": 0,
        "preprocess": None,
        "postprocess": None,
        "batching": None,
        "timeout_s": None,
    }
    assert model.image.model_dump(exclude_none=True) == {
        "resize": "stretch",
        "scale": "raw",
        "layout": "channels_last",
    }
    assert model.session.model_dump() == {
        "intra_op_threads": "auto",
        "inter_op_threads": 1,
        "precision": "float32",
        "xla": False,
    }


def test_json_is_a_spec_too(write_spec: WriteSpec) -> None:
    models = [{"name": "a", "backend": "keras", "path": "model", "image": {"width": 8}}]
    spec = load_spec(write_spec(json.dumps({"models": models}, indent=4)))

    assert spec.models[0].image.width == 8


def test_a_byte_order_mark_is_no_fault(write_spec: WriteSpec) -> None:
    assert load_spec(write_spec("\ufeff" + MODEL)).models[0].name == "a"


def test_a_merge_key_is_understood(write_spec: WriteSpec) -> None:
    text = MODEL.replace("- name", "- &first\n    name") + "  - {<<: *first, name: b}\n"

    assert [model.name for model in load_spec(write_spec(text)).models] == ["a", "b"]


@pytest.mark.parametrize(
    ("added", "field", "value"),
    [
        ("    inputs: {image: 'input:0'}\n", "inputs", {"image": TensorSpec(tensor="input:0")}),
        ("    inputs: {x: {shape: [-1, null, 3]}}\n", "inputs", {"x": TensorSpec(shape=(None, None, 3))}),
        (
            "    outputs: {y: {tensor: 'y:0', dtype: int64}}\n",
            "outputs",
            {"y": TensorSpec(tensor="y:0", dtype="int64")},
        ),
        ("    labels: [cat, 'yes', 7]\n", "labels", ["cat", "yes", "7"]),
        ("    signature: 1\n", "signature", "1"),
        ("    timeout_s: 2\n", "timeout_s", 2.0),
        ("    task: classification\n", "task", "classification"),
        ("    preprocess: my_package.steps:prepare\n", "preprocess", "my_package.steps:prepare"),
    ],
)
def test_a_field_is_understood(write_spec: WriteSpec, added: str, field: str, value: Any) -> None:
    (model,) = load_spec(write_spec(MODEL + added)).models

    assert getattr(model, field) == value


def test_a_number_is_a_name(write_spec: WriteSpec) -> None:
    assert load_spec(write_spec(MODEL.replace("name: a", "name: 2024"))).models[0].name == "2024"


def test_relative_paths_are_looked_up_in_the_assets_folder(write_spec: WriteSpec, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "model").touch()
    (assets / "names.txt").touch()
    (model,) = load_spec(write_spec(MODEL + "    labels: names.txt\n"), assets).models

    assert (model.path, model.labels) == (assets / "model", assets / "names.txt")


def test_paths_come_back_absolute(write_spec: WriteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_spec(MODEL)
    monkeypatch.chdir(tmp_path)

    assert load_spec(Path(path.name)).models[0].path == tmp_path / "model"


def test_absolute_paths_are_taken_as_they_are(write_spec: WriteSpec, tmp_path: Path) -> None:
    model = tmp_path / "elsewhere" / "model"
    model.parent.mkdir()
    model.touch()
    spec = write_spec(MODEL.replace("path: model", f"path: {model}"))

    assert load_spec(spec, tmp_path).models[0].path == model


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in [schema, *schema["$defs"].values()]:
        yield from record["properties"].items()


def test_the_json_schema_describes_every_field() -> None:
    assert [name for name, field in fields_of(Spec.model_json_schema()) if not field.get("description")] == []


def test_the_json_schema_refuses_unknown_keys() -> None:
    schema = Spec.model_json_schema()

    assert {record["additionalProperties"] for record in [schema, *schema["$defs"].values()]} == {False}


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_the_json_schema_takes_a_tensor_by_its_name_alone(side: str) -> None:
    schema = Spec.model_json_schema()["$defs"]["ModelSpec"]["properties"][side]

    assert {"type": "string"} in schema["additionalProperties"]["anyOf"]


def test_a_spec_does_not_change(make_specs: Callable[..., list[Any]]) -> None:
    (model,) = make_specs({"name": "a", "backend": "keras", "path": "model"})
    with pytest.raises(ValueError, match="frozen"):
        model.name = "b"

    assert model.name == "a"
