"""Examples: the records of features that TensorFlow Serving's classify and regress signatures take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Feature = Sequence[int] | Sequence[float] | Sequence[bytes]


def serialized_example(features: Mapping[str, Feature]) -> bytes:
    """Write a ``tf.train.Example``; two of them one after the other are one with the features of both.

    The first value of a feature decides of which kind it is: int64, float or bytes; one without values has no kind.
    """
    from tensorflow.core.example.example_pb2 import Example

    example = Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        if values:
            kind = {int: feature.int64_list, float: feature.float_list, bytes: feature.bytes_list}[type(values[0])]
            kind.value.extend(values)
    written: bytes = example.SerializeToString()
    return written
