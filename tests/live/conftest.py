"""What live tests share: the modes, and specs to serve."""

from __future__ import annotations

from pathlib import Path

import pytest

MODES: dict[str, dict[str, str]] = {
    "eventlet": {"WEB_CONCURRENCY": "2"},
    "gevent": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "gevent"},
    "gthread": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "gthread"},
    "sync": {"WEB_CONCURRENCY": "2", "FLASK_WORKER_CLASS": "sync"},
    "multithreaded": {"FLASK_MODE": "multithreaded"},
    "development": {"FLASK_ENV": "development"},
}
"""Every way to run the server: its name -> what the environment says."""

NUMPY_SPEC = """
models:
  - {name: half_plus_two, backend: "numpy_backends:HalfPlusTwo", path: .}
  - {name: slow, backend: "numpy_backends:Slow", path: .}
  - name: colors
    task: classification
    backend: "numpy_backends:Colors"
    path: .
    labels: [red, green, blue]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of one mode; the test runs in each."""
    return MODES[request.param]


@pytest.fixture
def numpy_spec(tmp_path: Path) -> Path:
    """A spec of models that need no TensorFlow, so that the server is up in a second."""
    path = tmp_path / "numpy.spec"
    path.write_text(NUMPY_SPEC)
    return path
