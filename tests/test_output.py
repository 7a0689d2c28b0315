from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import product
from pathlib import Path
from select import PIPE_BUF
from typing import Any

import orjson
import pytest

START = """
import faulthandler, logging, os, signal, sys, time
from tf_serving_flask_app.observability.output import capture_output
from tf_serving_flask_app.observability.logs import configure_logging
output = capture_output()
configure_logging("production", output=output)
"""

DEADLINE_S = 60
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

MANY_PROCESSES = """
def work(number):
    for i in range(40):
        logging.info("log %d %d %s", number, i, chr(65 + number) * 9000)
        os.write(2, b"native %d %d \\xff\\x00 \\xe2\\x80\\xa8 {\\"@timestamp\\": 1\\n" % (number, i))
        print("print", number, i)
    if number == 0:
        os.close(others)
        os.read(end_of_others, 1)  # a dying process writes its lines in pieces
        faulthandler.enable()
        os.abort()
    os._exit(0)

end_of_others, others = os.pipe()
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        work(number)
    children.append(child)
os.close(others)
for child in children:
    os.waitpid(child, 0)
output.close()
"""


MANY_THREADS = """
import threading

def talk(name):
    for i in range(20):
        logging.info("%s %d %s", name, i, "x" * (100_000 if i % 10 == 0 else 1000))

children = []
for number in range(3):
    child = os.fork()
    if child == 0:
        threads = [threading.Thread(target=talk, args=(f"{number}-{thread}",)) for thread in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
output.close()
"""

STOPPED_WITHOUT_ROOM = """
child = os.fork()
if child == 0:
    output._wait_for_room = lambda: os.kill(os.getpid(), signal.SIGSTOP)
    logging.info("stopped")
    os._exit(0)
assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
os.write(int(sys.argv[1]), b"1")
logging.info("short")
logging.info("x" * 100_000)
os.kill(child, signal.SIGCONT)
os.waitpid(child, 0)
output.close()
"""

STOPPED_IN_WRITE = """
child = os.fork()
if child == 0:
    os.write = lambda fd, data: os.kill(os.getpid(), signal.SIGSTOP)
    logging.info("stopped")
    os._exit(0)
assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
for length in map(int, sys.argv[1:]):
    logging.info("x" * length)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
output.close()
"""


def run(program: str, **options: Any) -> list[dict[str, Any]]:
    """Run a program whose output is captured; every line it leaves must parse strictly."""
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, timeout=DEADLINE_S, **options)
    assert done.stderr == b""
    assert done.stdout.endswith(b"\n")
    return [orjson.loads(line) for line in done.stdout.split(b"\n")[:-1]]


def native(line: str) -> dict[str, Any]:
    """Write one line to file descriptor 2; return its record."""
    (record,) = run(f"os.write(2, {line.encode()!r} + b'\\n'); output.close()")
    assert record["log.logger"] == "native"
    assert record["message"] == line
    return record


