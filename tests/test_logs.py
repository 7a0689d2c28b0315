from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import orjson

from tests.test_formatters import make_record
from tf_serving_flask_app.observability.logs import LineHandler


class TestLineHandler:
    def test_a_line_is_formatted_while_others_are_written(self) -> None:
        written = threading.Event()

        class Slow:
            def __str__(self) -> str:
                assert written.wait(60)
                return "slow"

        class Lines(list[bytes]):
            def write(self, line: bytes) -> None:
                self.append(line)

        lines = Lines()
        handler = LineHandler(lines)
        slow = threading.Thread(target=handler.handle, args=[make_record("%s", Slow())])
        slow.start()
        handler.handle(make_record("fast"))
        written.set()
        slow.join()

        assert lines == [b"fast", b"slow"]

    def test_a_filter_keeps_a_record_back(self) -> None:
        lines: list[bytes] = []

        class Writer:
            write = staticmethod(lines.append)

        handler = LineHandler(Writer())
        handler.addFilter(lambda record: record.msg == "yes")

        assert [handler.handle(make_record(message)) for message in ("no", "yes")] == [False, True]
        assert lines == [b"yes"]


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that configures logging for itself; its hooks must not stay in the test process."""
    start = "import logging, sys, threading, warnings\n"
    start += "from tf_serving_flask_app.observability.logs import configure_logging\n"
    return subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True, timeout=60)


def run_for_lines(program: str) -> list[dict[str, Any]]:
    done = run_program(program)

    assert done.stderr == ""
    return [orjson.loads(line) for line in done.stdout.splitlines()]


class TestConfigureLogging:
    def test_production_is_json_on_stdout_from_info_up(self) -> None:
        lines = run_for_lines(
            "configure_logging('production')\n"
            "logging.debug('no'); logging.info('yes'); logging.getLogger('gunicorn.error').info('gunicorn')\n"
        )

        assert [line["message"] for line in lines] == ["yes", "gunicorn"]

    def test_development_is_readable_on_stderr_from_debug_up(self) -> None:
        done = run_program("configure_logging('development')\nlogging.debug('yes')\n")

        assert done.stdout == ""
        assert done.stderr.endswith("DEBUG    root yes\n")
        assert "\033" not in done.stderr

    def test_a_second_call_replaces_the_first(self) -> None:
        lines = run_for_lines(
            "configure_logging('development'); configure_logging('production')\n"
            "configure_logging('production', logging.DEBUG)\n"
            "logging.debug('once'); warnings.warn('once')\n"
        )

        assert len(lines) == 2

    def test_handlers_of_others_stay(self) -> None:
        done = run_program(
            "logging.basicConfig(format='other %(message)s')\n"
            "configure_logging('production'); configure_logging('production')\nlogging.info('x')\n"
        )

        assert done.stderr == "other x\n"

    def test_a_warning_is_one_record_with_a_one_line_message(self) -> None:
        (line,) = run_for_lines("configure_logging('production')\nwarnings.warn('two\\nlines', UserWarning)\n")

        assert line["log.level"] == "warning"
        assert line["log.logger"] == "py.warnings"
        assert line["message"].startswith("UserWarning: two lines (<string>:")

    def test_an_uncaught_exception_is_one_record(self) -> None:
        (line,) = run_for_lines("configure_logging('production')\nraise ValueError('bad')\n")

        assert line["log.level"] == "critical"
        assert line["error.type"] == "ValueError"
        assert "Traceback" in line["error.stack_trace"]

    def test_an_uncaught_exception_of_a_thread_is_one_record(self) -> None:
        (line,) = run_for_lines(
            "configure_logging('production')\n"
            "for work in (lambda: 1 / 0, sys.exit):\n"
            "    thread = threading.Thread(target=work, name='worker'); thread.start(); thread.join()\n"
        )

        assert line["error.type"] == "ZeroDivisionError"
        assert line["message"] == "Uncaught exception in thread worker"

    def test_an_exception_that_cannot_be_raised_is_one_record(self) -> None:
        (line,) = run_for_lines(
            "configure_logging('production')\nclass Fails:\n    def __del__(self): raise ValueError('late')\nFails()\n"
        )

        assert line["error.message"] == "late"

    def test_chatty_libraries_are_quiet(self) -> None:
        lines = run_for_lines(
            "configure_logging('production', logging.DEBUG)\n"
            "for name in ('h5py._conv', 'PIL.Image', 'tensorflow', 'asyncio', 'absl'):\n"
            "    logging.getLogger(name).info('no')\n"
            "from werkzeug.serving import WSGIRequestHandler as Handler\n"
            "from werkzeug._internal import _log\n"
            "handler = Handler.__new__(Handler); handler.client_address = ('127.0.0.1', 1); handler.path = '/'\n"
            "handler.command, handler.request_version, handler.requestline = 'GET', 'HTTP/1.1', 'GET /'\n"
            "handler.log_request(200, 5); _log('info', ' * Debugger PIN: %s', '1-2')\n"
        )

        assert [line["message"] for line in lines] == [" * Debugger PIN: 1-2"]
