"""The classification extension: an output as its best classes, strings of ``value:index[:label]``.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import math

import numpy as np

from tf_serving_flask_app.apis.open_inference_datatypes import datatype
from tf_serving_flask_app.errors import InvalidInput
from tf_serving_flask_app.ranking import ranked
from tf_serving_flask_app.tasks.base import Task
from tf_serving_flask_app.tensors import Array


def best_classes(scores: Array, count: int, output: str, task: Task) -> Array:
    """Name the classes with the highest scores, best first, equals in their order.

    Args:
        scores: [batch, classes...]; of one dimension it is one item's.
        count: how many; all where there are fewer.
        output: the name of the output.
        task: knows the classes' names, if they have any.

    Returns:
        strings, [batch, count]; [count] for one item without a batch.

    Raises:
        InvalidInput: the output holds no numbers.
    """
    if scores.dtype.kind not in "iuf" and scores.dtype.name != "bfloat16":
        raise InvalidInput(
            "class result not available for output due to unsupported type"
            f" '{datatype(scores.dtype)}': leave 'classification' out for output {output!r}"
        )
    if not scores.size:  # sorting takes memory for the other sizes, which may be anything
        return np.empty((*scores.shape[:1], min(count, math.prod(scores.shape[1:])))[: scores.ndim], dtype=object)
    rows = scores.reshape(len(scores), math.prod(scores.shape[1:])) if scores.ndim > 1 else scores.reshape(-1)
    order = np.apply_along_axis(ranked, -1, rows, count)
    values = np.take_along_axis(rows, order, axis=-1)
    strings = np.empty(order.shape, dtype=object)
    for place, index in np.ndenumerate(order):
        # Six digits behind the point, as Triton writes them.
        value = f"{values[place]:d}" if rows.dtype.kind in "iu" else f"{float(values[place]):f}"
        label = task.class_label(output, int(index))
        strings[place] = (f"{value}:{index}" if label is None else f"{value}:{index}:{label}").encode()
    return strings
