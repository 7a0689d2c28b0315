"""Keras' applications: their names, how each scales pixels, and what is said when nothing can be downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tf_serving_flask_app.errors import ConfigurationError
from tf_serving_flask_app.export import keras_applications as applications

pytestmark = pytest.mark.tensorflow

SCALES = {
    "inception": {"inception_v3", "inceptionresnet_v2", "mobilenet", "mobilenet_v2", "nasnetmobile", "xception"}
    | {"nasnetlarge", "resnet50_v2", "resnet101_v2", "resnet152_v2"},
    "caffe": {"resnet50", "resnet101", "resnet152", "vgg16", "vgg19"},
    "torch": {"densenet121", "densenet169", "densenet201"},
}
"""As the paper of each has it; the others scale pixels inside the network."""


def test_each_application_has_the_scale_that_its_own_preprocessing_does() -> None:
    names = list(applications.application_names())
    wanted = {name: next((scale for scale, group in SCALES.items() if name in group), "raw") for name in names}

    assert len(names) >= 38
    assert set.union(*SCALES.values()) <= set(names)
    assert {name: applications.find_scale(name) for name in names} == wanted


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("inception_v3", "inception_v3"),
        ("InceptionV3", "inception_v3"),
        ("mobilenet", "mobilenet"),
        ("mobilenet_v2", "mobilenet_v2"),
        ("MobileNetV3Small", "mobilenet_v3_small"),
        ("resnet50", "resnet50"),
        ("ResNet50V2", "resnet50_v2"),
        ("inception_resnet_v2", "inceptionresnet_v2"),
        ("efficientnetb0", "efficientnetb0"),
        ("efficientnetv2-b0", "efficientnet_v2_b0"),
        ("preprocess_input", None),
        ("inception", None),
    ],
)
def test_a_name_is_found_however_it_is_spelt(spelt: str, name: str | None) -> None:
    assert applications.find_application(spelt) == name


def test_the_nearest_name_is_suggested_else_all_are_listed() -> None:
    assert applications.nearest("mobilnet_v2") == "did you mean 'mobilenet_v2'?"
    assert "inception_v3, " in applications.nearest("zzz")


@pytest.mark.parametrize("name", ["mobilenet_v3_small"])
def test_a_network_for_any_size_gets_the_size_it_was_trained_on(name: str) -> None:
    assert applications.build(name, "none").input_shape == (None, 224, 224, 3)


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(ConfigurationError, match="these are no weights of mobilenet") as caught:
        applications.build("mobilenet", str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="there is no such file; it takes imagenet, none or a file"):
        applications.build("mobilenet", str(tmp_path / "gone.h5"))


def test_labels_that_were_brought_are_read_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    classes = {str(index): [f"n{index}", f"name {index}"] for index in range(3)}
    (tmp_path / "models" / "imagenet_class_index.json").write_text(json.dumps(classes))

    assert applications.imagenet_labels() == ["name 0", "name 1", "name 2"]


@pytest.mark.parametrize("text", ["", "[]", '{"0": 1}', '{"1": ["n", "x"]}', "\xff"])
def test_a_class_index_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"index\.json: not labels in the form of"):
        applications.read_class_index(path)
