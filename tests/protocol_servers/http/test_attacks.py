"""Clients that mean harm, on real sockets: others are served meanwhile, and nothing is left behind."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.testing.websocket_frames import CONTINUATION, PING, TEXT, client_frame

Housing = Callable[..., Any]

PATIENCE = 60  # seconds; a bound against hanging, never waited for
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def hello(house: Any, message: dict[str, Any]) -> None:
    """Answer, but leave alone whoever has a body to come."""
    if "body_channel" in message:
        return
    house.layer.send(message["reply_channel"], {"status": 200, "content": b"hello"})


def swallow(house: Any, message: dict[str, Any]) -> None:
    """Read a body to its end before answering."""
    for _ in house.body(message) if "body_channel" in message else ():
        pass
    house.layer.send(message["reply_channel"], {"status": 200, "content": b"hello"})


def accept(house: Any, message: dict[str, Any]) -> None:
    house.layer.send(message["reply_channel"], {"accept": True})


def ignore(house: Any, message: dict[str, Any]) -> None:
    pass


CONSUMERS = {"http.request": hello, "websocket.connect": accept, "websocket.receive": ignore}


def serves(house: Any, times: int) -> bool:
    """Tell whether somebody else is served."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        for _ in range(times):
            connection.request("GET", "/")
            if connection.getresponse().read() != b"hello":
                return False
    return True


def left(house: Any) -> tuple[int, int, int]:
    """Count connections, what can be answered, and running deadlines, once what is closed is noticed."""

    def count() -> tuple[int, int, int]:
        server = house.server
        deadlines = sum(len(slot) for slot in server.timers._slots.values())
        return len(server.factory.connections), len(server._connections), deadlines

    for _ in range(1000):
        house.place.turns()
        if house.place.run(count) == (0, 0, 0):
            break
        threading.Event().wait(0.01)
    counts: tuple[int, int, int] = house.place.run(count)
    return counts


@contextlib.contextmanager
def flooding(house: Any, opening: bytes, flood: bytes) -> Iterator[None]:
    """Send a flood as fast as it goes, reading what comes back."""
    with house.connect() as client:
        client.sendall(opening)
        if opening.startswith(UPGRADE):
            assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        stop = threading.Event()

        def send() -> None:
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    client.sendall(flood)

        def read() -> None:
            with contextlib.suppress(OSError):
                while client.recv(65536):
                    pass

        threads = [threading.Thread(target=each) for each in (send, read)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            stop.set()
            client.shutdown(socket.SHUT_RDWR)
            for each in threads:
                each.join(PATIENCE)


@pytest.mark.parametrize(
    ("opening", "flood"),
    [
        pytest.param(CHUNKED, b"1\r\nx\r\n" * 50_000, id="tiny chunks"),
        pytest.param(CHUNKED, (b"1;" + b"y" * 250 + b"\r\nx\r\n") * 2000, id="chunk extensions"),
        pytest.param(UPGRADE, client_frame(PING) * 50_000, id="pings"),
        pytest.param(
            UPGRADE + client_frame(TEXT, fin=False), client_frame(CONTINUATION, fin=False) * 50_000, id="fragments"
        ),
    ],
)
def test_a_flood_on_one_connection_leaves_time_for_others(house: Housing, opening: bytes, flood: bytes) -> None:
    here = house(CONSUMERS)
    with flooding(here, opening, flood):
        assert serves(here, 3)
    assert left(here) == (0, 0, 0)
    assert here.server.stats["failures"] == 0


def test_many_slow_heads_and_unanswered_handshakes_leave_room_for_others(house: Housing) -> None:
    here = house({"http.request": hello, "websocket.connect": ignore})
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with contextlib.ExitStack() as stack:
        for data in (GET[:10], UPGRADE, b""):
            for _ in range(100):
                stack.enter_context(here.connect()).sendall(data)
        assert serves(here, 20)
    assert left(here) == (0, 0, 0)
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 5


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_vanish_at_every_stage_leave_nothing_behind(house: Housing, reset: bool) -> None:
    here = house(CONSUMERS | {"http.request": swallow, "http.disconnect": ignore, "websocket.disconnect": ignore})
    upload = POST % 200_000 + bytes(200_000)
    talk = UPGRADE + client_frame(TEXT, b"hello") + client_frame(0x8, b"\x03\xe8")
    stages = [GET[:at] for at in range(0, len(GET) + 1, 5)]
    stages += [talk[:at] for at in range(0, len(talk) + 1, 9)]
    stages += [upload[:at] for at in (len(POST), 1000, 65_536, 65_700, 150_000, len(upload) - 1, len(upload))]
    for data in stages:
        with here.connect() as client:
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(data)
    assert left(here) == (0, 0, 0)
    assert serves(here, 1)
    assert here.server.stats["failures"] == 0


def test_a_thousand_pipelined_requests_are_all_answered(house: Housing) -> None:
    here = house({"http.request": hello})
    assert here.exchange(GET * 999 + LAST).count(b"\r\n\r\nhello") == 1000


def large(house: Any, message: dict[str, Any]) -> None:
    house.layer.send(message["reply_channel"], {"status": 200, "content": bytes(60_000)})


def test_a_client_that_reads_no_answers_is_not_read_from_for_ever(house: Housing) -> None:
    here = house({"http.request": large})
    with here.connect() as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:
                client.sendall(GET * 1000)
    assert left(here) == (0, 0, 0)


def test_uploads_that_find_the_channel_full_fill_no_other(house: Housing) -> None:
    here = house({}, response_timeout=PATIENCE)
    with here.connect() as first:
        first.sendall(GET)
        while here.layer.global_statistics()["messages_pending"] < 1:
            threading.Event().wait(0.01)
        layer: MemoryLayer = here.layer
        for _ in range(999):
            layer.send("http.request", {"filler": True})
        for _ in range(20):
            assert here.exchange(POST % 200_000 + bytes(200_000)).startswith(b"HTTP/1.1 503 ")
        assert layer.global_statistics()["messages_pending"] == 1000
    assert here.server.stats["refused_full"] == 20