def read_to_end(fd: int, piece: int = 65536) -> bytes:
    """Read, so much at a time, until every writer has gone; fail if they do not go."""
    data, end = bytearray(), time.monotonic() + DEADLINE_S
    while select.select([fd], [], [], end - time.monotonic())[0]:
        if not (chunk := os.read(fd, piece)):
            return bytes(data)
        data += chunk
    raise TimeoutError("somebody still holds the pipe")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_no_line_is_lost_or_mixed_when_many_processes_write_long_ones(unbuffered: str) -> None:
    lines = run(MANY_PROCESSES, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})

    messages = [line["message"] for line in lines]
    logged = [message for message in messages if message.startswith("log ")]
    expected = {f"log {number} {i} {chr(65 + number) * 9000}" for number in range(4) for i in range(40)}
    assert len(logged) == 160
    assert set(logged) == expected
    written = [message for message in messages if message.startswith("native ")]
    assert set(written) == {f'native {n} {i} \ufffd\x00 \u2028 {{"@timestamp": 1' for n in range(4) for i in range(40)}
    printed = [message for message in messages if message.startswith("print ")]
    assert set(printed) == {f"print {number} {i}" for number in range(4) for i in range(40)}
    (aborted,) = [line for line in lines if line["message"].startswith("Fatal Python error: Aborted")]
    assert aborted["log.level"] == "critical"


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_of_threads_and_processes_stay_whole_beside_very_long_ones_and_a_slow_reader(blocking: bool) -> None:
    read, write = os.pipe()
    os.set_blocking(write, blocking)
    with subprocess.Popen([sys.executable, "-c", START + MANY_THREADS], stdout=write) as process:
        os.close(write)
        output = read_to_end(read, 2000)
    os.close(read)

    messages = [orjson.loads(line)["message"] for line in output.splitlines()]
    counts = Counter((message.split(" ")[0], len(message) > PIPE_BUF) for message in messages)
    assert process.returncode == 0
    assert counts == {
        (f"{number}-{thread}", long): 2 if long else 18 for number, thread, long in product("012", "012", (True, False))
    }
    assert all(set(message.split(" ")[2]) == {"x"} for message in messages)


def test_a_process_that_is_stopped_while_it_waits_for_the_reader_keeps_nobody_waiting() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"\n")
    os.set_blocking(write, True)
    ready, tell = os.pipe()
    command = [sys.executable, "-c", START + STOPPED_WITHOUT_ROOM, str(tell)]
    with subprocess.Popen(command, stdout=write, pass_fds=[tell]) as process:
        os.close(write)
        os.close(tell)
        assert os.read(ready, 1) == b"1"  # from here on there is room
        output = read_to_end(read)
    os.close(read)
    os.close(ready)

    assert process.returncode == 0
    assert [len(orjson.loads(line)["message"]) for line in output.splitlines() if line] == [5, 100_000, 7]


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_a_process_that_is_stopped_while_it_writes_an_ordinary_line_does_not_stop_those_of_others(
    kind: str, tmp_path: Path
) -> None:
    lengths = [5, 5] if kind == "pipe" else [5, 100_000]  # a file takes also long lines in one piece
    command = [sys.executable, "-c", START + STOPPED_IN_WRITE, *map(str, lengths)]
    with (tmp_path / "log").open("ab") as file:
        stdout = subprocess.PIPE if kind == "pipe" else file
        done = subprocess.run(command, stdout=stdout, timeout=DEADLINE_S)
    output = done.stdout if kind == "pipe" else (tmp_path / "log").read_bytes()

    assert done.returncode == 0
    assert [len(orjson.loads(line)["message"]) for line in output.splitlines()] == lengths


def test_a_captured_line_is_a_whole_record() -> None:
    record = native("hello")

    assert list(record)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    assert record["service.name"] == "tf_serving_flask_app"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("I0000 00:00:1723.123456   12345 gpu.cc:1] text", "info"),
        ("W0000 00:00:1723.123456   12345 gpu.cc:1] text", "warning"),
        ("E0000 00:00:1723.123456   12345 gpu.cc:1] text", "error"),
        ("F0000 00:00:1723.123456   12345 gpu.cc:1] text", "critical"),
        ("2026-01-31 10:00:00.000001: I tensorflow/core/x.cc:1] text", "info"),
        ("2026-01-31 10:00:00.000001: W tensorflow/core/x.cc:1] text", "warning"),
        ("2026-01-31 10:00:00.000001: F tensorflow/core/x.cc:1] text", "critical"),
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", "warning"),
        ("ERROR: text", "error"),
        ("free(): invalid pointer", "error"),
        ("double free or corruption (out)", "error"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "error"),
        ("Fatal Python error: Segmentation fault", "critical"),
        ("Informal", "info"),
        ("W0000 is no prefix", "info"),
    ],
)
def test_the_level_comes_from_the_prefix(line: str, level: str) -> None:
    assert native(line)["log.level"] == level


