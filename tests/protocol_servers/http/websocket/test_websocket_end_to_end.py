"""Real sockets, real consumers on the memory layer, and `websockets` or raw bytes as the client."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from queue import Queue
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from trunkline.protocol_servers.http.websocket import connection, inflow
from trunkline.protocol_servers.testing.websocket_frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    client_close,
    client_frame,
)

PATIENCE = 60  # seconds; a bound against hanging, never waited for

OpenHouse = Callable[..., Any]


class Consumers(dict[str, Callable[[Any, dict[str, Any]], None]]):
    """Accept, echo, and note who left.

    Attributes:
        answer: What ``websocket.connect`` is answered with; nothing where it is empty.
        connected: Messages of ``websocket.connect``.
        left: Messages of ``websocket.disconnect``.
    """

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.connected: Queue[dict[str, Any]] = Queue()
        self.left: Queue[dict[str, Any]] = Queue()
        self.answer = {"accept": True} if answer is None else answer
        super().__init__(
            {
                "websocket.connect": self._connect,
                "websocket.receive": self._receive,
                "websocket.disconnect": lambda _, message: self.left.put(message),
            }
        )

    def _connect(self, house: Any, message: dict[str, Any]) -> None:
        house.layer.group_add("everybody", message["reply_channel"])
        self.connected.put(message)
        if self.answer:
            house.layer.send(message["reply_channel"], self.answer)

    def _receive(self, house: Any, message: dict[str, Any]) -> None:
        kind = "text" if message.get("text") is not None else "bytes"
        house.layer.send(message["reply_channel"], {kind: message[kind]})


def open_socket(house: Any, path: str = "/chat", **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{house.port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE, **options)


def closed_with(client: ClientConnection) -> int:
    """Wait for the server's Close; its code."""
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def send_all(client: ClientConnection, messages: Iterable[str]) -> threading.Thread:
    """Send messages from a thread of its own."""

    def sending() -> None:
        for message in messages:
            client.send(message)

    thread = threading.Thread(target=sending)
    thread.start()
    return thread


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


