"""Values of several processes: summed up, taken over from the dead, never mixed up with those of another folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tf_serving_flask_app.shared_values import Family, Histogram, SharedFolder, SharedValues

ROOT = Path(__file__).parents[1]

OTHER = """
import pathlib, signal, sys
from tests.test_shared_values import Counting
other = Counting(pathlib.Path(sys.argv[1]))
other.count("killed", 3)
other.gauge.of().set(1)
print("counted", flush=True)
signal.pause()
"""

SERVER = """
import signal
from tf_serving_flask_app.shared_values import SharedFolder
print(SharedFolder().path, flush=True)
signal.pause()
"""

Samples = dict[tuple[str, tuple[str, ...]], float]


class Counting:
    """What stands for a process, as its values are its own: a counter, a live gauge and a histogram."""

    def __init__(self, folder: Path | None) -> None:
        self.values = SharedValues(folder)
        self.counter = Family(self.values, "counter", "things_total", "Things.", ["kind"])
        self.gauge = Family(self.values, "gauge_livesum", "now", "Now.")
        self.newest = Family(self.values, "gauge_max", "newest", "Newest.")
        self.histogram = Histogram(self.values, "seconds", "Seconds.", ["kind"], (0.5, 1.0))

    def count(self, kind: str = "a", amount: float = 1) -> None:
        with self.values.lock:
            self.counter.of(kind).add(amount)

    def samples(self) -> Samples:
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for metric in self.values.collect()
            for sample in metric.samples
        }


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = SharedFolder()
    yield folder.path
    folder.remove()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_process_tells_the_sum_over_all(folder: Path) -> None:
    first, second = Counting(folder), Counting(folder)
    first.count("a", 2)
    second.count("a", 3)
    second.count("b")
    expected = {("things_total", ("a",)): 5.0, ("things_total", ("b",)): 1.0}

    assert first.samples() == second.samples() == expected


def test_a_histogram_counts_up_to_each_bound_and_sums_up(folder: Path) -> None:
    first, second = Counting(folder), Counting(folder)
    for each, seconds in ((first, 0.25), (first, 0.5), (second, 0.75), (second, 9.0)):
        each.histogram.of("a").observe(seconds)

    assert first.samples() == {
        ("seconds_bucket", ("a", "0.5")): 2.0,
        ("seconds_bucket", ("a", "1.0")): 3.0,
        ("seconds_bucket", ("a", "+Inf")): 4.0,
        ("seconds_count", ("a",)): 4.0,
        ("seconds_sum", ("a",)): 10.5,
    }


def test_what_ended_stays_counted_but_is_not_live_any_more(folder: Path) -> None:
    first, second = Counting(folder), Counting(folder)
    for each, newest in ((first, 7.0), (second, 5.0)):
        each.count()
        each.gauge.of().set(1)
        each.newest.of().set(newest)
    both = second.samples()
    first.values.close()
    one = second.samples()

    assert (both["now", ()], both["things_total", ("a",)], both["newest", ()]) == (2.0, 2.0, 7.0)
    assert (one["now", ()], one["things_total", ("a",)], one["newest", ()]) == (1.0, 2.0, 7.0)


def test_a_new_process_goes_on_in_the_files_of_one_that_ended(folder: Path) -> None:
    stays = Counting(folder)
    sizes = set()
    for _ in range(20):
        comes_and_goes = Counting(folder)
        comes_and_goes.count()
        comes_and_goes.gauge.of().add(1)
        sizes.add(len(files(folder)))
        now = stays.samples()["now", ()]
        comes_and_goes.values.close()

    assert now == 1.0
    assert stays.samples() == {("things_total", ("a",)): 20.0}
    assert sizes == {5}


def test_the_number_of_a_killed_process_is_free(folder: Path) -> None:
    own = Counting(folder)
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"counted\n"
        alive = own.samples()
        other.kill()
    dead = own.samples()
    heir = Counting(folder)
    heir.count("killed")

    assert alive == {("things_total", ("killed",)): 3.0, ("now", ()): 1.0}
    assert dead == {("things_total", ("killed",)): 3.0}
    assert own.samples() == {("things_total", ("killed",)): 4.0}
    assert files(folder) == {"lock", "0.lock", "1.lock", "counter_1.db"}


def test_sums_never_fail_or_shrink_while_processes_come_and_go(folder: Path) -> None:
    watching = Counting(folder)

    def come_and_go(times: int) -> None:
        for _ in range(times):
            other = Counting(folder)
            other.count()
            other.gauge.of().set(1)
            other.values.close()

    seen = [0.0]
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(come_and_go, 100) for _ in range(2)]
        while not all(other.done() for other in others):
            seen.append(watching.samples().get(("things_total", ("a",)), 0.0))
        assert [other.result() for other in others] == [None, None]

    assert seen == sorted(seen)
    assert watching.samples() == {("things_total", ("a",)): 200.0}


def test_threads_lose_no_count() -> None:
    counting = Counting(None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: counting.count(str(number % 3)), range(3000)))

    assert counting.samples() == {("things_total", (kind,)): 1000.0 for kind in "012"}


def test_values_grow_beyond_their_first_file_size() -> None:
    counting = Counting(None)
    for _ in range(2):  # the second time in what was made when the file was smaller
        for number in range(2000):
            counting.count(f"{number:0100}")

    assert set(counting.samples().values()) == {2.0}
    assert len(counting.samples()) == 2000


def test_who_has_ended_cannot_count_in_what_another_goes_on_with(folder: Path) -> None:
    first = Counting(folder)
    first.count()
    first.values.close()
    second = Counting(folder)
    second.count()
    with pytest.raises(ValueError, match="released"):
        first.count()

    assert second.samples() == {("things_total", ("a",)): 2.0}


def test_without_a_folder_nothing_is_shared_and_nothing_is_left() -> None:
    first, second = Counting(None), Counting(None)
    first.count()
    folders = [first.values.folder, second.values.folder]
    alone = second.samples()
    first.values.close()
    del second

    assert alone == {}
    assert not any(folder.exists() for folder in folders)


def test_a_folder_is_private_and_gone_once_removed() -> None:
    folder = SharedFolder()
    mode = folder.path.stat().st_mode
    folder.remove()

    assert mode & 0o077 == 0
    assert not folder.path.exists()


def test_what_a_killed_server_left_is_removed_by_the_next_one() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        left = Path(server.stdout.readline().strip())
        SharedFolder().remove()
        while_it_lives = left.is_dir()
        server.kill()
    was_left = left.is_dir()
    SharedFolder().remove()

    assert (while_it_lives, was_left, left.exists()) == (True, True, False)
