"""The access log: one line for each response, whatever a client sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

from trunkline.protocol_servers.http.access_log import AccessLog
from trunkline.protocol_servers.http_core import Request

NOW = 784111777.25


def request(target: bytes = b"/a?b", **headers: bytes) -> Request:
    pairs = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return Request("GET", target, "/a", b"b", pairs, "1.1", 0, True)


class Log:
    def __init__(self, style: Literal["common", "json"]) -> None:
        self.soon: list[Callable[[], None]] = []
        self.written: list[str] = []
        self.log = AccessLog(style, self.soon.append, self.written.append, lambda: NOW)

    def turn(self) -> str:
        soon, self.soon[:] = list(self.soon), []
        for each in soon:
            each()
        (text,) = self.written
        self.written.clear()
        return text


def test_the_common_format_is_what_every_tool_reads() -> None:
    log = Log("common")
    log.log.add(request(), "127.0.0.1", 200, 12, 0.5)
    assert log.turn() == '127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] "GET /a?b HTTP/1.1" 200 12\n'
    log.log.add(None, "-", 400, 0, 0.0)
    assert log.turn() == '- - - [06/Nov/1994:08:49:37 +0000] "-" 400 -\n'


def test_lines_of_one_turn_are_written_together() -> None:
    log = Log("common")
    for _ in range(3):
        log.log.add(request(), "127.0.0.1", 200, 12, 0.5)
    assert len(log.soon) == 1
    assert log.written == []
    assert log.turn().count("\n") == 3


def test_a_target_cannot_forge_the_rest_of_its_line() -> None:
    log = Log("common")
    log.log.add(request(b'/" 200 1 \\"'), "127.0.0.1", 404, 1, 0.0)
    assert '"GET /\\x22 200 1 \\x5c\\x22 HTTP/1.1" 404 1\n' in log.turn()


def test_json_has_one_object_a_line() -> None:
    log = Log("json")
    log.log.add(request(user_agent=b"cur\xffl", referer=b'"'), "127.0.0.1", 200, 12, 0.1234567)
    log.log.add(None, "-", 400, 20, 0.0)
    first, second = map(json.loads, log.turn().splitlines())
    assert first == {
        "time": "1994-11-06T08:49:37Z",
        "client": "127.0.0.1",
        "method": "GET",
        "target": "/a?b",
        "http_version": "1.1",
        "status": 200,
        "size": 12,
        "seconds": 0.123457,
        "user_agent": "cur\xffl",
        "referer": '"',
    }
    assert second == {"time": "1994-11-06T08:49:37Z", "client": "-", "status": 400, "size": 20}
