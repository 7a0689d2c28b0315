"""Models that are made once, and backends that are closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.models import Load, Models, Refusal, make_spec
from tf_serving_flask_app.backends import backend_class
from tf_serving_flask_app.backends.tensorflow_session import TensorFlowSession
from tf_serving_flask_app.errors import ConfigurationError


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The small models; each is made when a test first asks for it."""
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def load() -> Iterator[Load]:
    """Loads a model by backend, path and fields of the spec."""
    loaded: list[TensorFlowSession] = []

    def load(backend: str, path: Path, **fields: Any) -> TensorFlowSession:
        made = backend_class(backend)(make_spec(backend, path, **fields))
        assert isinstance(made, TensorFlowSession)
        loaded.append(made)
        return made

    yield load
    for backend in loaded:
        backend.close()


@pytest.fixture
def refusal() -> Refusal:
    """Loads a model that must be refused, in one line that names its path; gives that line."""

    def refuse(backend: str, path: Path, **fields: Any) -> str:
        with pytest.raises(ConfigurationError) as caught:
            backend_class(backend)(make_spec(backend, path, **fields))
        text = str(caught.value)
        assert text.startswith(str(path))
        assert "\n" not in text
        assert len(text) < 700
        return text

    return refuse
