"""Where a server's time goes, from its own access log."""

from __future__ import annotations

from collections import Counter

import orjson

from tf_serving_flask_app.observability.access_line import DATASET

PREFIX, SUFFIX = "model_server.", ".duration"
REST = "the rest"
"""What is in no stage, from a request's arrival to its access line."""


def mean_stages_ms(output: bytes) -> dict[str, float]:
    """The mean milliseconds of each stage, and of the rest, of the requests that a model answered.

    Args:
        output: what a server in production wrote.
    """
    spent: Counter[str] = Counter()
    requests = 0
    for line in output.splitlines():
        if DATASET.encode() not in line:
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:  # cut off where the last look ended
            continue
        if "labels.model_name" in record and record["http.response.status_code"] == 200:
            requests += 1
            spent[REST] += record["event.duration"]
            for name, value in record.items():
                if name.startswith(PREFIX) and name.endswith(SUFFIX):
                    spent[name[len(PREFIX) : -len(SUFFIX)]] += value
                    spent[REST] -= value
    return {name: nanoseconds / requests / 1e6 for name, nanoseconds in spent.items()}
