"""Many WebSockets of one process that only stay, until they are sent away.

    python crowd.py PORT COUNT

It prints "open" when all are, and when none is any more one line of JSON: with which code each was closed, in the order
in which that happened, by the number in which they came: [[number, code, seconds since the first], …].
"""

from __future__ import annotations

import asyncio
import json
import resource
import struct
import sys
import time

from trunkline.protocol_servers.testing.websocket_frames import CLOSE, PING, PONG, client_frame

_AT_A_TIME = 50  # handshakes
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_BROKEN_OFF = 1006


class Member(asyncio.Protocol):
    """One socket."""

    def __init__(self, number: int, port: int, ends: list[tuple[int, int, float]]) -> None:
        self.opened = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self._number = number
        self._port = port
        self._ends = ends
        self._buffer = b""
        self._code = _BROKEN_OFF
        self._transport: asyncio.Transport

    def itself(self) -> Member:
        """Return it, as loops want their protocols."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}"
        transport.write(f"GET /{self._number} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{upgrade}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.opened.set_exception(ConnectionError(head.decode("latin-1")))
                return
            self.opened.set_result(None)
            self._buffer = rest
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + self._buffer[1]:
            opcode, size = self._buffer[0] & 15, self._buffer[1]  # what comes to them is short
            payload, self._buffer = self._buffer[2 : 2 + size], self._buffer[2 + size :]
            if opcode == PING:
                self._transport.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                self._code = struct.unpack("!H", payload[:2])[0]
                self._ends.append((self._number, self._code, time.monotonic()))
                self._transport.write(client_frame(CLOSE, payload[:2]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._code == _BROKEN_OFF:
            self._ends.append((self._number, self._code, time.monotonic()))
        self.ended.set_result(None)


async def main(port: int, count: int) -> None:
    """Come, stay, and tell how it ended."""
    loop = asyncio.get_running_loop()
    ends: list[tuple[int, int, float]] = []
    members: list[Member] = []
    for first in range(0, count, _AT_A_TIME):
        coming = [Member(number, port, ends) for number in range(first, min(first + _AT_A_TIME, count))]
        await asyncio.gather(*(loop.create_connection(each.itself, "127.0.0.1", port) for each in coming))
        await asyncio.gather(*(each.opened for each in coming))
        members += coming
    print("open", flush=True)
    await asyncio.gather(*(each.ended for each in members))
    began = ends[0][2]
    print(json.dumps([(number, code, round(when - began, 3)) for number, code, when in ends]), flush=True)


if __name__ == "__main__":
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
