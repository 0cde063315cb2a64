"""CPU of a WebSocket frame in and one out at a server: ours, `websockets` alone, and wsproto, in interleaved rounds.

    pip install wsproto; python benchmarks/websocket_frames.py [--rounds 7] [--frames 20000]

Ours does more than its peers: bytes become a message for the bus, a reply becomes a frame on a transport, with order,
back pressure and write limits. Neither bus nor transport is there. Then: one group message to many sockets, and what a
socket takes of memory. Only the ratios mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import statistics
import time
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from websockets.protocol import State
from websockets.server import ServerProtocol

from trunkline.protocol_servers.http import HttpServer, HttpSettings
from trunkline.protocol_servers.http.websocket import WebSocket, broadcast
from trunkline.protocol_servers.http_core import Request
from trunkline.protocol_servers.testing.websocket_frames import TEXT, client_frame

Job = Callable[[int], None]
SIZES = (20, 125, 1000, 4000)  # what is read in one turn of the loop
HEADERS = [
    (b"host", b"localhost"),
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-version", b"13"),
]


class NoInbox:
    """Take every message at once."""

    def send(self, channel: str, message: Any, *, then: Callable[[object], object], **options: Any) -> None:
        then(True)

    def listening(self) -> dict[str, bool]:
        return {}

    def gone(self, name: str) -> None:
        pass


class NoTransport:
    """Take every byte at once."""

    __slots__ = ()
    buffered = 0
    disconnecting = False

    def write(self, data: bytes) -> None:
        pass


def make_server() -> HttpServer:
    loop = asyncio.new_event_loop()
    nothing: Any = None
    server = HttpServer(nothing, HttpSettings(access_log="off"), reactor=SimpleNamespace(_asyncioEventloop=loop))
    inbox: Any = NoInbox()
    server.inbox = inbox
    return server


def open_socket(server: HttpServer) -> WebSocket:
    request = Request("GET", b"/", "/", b"", HEADERS, "1.1", 0, True, upgrade=True)
    opened = WebSocket(server, request, NoTransport())
    opened.deliver({"accept": True})
    return opened


def ours(size: int) -> Job:
    opened = open_socket(make_server())
    frame, reply = client_frame(TEXT, b"x" * size), {"text": "x" * size}

    def job(count: int) -> None:
        for _ in range(count):
            opened.data_received(frame)
            opened.deliver(reply)

    return job


def websockets_alone(size: int) -> Job:
    protocol = ServerProtocol(state=State.OPEN)
    frame, reply = client_frame(TEXT, b"x" * size), "x" * size

    def job(count: int) -> None:
        for _ in range(count):
            protocol.receive_data(frame)
            for event in protocol.events_received():
                str(event.data, "utf-8")  # type: ignore[union-attr]
            protocol.send_text(reply.encode())
            b"".join(protocol.data_to_send())

    return job


def wsproto(size: int) -> Job | None:
    try:
        module = importlib.import_module("wsproto.connection")
        message = importlib.import_module("wsproto.events").TextMessage
    except ImportError:
        return None
    connection = module.Connection(module.ConnectionType.SERVER)
    frame, reply = client_frame(TEXT, b"x" * size), "x" * size

    def job(count: int) -> None:
        for _ in range(count):
            connection.receive_data(frame)
            for _event in connection.events():
                pass
            connection.send(message(data=reply))

    return job


def measure(job: Job, count: int) -> float:
    """Return microseconds of CPU each."""
    began = time.process_time()
    job(count)
    return (time.process_time() - began) / count * 1e6


def frames(rounds: int, count: int) -> None:
    print(f"{'bytes':>6}  {'peer':<12} {'µs in + out':>12}  {'spread':>13}  ratio")
    for size in SIZES:
        made = {"ours": ours(size), "websockets": websockets_alone(size), "wsproto": wsproto(size)}
        peers = {name: job for name, job in made.items() if job is not None}
        figures: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, job in peers.items():
                figures[name].append(measure(job, count))
        base = statistics.median(figures["ours"])
        for name, times in figures.items():
            median = statistics.median(times)
            spread = f"{min(times):.2f}-{max(times):.2f}"
            print(f"{size:>6}  {name:<12} {median:>12.2f}  {spread:>13}  {median / base:.2f}")
        if "wsproto" not in peers:
            print(f"{size:>6}  wsproto is not installed: pip install wsproto")


def groups(rounds: int) -> None:
    server = make_server()
    members = [open_socket(server) for _ in range(5000)]
    for size in (200, 5000):
        message = {"text": "x" * size}

        def job(count: int, message: dict[str, Any] = message) -> None:
            for _ in range(count):
                broadcast(members, message)

        each = [measure(job, 5) / len(members) for _ in range(rounds)]
        print(f"group message of {size} bytes: {statistics.median(each):.2f} µs a member, written to nowhere")


def memory() -> None:
    server = make_server()
    open_socket(server)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    opened = [open_socket(server) for _ in range(2000)]
    gc.collect()
    print(f"memory of an open socket: {(tracemalloc.get_traced_memory()[0] - before) / len(opened):.0f} bytes")
    tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=20_000)
    options = parser.parse_args()
    frames(options.rounds, options.frames)
    groups(options.rounds)
    memory()


if __name__ == "__main__":
    main()
