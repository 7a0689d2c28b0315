"""Which class a spec's ``backend:`` means."""

from __future__ import annotations

import pytest

from tests import numpy_backends
from tf_serving_flask_app.backends import BACKENDS, backend_class
from tf_serving_flask_app.backends.base import Backend
from tf_serving_flask_app.errors import ConfigurationError

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_row_of_the_table_is_a_backend(kind: str) -> None:
    found = backend_class(kind)
    assert issubclass(found, Backend)
    assert not getattr(found, "__abstractmethods__", None)


def test_a_backend_of_somebody_elses_is_found_by_its_import_path() -> None:
    assert backend_class("tests.numpy_backends:HalfPlusTwo") is numpy_backends.HalfPlusTwo


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("tests.numpy_backends:FLOAT", "backend 'tests.numpy_backends:FLOAT' is not a subclass of"),
        ("pathlib:Path", "is not a subclass of"),
        ("tests.numpy_backends:Missing", "has no attribute 'Missing'"),
        ("no_such_package.backend:Own", "no module 'no_such_package'"),
        ("frozen", "write 'package.module:attribute'"),
    ],
)
def test_what_is_no_backend_is_refused(kind: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        backend_class(kind)
