"""Makes the smallest model, y = x / 2 + 2: `python -m tests.benchmarks.peers.half_plus_two FOLDER`.

It is written as a SavedModel, and beside it as the frozen graph that somebody would run by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path


def write(folder: Path) -> None:
    """Write `saved_model/` and `half_plus_two.pb` to a folder."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        y = tf.add(tf.multiply(x, 0.5), 2.0, name="y")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder / "saved_model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
        (folder / "half_plus_two.pb").write_bytes(graph.as_graph_def().SerializeToString())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