class Raw:
    """A client that sends exactly what it is told to."""

    def __init__(self, house: Any) -> None:
        self.socket: socket.socket = house.connect()
        self._buffer = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, path: str = "/raw", more: bytes = b"") -> None:
        key = base64.b64encode(os.urandom(16))
        self.send(
            b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n%b" % (path.encode(), key, more)
        )

    def take(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        while len(self._buffer) < size:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError(self._buffer)
            self._buffer += piece
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def status(self) -> int:
        """Read a response's head."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.take(1)
        return int(head.split()[1])

    def frame(self) -> tuple[int, bytes]:
        """Read a frame: opcode and payload."""
        first, size = self.take(2)
        if size >= 126:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return first & 0x0F, self.take(size)

    def close_code(self) -> int:
        """Read up to a Close; its code."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    def ended(self) -> bool:
        """Read to the end of the connection; whether it ends in order, and not by a reset."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return False
        return True


def test_echo(house: OpenHouse) -> None:
    consumers = Consumers()
    served = house(consumers)
    with open_socket(served, "/chat%20room?a=1") as client:
        message = consumers.connected.get(timeout=PATIENCE)
        assert message["path"] == "/chat room"
        assert message["query_string"] == b"a=1"
        assert message["client"] == list(client.socket.getsockname())
        assert message["server"] == ["127.0.0.1", served.port]
        assert [b"host", b"127.0.0.1:%d" % served.port] in message["headers"]
        for data in ("hé", b"\0\xff", "", "x" * 70_000, b"y" * 70_000):
            client.send(data)
            assert client.recv(timeout=PATIENCE) == data
        client.send(["a", "b", "c"])  # three fragments
        assert client.recv(timeout=PATIENCE) == "abc"
        client.ping().wait(PATIENCE)
        client.close(4321, "enough")
    gone = consumers.left.get(timeout=PATIENCE)
    assert gone["code"] == 4321
    assert gone["order"] == 7
    assert served.server.stats["websocket_failed"] == 0


@pytest.mark.parametrize("compression", ["deflate", None])
def test_many_messages_keep_their_order(house: OpenHouse, compression: Any) -> None:
    served = house(Consumers())
    with open_socket(served, compression=compression) as client:
        texts = [f"{number} " * (1 + number % 500) for number in range(600)]
        sending = send_all(client, texts)
        assert [client.recv(timeout=PATIENCE) for _ in texts] == texts
        sending.join(PATIENCE)


@pytest.mark.parametrize(
    ("answer", "status"), [({"accept": False}, 403), ({"close": True}, 403), ({"close": 1011}, 500), ({"text": 5}, 500)]
)
def test_refusals(house: OpenHouse, answer: dict[str, Any], status: int) -> None:
    consumers = Consumers(answer)
    with pytest.raises(InvalidStatus) as caught:
        open_socket(house(consumers))
    assert caught.value.response.status_code == status
    assert caught.value.response.body


def test_nobody_answers(house: OpenHouse) -> None:
    served = house({}, connect_timeout=0.1)
    with pytest.raises(InvalidStatus) as caught:
        open_socket(served)
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"no worker listens to websocket.connect\n"


def test_origins(house: OpenHouse) -> None:
    served = house(Consumers(), origins=["https://app.example.org"])
    for origin in (f"http://127.0.0.1:{served.port}", "https://app.example.org", None):
        with open_socket(served, origin=origin):
            pass
    with pytest.raises(InvalidStatus) as caught:
        open_socket(served, origin="http://evil.example")
    assert caught.value.response.status_code == 403


def test_subprotocol(house: OpenHouse) -> None:
    served = house(Consumers({"accept": True, "subprotocol": "two"}))
    with open_socket(served, subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "two"


def test_groups(house: OpenHouse) -> None:
    consumers = Consumers()
    served = house(consumers)
    layer = served.layer
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(open_socket(served)) for _ in range(20)]
        layer.send_group("everybody", {"text": "to all " * 300})
        for client in clients:
            assert client.recv(timeout=PATIENCE) == "to all " * 300
        clients.pop().close()
        assert consumers.left.get(timeout=PATIENCE)["reply_channel"] not in layer.group_channels("everybody")
        layer.send_group("everybody", {"text": "bye", "close": 4000})
        for client in clients:
            assert client.recv(timeout=PATIENCE) == "bye"
            assert closed_with(client) == 4000
            assert consumers.left.get(timeout=PATIENCE)["code"] == 4000
    assert layer.group_channels("everybody") == []


def test_tls(house: OpenHouse, certificate: Any) -> None:
    consumers = Consumers()
    endpoint = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    served = house(consumers, endpoints=[endpoint])
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    with connect(f"wss://127.0.0.1:{served.port}/", ssl=context, open_timeout=PATIENCE) as client:
        client.send("secret")
        assert client.recv(timeout=PATIENCE) == "secret"
        assert consumers.connected.get(timeout=PATIENCE)["scheme"] == "wss"


def test_a_full_channel_loses_nothing_and_keeps_the_order(house: OpenHouse) -> None:
    consumers = Consumers()
    del consumers["websocket.receive"]
    served = house(consumers)
    count = 1500  # the channel takes 1000
    with open_socket(served) as client:
        sending = send_all(client, map(str, range(count)))
        wait_for(lambda: served.server.stats["websocket_held_up"])
        taken: list[str] = []
        reader = served.layer.reader()
        while len(taken) < count:
            batch = reader.receive_batch(["websocket.receive"], limit=64, timeout=PATIENCE)
            assert batch
            taken.extend(delivery.message["text"] for delivery in batch)
        assert taken == [str(number) for number in range(count)]
        sending.join(PATIENCE)
        client.close()
    assert consumers.left.get(timeout=PATIENCE)["order"] == count + 1


def test_a_channel_that_stays_full_closes_with_1013(house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflow, "PATIENCE", 0.2)
    consumers = Consumers()
    del consumers["websocket.receive"]
    served = house(consumers)
    for number in range(1000):
        served.layer.send("websocket.receive", {"text": str(number)})
    with open_socket(served) as client:
        client.send("one too many")
        assert closed_with(client) == 1013


def test_a_slow_reader_is_cut_off(house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.2)
    consumers = Consumers()
    served = house(consumers, write_limit=100_000)
    with Raw(served) as client:
        client.ask()
        assert client.status() == 101
        channel = consumers.connected.get(timeout=PATIENCE)["reply_channel"]
        for _ in range(200):
            served.layer.send(channel, {"bytes": b"x" * 100_000})
        gone = consumers.left.get(timeout=PATIENCE)
        assert gone["code"] == 1006
    assert served.server.stats["websocket_slow_readers"] == 1
    assert served.server.stats["late_answers"] > 0


def test_pings_of_the_server(house: OpenHouse) -> None:
    served = house(Consumers(), ping_interval=0.05, ping_timeout=1.0)
    with open_socket(served, ping_interval=None) as answering, Raw(served) as silent:
        silent.ask()
        assert silent.status() == 101
        assert silent.frame() == (PING, b"")
        assert silent.close_code() == 1011
        silent.send(client_close(1011))
        assert silent.ended()
        answering.send("alive")
        assert answering.recv(timeout=PATIENCE) == "alive"


def test_raw_bytes_one_at_a_time(house: OpenHouse) -> None:
    served = house(Consumers())
    with Raw(served) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        client.ask()
        assert client.status() == 101
        for data, answer in (
            (client_frame(TEXT, b"slowly"), (TEXT, b"slowly")),
            (client_frame(PING, b"p"), (PONG, b"p")),
            (client_close(1000), (CLOSE, b"\x03\xe8")),
        ):
            for byte in data:
                client.send(bytes([byte]))
            assert client.frame() == answer
        assert client.ended()


def test_frames_right_behind_the_request(house: OpenHouse) -> None:
    served = house(Consumers())
    with Raw(served) as client:
        client.ask(more=client_frame(TEXT, b"early") + client_frame(BINARY, b"bird"))
        assert client.status() == 101
        assert client.frame() == (TEXT, b"early")
        assert client.frame() == (BINARY, b"bird")


def test_a_flood_before_the_answer(house: OpenHouse) -> None:
    served = house(Consumers({}))
    with Raw(served) as client:
        sending = threading.Thread(target=lambda: client.ask(more=client_frame(BINARY, b"x" * 5_000_000)))
        sending.start()
        assert client.status() == 400
        sending.join(PATIENCE)
        assert client.ended()


def test_an_upgrade_after_plain_requests(house: OpenHouse) -> None:
    consumers: dict[str, Any] = Consumers()
    consumers["http.request"] = lambda house, message: house.layer.send(
        message["reply_channel"], {"status": 200, "content": b"ok"}
    )
    served = house(consumers)
    with Raw(served) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.status() == 200
        assert client.take(2) == b"ok"
        client.ask()
        assert client.status() == 101
        client.send(client_frame(TEXT, b"hello"))
        assert client.frame() == (TEXT, b"hello")


@pytest.mark.parametrize(
    "data", [client_frame(BINARY, b"x" * 5_000_000), client_frame(TEXT, b"\xff") + b"x" * 5_000_000]
)
def test_a_failure_is_told_although_more_is_coming(house: OpenHouse, data: bytes) -> None:
    """The Close must not be lost in a reset because bytes of the client were never read."""
    served = house(Consumers())
    with Raw(served) as client:
        client.ask()
        assert client.status() == 101
        sending = threading.Thread(target=lambda: client.send(data))
        sending.start()
        assert client.close_code() in (1009, 1007)
        sending.join(PATIENCE)
        assert client.ended()


def test_a_stop_sends_everybody_away(house: OpenHouse) -> None:
    consumers = Consumers()
    served = house(consumers)
    results: list[bool] = []
    with open_socket(served) as client, Raw(served) as waiting:
        consumers.answer = {}
        waiting.ask()
        for _ in range(2):
            consumers.connected.get(timeout=PATIENCE)
        stopping = threading.Thread(target=lambda: results.append(served.stop(5)))
        stopping.start()
        assert closed_with(client) == 1012
        assert waiting.status() == 503
        stopping.join(PATIENCE)
    assert results == [True]
    assert served.server.stats["websocket_bad_handshakes"] == 0


def test_a_stop_does_not_wait_for_who_is_silent(house: OpenHouse) -> None:
    served = house(Consumers())
    with Raw(served) as client:
        client.ask()
        assert client.status() == 101
        assert served.stop(4) is True
        assert client.close_code() == 1012
        assert client.ended()
