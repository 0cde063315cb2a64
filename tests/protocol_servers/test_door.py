"""Who comes in: limits and proxies in front of any protocol, over real sockets and on both loops."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from trunkline.operations.errors import UsageError
from trunkline.protocol_servers import door as door_module
from trunkline.protocol_servers.door import Door, highest_descriptor
from trunkline.protocol_servers.endpoints import Port, listen_all
from trunkline.protocol_servers.listening import ListeningSettings
from trunkline.protocol_servers.proxy_protocol import SIGNATURE
from trunkline.protocol_servers.testing import ReactorThread

PATIENCE = 30
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
BEHIND_PROXY = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]}


class Entrance:
    """Ports with a door, and clients that come to it."""

    def __init__(self, place: ReactorThread, factory: Any, clock: Any, *descriptions: str, **settings: Any) -> None:
        self.place = place
        self.factory = factory
        self.stats: Counter[str] = Counter()
        made = ListeningSettings(**settings)
        self.door = Door(made, factory, stats=self.stats, log=logging.getLogger("trunkline.test"), clock=clock)
        self.ports: list[Port] = place.call(
            listen_all(place.reactor, descriptions or ["tcp:0"], factory, door=self.door)
        )
        self.clients: list[socket.socket] = []

    def connect(self, source: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """Connect from an address of this machine; 127.0.0.0/8 has many."""
        number = self.ports[port].number
        address = ("127.0.0.1", number) if number else self.ports[port].address
        if isinstance(address, tuple):
            client = socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))
        else:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(PATIENCE)
            client.connect(address)
        self.clients.append(client)
        return client

    def until_open(self, count: int) -> None:
        """Wait until so many are inside."""
        until(lambda: self.door.open == count, f"{count} are inside")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for port in self.ports:
            self.place.run(port.close)
            self.place.run(port.abort)
        until(lambda: not self.door.open, "all have left")
        assert not self.door._addresses
        until(lambda: not self.door._lingering, "nobody lingers")


def until(condition: Callable[[], object], what: str) -> None:
    ending = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ending, f"waited in vain: {what}"
        time.sleep(0.002)


@pytest.fixture
def enter(place: ReactorThread, factory: Any, manual: Any) -> Iterator[Callable[..., Entrance]]:
    """Open entrances that close with the test; their clock stands still."""
    made: list[Entrance] = []

    def open_entrance(*descriptions: str, **settings: Any) -> Entrance:
        made.append(Entrance(place, factory, manual.clock, *descriptions, **settings))
        return made[-1]

    yield open_entrance
    for each in made:
        each.close()


def speaks(entrance: Entrance, client: socket.socket) -> Any:
    """Check that a client was let in; return its protocol."""
    client.sendall(b"question")
    protocol = entrance.factory.next()
    assert protocol.receive(8) == b"question"
    entrance.place.run(protocol.transport.write, b"answer")
    assert client.recv(6) == b"answer"
    return protocol


def told(client: socket.socket) -> bytes:
    """Return what a client is told until its end; a reset is an end."""
    data = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while part := client.recv(4096):
            data += part
    return data


# Limits


def test_whoever_comes_when_it_is_full_is_told_so(enter: Callable[..., Entrance], factory: Any) -> None:
    factory.too_many = lambda: b"421 too many\r\n"
    entrance = enter("tcp:0", "tcp:0", max_connections=2)
    first, second = entrance.connect(), entrance.connect(port=1)
    for client in (first, second):
        speaks(entrance, client)
    for port in (0, 1):
        refused = entrance.connect("127.0.0.2", port)
        refused.sendall(b"hello")  # unread, it would make the close a reset
        assert told(refused) == b"421 too many\r\n"
    assert entrance.stats == {"connections_over_max": 2}
    assert factory.made.empty()
    first.close()
    entrance.until_open(1)
    speaks(entrance, entrance.connect())


def test_an_address_has_its_own_limit(enter: Callable[..., Entrance]) -> None:
    entrance = enter(max_per_address=2)
    first, second = entrance.connect(), entrance.connect()
    speaks(entrance, first)
    speaks(entrance, second)
    assert told(entrance.connect()) == b""
    assert entrance.stats == {"connections_over_max_per_address": 1}
    speaks(entrance, entrance.connect("127.0.0.2"))
    first.close()
    entrance.until_open(2)
    speaks(entrance, entrance.connect())


def test_addresses_of_trusted_proxies_and_unix_sockets_have_no_limit_of_their_own(
    enter: Callable[..., Entrance], tmp_path: Path
) -> None:
    entrance = enter("tcp:0", f"unix:{tmp_path}/s", max_per_address=1, trusted_proxies=["127.0.0.1"])
    for port in (0, 0, 1, 1):
        speaks(entrance, entrance.connect(port=port))
    speaks(entrance, entrance.connect("127.0.0.2"))
    assert told(entrance.connect("127.0.0.2")) == b""


def test_a_flood_is_a_line_a_minute(
    enter: Callable[..., Entrance], manual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    entrance = enter(max_connections=1)
    entrance.connect()
    entrance.until_open(1)
    for _ in range(20):
        assert told(entrance.connect("127.0.0.2")) == b""
    manual.advance(61)
    assert told(entrance.connect("127.0.0.2")) == b""
    assert entrance.stats["connections_over_max"] == 21
    why = "a connection from 127.0.0.2 was refused: there are 1 already (max_connections)"
    assert caplog.messages == [why, f"{why}; 20 since the last line like this"]


def test_a_client_that_does_not_go_is_cut_off(
    enter: Callable[..., Entrance], factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "LINGER", 0.05)
    monkeypatch.setattr(door_module, "MAX_LINGERING", 1)
    factory.too_many = lambda: b"no"
    entrance = enter(max_connections=1)
    entrance.connect()
    entrance.until_open(1)
    stays = entrance.connect()
    assert told(stays) == b"no"
    with pytest.raises(OSError):
        for _ in range(10_000):
            stays.sendall(b"x" * 1000)
            time.sleep(0.001)
    until(lambda: not entrance.door._lingering, "it is gone")


def test_only_so_many_get_to_read_why(
    enter: Callable[..., Entrance], factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "LINGER", PATIENCE)
    monkeypatch.setattr(door_module, "MAX_LINGERING", 2)
    factory.too_many = lambda: b"no"
    entrance = enter(max_connections=1)
    entrance.connect()
    entrance.until_open(1)
    assert [told(entrance.connect()) for _ in range(4)] == [b"no", b"no", b"", b""]


def test_over_tls_nobody_shakes_hands_to_refuse(enter: Callable[..., Entrance], factory: Any, certificate: Any) -> None:
    factory.too_many = lambda: b"no"
    entrance = enter(f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}", max_connections=1)
    entrance.connect()
    entrance.until_open(1)
    assert told(entrance.connect()) == b""


def test_descriptors_stay_free_for_other_things(
    enter: Callable[..., Entrance], caplog: pytest.LogCaptureFixture
) -> None:
    entrance = enter()
    speaks(entrance, entrance.connect())
    entrance.door._highest = 2
    assert told(entrance.connect()) == b""
    assert entrance.stats == {"connections_over_files": 1}
    assert "this process can hardly open any more files (ulimit -n)" in caplog.text


@pytest.mark.parametrize(
    ("limit", "highest"), [(resource.RLIM_INFINITY, None), (100, 50), (256, 192), (1024, 960), (20_000, 19_744)]
)
def test_how_many_descriptors_stay_free(limit: int, highest: int | None) -> None:
    assert highest_descriptor(limit) == highest


# Headers


def test_the_client_of_a_proxy_is_who_it_says(enter: Callable[..., Entrance]) -> None:
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect()
    client.sendall(LINE)
    protocol = speaks(entrance, client)
    assert protocol.transport.getPeer() == IPv4Address("TCP", "192.0.2.7", 51000)
    assert protocol.transport.getHost() == IPv4Address("TCP", "198.51.100.1", 443)
    assert not entrance.stats


def test_a_header_may_come_in_any_pieces_with_anything_behind_it(enter: Callable[..., Entrance]) -> None:
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(len(LINE)):
        client.sendall(LINE[at : at + 1])
    client.sendall(b"one")
    assert entrance.factory.next().receive(3) == b"one"
    client = entrance.connect()
    client.sendall(LINE + b"two")
    assert entrance.factory.next().receive(3) == b"two"


def test_a_proxy_may_speak_for_itself(enter: Callable[..., Entrance]) -> None:
    """LOCAL and UNKNOWN: health checks, and clients that it knows nothing of."""
    entrance = enter(**BEHIND_PROXY)
    for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
        client = entrance.connect()
        client.sendall(header)
        transport = speaks(entrance, client).transport
        assert transport.getPeer() == IPv4Address("TCP", *client.getsockname())
        assert transport.getHost() == IPv4Address("TCP", *client.getpeername())


def test_a_client_on_a_unix_socket_of_the_proxy(enter: Callable[..., Entrance], tmp_path: Path) -> None:
    entrance = enter(f"unix:{tmp_path}/s", proxy_protocol=True, trusted_proxies=["unix"])
    client = entrance.connect()
    client.sendall(SIGNATURE + b"\x21\x31\x00\xd8" + b"/run/x".ljust(216, b"\0"))
    assert speaks(entrance, client).transport.getPeer() == UNIXAddress(b"/run/x")


def test_the_word_of_anybody_else_is_not_even_read(enter: Callable[..., Entrance]) -> None:
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect("127.0.0.2")
    client.sendall(LINE)
    protocol = entrance.factory.next()
    assert protocol.receive(len(LINE)) == LINE
    assert protocol.transport.getPeer() == IPv4Address("TCP", *client.getsockname())


def test_without_the_setting_a_header_is_data_even_from_a_trusted_proxy(enter: Callable[..., Entrance]) -> None:
    entrance = enter(trusted_proxies=["127.0.0.1"])
    client = entrance.connect()
    client.sendall(LINE)
    protocol = entrance.factory.next()
    assert protocol.receive(len(LINE)) == LINE
    assert protocol.transport.getPeer() == IPv4Address("TCP", *client.getsockname())


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\n", LINE.replace(b"TCP4", b"TCP5"), SIGNATURE + b"\x31\x11\0\0"])
def test_a_proxy_that_says_no_header_is_cut_off(
    enter: Callable[..., Entrance], text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect()
    client.sendall(text)
    assert told(client) == b""
    entrance.until_open(0)
    assert entrance.stats == {"proxy_headers_refused": 1}
    assert entrance.factory.made.empty()
    assert "a connection from 127.0.0.1 was refused: " in caplog.text


def test_a_proxy_that_says_nothing_is_cut_off(
    enter: Callable[..., Entrance], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door_module, "HEADER_TIMEOUT", 0.05)
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect()
    client.sendall(LINE[:-1])
    assert told(client) == b""
    assert entrance.stats == {"proxy_headers_refused": 1}
    assert "no header of the PROXY protocol came within 0.05 s" in caplog.text


def test_a_proxy_may_leave_within_its_header(enter: Callable[..., Entrance]) -> None:
    entrance = enter(**BEHIND_PROXY)
    client = entrance.connect()
    client.sendall(LINE[:10])
    entrance.until_open(1)
    client.close()
    entrance.until_open(0)
    assert not entrance.stats


def test_limits_count_the_real_address(enter: Callable[..., Entrance], factory: Any) -> None:
    factory.too_many = lambda: b"no"
    entrance = enter(max_per_address=2, **BEHIND_PROXY)
    for _ in range(2):
        client = entrance.connect()
        client.sendall(LINE)
        speaks(entrance, client)
    refused = entrance.connect()
    refused.sendall(LINE + b"hello")
    assert told(refused) == b"no"
    other = entrance.connect()
    other.sendall(LINE.replace(b"192.0.2.7", b"192.0.2.8"))
    speaks(entrance, other)
    for _ in range(3):
        itself = entrance.connect()
        itself.sendall(LOCAL)
        speaks(entrance, itself)
    assert entrance.stats == {"connections_over_max_per_address": 1}
    assert entrance.door.open == 6


def test_a_header_does_not_make_room(enter: Callable[..., Entrance], factory: Any) -> None:
    """Whoever says nothing yet counts: else silent connections would be without a limit."""
    factory.too_many = lambda: b"no"
    entrance = enter(max_connections=2, **BEHIND_PROXY)
    for _ in range(2):
        entrance.connect()
    entrance.until_open(2)
    refused = entrance.connect()
    refused.sendall(LINE)
    assert told(refused) == b"no"
    assert entrance.stats == {"connections_over_max": 1}


@pytest.mark.parametrize("together", [True, False])
def test_tls_comes_behind_the_header(enter: Callable[..., Entrance], certificate: Any, together: bool) -> None:
    """Also where both are read at once: what follows the header belongs to the handshake."""
    text = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    entrance = enter(text, **BEHIND_PROXY)
    context = ssl.create_default_context(cafile=str(certificate.certificate))
    client = entrance.connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    encryption = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    if not together:
        client.sendall(LINE)
    header = LINE if together else b""
    while True:
        try:
            encryption.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.sendall(header + outgoing.read())
            header = b""
            incoming.write(client.recv(65536))
    encryption.write(b"question")
    client.sendall(outgoing.read())
    protocol = entrance.factory.next()
    assert protocol.receive(8) == b"question"
    assert protocol.transport.tls
    assert protocol.transport.getPeer() == IPv4Address("TCP", "192.0.2.7", 51000)


def test_a_header_in_the_clear_where_tls_is_expected_of_others(
    enter: Callable[..., Entrance], certificate: Any
) -> None:
    text = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    entrance = enter(text, **BEHIND_PROXY)
    client = entrance.connect("127.0.0.2")
    client.sendall(LINE)
    told(client)
    entrance.until_open(0)
    assert entrance.stats == {"tls_handshakes_failed": 1}
    assert entrance.factory.made.empty()


# Other endpoints


def test_limits_hold_on_twisteds_own_endpoints(reactor_thread: ReactorThread, factory: Any, manual: Any) -> None:
    """As its HAProxy endpoint, where the address that counts is the one that connects."""
    entrance = Entrance(reactor_thread, factory, manual.clock, "haproxy:tcp:0:interface=127.0.0.1", max_per_address=1)
    try:
        clients = [entrance.connect(), entrance.connect("127.0.0.2")]
        for client in clients:
            client.sendall(LINE)
            speaks(entrance, client)
        assert told(entrance.connect()) == b""
        assert entrance.stats == {"connections_over_max_per_address": 1}
        for client in clients:
            client.close()
        entrance.until_open(0)
        factory.buildProtocol = lambda addr: None
        assert told(entrance.connect()) == b""
        entrance.door._max = 0
        assert told(entrance.connect()) == b""
        assert entrance.stats["connections_over_max"] == 1
    finally:
        entrance.close()


def test_headers_are_not_read_on_twisteds_own_endpoints(reactor_thread: ReactorThread, factory: Any) -> None:
    with pytest.raises(UsageError, match="proxy_protocol is not available on this endpoint"):
        Entrance(reactor_thread, factory, time.monotonic, "haproxy:tcp:0", **BEHIND_PROXY)