def test_empty_lines_are_dropped_and_the_last_line_needs_no_end() -> None:
    lines = run("os.write(1, b'\\n \\n\\r\\none\\r\\n\\ntwo'); output.close()")

    assert [line["message"] for line in lines] == ["one", "two"]


def test_a_very_long_line_comes_in_pieces() -> None:
    lines = run(
        "data = b'x' * 200_000 + b'\\n' + b'y' * 100_000\nwhile data: data = data[os.write(2, data):]\noutput.close()"
    )

    lengths = [len(line["message"]) for line in lines]
    assert lengths == [65536, 65536, 65536, 200_000 - 3 * 65536, 65536, 100_000 - 65536]


def test_a_line_that_is_a_log_record_already_passes_unchanged() -> None:
    (line,) = run('os.write(1, b\'{"@timestamp": "t", "x": [1.5]}\\n\'); output.close()')

    assert line == {"@timestamp": "t", "x": [1.5]}


@pytest.mark.parametrize(
    "line",
    [
        b'{"x": 1}',
        b'{"@timestamp": NaN}',
        b'{"@timestamp": 1e999}',
        b'{"@timestamp": "\\ud800"}',
        b'{"@timestamp": "\xff"}',
        b'{"@timestamp": 1} {}',
        b'{"@timestamp": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'["@timestamp"]',
        '{"@timestamp": 1}'.encode("utf-16-le"),
    ],
    ids=lambda line: repr(line[:24]),
)
def test_any_other_json_is_text(line: bytes) -> None:
    (record,) = run(f"os.write(1, {line!r} + b'\\n'); output.close()")

    assert record["log.logger"] == "native"
    assert record["message"] == line.decode("utf-8", "replace")


def test_what_python_prints_comes_at_once_and_what_it_held_back_comes_too() -> None:
    program = START.replace("output = capture", "sys.stdout.write('before '); output = capture")
    program += "print('after'); sys.stdin.read(); output.close()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=BUFFERED) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        line = orjson.loads(process.stdout.readline())  # while the program waits for its stdin

        assert line["message"] == "before after"
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def test_a_file_as_stdout_takes_the_lines_too(tmp_path: Path) -> None:
    program = START.replace("output = capture", "sys.stdout.write('before '); output = capture")
    program += "print('after'); sys.stderr.write('more\\n'); logging.info('log'); output.close(); print('end')"
    for mode in ("wb", "ab"):
        with (tmp_path / "log").open(mode) as file:
            command = [sys.executable, "-c", program]
            subprocess.run(command, stdout=file, stderr=file, timeout=DEADLINE_S, check=True, env=BUFFERED)

    *lines, end = (tmp_path / "log").read_bytes().splitlines()
    assert end == b"end"
    del lines[3]  # the first run's end
    messages = sorted(orjson.loads(line)["message"] for line in lines)
    assert messages == ["before after"] * 2 + ["log"] * 2 + ["more"] * 2


def test_an_uncaught_exception_and_a_warning_are_one_line_each() -> None:
    program = "import warnings\ntry:\n    warnings.warn('w')\n    1 / 0\nfinally:\n    output.close()\n"
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, timeout=DEADLINE_S)

    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert done.stderr == b""
    assert [line["log.level"] for line in lines] == ["warning", "critical"]


def test_a_child_that_unwinds_through_close_leaves_the_capture_alone() -> None:
    lines = run(
        "child = os.fork()\n"
        "if child == 0:\n    output.close(); os.write(1, b'from the child\\n'); os._exit(0)\n"
        "os.waitpid(child, 0); os.write(1, b'from the parent\\n'); output.close(); output.close()\n"
        "logging.info('after')"
    )

    assert [line["message"] for line in lines] == ["from the child", "from the parent", "after"]


def test_close_does_not_mind_that_somebody_else_reaped_the_pump() -> None:
    lines = run(
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "begin = time.monotonic(); os.write(1, b'last\\n'); output.close()\n"
        "logging.info('%d', time.monotonic() - begin)"
    )

    assert [line["message"] for line in lines] == ["last", "0"]


