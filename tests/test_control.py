"""The processes of a server tell each other what to load: all do it, or the caller learns who does not."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tf_serving_flask_app.control import Control, Wish, read_wishes
from tf_serving_flask_app.errors import ConfigurationError, DeadlineExceeded

Heed = Callable[[str, Wish], None]
MakeWorker = Callable[[Heed], Control]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose path is too long for a socket's."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    return folder


@pytest.fixture
def make(folder: Path) -> Iterator[MakeWorker]:
    """Make what each worker makes; the files of all but the last are renamed, as they are of one process here."""
    workers: list[Control] = []

    def make(heed: Heed) -> Control:
        own = folder / f"{os.getpid()}.sock"
        if own.exists():
            own.rename(folder / f"{len(workers)}.sock")
        workers.append(Control(folder, heed))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def test_every_worker_has_heeded_a_wish_when_the_call_returns(make: MakeWorker, folder: Path) -> None:
    heeded: list[tuple[int, str, Wish]] = []
    first = make(lambda name, wish: heeded.append((1, name, wish)))
    second = make(lambda name, wish: heeded.append((2, name, wish)))
    first.ask("m", False, 5)
    second.ask("m", True, 5)

    assert sorted(heeded, key=lambda each: (each[2].number, each[0])) == [
        (1, "m", Wish(1, False)),
        (2, "m", Wish(1, False)),
        (1, "m", Wish(2, True)),
        (2, "m", Wish(2, True)),
    ]
    assert read_wishes(folder) == {"m": Wish(2, True)}


def test_before_the_first_wish_there_are_none(folder: Path) -> None:
    assert read_wishes(folder) == {}


@pytest.mark.parametrize(
    ("error", "text"), [(ConfigurationError("no file"), "no file"), (OSError("disk"), "OSError: ")]
)
def test_what_one_worker_cannot_load_that_was_unloaded_none_loads(
    make: MakeWorker, folder: Path, error: Exception, text: str
) -> None:
    heeded: list[bool] = []

    def fail(name: str, wish: Wish) -> None:
        if wish.loaded:
            raise error

    worker = make(lambda name, wish: heeded.append(wish.loaded))
    make(fail)
    worker.ask("m", False, 5)
    with pytest.raises(ConfigurationError, match=text):
        worker.ask("m", True, 5)

    assert heeded == [False, True, False]
    assert read_wishes(folder) == {"m": Wish(3, False)}


def test_a_wish_to_load_anew_that_fails_changes_nothing_else(make: MakeWorker, folder: Path) -> None:
    def fail(name: str, wish: Wish) -> None:
        raise ConfigurationError("no file")

    with pytest.raises(ConfigurationError, match=r"^no file$"):
        make(fail).ask("m", True, 5)

    assert read_wishes(folder) == {"m": Wish(1, True)}


def test_a_worker_that_is_slow_lets_the_deadline_pass_and_goes_on(make: MakeWorker) -> None:
    leave, left = threading.Event(), threading.Event()

    def heed(name: str, wish: Wish) -> None:
        leave.wait(10)
        left.set()

    worker = make(heed)
    with pytest.raises(DeadlineExceeded, match="before every worker process had done it"):
        worker.ask("m", True, 0.05)
    leave.set()

    assert left.wait(10)


def test_one_wish_waits_for_the_other(make: MakeWorker, folder: Path) -> None:
    worker = make(lambda name, wish: None)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeadlineExceeded, match="Another model is being loaded"):
            worker.ask("m", True, 0.05)
        asking = threading.Thread(target=worker.ask, args=("m", True, 10))
        asking.start()
    asking.join(10)

    assert read_wishes(folder) == {"m": Wish(1, True)}


def test_what_a_killed_worker_left_is_removed(make: MakeWorker, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        descriptor = os.open(folder, os.O_PATH)
        dead.bind(f"/proc/self/fd/{descriptor}/7.sock")
        os.close(descriptor)
    make(lambda name, wish: None).ask("m", True, 5)

    assert not (folder / "7.sock").exists()


def test_a_worker_that_ends_instead_of_answering_is_no_fault(make: MakeWorker, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ending:
        descriptor = os.open(folder, os.O_PATH)
        ending.bind(f"/proc/self/fd/{descriptor}/7.sock")
        os.close(descriptor)
        ending.listen()
        end = threading.Thread(target=lambda: ending.accept()[0].close())
        end.start()
        make(lambda name, wish: None).ask("m", True, 5)
        end.join(10)


def test_nonsense_on_the_socket_is_survived(make: MakeWorker, folder: Path) -> None:
    heeded: list[str] = []
    worker = make(lambda name, wish: heeded.append(name))
    for nonsense in (b"", b"m", b"\n", b"nope\n", b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as stranger:
            descriptor = os.open(folder, os.O_PATH)
            stranger.connect(f"/proc/self/fd/{descriptor}/{os.getpid()}.sock")
            os.close(descriptor)
            stranger.sendall(nonsense)
    worker.ask("m", True, 5)

    assert heeded == ["m"]


def test_a_folder_that_was_tidied_up_is_made_again(make: MakeWorker, folder: Path) -> None:
    folder.rmdir()
    make(lambda name, wish: None).ask("m", False, 5)

    assert read_wishes(folder) == {"m": Wish(1, False)}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_worker_that_ends_leaves_nothing_but_the_wishes(make: MakeWorker, folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    worker = Control(folder, lambda name, wish: None)
    worker.ask("m", False, 5)
    worker.close()

    assert sorted(path.name for path in folder.iterdir()) == ["lock", "wishes.json"]
    assert len(os.listdir("/proc/self/fd")) == before
