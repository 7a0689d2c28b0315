"""Metadata and states, in the form of TensorFlow Serving's protocol buffers as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conftest import ECHO, MakeApp
from tf_serving_flask_app.apis.tfserving_metadata import data_type, status_body
from tf_serving_flask_app.entries import VersionStatus


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float32", "DT_FLOAT"),
        ("float64", "DT_DOUBLE"),
        ("float16", "DT_HALF"),
        ("int8", "DT_INT8"),
        ("uint64", "DT_UINT64"),
        ("bool", "DT_BOOL"),
        (object, "DT_STRING"),
        ("complex64", "DT_COMPLEX64"),
        (np.void, "DT_INVALID"),
    ],
)
def test_types_have_the_names_of_the_protocol_buffers(dtype: Any, name: str) -> None:
    assert data_type(np.dtype(dtype)) == name


def test_each_version_has_its_state_and_why_it_is_not_available() -> None:
    body = status_body([VersionStatus("2", "END", "the file is no model"), VersionStatus("latest", "START")])

    assert body["model_version_status"] == [
        {
            "version": "2",
            "state": "END",
            "status": {"error_code": "UNKNOWN", "error_message": "the file is no model"},
        },
        {"version": "0", "state": "START", "status": {"error_code": "OK", "error_message": ""}},
    ]


def test_the_metadata_of_a_model_without_a_graph_name_no_tensors_in_it(make_app: MakeApp) -> None:
    body: dict[str, Any] = make_app(ECHO).test_client().get("/v1/models/echo/metadata").get_json()
    signatures = body["metadata"]["signature_def"]["signature_def"]

    assert body["model_spec"] == {"name": "echo", "signature_name": "", "version": "1"}
    assert signatures["serving_default"]["inputs"]["count"] == {
        "dtype": "DT_INT64",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "",
    }
