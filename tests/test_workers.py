"""What all kinds of worker share, with a worker that does not run; ``live/test_workers.py`` has those that do."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http.wsgi import Response

from tf_serving_flask_app.gunicorn.balance import Loads, Share
from tf_serving_flask_app.gunicorn.thread_worker import ThreadWorker
from tf_serving_flask_app.settings import Settings

REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def worker() -> Iterator[ThreadWorker]:
    """A worker that has three connections too many."""
    settings = Settings.from_environ({"METRICS_PORT": "9100"})
    app = SimpleNamespace(loads=Loads(), settings=settings)
    made = ThreadWorker(1, 1, [], app, 30, Config(), logging.getLogger())
    Share(app.loads).tick(accepts=True)
    for connection in range(6):
        made.share.opened(connection)
        made.share.begins(connection)
    made.share.tick(accepts=True)
    yield made
    made.tmp.close()


def gives_up(worker: ThreadWorker, *, sent: bytes = REQUEST, later: bytes = b"", path: str = "/predict") -> bool:
    """Answer one request, with what the client has sent along with it and after it."""
    server, client = socket.socketpair()
    with server, client:
        client.sendall(sent)
        request = next(http.get_parser(worker.cfg, server, ("127.0.0.1", 1)))
        client.sendall(later)
        return worker.gives_up({"PATH_INFO": path}, Response(request, server, worker.cfg))


def test_an_overloaded_worker_gives_connections_up_until_it_is_not(worker: ThreadWorker) -> None:
    assert [gives_up(worker) for _ in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize("options", [{"sent": REQUEST + REQUEST}, {"later": REQUEST}, {"path": "/livez"}])
def test_it_keeps_one_whose_client_has_sent_more_or_looks_after_its_health(
    worker: ThreadWorker, options: dict[str, str]
) -> None:
    assert not gives_up(worker, **options)  # type: ignore[arg-type]
    assert gives_up(worker)


def test_a_connection_that_ends_anyhow_is_not_counted(worker: ThreadWorker) -> None:
    assert not gives_up(worker, sent=REQUEST.replace(b"Host: x", b"Connection: close"))
    assert worker.share.surplus == 3


@pytest.mark.parametrize(("reuse_port", "expected"), [(False, True), (True, False)])
def test_other_workers_accept_from_the_same_socket_unless_each_has_its_own(
    worker: ThreadWorker, tmp_path: Path, reuse_port: bool, expected: bool
) -> None:
    worker.cfg.set("reuse_port", reuse_port)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert [worker.is_shared(tcp), worker.is_shared(unix)] == [expected, expected]


def test_scrapes_of_metrics_wait_for_no_other_worker(worker: ThreadWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as metrics:
        worker.app.settings = worker.app.settings.model_copy(update={"metrics_port": metrics.getsockname()[1]})

        assert not worker.is_shared(metrics)
