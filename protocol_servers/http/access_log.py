"""The access log: one line for each response, on standard output, away from what the server has to say about itself.

The lines of one turn of the loop are written together, past `logging`: a record of it for each request would cost
as much as parsing that request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Literal

from ..http_core import Request


class AccessLog:
    """Writes the access log.

    Args:
        style: "common" for the Common Log Format, "json" for one JSON object a line.
        call_soon: calls a function at the end of the loop's turn.
        write: writes text to where the log goes.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        style: Literal["common", "json"],
        call_soon: Callable[[Callable[[], None]], object],
        write: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._line = _json_line if style == "json" else _common_line
        self._stamp = _json_time if style == "json" else _common_time
        self._call_soon = call_soon
        self._write = write
        self._clock = clock
        self._second = -1
        self._time = ""
        self._lines: list[str] = []

    def add(self, request: Request | None, client: str, status: int, size: int, seconds: float) -> None:
        """Note one response.

        Args:
            request: the request, None where not even its head could be read.
            client: the client's address, "-" on sockets without.
            status: the response's status.
            size: bytes of content.
            seconds: from the request's head to the response's end.
        """
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._time = self._stamp(second)
        if not self._lines:
            self._call_soon(self.flush)
        self._lines.append(self._line(self._time, request, client, status, size, seconds))

    def flush(self) -> None:
        """Write what was noted."""
        lines, self._lines = self._lines, []
        if lines:
            self._write("".join(lines))


def _common_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


def _json_time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _common_line(when: str, request: Request | None, client: str, status: int, size: int, seconds: float) -> str:
    if request is None:
        line = "-"
    else:
        target = request.target.decode("ascii").replace("\\", "\\x5c").replace('"', "\\x22")
        line = f"{request.method} {target} HTTP/{request.http_version}"
    return f'{client} - - [{when}] "{line}" {status} {size or "-"}\n'


def _json_line(when: str, request: Request | None, client: str, status: int, size: int, seconds: float) -> str:
    entry: dict[str, object] = {"time": when, "client": client, "status": status, "size": size}
    if request is not None:
        entry["method"] = request.method
        entry["target"] = request.target.decode("ascii")
        entry["http_version"] = request.http_version
        entry["seconds"] = round(seconds, 6)
        for name in (b"user-agent", b"referer"):
            value = request.header(name)
            if value is not None:
                entry[name.decode().replace("-", "_")] = value.decode("latin-1")
    return json.dumps(entry, separators=(",", ":")) + "\n"
