"""TensorFlow Lite models: their answers are those of the model they were made of, quantised or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.keras_models import MATRIX
from tests.backends.models import Refusal, make_spec, softmax
from tf_serving_flask_app.backends.tflite import TFLiteModel
from tf_serving_flask_app.errors import ConfigurationError, InvalidInput

pytestmark = pytest.mark.tensorflow

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4) / 10
STEP = 2 / 255
"""One step of a tensor of [-1, 1] in 8 bits."""

LoadTFLite = Callable[..., TFLiteModel]


def convert(function: Any, *specs: Any, **options: Any) -> bytes:
    """Make a model of one signature: its function, and the TensorSpecs of what that takes."""
    import tensorflow as tf

    traced = tf.function(function, input_signature=specs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    for name, value in options.items():
        setattr(converter, name, value)
    return bytes(converter.convert())


class TFLiteModels:
    """Models in a folder, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file of a model, made by the method of that name."""
        path = self.folder / f"{name}.tflite"
        if not path.exists():
            path.write_bytes(getattr(self, f"_{name}")())
        return path

    def _classifier(self) -> bytes:
        """scores = softmax(x @ MATRIX) of any number of rows."""
        import tensorflow as tf

        return convert(lambda x: {"scores": tf.nn.softmax(x @ MATRIX)}, tf.TensorSpec([None, 4], tf.float32, "x"))

    def _linear(self) -> bytes:
        """Two signatures: ``serving_default`` y = x @ MATRIX, ``twice`` z = 2 x."""
        import tensorflow as tf

        module = tf.Module()
        rows = [tf.TensorSpec([None, 4], tf.float32, "x")]
        module.linear = tf.function(lambda x: {"y": x @ MATRIX}, input_signature=rows)
        module.twice = tf.function(lambda x: {"z": 2 * x}, input_signature=rows)
        signatures = {"serving_default": module.linear, "twice": module.twice}
        tf.saved_model.save(module, str(self.folder / "linear"), signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(self.folder / "linear"), list(signatures))
        return bytes(converter.convert())

    def _picky(self) -> bytes:
        """Fails on purpose: ``x`` must be an index below 3."""
        import tensorflow as tf

        def gather(x: Any) -> Any:
            return {"y": tf.gather(tf.constant([1.0, 2.0, 3.0]), x)}

        return convert(gather, tf.TensorSpec([None], tf.int32, "x"))

    def _pairs(self) -> bytes:
        """Takes an even number of values only."""
        import tensorflow as tf

        def pairs(x: Any) -> Any:
            return {"y": 2 * tf.reshape(x, [2, -1])}

        return convert(pairs, tf.TensorSpec([None], tf.float32, "x"))

    def _text(self) -> bytes:
        """Gives the first of the strings twice."""
        import tensorflow as tf

        def first(x: Any) -> Any:
            return {"y": tf.gather(x, [0, 0])}

        return convert(first, tf.TensorSpec([None], tf.string, "x"))

    def _custom(self) -> bytes:
        """Needs an operation that the runtime does not have."""
        import tensorflow as tf

        def upper(x: Any) -> Any:
            return {"y": tf.strings.upper(x)}

        return convert(upper, tf.TensorSpec([None], tf.string, "x"), allow_custom_ops=True)

    def _int8(self) -> bytes:
        return self._quantised("int8")

    def _uint8(self) -> bytes:
        return self._quantised("uint8")

    def _quantised(self, kind: str) -> bytes:
        """The means of the channels of a picture of -1..1, in and out in 8 bits."""
        import tensorflow as tf

        def samples() -> Iterator[list[np.ndarray]]:
            for value in np.linspace(-1, 1, 9, dtype=np.float32):
                yield [np.full((1, 4, 4, 3), value, np.float32)]

        def means(image: Any) -> Any:
            return {"scores": tf.reduce_mean(image, [1, 2])}

        return convert(
            means,
            tf.TensorSpec([1, 4, 4, 3], tf.float32, "image"),
            optimizations=[tf.lite.Optimize.DEFAULT],
            representative_dataset=samples,
            inference_input_type=getattr(tf, kind),
            inference_output_type=getattr(tf, kind),
        )


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> TFLiteModels:
    return TFLiteModels(tmp_path_factory.mktemp("tflite"))


@pytest.fixture
def load_lite(lite: TFLiteModels) -> Iterator[LoadTFLite]:
    """Loads one of the models by name, with fields of the spec."""
    loaded: list[TFLiteModel] = []

    def load(name: str, **fields: Any) -> TFLiteModel:
        loaded.append(TFLiteModel(make_spec("tflite", lite.path(name), **fields)))
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()


def infos(model: TFLiteModel, signature: str = "serving_default") -> list[str]:
    found = model.signatures[signature]
    return [str(info) for info in (*found.inputs.values(), *found.outputs.values())]


def test_a_float_model_answers_for_any_number_of_rows(load_lite: LoadTFLite) -> None:
    model = load_lite("classifier")

    assert infos(model) == ["x: float32[-1, 4]", "scores: float32[-1, 3]"]
    for rows in (ROWS, ROWS[:1], np.concatenate([ROWS] * 5), ROWS[:0]):
        np.testing.assert_allclose(model.run("serving_default", {"x": rows})["scores"], softmax(rows), atol=1e-6)


def test_each_signature_can_be_called(load_lite: LoadTFLite) -> None:
    model = load_lite("linear", version=3)

    assert (sorted(model.signatures), model.version) == (["serving_default", "twice"], 3)
    np.testing.assert_allclose(model.run("serving_default", {"x": ROWS})["y"], ROWS @ MATRIX, atol=1e-6)
    np.testing.assert_allclose(model.run("twice", {"x": ROWS})["z"], 2 * ROWS, atol=1e-6)


def test_the_spec_renames_inputs_and_outputs(load_lite: LoadTFLite) -> None:
    model = load_lite("classifier", inputs={"features": "x"}, outputs={"shares": {"tensor": "scores"}})

    assert infos(model) == ["features: float32[-1, 4]", "shares: float32[-1, 3]"]
    np.testing.assert_allclose(model.run("serving_default", {"features": ROWS})["shares"], softmax(ROWS), atol=1e-6)


def test_strings_go_in_and_out_as_bytes(load_lite: LoadTFLite) -> None:
    model = load_lite("text")

    assert infos(model) == ["x: string[-1]", "y: string[2]"]
    answer = model.run("serving_default", {"x": np.array([b"a\0b", b"c"], object)})
    assert answer["y"].tolist() == [b"a\0b", b"a\0b"]


@pytest.mark.parametrize("level", [-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 7.0, np.inf, np.nan])
def test_an_input_of_int8_is_float_to_clients_and_so_are_its_scores(load_lite: LoadTFLite, level: float) -> None:
    model = load_lite("int8")
    image = np.full((1, 4, 4, 3), level, np.float32)

    assert infos(model) == ["image: float32[1, 4, 4, 3]", "scores: float32[1, 3]"]
    expected = np.clip(np.nan_to_num(level), -1, 1)
    np.testing.assert_allclose(model.run("serving_default", {"image": image})["scores"], expected, atol=2 * STEP)


@pytest.mark.parametrize("level", [0, 1, 100, 255])
def test_an_input_of_uint8_takes_pixels_as_they_are(load_lite: LoadTFLite, level: int) -> None:
    model = load_lite("uint8")
    image = np.full((1, 4, 4, 3), level, np.uint8)

    assert infos(model) == ["image: uint8[1, 4, 4, 3]", "scores: float32[1, 3]"]
    expected = level / 127.5 - 1
    np.testing.assert_allclose(model.run("serving_default", {"image": image})["scores"], expected, atol=2 * STEP)


def test_the_spec_chooses_between_the_stored_type_and_float(load_lite: LoadTFLite) -> None:
    floats = load_lite("uint8", inputs={"image": {"dtype": "float32"}}, outputs={"scores": {"dtype": "uint8"}})
    stored = load_lite("int8", inputs={"image": {"dtype": "int8"}}, outputs={"scores": {"dtype": "int8"}})

    assert infos(floats) == ["image: float32[1, 4, 4, 3]", "scores: uint8[1, 3]"]
    answer = floats.run("serving_default", {"image": np.ones((1, 4, 4, 3), np.float32)})["scores"]
    assert answer.dtype == np.uint8
    np.testing.assert_allclose(answer, 255, atol=2)
    assert infos(stored) == ["image: int8[1, 4, 4, 3]", "scores: int8[1, 3]"]
    answer = stored.run("serving_default", {"image": np.full((1, 4, 4, 3), -128, np.int8)})["scores"]
    assert answer.tolist() == [[-128, -128, -128]]


def test_many_threads_get_each_its_own_answer(load_lite: LoadTFLite) -> None:
    model = load_lite("classifier", session={"intra_op_threads": 2})
    batches = [np.random.default_rng(seed).random((1 + seed % 3, 4), np.float32) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda rows: model.run("serving_default", {"x": rows})["scores"], batches))

    for rows, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, softmax(rows), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("picky", np.array([7], np.int32), np.array([2], np.int32)),
        ("pairs", np.ones(3, np.float32), np.ones(4, np.float32)),
    ],
)
def test_values_that_the_model_refuses_are_the_clients_fault_and_the_next_call_works(
    load_lite: LoadTFLite, name: str, bad: np.ndarray, good: np.ndarray
) -> None:
    model = load_lite(name)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="The model refuses this input: ") as caught:
            model.run("serving_default", {"x": bad})
        assert "\n" not in str(caught.value)

        assert model.run("serving_default", {"x": good})["y"].size in (1, 4)


def test_every_tensor_of_the_file_is_listed(load_lite: LoadTFLite) -> None:
    tensors = [str(tensor) for tensor in load_lite("uint8").tensors()]

    assert "serving_default_image:0: uint8[1, 4, 4, 3]" in tensors
    assert len(tensors) > 2


@pytest.mark.parametrize("content", [b"", b"no model at all", "half"])
def test_a_file_that_is_no_model_is_refused(
    lite: TFLiteModels, tmp_path: Path, refusal: Refusal, content: bytes | str
) -> None:
    whole = lite.path("classifier").read_bytes()
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])

    assert "not a TensorFlow Lite model" in refusal("tflite", path)


def test_a_folder_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "is one .tflite file" in refusal("tflite", tmp_path)


def test_a_model_that_needs_an_operation_of_its_own_is_refused_with_its_name(
    lite: TFLiteModels, refusal: Refusal
) -> None:
    assert "StringUpper" in refusal("tflite", lite.path("custom"))


def test_a_name_that_the_signature_lacks_is_refused(lite: TFLiteModels, refusal: Refusal) -> None:
    assert "no tensor 'picture'; it has 'x'" in refusal("tflite", lite.path("classifier"), inputs={"image": "picture"})


@pytest.mark.parametrize("session", [{"precision": "bfloat16"}, {"xla": True}])
def test_settings_of_tensorflow_sessions_are_refused(lite: TFLiteModels, session: dict[str, Any]) -> None:
    (field,) = session
    with pytest.raises(ConfigurationError, match=f"session.{field}: .* backend tflite does not; leave `{field}` out"):
        TFLiteModel.check_session(make_spec("tflite", lite.path("classifier"), session=session))


def test_without_the_runtime_the_line_that_installs_it_is_told(
    lite: TFLiteModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)

    TFLiteModel.before_fork()
    with pytest.raises(ConfigurationError, match=r"pip install 'tf_serving_flask_app\[tflite\]'"):
        TFLiteModel(make_spec("tflite", lite.path("classifier")))


def test_importing_the_runtime_before_the_fork_starts_no_thread_and_no_tensorflow() -> None:
    code = (
        "import os, sys; import tf_serving_flask_app.__main__;"
        "from tf_serving_flask_app.backends.tflite import TFLiteModel; TFLiteModel.before_fork();"
        "print(len(os.listdir('/proc/self/task')), 'ai_edge_litert' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split() == ["1", "True", "False"]
