"""HTTP/2 on real sockets: curl, nghttp, h2load and Chromium as clients, raw frames where they are too well-behaved."""

from __future__ import annotations

import queue
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.http.access_log import AccessLog
from trunkline.protocol_servers.http_core import Request
from trunkline.protocol_servers.testing.http2_client import (
    DATA,
    GET,
    GOAWAY,
    HEADERS,
    INTERNAL_ERROR,
    POST,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    Http2Client,
    Received,
    data,
    rst_stream,
    settings,
    window_update,
)
from trunkline.protocol_servers.testing.websocket_frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    PING,
    TEXT,
    client_close,
    client_frame,
    close_code,
    server_frames,
)

Housing = Callable[..., Any]

PATIENCE = 60  # seconds; a bound against hanging, never waited for
SOCKET = ((b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket"), (b"sec-websocket-version", b"13"))


def hello(house: Any, message: dict[str, Any]) -> None:
    content = b"hello " + message["http_version"].encode()
    house.layer.send(message["reply_channel"], {"status": 200, "content": content})


def echo(house: Any, message: dict[str, Any]) -> None:
    """Stream the body back as it comes."""
    reply, layer = message["reply_channel"], house.layer
    head = {"status": 200, "content": message["body"]}
    if "body_channel" not in message:
        layer.send(reply, head)
        return
    layer.send(reply, {**head, "more_content": True})
    for chunk in house.body(message):
        layer.send(reply, {"content": chunk["content"], "more_content": chunk.get("more_content", False)})


def run(peer: Callable[[str], str], program: str, *options: str) -> bytes:
    return subprocess.run([peer(program), *options], capture_output=True, check=True, timeout=PATIENCE).stdout


def curl(peer: Callable[[str], str], *options: str) -> bytes:
    return run(peer, "curl", "-sS", "--max-time", str(PATIENCE), *options)


@pytest.fixture
def with_tls(certificate: Any) -> dict[str, Any]:
    """Settings of a server that speaks TLS."""
    return {"endpoints": [f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"]}


class Wire(Http2Client):
    """A connection of raw frames to a server."""

    def __init__(self, house: Any) -> None:
        super().__init__()
        self.socket: socket.socket = house.connect()
        self.socket.sendall(PREFACE + settings())
        self._frames: list[Received] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def frame(self, *kinds: int) -> Received:
        """Wait for a frame of one of these types; others are passed over."""
        while True:
            while self._frames:
                got = self._frames.pop(0)
                if got.kind in kinds:
                    return got
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self._frames += self.read(piece)

    def answer(self) -> tuple[int, bytes]:
        """Wait for an answer: status and content."""
        status = self.frame(HEADERS).status
        content = b""
        while True:
            got = self.frame(DATA, RST_STREAM)
            content += got.payload
            if got.ends:
                return status, content


@pytest.fixture
def wire() -> Iterator[Callable[[Any], Wire]]:
    """Connects to a server: ``wire(house)``."""
    opened: list[Wire] = []

    def opening(house: Any) -> Wire:
        opened.append(Wire(house))
        return opened[-1]

    yield opening
    for each in opened:
        each.socket.close()


# Real clients


def test_curl_with_prior_knowledge(house: Housing, peer: Any) -> None:
    address = f"http://127.0.0.1:{house({'http.request': hello}).port}/"
    assert curl(peer, "--http2-prior-knowledge", address) == b"hello 2"
    assert curl(peer, "--http1.1", address) == b"hello 1.1"
    assert curl(peer, "--http2", address) == b"hello 1.1"  # Upgrade: h2c, which RFC 9113 has given up


def test_curl_agrees_on_http2_with_tls(house: Housing, peer: Any, with_tls: Any) -> None:
    address = f"https://127.0.0.1:{house({'http.request': hello}, **with_tls).port}/"
    assert curl(peer, "-k", address) == b"hello 2"
    assert curl(peer, "-k", "--http1.1", address) == b"hello 1.1"
    assert curl(peer, "-k", "--no-alpn", address) == b"hello 1.1"


@pytest.mark.parametrize("agreed", [["h2"], ["http/1.1"], ["spdy/1"], None])
def test_what_was_agreed_on_is_spoken(
    house: Housing, with_tls: Any, certificate: Any, agreed: list[str] | None
) -> None:
    here = house({"http.request": hello}, **with_tls)
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    if agreed:
        context.set_alpn_protocols(agreed)
    with context.wrap_socket(here.connect(), server_hostname="localhost") as client:
        assert client.selected_alpn_protocol() == (agreed[0] if agreed and agreed[0] != "spdy/1" else None)
        if agreed == ["h2"]:
            client.sendall(PREFACE + settings())
            assert client.recv(9)[3:5] == b"\x04\x00"
        else:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"


def test_a_body_goes_up_and_comes_back(house: Housing, peer: Any, with_tls: Any, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 12_000)
    plain, tls = house({"http.request": echo}), house({"http.request": echo}, **with_tls)
    for address in (f"http://127.0.0.1:{plain.port}/", f"https://127.0.0.1:{tls.port}/"):
        options = ("-k", "--http2-prior-knowledge", "--data-binary", f"@{sent}", address)
        assert curl(peer, *options) == sent.read_bytes()


def test_nghttp_asks_for_several_at_once(house: Housing, peer: Any) -> None:
    address = f"http://127.0.0.1:{house({'http.request': hello}).port}"
    said = run(peer, "nghttp", "-nv", *(f"{address}/{number}" for number in range(20))).decode()
    assert said.count(":status: 200") == 20
    assert "ENABLE_CONNECT_PROTOCOL(0x08):1" in said
    assert "MAX_CONCURRENT_STREAMS(0x03):100" in said


def test_h2load_gets_an_answer_to_every_request(house: Housing, peer: Any) -> None:
    here = house({"http.request": hello})
    said = run(peer, "h2load", "-n", "1000", "-c", "5", "-m", "20", f"http://127.0.0.1:{here.port}/").decode()
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "1000 2xx" in said
    assert not here.server.stats["bad_requests"]


def test_a_browser_speaks_both_over_one_connection(house: Housing, peer: Any, with_tls: Any) -> None:
    from playwright.sync_api import sync_playwright

    def page(house: Any, message: dict[str, Any]) -> None:
        answer = {
            "status": 200,
            "headers": [[b"content-type", b"text/html"]],
            "content": message["http_version"].encode(),
        }
        house.layer.send(message["reply_channel"], answer)

    seen: queue.Queue[Any] = queue.Queue()

    def connect(house: Any, message: dict[str, Any]) -> None:
        seen.put(message)
        house.layer.send(message["reply_channel"], {"accept": True})

    def receive(house: Any, message: dict[str, Any]) -> None:
        house.layer.send(message["reply_channel"], {"text": message["text"] * 2})

    here = house({"http.request": page, "websocket.connect": connect, "websocket.receive": receive}, **with_tls)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=peer("chromium"), headless=True, args=["--no-sandbox", "--ignore-certificate-errors"]
        )
        tab = browser.new_context(ignore_https_errors=True).new_page()
        tab.goto(f"https://localhost:{here.port}/")
        assert tab.inner_text("body") == "2"
        said = tab.evaluate(
            """() => new Promise((done, failed) => {
                const socket = new WebSocket("wss://" + location.host + "/chat");
                socket.onopen = () => socket.send("hello ".repeat(500));
                socket.onmessage = event => { socket.close(); done(event.data.length); };
                socket.onerror = () => failed("no socket");
                setTimeout(() => failed("no message"), 60000);
            })"""
        )
        browser.close()
    assert said == 2 * 6 * 500
    message = seen.get(timeout=PATIENCE)
    assert (message["scheme"], message["path"]) == ("wss", "/chat")
    assert not [name for name, _ in message["headers"] if name == b"sec-websocket-key"]  # which HTTP/1 needs


# Ends


def test_a_request_given_up_is_reported(house: Housing, wire: Any) -> None:
    asked: queue.Queue[Any] = queue.Queue()
    left: queue.Queue[Any] = queue.Queue()
    here = house(
        {"http.request": lambda _, message: asked.put(message), "http.disconnect": lambda _, message: left.put(message)}
    )
    client = wire(here)
    for number in (1, 3):
        client.send(client.headers(number))
    first, second = (asked.get(timeout=PATIENCE)["reply_channel"] for _ in range(2))
    client.send(rst_stream(1))
    assert left.get(timeout=PATIENCE) == {"reply_channel": first, "path": "/"}
    client.socket.close()
    assert left.get(timeout=PATIENCE) == {"reply_channel": second, "path": "/"}


def test_a_second_status_resets_the_stream_and_nothing_else(house: Housing, wire: Any) -> None:
    def twice(house: Any, message: dict[str, Any]) -> None:
        house.layer.send(message["reply_channel"], {"status": 200, "content": b"one", "more_content": True})
        house.layer.send(message["reply_channel"], {"status": 200, "content": b"two"})

    here = house({"http.request": twice})
    client = wire(here)
    for number in (1, 3):
        client.send(client.headers(number))
        assert client.frame(HEADERS).status == 200
        got = client.frame(RST_STREAM, GOAWAY)
        assert (got.kind, got.stream_id, got.code) == (RST_STREAM, number, INTERNAL_ERROR)
    assert here.server.stats["second_statuses"] == 2


def test_a_body_waits_for_its_consumer(house: Housing, wire: Any) -> None:
    asked: queue.Queue[Any] = queue.Queue()
    here = house({"http.request": lambda _, message: asked.put(message)})
    client = wire(here)
    client.send(client.headers(1, POST, end=False))
    window = 262_144
    sent = 0
    client.socket.settimeout(0.5)
    try:
        while sent < 10_000_000:
            while window >= 16384:
                client.send(data(1, bytes(16384)))
                sent += 16384
                window -= 16384
            got = client.frame(WINDOW_UPDATE)
            if got.stream_id == 1:
                window += int.from_bytes(got.payload, "big")
    except TimeoutError:
        pass
    client.socket.settimeout(PATIENCE)
    assert sent < 3_000_000  # 16 chunks of 64 KiB on the channel, and windows
    message = asked.get(timeout=PATIENCE)
    client.send(rst_stream(1))
    assert sum(len(chunk["content"]) for chunk in here.body(message)) < sent


def test_the_access_log_says_which_version(house: Housing) -> None:
    written: list[str] = []
    log = AccessLog("common", lambda flush: None, written.append, lambda: 0)
    log.add(Request("GET", b"/x", "/x", b"", [], "2", 0, True), "1.2.3.4", 200, 5, 0.1)
    log.flush()
    assert written == ['1.2.3.4 - - [01/Jan/1970:00:00:00 +0000] "GET /x HTTP/2" 200 5\n']


def test_stopping_finishes_streams_in_flight(house: Housing, wire: Any) -> None:
    asked: queue.Queue[Any] = queue.Queue()

    def later(house: Any, message: dict[str, Any]) -> None:
        asked.put(message)

    here = house({"http.request": later})
    client = wire(here)
    client.send(*(client.headers(number) for number in range(1, 41, 2)))
    replies = [asked.get(timeout=PATIENCE)["reply_channel"] for _ in range(20)]
    stopped: list[bool] = []
    stopping = threading.Thread(target=lambda: stopped.append(here.stop(PATIENCE)))
    stopping.start()
    assert client.frame(GOAWAY).last_stream == 2**31 - 1
    for reply in replies:
        here.layer.send(reply, {"status": 200, "content": b"done"})
    answered = 0
    last = None
    try:
        while True:
            got = client.frame(DATA, GOAWAY)
            answered += got.kind == DATA and got.payload == b"done"
            last = got.last_stream if got.kind == GOAWAY else last
    except EOFError:
        pass
    stopping.join(PATIENCE)
    assert (answered, last, stopped) == (20, 39, [True])


# WebSockets


class Chat(dict[str, Any]):
    """Accept, echo, and note who left."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.connected: queue.Queue[Any] = queue.Queue()
        self.left: queue.Queue[Any] = queue.Queue()
        self.answer = {"accept": True} if answer is None else answer
        super().__init__(
            {
                "websocket.connect": self._connect,
                "websocket.receive": self._receive,
                "websocket.disconnect": lambda _, message: self.left.put(message),
            }
        )

    def _connect(self, house: Any, message: dict[str, Any]) -> None:
        self.connected.put(message)
        house.layer.send(message["reply_channel"], self.answer)

    def _receive(self, house: Any, message: dict[str, Any]) -> None:
        kind = "text" if message.get("text") is not None else "bytes"
        house.layer.send(message["reply_channel"], {kind: message[kind]})


class Chatter:
    """A WebSocket on one stream."""

    def __init__(self, client: Wire, stream_id: int = 1, *fields: tuple[bytes, bytes]) -> None:
        self.client = client
        self.stream_id = stream_id
        self._buffer = b""
        client.send(client.headers(stream_id, (*SOCKET, *fields), end=False))
        self.head = client.frame(HEADERS)

    def send(self, frame: bytes, *, end: bool = False) -> None:
        self.client.send(data(self.stream_id, frame, end=end))

    def content(self) -> bytes:
        """Everything until the stream ends."""
        while True:
            got = self.client.frame(DATA)
            self._buffer += got.payload
            if got.ends:
                return self._buffer

    def frame(self) -> tuple[int, bytes]:
        """The next frame, of less than 126 bytes."""
        while len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            self._buffer += self.client.frame(DATA).payload
        size = 2 + self._buffer[1]
        (got,) = server_frames(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return got


def test_a_websocket_on_a_stream_beside_requests(house: Housing, wire: Any) -> None:
    chat = Chat()
    here = house({**chat, "http.request": hello})
    client = wire(here)
    chatter = Chatter(client)
    assert (chatter.head.status, chatter.head.ends) == (200, False)
    names = {name for name, _ in chatter.head.fields}
    assert not names & {b"sec-websocket-accept", b"upgrade", b"connection"}
    chatter.send(client_frame(TEXT, b"one"))
    assert chatter.frame() == (TEXT, b"one")
    client.send(client.headers(3))
    assert client.answer() == (200, b"hello 2")
    chatter.send(client_frame(BINARY, b"two"))
    assert chatter.frame() == (BINARY, b"two")
    chatter.send(client_frame(PING, b"?"))
    assert chatter.frame()[1] == b"?"
    message = chat.connected.get(timeout=PATIENCE)
    assert (message["scheme"], message["path"]) == ("ws", "/")
    assert [b"host", b"a"] in [list(pair) for pair in message["headers"]]
    chatter.send(client_close(1000))
    (last,) = server_frames(chatter.content())
    assert (last[0], close_code(last)) == (CLOSE, 1000)
    client.send(data(1, end=True))
    assert chat.left.get(timeout=PATIENCE)["code"] == 1000
    client.send(client.headers(5))
    assert client.answer() == (200, b"hello 2")


def test_compression_and_subprotocols_are_agreed_on(house: Housing, wire: Any) -> None:
    here = house(Chat({"accept": True, "subprotocol": "b"}))
    offers = ((b"sec-websocket-extensions", b"permessage-deflate"), (b"sec-websocket-protocol", b"a, b"))
    chatter = Chatter(wire(here), 1, *offers)
    fields = dict(chatter.head.fields)
    assert fields[b"sec-websocket-protocol"] == b"b"
    assert fields[b"sec-websocket-extensions"].startswith(b"permessage-deflate")
    chatter.send(client_frame(TEXT, b"x" * 5000))
    assert chatter.client.frame(DATA).payload[0] & COMPRESSED


@pytest.mark.parametrize(
    ("fields", "answer", "status"),
    [
        (((b"origin", b"http://evil"),), None, 403),
        ((), {"accept": False}, 403),
        ((), {"close": 1011}, 500),
        (((b"sec-websocket-version", b"12"),), None, 400),
    ],
)
def test_a_handshake_is_refused_as_over_http1(house: Housing, wire: Any, fields: Any, answer: Any, status: int) -> None:
    chatter = Chatter(wire(house(Chat(answer))), 1, *fields)
    assert chatter.head.status == status
    assert chatter.content()


def test_the_only_version_is_named(house: Housing, wire: Any) -> None:
    client = wire(house(Chat()))
    client.send(client.headers(1, (*SOCKET[:-1], (b"sec-websocket-version", b"8")), end=False))
    head = client.frame(HEADERS)
    assert (head.status, dict(head.fields)[b"sec-websocket-version"]) == (400, b"13")


@pytest.mark.parametrize("how", ["reset", "end", "connection"])
def test_a_websocket_that_vanishes_is_reported(house: Housing, wire: Any, how: str) -> None:
    chat = Chat()
    chatter = Chatter(wire(house(chat)))
    if how == "reset":
        chatter.client.send(rst_stream(1))
    elif how == "end":
        chatter.client.send(data(1, end=True))
    else:
        chatter.client.socket.close()
    assert chat.left.get(timeout=PATIENCE)["code"] == 1006


def test_a_message_that_is_too_big_is_refused(house: Housing, wire: Any) -> None:
    chat = Chat()
    chatter = Chatter(wire(house(chat, ws_max=1000)))
    chatter.send(client_frame(BINARY, bytes(1001)))
    (last,) = server_frames(chatter.content())
    assert close_code(last) == 1009


def test_a_slow_reader_is_cut_off(house: Housing, wire: Any) -> None:
    chat = Chat()
    here = house(chat, write_limit=100_000)
    chatter = Chatter(wire(here))
    reply = chat.connected.get(timeout=PATIENCE)["reply_channel"]
    for _ in range(30):
        here.layer.send(reply, {"bytes": bytes(10_000)})
    until = time.monotonic() + PATIENCE
    while not here.server.stats["websocket_slow_readers"]:
        assert time.monotonic() < until
        time.sleep(0.002)
    chatter.client.send(window_update(1, 1_000_000), window_update(0, 1_000_000))
    got = b""
    while not got.endswith((1013).to_bytes(2, "big")):
        got += chatter.client.frame(DATA).payload
    assert here.server.stats["websocket_slow_readers"] == 1


def test_stopping_sends_websockets_away(house: Housing, wire: Any) -> None:
    chat = Chat()
    here = house(chat)
    client = wire(here)
    chatters = [Chatter(client, number) for number in (1, 3, 5)]
    stopped: list[bool] = []
    stopping = threading.Thread(target=lambda: stopped.append(here.stop(PATIENCE)))
    stopping.start()
    codes: dict[int, int] = {}
    while len(codes) < 3:
        got = client.frame(DATA)
        if got.payload:
            (closing,) = server_frames(got.payload)
            codes[got.stream_id] = close_code(closing)
            client.send(data(got.stream_id, client_close(1012), end=True))
    assert codes == dict.fromkeys((each.stream_id for each in chatters), 1012)
    stopping.join(PATIENCE)
    assert stopped == [True]
