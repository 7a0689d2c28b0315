"""Small real models, each made when a test first asks for it.

Their weights are set by hand, so that a test can say what a model must answer without running it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.backends.keras_models import MATRIX, KerasModels
from tf_serving_flask_app.backends.acceleration import BFLOAT16_FLAGS, CPUINFO, processor_flags
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession
from tf_serving_flask_app.spec import ModelSpec

Load = Callable[..., TensorFlowSession]
"""Loads a model by backend, path and fields of the spec."""

Refusal = Callable[..., str]
"""Takes the same for a model that must be refused; gives the text."""


def make_spec(backend: str, path: Path, **fields: Any) -> ModelSpec:
    """Make a spec as a worker gets it: the path absolute, the number of threads settled."""
    session = {"intra_op_threads": 1, **fields.pop("session", {})}
    return ModelSpec.model_validate({"name": "m", "backend": backend, "path": path, "session": session, **fields})


needs_bfloat16 = pytest.mark.skipif(
    not processor_flags(CPUINFO) & BFLOAT16_FLAGS, reason="this processor cannot compute in bfloat16"
)


def softmax(x: np.ndarray) -> np.ndarray:
    """What the classifiers here answer, in NumPy."""
    powers = np.exp(x @ MATRIX)
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


class Models(KerasModels):
    """Makes models in a folder; each attribute is the path of one."""

    # Frozen graphs, as TensorFlow 1 wrote them

    @cached_property
    def classifier(self) -> Path:
        """One placeholder ``x`` [-1, 4], ``scores`` = softmax(x @ MATRIX)."""

        def build(tf: Any) -> None:
            x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
            tf.nn.softmax(x @ MATRIX, name="scores")

        return self._graph("classifier", build)

    @cached_property
    def dropout(self) -> Path:
        """Placeholders ``images`` [-1, 4], ``keep_prob`` and ``is_training``; loose end ``net/scores``; ``net/mean``
        needs the images only."""

        def build(tf: Any) -> None:
            x = tf.compat.v1.placeholder(tf.float32, [None, 4], "images")
            keep = tf.compat.v1.placeholder(tf.float32, [], "keep_prob")
            training = tf.compat.v1.placeholder(tf.bool, [], "is_training")
            with tf.name_scope("net"):
                mean = tf.reduce_mean(x, 1, name="mean")
                tf.where(training, mean * keep, mean / keep, name="scores")

        return self._graph("dropout", build)

    @cached_property
    def text(self) -> Path:
        """Strings ``text`` [-1] in; ``upper`` (strings) and ``length`` (int32) out."""

        def build(tf: Any) -> None:
            text = tf.compat.v1.placeholder(tf.string, [None], "text")
            tf.strings.upper(text, name="upper")
            tf.strings.length(text, name="length")

        return self._graph("text", build)

    @cached_property
    def halves(self) -> Path:
        """One operation with two outputs: ``halves:0`` and ``halves:1`` of ``x`` [-1, 4]."""

        def build(tf: Any) -> None:
            x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
            tf.split(x, 2, axis=1, name="halves")

        return self._graph("halves", build)

    @cached_property
    def picky(self) -> Path:
        """Fails on purpose: ``x`` must be an index below 3."""

        def build(tf: Any) -> None:
            x = tf.compat.v1.placeholder(tf.int32, [None], "x")
            tf.gather(tf.constant([1.0, 2.0, 3.0]), x, name="y")

        return self._graph("picky", build)

    @cached_property
    def chain(self) -> Path:
        """``y`` of ``x`` [-1] by enough small operations that XLA finds it worth to compile them."""

        def build(tf: Any) -> None:
            y = tf.compat.v1.placeholder(tf.float32, [None], "x")
            for _ in range(5):
                y = tf.sin(y) * 2 + tf.exp(-y)
            tf.tanh(y, name="y")

        return self._graph("chain", build)

    # SavedModels of TensorFlow 2

    @cached_property
    def saved_classifier(self) -> Path:
        """scores = softmax(x @ a variable that holds MATRIX)."""
        import tensorflow as tf

        module = tf.Module()
        module.matrix = tf.Variable(MATRIX)
        scores = tf.function(
            lambda x: {"scores": tf.nn.softmax(x @ module.matrix)},
            input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")],
        )
        return self._save(module, "saved_classifier", serving_default=scores)

    @cached_property
    def linear(self) -> Path:
        """Numbered folders 1, 2 and 10: y = version * x @ matrix + bias; ``serving_default`` and ``twice``."""
        import tensorflow as tf

        for version in (1, 2, 10):
            module = tf.Module()
            module.matrix = tf.Variable(version * MATRIX)
            module.bias = tf.Variable([1.0, 2.0, 3.0])
            rows = tf.TensorSpec([None, 4], tf.float32, "x")
            plain = tf.function(lambda x, m=module: {"y": x @ m.matrix + m.bias}, input_signature=[rows])
            twice = tf.function(lambda x, m=module: {"z": 2 * (x @ m.matrix), "x": x}, input_signature=[rows])
            self._save(module, f"linear/{version}", serving_default=plain, twice=twice)
        return self.folder / "linear"

    @cached_property
    def vocabulary(self) -> Path:
        """Words to ids by a table that is read from an asset, and a variable: y = weight * id."""
        import tensorflow as tf

        words = self.folder / "words.txt"
        words.write_text("cat\ndog\nmouse\n")
        module = tf.Module()
        module.table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            num_oov_buckets=1,
        )
        module.weight = tf.Variable(10.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])  # type: ignore[untyped-decorator]
        def look_up(words: Any) -> Any:
            ids = module.table.lookup(words)
            return {"ids": ids, "y": module.weight * tf.cast(ids, tf.float32)}

        path = self._save(module, "vocabulary", serving_default=look_up)
        words.unlink()
        return path

    @cached_property
    def word_scores(self) -> Path:
        """A table and a matrix: scores = softmax(row of a variable for each of the words ``a`` to ``d``)."""
        import tensorflow as tf

        module = tf.Module()
        words = tf.constant(["a", "b", "c", "d"])
        module.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(words, tf.range(4, dtype=tf.int64)), 0
        )
        module.matrix = tf.Variable(MATRIX)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])  # type: ignore[untyped-decorator]
        def score(words: Any) -> Any:
            return {"scores": tf.nn.softmax(tf.one_hot(module.table.lookup(words), 4) @ module.matrix)}

        return self._save(module, "word_scores", serving_default=score)

    @cached_property
    def boxes(self) -> Path:
        """Indices ``y`` of the boxes that are kept of ``boxes`` [-1, 4]: shapes that depend on values, nothing else."""

        def build(tf: Any) -> None:
            boxes = tf.compat.v1.placeholder(tf.float32, [None, 4], "boxes")
            tf.identity(tf.image.non_max_suppression(boxes, boxes[:, 0], 5), name="y")

        return self._graph("boxes", build)

    @cached_property
    def encoded(self) -> Path:
        """``y`` of an encoded picture ``jpeg``, which cannot be empty."""

        def build(tf: Any) -> None:
            pixels = tf.image.decode_jpeg(tf.compat.v1.placeholder(tf.string, [], "jpeg"))
            tf.cast(pixels, tf.float32, name="y")

        return self._graph("encoded", build)

    @cached_property
    def counter(self) -> Path:
        """Counts its calls: ``serving_default`` adds ``by`` and answers the sum, ``total`` only reads it."""
        import tensorflow as tf

        module = tf.Module()
        module.sum = tf.Variable(0.0)
        add = tf.function(
            lambda by: {"sum": module.sum.assign_add(tf.reduce_sum(by))},
            input_signature=[tf.TensorSpec([None], tf.float32, "by")],
        )
        total = tf.function(lambda: {"sum": module.sum.read_value()}, input_signature=[])
        return self._save(module, "counter", serving_default=add, total=total)

    @cached_property
    def loops(self) -> Path:
        """Variables inside nested functions, a loop and a condition: x * 3 ** times, then + 1 or - 1."""
        import tensorflow as tf

        module = tf.Module()
        module.factor = tf.Variable(3.0)
        module.step = tf.Variable(1.0)

        @tf.function  # type: ignore[untyped-decorator]
        def multiply(x: Any) -> Any:
            return x * module.factor

        @tf.function  # type: ignore[untyped-decorator]
        def nudge(x: Any, up: Any) -> Any:
            return tf.cond(up, lambda: x + module.step, lambda: x - module.step)

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tf.TensorSpec([None], tf.float32, "x"),
                tf.TensorSpec([], tf.int32, "times"),
                tf.TensorSpec([], tf.bool, "up"),
            ]
        )
        def run(x: Any, times: Any, up: Any) -> Any:
            shape = (tf.TensorShape([]), tf.TensorShape([None]))
            _, x = tf.while_loop(lambda i, x: i < times, lambda i, x: (i + 1, multiply(x)), (0, x), shape)
            return {"y": nudge(x, up)}

        return self._save(module, "loops", serving_default=run)

    @cached_property
    def embedding(self) -> Path:
        """Rows of a variable by their number, gathered inside a function."""
        import tensorflow as tf

        module = tf.Module()
        module.rows = tf.Variable(MATRIX)
        gather = tf.function(
            lambda ids: {"rows": tf.gather(module.rows, ids)}, input_signature=[tf.TensorSpec([None], tf.int32, "ids")]
        )
        return self._save(module, "embedding", serving_default=gather)

    @cached_property
    def noise(self) -> Path:
        """Another answer each time: x + scale * random."""
        import tensorflow as tf

        module = tf.Module()
        module.scale = tf.Variable(1.0)
        draw = tf.function(
            lambda x: {"y": x + module.scale * tf.random.uniform(tf.shape(x))},
            input_signature=[tf.TensorSpec([None], tf.float32, "x")],
        )
        return self._save(module, "noise", serving_default=draw)

    @cached_property
    def bytes_classifier(self) -> Path:
        """A picture of uint8 [-1, 8, 8, 3] in, mean of each channel as ``scores`` out."""
        import tensorflow as tf

        module = tf.Module()
        module.scale = tf.Variable(1 / 255)
        means = tf.function(
            lambda image: {"scores": module.scale * tf.reduce_mean(tf.cast(image, tf.float32), [1, 2])},
            input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.uint8, "image")],
        )
        return self._save(module, "bytes_classifier", serving_default=means)

    def _graph(self, name: str, build: Any) -> Path:
        import tensorflow as tf

        path = self.folder / f"{name}.pb"
        with tf.Graph().as_default() as graph:
            build(tf)
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return path

    def _save(self, module: Any, name: str, **signatures: Any) -> Path:
        import tensorflow as tf

        path = self.folder / name
        tf.saved_model.save(module, str(path), signatures=signatures)
        return path
