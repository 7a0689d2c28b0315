"""Requests read by gunicorn's own parser, which is spared the lines that it has accepted before.

Clients send the same lines again and again. What gunicorn made of a line is remembered where it follows from the line
and the configuration alone. All else, and all that gunicorn refuses, it reads and judges each time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gunicorn import http
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import ParseException

LONGEST = 256
"""Bytes of the longest line that is remembered."""

MOST = 1024
"""Lines of each sort that are remembered; then all are forgotten, as those that occur often are soon known again."""

JUDGED_EACH_TIME = frozenset({"EXPECT"})
"""Headers that make gunicorn do something, or about which it asks for more than the line."""

SECRETS = frozenset({"AUTHORIZATION", "COOKIE", "PROXY-AUTHORIZATION", "X-API-KEY"})
"""Headers that are not to be kept."""

END = b"\r\n"


class KnownLines:
    """What gunicorn made of lines that it accepted; for the connections of one thread."""

    def __init__(self, cfg: Any) -> None:
        """Make it for one configuration, on which it depends what is accepted."""
        self.request_lines: dict[bytes, dict[str, Any]] = {}
        """The line -> the attributes of the request that follow from it."""
        self.headers: dict[bytes, tuple[str, str]] = {}
        """The line -> name, in capitals, and value."""
        self._left_out = JUDGED_EACH_TIME | SECRETS | set(cfg.secure_scheme_headers)

    def add_request_line(self, line: bytes, attributes: dict[str, Any]) -> None:
        """Remember a line, unless it is long."""
        if len(line) <= LONGEST:
            if len(self.request_lines) >= MOST:
                self.request_lines.clear()
            self.request_lines[line] = attributes

    def add_header(self, line: bytes, header: tuple[str, str]) -> None:
        """Remember a line, unless it is long, or what becomes of it depends on who sends it."""
        name = header[0]
        if len(line) <= LONGEST and "_" not in name and name not in self._left_out:
            if len(self.headers) >= MOST:
                self.headers.clear()
            self.headers[line] = header


class Request(http.Request):
    """gunicorn's request, of whose head no known line is read again."""

    def __init__(self, *args: Any, known: KnownLines) -> None:
        """Read it; the arguments, and what is raised, are those of gunicorn's."""
        self._known = known
        super().__init__(*args)

    def parse(self, unreader: Any) -> bytes:
        """Read the head; returns what was received beyond it."""
        data: bytes = unreader.read()
        head, end, rest = data.partition(END + END)
        line, _, headers = head.partition(END)
        attributes = self._known.request_lines.get(line)
        if attributes is None or not end or not headers or self._may_be_proxied():
            unreader.unread(data)
            unused: bytes = super().parse(unreader)
            return unused
        self.__dict__.update(attributes)
        self.headers = self.parse_headers(headers)
        return rest

    def _may_be_proxied(self) -> bool:
        """Tell whether a line of the PROXY protocol may come first."""
        return bool(self.req_number == 1 and self.cfg.proxy_protocol != "off")

    def parse_request_line(self, line_bytes: bytes) -> None:
        """Read the first line, and remember it if it is accepted."""
        super().parse_request_line(line_bytes)
        names = ("method", "uri", "path", "query", "fragment", "version")
        self._known.add_request_line(line_bytes, {name: getattr(self, name) for name in names})

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> list[tuple[str, str]]:
        """Read headers: gunicorn gets those that are not known, and all of them where one bears on another."""
        headers: list[tuple[str, str]] | None = None
        if not from_trailer:
            headers = self._recalled(data.split(END))
        if headers is None:
            headers = super().parse_headers(data, from_trailer=from_trailer)
        return headers

    def _recalled(self, lines: list[bytes]) -> list[tuple[str, str]] | None:
        """A header for each line, or nothing if all must be read together."""
        if len(lines) > self.limit_request_fields:
            return None
        known = self._known.headers
        new = [line for line in lines if line not in known]
        read: list[tuple[str, str]] = []
        if new:
            try:
                read = super().parse_headers(END.join(new))
            except ParseException:
                return None  # what is wrong may be another line
        if len(read) != len(new):  # a line goes on with the one before, or is left out
            return None
        fresh = iter(read)
        headers = [known.get(line) or next(fresh) for line in lines]
        if len(dict(headers)) != len(headers):  # gunicorn knows what there must be but one of
            return None
        for line, header in zip(new, read, strict=True):
            self._known.add_header(line, header)
        return headers


class Parser(http.RequestParser):
    """gunicorn's parser of a connection, whose requests share known lines with those of other connections."""

    def __init__(self, cfg: Any, source: Any, source_addr: Any, known: KnownLines) -> None:
        """Make it for a connection; ``known`` is made for the same configuration."""
        super().__init__(cfg, source, source_addr)
        self.mesg_class = partial(Request, known=known)

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:
        """Throw away what the application left of the last body, if it left anything."""
        body = getattr(self.mesg, "body", None)
        if body is not None and isinstance(body.reader, LengthReader) and not body.reader.length and not body.failed:
            return True
        finished: bool = super().finish_body(deadline, max_bytes)
        return finished


def get_parser(cfg: Any, source: Any, source_addr: Any, known: KnownLines) -> Any:
    """Make the parser of a connection: ours for HTTP, gunicorn's own for other protocols."""
    if cfg.protocol == "http":
        return Parser(cfg, source, source_addr, known)
    return http.get_parser(cfg, source, source_addr)
