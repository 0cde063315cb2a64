"""Load for a WebSocket server, in a process of its own: frames made once, answers compared as bytes.

The program tells on standard output where its measurement begins and ends, so that who started it can look at the CPU
of the servers then. `python benchmarks/websocket_load.py --help` says how to use it by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from functools import partial
from typing import Any

import uvloop

MASK = b"\x5a\x17\xc3\x88"
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OPENING = 100  # handshakes under way at once


def client_frame(payload: bytes) -> bytes:
    """Return a masked text frame of less than 126 bytes."""
    assert len(payload) < 126, "short frames only"
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return bytes((0x81, 0x80 | len(payload))) + MASK + masked


class Load:
    """What all sockets of a measurement share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.handshake = HANDSHAKE.format(path=options.path, port=options.port).encode()
        self.times: list[float] = []  # seconds until each answer
        self.arrived = 0
        self.going = True
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """End the measurement."""
        if self.going and not self.failed.done():
            self.failed.set_exception(SystemExit(reason))

    async def sleep(self, seconds: float) -> None:
        """Wait, or fail."""
        await asyncio.wait([self.failed], timeout=seconds)
        if self.failed.done():
            self.failed.result()

    async def open(self, kind: type[Socket]) -> list[Any]:
        """Open all sockets and wait until each is ready to be used."""
        loop = asyncio.get_running_loop()
        sockets: list[Socket] = []
        for first in range(0, self.options.sockets, OPENING):
            opened = [kind(self, number) for number in range(first, min(first + OPENING, self.options.sockets))]
            for each in opened:
                await loop.create_connection(partial(_itself, each), "127.0.0.1", self.options.port)
            sockets += opened
            while not all(each.ready for each in opened):
                await self.sleep(0.005)
        return sockets


def _itself(protocol: Socket) -> Socket:
    return protocol


class Socket(asyncio.Protocol):
    """One WebSocket: its handshake, then bytes for `frames`."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.received = b""
        self.open = False
        self.ready = False

    def connection_made(self, transport: Any) -> None:
        self.write = transport.write
        self.write(self.load.handshake)

    def connection_lost(self, error: BaseException | None) -> None:
        self.load.fail(f"a server closed a socket: {error!r} after {self.received[:300]!r}")

    def data_received(self, data: bytes) -> None:
        if self.open:
            self.frames(data)
            return
        self.received += data
        head, separator, rest = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        if b" 101 " not in head.partition(b"\r\n")[0]:
            self.load.fail(f"a server refused a socket: {head!r}")
            return
        self.received = b""
        self.open = True
        self.opened()
        if rest:
            self.frames(rest)

    def opened(self) -> None:
        """Be ready, or begin what has to come before."""
        self.ready = True

    def frames(self, data: bytes) -> None:
        """Take bytes of frames."""
        raise AssertionError("a server sent a frame that nobody asked for")


class Echo(Socket):
    """Sends the same frame whenever it is told to, and takes the answer."""

    again = True  # send the next as soon as the answer is there

    def __init__(self, load: Load, number: int) -> None:
        super().__init__(load, number)
        payload = b"%06d" % number + b"x" * (load.options.size - 6)
        self.frame = client_frame(payload)
        self.expected = bytes((0x81, len(payload))) + payload
        self.sent: float | None = None

    def send(self) -> None:
        """Send the frame."""
        self.sent = time.perf_counter()
        self.write(self.frame)

    def frames(self, data: bytes) -> None:
        if data != self.expected:
            self.received += data
            if len(self.received) < len(self.expected):
                return
            if self.received != self.expected:
                self.load.fail(f"wrong answer: {self.received!r}")
                return
            self.received = b""
        now, sent = time.perf_counter(), self.sent
        if sent is None:
            self.load.fail("an answer to nothing")
            return
        self.load.times.append(now - sent)
        if self.again and self.load.going:
            self.sent = now
            self.write(self.frame)
        else:
            self.sent = None


class PacedEcho(Echo):
    """Sends when its turn comes."""

    again = False


class Member(Socket):
    """Counts the lines it is sent."""

    def frames(self, data: bytes) -> None:
        self.received = data = self.received + data if self.received else data
        while len(data) > 1:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            if size == 127 or len(data) < start + size:
                break
            self.take(data[start : start + size])
            data = data[start + size :]
        self.received = data

    def take(self, payload: bytes) -> None:
        """Take the payload of a frame."""
        self.line()

    def line(self) -> None:
        load = self.load
        load.arrived += 1
        if load.arrived == load.options.sockets:
            load.arrived = 0
            print(time.monotonic(), flush=True)


class SocketIoMember(Member):
    """The same by Engine.IO 4 and Socket.IO 5: an open packet is answered by a connect packet."""

    def opened(self) -> None:
        pass

    def take(self, payload: bytes) -> None:
        if payload.startswith(b"42"):
            self.line()
        elif payload.startswith(b"40"):
            self.ready = True
        elif payload.startswith(b"0"):
            self.write(client_frame(b"40"))
        elif payload == b"2":
            self.write(client_frame(b"3"))
        else:
            self.load.fail(f"not understood: {payload!r}")


async def echo(load: Load) -> None:
    """Answer every answer with the next frame."""
    for each in await load.open(Echo):
        each.send()
    await load.sleep(load.options.warm)
    await _measure(load, load.sleep(load.options.seconds))


async def paced(load: Load) -> None:
    """Send so many frames a second, whatever the answers do."""
    sockets = await load.open(PacedEcho)
    await _pace(load, sockets, load.options.warm)
    await load.sleep(0.2)
    await _measure(load, _pace(load, sockets, load.options.seconds))


async def _pace(load: Load, sockets: list[Any], seconds: float) -> None:
    began, rate = time.perf_counter(), load.options.rate
    for number in range(int(rate * seconds)):
        await load.sleep(max(0.0, began + number / rate - time.perf_counter()))
        socket = sockets[number % len(sockets)]
        if socket.sent is not None:
            load.fail(f"no answer for {len(sockets) / rate:g} s")
        socket.send()
    await load.sleep(max(0.0, began + seconds - time.perf_counter()))


async def _measure(load: Load, work: Any) -> None:
    gc.collect()
    gc.freeze()
    load.times.clear()
    print("begin", flush=True)
    began = time.perf_counter()
    await work
    took = time.perf_counter() - began
    load.going = False
    await load.sleep(0.2)  # for the answers that are under way
    times = sorted(load.times)
    if not times:
        raise SystemExit("no answers")
    p50, p99 = (1000 * times[len(times) * percent // 100] for percent in (50, 99))
    print(json.dumps({"count": len(times), "seconds": took, "p50": p50, "p99": p99}), flush=True)


async def members(load: Load) -> None:
    """Wait for lines; say when all are there, and for each line when the last of them had it."""
    await load.open(SocketIoMember if "EIO=" in load.options.path else Member)
    gc.collect()
    gc.freeze()
    print("begin", flush=True)
    loop = asyncio.get_running_loop()
    told = loop.run_in_executor(None, sys.stdin.readline)  # a line, or the end, is when to stop
    await asyncio.wait([load.failed, told], return_when=asyncio.FIRST_COMPLETED)
    load.going = False
    if load.failed.done():
        load.failed.result()


async def run(options: argparse.Namespace) -> None:
    load = Load(options)
    await {"echo": echo, "paced": paced, "members": members}[options.mode](load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("echo", "paced", "members"))
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--size", type=int, default=32, help="bytes of a message")
    parser.add_argument("--rate", type=float, default=200.0, help="frames a second of all sockets, when paced")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before the measurement")
    parser.add_argument("--seconds", type=float, default=3.0)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