def test_close_does_not_wait_for_ever_for_a_writer_that_stays() -> None:
    lines = run(
        "gate, open_gate = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.close(open_gate); os.read(gate, 1); os.write(2, b'late\\n'); os._exit(0)\n"
        "output.close(); logging.info('closed')"
    )

    assert [line["message"] for line in lines] == ["closed", "late"]


def test_a_parent_killed_with_9_leaves_no_pump_and_loses_no_line() -> None:
    read, write = os.pipe()
    program = "os.write(1, b'last words'); print(flush=True); os.write(2, b'no end'); os.kill(os.getpid(), 9)"
    with subprocess.Popen([sys.executable, "-c", START + program], stdout=write, stderr=write) as process:
        os.close(write)

        output = read_to_end(read)  # ends only when the pump, which holds the other end, has ended

    os.close(read)
    assert process.returncode == -signal.SIGKILL
    assert [orjson.loads(line)["message"] for line in output.splitlines()] == ["last words", "no end"]


def test_signals_to_the_group_do_not_take_the_pump_before_its_writers() -> None:
    lines = run(
        "os.write(1, b'begin\\n')\n"
        "while os.getsid(output._pump) != output._pump: time.sleep(0.001)\n"
        "signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]\n"
        "for number in signals:\n"
        "    signal.signal(number, signal.SIG_IGN); os.killpg(0, number)\n"
        "    os.kill(output._pump, number)\n"
        "assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()\n"
        "os.write(1, b'still there\\n'); output.close()",
        start_new_session=True,
    )

    assert [line["message"] for line in lines] == ["begin", "still there"]


def test_the_pump_holds_no_file_of_its_parent() -> None:
    read, write = os.pipe()
    program = "os.close(int(sys.argv[1])); print('ready'); sys.stdin.read(); output.close()"
    with subprocess.Popen(
        [sys.executable, "-c", START + program, str(write)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[write],
    ) as process:
        os.close(write)
        assert process.stdin is not None
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()

        assert read_to_end(read) == b""  # the pump runs, and yet nobody holds the other end

        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
    os.close(read)


def test_a_reader_that_goes_away_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    program = "for i in range(2000):\n    logging.info('x' * 100); os.write(2, b'y' * 100 + b'\\n')\noutput.close()"
    done = subprocess.run([sys.executable, "-c", START + program], stdout=write, timeout=DEADLINE_S)
    os.close(write)

    assert done.returncode == 0


def test_a_slow_reader_of_a_non_blocking_pipe_loses_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    program = "for i in range(300):\n    logging.info('x' * 2000); print('y' * 2000)\noutput.close()"
    with subprocess.Popen([sys.executable, "-c", START + program], stdout=write) as process:
        os.close(write)
        output = read_to_end(read)

    os.close(read)
    assert process.returncode == 0
    assert len([orjson.loads(line) for line in output.splitlines()]) == 600


def test_programs_that_are_started_are_captured_too() -> None:
    lines = run("import subprocess; subprocess.run(['sh', '-c', 'echo out; echo err >&2']); output.close()")

    assert [line["message"] for line in lines] == ["out", "err"]


def test_capture_within_a_capture_passes_records_on() -> None:
    program = re.sub(r"\s+", " ", "import subprocess; subprocess.run([sys.executable, '-c', sys.argv[1]]);")
    inner = START + "logging.info('inner'); os.write(2, b'native\\n'); output.close()"
    done = subprocess.run(
        [sys.executable, "-c", f"{START}{program} output.close()", inner], capture_output=True, timeout=DEADLINE_S
    )

    lines = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert sorted((line["log.logger"], line["message"]) for line in lines) == [("native", "native"), ("root", "inner")]


def test_closed_standard_files_are_no_reason_to_fail() -> None:
    command = 'exec "$0" -c "$1" 0<&- 1>&- 2>&-'
    program = START + "logging.info('x'); os.write(1, b'y\\n'); output.close()"

    assert subprocess.run(["sh", "-c", command, sys.executable, program], timeout=DEADLINE_S).returncode == 0
