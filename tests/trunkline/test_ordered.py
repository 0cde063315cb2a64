"""`@ordered` over processes: a server, workers with several threads, and a real Redis between them."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from trunkline.layer import Layer, open_layer
from trunkline.protocol_servers.http import HttpServer, HttpSettings

from .conftest import wait_until

Start = Callable[..., Any]
Serve = Callable[..., HttpServer]

SOCKETS, FRAMES = 50, 20
WAIT = 60  # seconds until a test that hangs is called failed

ROUTING = """
import os
import random
import time

from trunkline import ConsumeLater, ordered, route

notes = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(*words):
    os.write(notes, (" ".join(map(str, words)) + "\\n").encode())


@ordered
def connect(message):
    note(message["path"], "begins", "connect", os.getpid())
    time.sleep(random.random() * 0.01)
    message.reply_channel.send({"accept": True}, immediately=True)
    time.sleep(random.random() * 0.01)
    note(message["path"], "ends", "connect", os.getpid())


def receive(message):
    note(message["path"], "begins", message["text"], os.getpid())
    if message["text"] == "hold":
        time.sleep(600)
    time.sleep(random.random() * 0.004)
    note(message["path"], "ends", message["text"], os.getpid())
    if message["text"] == "7" and message.delivery.tries < 3:
        raise ConsumeLater(delay=0.01)
    message.reply(message["text"])
    if message["text"] == "19":
        raise ValueError("a failure is an end, too")


def disconnect(message):
    note(message["path"], "begins", "disconnect", os.getpid())
    note(message["path"], "ends", "disconnect", os.getpid())


routing = [
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", disconnect),
]
"""


@pytest.fixture
def bus(layer: str, folder: Path) -> Iterator[Layer]:
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    (folder / "trunkline.toml").write_text(f'layer = "{layer}"\nrouting = "app.routing"\n', encoding="utf-8")
    opened = open_layer(layer)
    yield opened
    opened.close()


@pytest.fixture
def serve(bus: Layer, reactor_thread: Any) -> Iterator[Serve]:
    """Run an HTTP server in this process, where its counters can be read."""
    running: list[HttpServer] = []

    def start(**settings: Any) -> HttpServer:
        table = HttpSettings(endpoints=["tcp:0"], access_log="off", **settings)
        server = HttpServer(bus, table, reactor=reactor_thread.reactor)
        reactor_thread.call(server.start())
        running.append(server)
        return server

    yield start
    for server in running:
        reactor_thread.call(server.stop(1))


def lines_of(notes: Path) -> dict[str, list[list[str]]]:
    """Return what each socket's consumers noted, in the order in which they did: begins or ends, what, process."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for line in notes.read_text(encoding="ascii").splitlines():
        path, *rest = line.split()
        found[path].append(rest)
    return found


def expected() -> list[tuple[str, str]]:
    """Return what the consumers of one socket note, one after the other."""
    frames = [str(number) for number in range(FRAMES)]
    frames[7:8] = ["7", "7", "7"]
    doing = ["connect", *frames, "disconnect"]
    return [(when, what) for what in doing for when in ("begins", "ends")]


def working(bus: Layer, count: int) -> bool:
    workers = [info["channels"] for name, info in bus.listeners().items() if name.startswith("worker.")]
    return len(workers) == count and all(channels["websocket.receive"] is True for channels in workers)


def test_frames_are_consumed_one_at_a_time_in_order_by_many_workers(
    start: Start, bus: Layer, serve: Serve, folder: Path
) -> None:
    """Two processes of four threads, consumers of random slowness; frames are sent without waiting for anything."""
    notes = folder / "notes"
    start("work", "--processes", "2", "--threads", "4", NOTES=str(notes))
    wait_until(lambda: working(bus, 2))
    server = serve()
    wait_until(lambda: server.inbox.listening().get("websocket.receive"))
    port = server.ports[0].rsplit(":", 1)[1]
    with ExitStack() as stack:
        uris = (f"ws://127.0.0.1:{port}/{number}" for number in range(SOCKETS))
        clients = [stack.enter_context(connect(uri, open_timeout=WAIT)) for uri in uris]
        for client in clients:
            for number in range(FRAMES):
                client.send(str(number))
        for client in clients:  # the last one fails, and is followed by the end
            assert [client.recv(timeout=WAIT) for _ in range(FRAMES - 1)] == [
                str(number) for number in range(FRAMES - 1)
            ]
    wait_until(lambda: all(lines[-1][:2] == ["ends", "disconnect"] for lines in lines_of(notes).values()))
    found = lines_of(notes)
    assert len(found) == SOCKETS
    for lines in found.values():
        assert [(when, what) for when, what, _ in lines] == expected()
    assert len({pid for lines in found.values() for _, _, pid in lines}) == 2
    assert max(len({pid for _, _, pid in lines}) for lines in found.values()) == 2, "no process has a socket of its own"
    assert server.stats["order_timeouts"] == 0


def test_a_killed_worker_holds_a_connection_up_until_order_timeout(
    start: Start, bus: Layer, serve: Serve, folder: Path
) -> None:
    notes = folder / "notes"
    first = start("work", NOTES=str(notes))
    wait_until(lambda: working(bus, 1))
    server = serve(order_timeout=3.0)
    wait_until(lambda: server.inbox.listening().get("websocket.receive"))
    port = server.ports[0].rsplit(":", 1)[1]
    with connect(f"ws://127.0.0.1:{port}/held", open_timeout=WAIT) as client:
        for text in ("0", "hold", "1", "2"):
            client.send(text)
        assert client.recv(timeout=WAIT) == "0"
        wait_until(lambda: ["begins", "hold"] in [line[:2] for line in lines_of(notes)["/held"]])
        os.kill(first.process.pid, signal.SIGKILL)
        start("work", NOTES=str(notes))
        assert [client.recv(timeout=WAIT) for _ in range(2)] == ["1", "2"]
    assert server.stats["order_timeouts"] == 1
