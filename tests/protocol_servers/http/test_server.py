"""The HTTP server on real sockets, with curl and other clients, and consumers behind the memory layer."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import queue
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.errors import SettingsError
from trunkline.operations.settings import load
from trunkline.protocol_servers import load_server
from trunkline.protocol_servers.http import HttpServer, HttpSettings

Housing = Callable[..., Any]

PATIENCE = 60  # seconds; a bound against hanging, never waited for

curl_wanted = pytest.mark.usefixtures("curl_found")


@pytest.fixture
def curl_found(peer: Callable[[str], str]) -> None:
    peer("curl")


def curl(house: Any, path: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    address = f"http://127.0.0.1:{house.port}{path}"
    return subprocess.run(
        ["curl", "-sS", "--max-time", str(PATIENCE), *options, address], capture_output=True, check=True
    )


def echo(house: Any, message: dict[str, Any]) -> None:
    """Answer with what was asked, streaming the body back as it comes."""
    reply, layer = message["reply_channel"], house.layer
    about = json.dumps({key: message[key] for key in ("method", "path", "http_version")}).encode()
    head = {"status": 200, "headers": [[b"x-request", about]], "content": message["body"]}
    if "body_channel" not in message:
        layer.send(reply, head)
        return
    layer.send(reply, {**head, "more_content": True})
    for chunk in house.body(message):
        layer.send(reply, {"content": chunk["content"], "more_content": chunk.get("more_content", False)})


def hello(house: Any, message: dict[str, Any]) -> None:
    house.layer.send(message["reply_channel"], {"status": 200, "content": b"hello"})


# Clients that people use


@curl_wanted
def test_curl_gets_an_answer(house: Housing) -> None:
    here = house({"http.request": echo})
    done = curl(here, "/a%20b?c", "-i")
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"method": "GET", "path": "/a b", "http_version": "1.1"}' in done.stdout


@curl_wanted
def test_curl_speaks_http_1_0_and_head(house: Housing) -> None:
    here = house({"http.request": echo})
    assert b'"http_version": "1.0"' in curl(here, "/", "-i", "--http1.0").stdout
    assert b'"method": "HEAD"' in curl(here, "/", "--head").stdout


@curl_wanted
@pytest.mark.parametrize(
    "options", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["-H", "Expect:"]]
)
@pytest.mark.parametrize("size", [0, 1000, 65536, 65537, 3_000_000])
def test_curl_gets_back_the_body_it_sent(house: Housing, tmp_path: Path, options: list[str], size: int) -> None:
    here = house({"http.request": echo})
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
    done = curl(here, "/", *options, "--data-binary", f"@{body}")
    assert done.stdout == body.read_bytes()


@curl_wanted
def test_curl_is_told_of_a_body_that_is_too_large(house: Housing, tmp_path: Path) -> None:
    here = house({"http.request": echo}, max_body=1000)
    body = tmp_path / "body"
    body.write_bytes(bytes(5_000_000))
    for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
        done = curl(here, "/", "-w", "%{http_code}", *options, "--data-binary", f"@{body}")
        assert done.stdout == b"the body is over 1000 bytes\n413"


def test_a_connection_is_kept_and_many_are_served_at_once(house: Housing) -> None:
    here = house({"http.request": echo})

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=PATIENCE)
        for turn in range(20):
            body = f"{number}/{turn}".encode()
            connection.request("POST", "/", body)
            assert connection.getresponse().read() == body
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(client, range(20)))
    assert here.server.stats["failures"] == 0


def test_pipelined_requests_are_answered_in_order(house: Housing) -> None:
    here = house({"http.request": echo})
    requests = [
        b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: %b\r\n\r\n" % (n, b"close" if n == 99 else b"x")
        for n in range(100)
    ]
    answers = here.exchange(b"".join(requests))
    paths = [f'"path": "/{number}"'.encode() for number in range(100)]
    places = [answers.index(path) for path in paths]
    assert places == sorted(places)


# Streams


def test_events_arrive_as_they_are_sent(house: Housing) -> None:
    wanted: queue.Queue[dict[str, Any]] = queue.Queue()
    here = house({"http.request": lambda _, message: wanted.put(message)})
    with here.connect() as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = wanted.get(timeout=PATIENCE)["reply_channel"]
        here.layer.send(
            reply, {"status": 200, "headers": [[b"content-type", b"text/event-stream"]], "more_content": True}
        )
        reader = client.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        for number in range(3):
            here.layer.send(reply, {"content": b"data: %d\n\n" % number, "more_content": True})
            assert [reader.readline() for _ in range(4)] == [b"9\r\n", b"data: %d\n" % number, b"\n", b"\r\n"]
        here.layer.send(reply, {"content": b""})
        assert reader.readline() == b"0\r\n"


def test_a_slow_client_holds_no_worker_and_gets_everything(house: Housing) -> None:
    piece = bytes(range(256)) * 256
    count = 300
    sent = threading.Event()

    def flood(house: Any, message: dict[str, Any]) -> None:
        for number in range(count):
            house.layer.send(message["reply_channel"], {
                **({} if number else {"status": 200}), "content": piece, "more_content": number < count - 1,
            })  # fmt: skip
        sent.set()

    here = house({"http.request": flood})
    with here.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sent.wait(PATIENCE)
        data = bytearray()
        while part := client.recv(1 << 20):
            data += part
    assert data.partition(b"\r\n\r\n")[2] == piece * count


def test_a_client_that_leaves_early_is_told_of(house: Housing) -> None:
    left: queue.Queue[dict[str, Any]] = queue.Queue()
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    here = house({"http.request": lambda _, m: asked.put(m), "http.disconnect": lambda _, m: left.put(m)})
    with here.connect() as client:
        client.sendall(b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n")
        request = asked.get(timeout=PATIENCE)
    assert left.get(timeout=PATIENCE) == {"reply_channel": request["reply_channel"], "path": "/poll"}


def test_a_group_answers_a_long_poll(house: Housing) -> None:
    joined = threading.Event()

    def join(house: Any, message: dict[str, Any]) -> None:
        house.layer.group_add("news", message["reply_channel"])
        joined.set()

    here = house({"http.request": join})
    with here.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert joined.wait(PATIENCE)
        here.layer.send_group("news", {"text": "for WebSockets"})
        here.layer.send_group("news", {"status": 200, "content": b"news"})
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.read() == b"news"
    here.place.turns()
    assert here.layer.group_channels("news") == []


# Refusals


def test_a_client_can_read_its_refusal_whatever_else_it_sends(house: Housing) -> None:
    here = house()
    for _ in range(5):
        answer = here.exchange(b"GET / HTTP/1.1\r\n\r\n" + bytes(1_000_000))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"no Host header\n")


def test_a_slow_head_is_refused_and_an_idle_connection_closed(house: Housing) -> None:
    assert house(head_timeout=0.1).exchange(b"GET / HT").startswith(b"HTTP/1.1 408 ")
    assert house(idle_timeout=0.1).exchange(b"") == b""


def test_a_slow_body_is_refused(house: Housing) -> None:
    here = house(body_timeout=0.1)
    assert here.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc").startswith(b"HTTP/1.1 408 ")


def test_a_request_that_nobody_answers_says_why(house: Housing) -> None:
    get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    here = house(response_timeout=0.1)
    answer = here.exchange(get)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert answer.endswith(b"\r\n\r\nno worker listens to http.request\n")
    there = house({"http.request": lambda house, message: None}, response_timeout=0.1)
    assert there.exchange(get).endswith(b"\r\n\r\nno answer within 0.1 s\n")


def test_a_full_channel_and_a_layer_that_is_away_are_503(house: Housing) -> None:
    get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    here = house(response_timeout=PATIENCE)
    for _ in range(1000):
        here.layer.send("http.request", {})
    answer = here.exchange(get)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert answer.endswith(b"the channel is full\n")
    here.layer.close()
    assert here.exchange(get).endswith(b"the channel layer is unavailable\n")


def test_one_connections_nonsense_hurts_no_other(house: Housing) -> None:
    here = house({"http.request": hello})
    stop = threading.Event()

    def nonsense() -> None:
        while not stop.is_set():
            here.exchange(b"\x16\x03\x01\x02\x00\x01")

    disturber = threading.Thread(target=nonsense)
    disturber.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=PATIENCE)
        for _ in range(200):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello"
        connection.close()
    finally:
        stop.set()
        disturber.join(PATIENCE)
    assert here.server.stats["bad_requests"] > 0
    assert here.server.stats["failures"] == 0


# Places


def test_requests_come_through_tls(house: Housing, certificate: Any) -> None:
    schemes: list[str] = []

    def note(house: Any, message: dict[str, Any]) -> None:
        schemes.append(message["scheme"])
        hello(house, message)

    here = house(
        {"http.request": note}, endpoints=[f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"]
    )
    assert here.server.ports[0].startswith("https://")
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", here.port, timeout=PATIENCE, context=context)
    for _ in range(2):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
    connection.close()
    assert schemes == ["https", "https"]
    with (
        socket.create_connection(("127.0.0.1", here.port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 400 ")


def test_requests_come_through_unix_sockets(house: Housing, tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = []

    def note(house: Any, message: dict[str, Any]) -> None:
        messages.append(message)
        hello(house, message)

    path = tmp_path / "http.sock"
    house({"http.request": note}, endpoints=["tcp:0", f"unix:{path}"])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(b"hello")
    assert not {"client", "server"} & messages[0].keys()


# The end


def test_a_server_that_stops_answers_what_was_asked(house: Housing) -> None:
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    here = house({"http.request": lambda _, message: asked.put(message)})
    with here.connect() as busy, here.connect() as idle:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        request = asked.get(timeout=PATIENCE)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(here.stop, PATIENCE)
            assert idle.recv(1) == b""
            assert not stopping.done()
            here.layer.send(request["reply_channel"], {"status": 200, "content": b"late"})
            response = http.client.HTTPResponse(busy)
            response.begin()
            assert response.getheader("connection") == "close"
            assert response.read() == b"late"
            assert stopping.result(PATIENCE)
    with pytest.raises(ConnectionRefusedError):
        here.connect()


def test_a_server_that_stops_does_not_wait_for_ever(house: Housing) -> None:
    asked: queue.Queue[dict[str, Any]] = queue.Queue()
    for grace in (0.5, 5, 30):  # who waits is told in its last tenth, which a busy machine may miss
        here = house({"http.request": lambda _, message: asked.put(message)})
        with here.connect() as waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            asked.get(timeout=PATIENCE)
            if not here.stop(grace):
                continue
            response = http.client.HTTPResponse(waiting)
            response.begin()
            assert response.status == 503
            assert response.read() == b"the server is stopping\n"
            return
    pytest.fail("it was never told")


def test_a_server_that_stops_sends_websockets_away_and_cuts_endless_streams(house: Housing) -> None:
    def stream(house: Any, message: dict[str, Any]) -> None:
        house.layer.send(message["reply_channel"], {"status": 200, "content": b"x", "more_content": True})

    def accept(house: Any, message: dict[str, Any]) -> None:
        house.layer.send(message["reply_channel"], {"accept": True})

    here = house({"http.request": stream, "websocket.connect": accept})
    with here.connect() as events, here.connect() as websocket:
        events.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert events.recv(1000)
        websocket.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert websocket.recv(1000).startswith(b"HTTP/1.1 101 ")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(here.stop, 0.4)
            assert websocket.recv(1000)[2:4] == (1012).to_bytes(2, "big")
            websocket.sendall(b"\x88\x82\0\0\0\0" + (1012).to_bytes(2, "big"))
            assert stopping.result(PATIENCE)
    assert here.server.stats["cut_by_stop"] == 1


# Settings and the log


def test_each_response_is_a_line_on_standard_output(house: Housing, capsys: pytest.CaptureFixture[str]) -> None:
    here = house({"http.request": hello}, access_log="common")
    here.exchange(b"GET /x?y HTTP/1.0\r\n\r\n")
    here.exchange(b"nonsense\r\n\r\n")
    here.place.turns()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("127.0.0.1 - - [")
    assert first.endswith('] "GET /x?y HTTP/1.0" 200 5')
    assert '"-" 400 ' in second


def test_json_lines_where_asked_for(house: Housing, capsys: pytest.CaptureFixture[str]) -> None:
    here = house({"http.request": hello}, access_log="json")
    here.exchange(b"GET /x?y HTTP/1.0\r\n\r\n")
    here.place.turns()
    line = json.loads(capsys.readouterr().out)
    assert (line["target"], line["status"], line["size"]) == ("/x?y", 200, 5)


def test_the_table_has_the_documented_keys_and_defaults(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text("[http]\n")
    settings = load(str(path), {}, {}, {"http": HttpSettings}).servers["http"]
    assert {name: getattr(settings, name) for name in HttpSettings.__dataclass_fields__} == {
        "endpoints": ["tcp:8000"],
        "response_timeout": 60,
        "head_timeout": 10,
        "body_timeout": 30,
        "min_body_rate": 500,
        "idle_timeout": 75,
        "max_head": 65536,
        "max_headers": 100,
        "max_body": 1 << 30,
        "ws_max": 1 << 20,
        "connect_timeout": 10,
        "ping_interval": 20,
        "ping_timeout": 20,
        "order_timeout": 30,
        "write_limit": 1 << 20,
        "origins": [],
        "access_log": "common",
        "static": {},
        "max_connections": 10_000,
        "max_per_address": 1000,
        "proxy_protocol": False,
        "trusted_proxies": [],
    }
    path.write_text('[http]\nrespnse_timeout = 5\naccess_log = "loud"\nmax_headers = 0\n')
    with pytest.raises(SettingsError) as caught:
        load(str(path), {}, {}, {"http": HttpSettings})
    for part in ("respnse_timeout", "response_timeout", "access_log", "max_headers"):
        assert any(part in problem for problem in caught.value.args)


def test_the_server_is_found_by_its_name() -> None:
    assert load_server("http") is HttpServer
