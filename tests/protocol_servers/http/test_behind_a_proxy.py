"""Requests and WebSockets through proxies, on real sockets: who the client is in messages and in the access log."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.base import ProtocolServer
from trunkline.protocol_servers.http_core.hooks import HookAnswer, HookFactory, HookRequest
from trunkline.protocol_servers.listening import ListeningSettings
from trunkline.protocol_servers.testing import ReactorThread, StubLayer
from trunkline.protocol_servers.testing.http2_client import DATA, GET, PREFACE, Http2Client
from trunkline.protocol_servers.testing.http2_client import settings as http2_settings

Housing = Callable[..., Any]

TRUSTING = {"trusted_proxies": ["127.0.0.1"]}
HEADERS = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
LINE = b"PROXY TCP4 192.0.2.8 198.51.100.1 51000 443\r\n"
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def who(house: Any, message: dict[str, Any]) -> None:
    """Tell the client whom we take it for."""
    content = json.dumps([message["scheme"], message["client"], message["server"]]).encode()
    house.layer.send(message["reply_channel"], {"status": 200, "content": content})


def accept(house: Any, message: dict[str, Any]) -> None:
    house.layer.send(message["reply_channel"], {"accept": True, "text": json.dumps([*message["client"]])})


def ask(here: Any, headers: bytes = b"", before: bytes = b"") -> Any:
    answer = here.exchange(before + b"GET / HTTP/1.0\r\n" + headers + b"\r\n")
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_trusted_proxy_is_believed(house: Housing) -> None:
    here = house({"http.request": who}, **TRUSTING)
    assert ask(here, HEADERS)[:2] == ["https", ["192.0.2.7", 0]]
    assert ask(here)[0] == "http"
    assert ask(here)[1][0] == "127.0.0.1"


def test_anybody_else_is_not(house: Housing) -> None:
    here = house({"http.request": who}, trusted_proxies=["127.0.0.2"])
    scheme, client, _ = ask(here, HEADERS)
    assert (scheme, client[0]) == ("http", "127.0.0.1")


def test_each_request_of_a_connection_has_its_own_client(house: Housing, capfd: pytest.CaptureFixture[str]) -> None:
    here = house({"http.request": who}, access_log="common", **TRUSTING)
    requests = [b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.%d\r\n\r\n" % (n, n) for n in range(3)]
    here.exchange(b"".join([*requests, b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n", b"nonsense\r\n\r\n"]))
    here.place.turns()
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == [*(f"192.0.2.{n}" for n in range(3)), "127.0.0.1", "127.0.0.1"]


def test_the_proxy_protocol_says_who_and_with_whom(house: Housing, capfd: pytest.CaptureFixture[str]) -> None:
    here = house({"http.request": who}, access_log="common", proxy_protocol=True, **TRUSTING)
    assert ask(here, before=LINE) == ["http", ["192.0.2.8", 51000], ["198.51.100.1", 443]]
    here.place.turns()
    assert capfd.readouterr().out.startswith("192.0.2.8 - - [")


def test_headers_behind_the_proxy_protocol_are_judged_by_the_client_that_it_names(house: Housing) -> None:
    """A balancer that speaks the PROXY protocol may have the proxy that writes headers in front of it."""
    here = house({"http.request": who}, proxy_protocol=True, trusted_proxies=["127.0.0.1", "192.0.2.8"])
    assert ask(here, HEADERS, LINE)[1] == ["192.0.2.7", 0]
    assert ask(here, HEADERS, LINE.replace(b"192.0.2.8", b"192.0.2.9"))[:2] == ["http", ["192.0.2.9", 51000]]


def test_websockets_are_told_too_and_their_origin_is_compared_with_the_scheme(house: Housing) -> None:
    here = house({"websocket.connect": accept}, **TRUSTING)
    with here.connect() as client:
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: a.example\r\nOrigin: https://a.example\r\n" + UPGRADE + HEADERS + b"\r\n"
        )
        text = b""
        while b'["192.0.2.7", 0]' not in text:
            piece = client.recv(4096)
            assert piece, text
            text += piece


def test_over_http2_as_well(house: Housing, capfd: pytest.CaptureFixture[str]) -> None:
    here = house({"http.request": who}, access_log="common", **TRUSTING)
    client = Http2Client()
    fields = [(b"x-forwarded-for", b"192.0.2.7"), (b"forwarded", b"for=1.2.3.4"), (b"x-forwarded-proto", b"https")]
    with here.connect() as connection:
        connection.sendall(PREFACE + http2_settings() + client.headers(1, [*GET, *fields]))
        connection.sendall(client.headers(3))
        contents: dict[int, bytes] = {}
        while len(contents) < 2:
            for each in client.read(connection.recv(65536)):
                if each.kind == DATA:
                    contents[each.stream_id] = contents.get(each.stream_id, b"") + each.payload
    assert json.loads(contents[1])[:2] == ["https", ["192.0.2.7", 0]]
    assert json.loads(contents[3])[0] == "http"
    here.place.turns()
    clients = {line.split(" ", 1)[0] for line in capfd.readouterr().out.splitlines()}
    assert clients == {"192.0.2.7", "127.0.0.1"}


def test_curl_behind_the_proxy_protocol(house: Housing, peer: Callable[[str], str]) -> None:
    """curl says a header of version 1 with the addresses of its own socket."""
    here = house({"http.request": who}, proxy_protocol=True, **TRUSTING)
    command = [peer("curl"), "-sS", "--max-time", "30", "--haproxy-protocol", f"http://127.0.0.1:{here.port}/"]
    scheme, client, server = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (scheme, client[0], server) == ("http", "127.0.0.1", ["127.0.0.1", here.port])
    without = [part for part in command if part != "--haproxy-protocol"]
    # An empty reply, or a reset: the connection was cut.
    assert subprocess.run(without, capture_output=True, check=False).returncode in (52, 56)


def test_curl_over_tls_behind_the_proxy_protocol(house: Housing, peer: Callable[[str], str], certificate: Any) -> None:
    text = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    here = house({"http.request": who}, endpoints=[text], proxy_protocol=True, **TRUSTING)
    command = [peer("curl"), "-sS", "--max-time", "30", "--haproxy-protocol", "--cacert", str(certificate.certificate)]
    done = subprocess.run([*command, f"https://127.0.0.1:{here.port}/"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[:2] == ["https", ["127.0.0.1", json.loads(done.stdout)[1][1]]]


class Posts(ProtocolServer):
    """A server of another protocol, with hooks that have settings of their own."""

    name = "posts"

    async def listen(self) -> None:
        own = ListeningSettings(trusted_proxies=["127.0.0.1"], max_connections=1)
        for listening in (None, own):
            factory = HookFactory({"/": self.told}, self, listening=listening)
            await self.listen_on(["tcp:0"], factory, "http", listening=listening)

    @staticmethod
    def told(request: HookRequest) -> HookAnswer:
        assert request.client is not None
        return HookAnswer(200, (), str(request.client[0]).encode())


def test_hooks_have_their_proxies_and_limits(reactor_thread: ReactorThread) -> None:
    server = reactor_thread.run(lambda: Posts(StubLayer(), None, reactor=reactor_thread.reactor))  # type: ignore[arg-type]
    reactor_thread.call(server.start())
    try:
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + HEADERS + b"\r\n"
        clients = [socket.create_connection(("127.0.0.1", int(port.rpartition(":")[2])), 30) for port in server.ports]
        for client, expected in zip(clients, (b"127.0.0.1", b"192.0.2.7"), strict=True):
            client.sendall(request)
            assert client.recv(4096).endswith(expected)
        with socket.create_connection(clients[1].getpeername(), 30) as refused:
            assert refused.recv(4096).startswith(b"HTTP/1.1 503 ")
        for client in clients:
            client.close()
    finally:
        reactor_thread.call(server.stop(1))


# What a refused client is told


def test_whoever_finds_no_room_gets_503_and_may_come_again(house: Housing) -> None:
    here = house({"http.request": who}, max_per_address=1)
    with here.connect() as first:
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first.recv(4096).startswith(b"HTTP/1.1 200 ")
        answer = here.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in head
    assert b"\r\nconnection: close" in head
    assert content == b"there are too many connections\n"
    assert here.server.stats["connections_over_max_per_address"] == 1


# The access log, whatever is sent

COMMON = re.compile(
    r"(-|[0-9a-f.:]+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"(-|[A-Z-]+ (?:[!#-\[\]-~]|\\x22|\\x5c)+ HTTP/(?:1\.0|1\.1|2))" \d{3} (?:-|\d+)'
)
_controls = [b"\r\n", b"\n", b"\r", b"\x00", b"\x1b[2J", b"\x7f", b"\x85", b"\xe2\x80\xa8", b"\xff", b"\t"]
_forgeries = [b"/", b"?", b'"', b"\\", b"%0a", b"%0d%0a", b" 200 1", b'" 200 1 "', b"127.0.0.1 - - [", b"{}", b"x"]
_pieces = st.sampled_from(_controls + _forgeries)
_text = st.lists(_pieces, max_size=6).map(b"".join)


@pytest.mark.parametrize("style", ["common", "json"])
def test_nobody_can_forge_a_line_of_the_access_log(
    house: Housing, capfd: pytest.CaptureFixture[str], style: str
) -> None:
    """Each response is one line, of one shape, whatever stood in target and headers."""
    here = house({"http.request": who}, access_log=style, **TRUSTING)
    answers = 0
    capfd.readouterr()

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(_text, _text, st.sampled_from([b"User-Agent", b"Referer", b"X-Forwarded-For", b"Forwarded", b"Host"]))
    def attack(target: bytes, value: bytes, name: bytes) -> None:
        nonlocal answers
        host = b"" if name == b"Host" else b"Host: a\r\n"
        request = b"GET /%b HTTP/1.1\r\n%b%b: %b\r\nConnection: close\r\n\r\n" % (target, host, name, value)
        with socket.create_connection(("127.0.0.1", here.port), timeout=30) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        answers += answer.count(b"HTTP/1.1 ")

    attack()
    here.place.turns()
    out = capfd.readouterr().out
    assert out.isascii()
    assert not re.search(r"[^\n -~]", out)
    lines = out.splitlines()
    assert len(lines) == out.count("\n") >= answers > 0
    for line in lines:
        if style == "common":
            assert COMMON.fullmatch(line), line
        else:
            entry = json.loads(line)
            assert entry.keys() >= {"time", "client", "status", "size"}
            assert re.fullmatch(r"[0-9a-f.:]+", entry["client"])
            assert isinstance(entry["status"], int)
