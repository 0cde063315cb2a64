"""Twisted protocols on the loop's own transports, over real sockets and on both loops."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface.verify import verifyObject  # type: ignore[import-untyped]

from trunkline.protocol_servers.acceptor import Acceptor
from trunkline.protocol_servers.endpoints import Port, listen_all
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.protocol_servers.tls import server_context
from trunkline.protocol_servers.transport import LoopTransport

PATIENCE = 60
MUCH = 8 * 1024 * 1024  # more than the sockets' buffers take


class Server:
    """Listen with a factory of recorders and connect to it."""

    def __init__(self, place: ReactorThread, factory: Any, description: str = "tcp:0", **options: Any) -> None:
        self.place = place
        self.factory = factory
        self.ports: list[Port] = place.call(listen_all(place.reactor, [description], factory, **options))
        self.clients: list[socket.socket] = []

    def connect(self, **options: Any) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.ports[0].number), timeout=PATIENCE)
        self.clients.append(client)
        return client

    def pair(self) -> tuple[socket.socket, Any]:
        """Return a new connection's client socket and server protocol."""
        return self.connect(), self.factory.next()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for port in self.ports:
            self.place.run(port.close)
            self.place.run(port.abort)
        self.place.turns()


@pytest.fixture
def serve(place: ReactorThread, factory: Any) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    made: list[Server] = []

    def start(description: str = "tcp:0", **options: Any) -> Server:
        made.append(Server(place, factory, description, **options))
        return made[-1]

    yield start
    for server in made:
        server.close()


def read(client: socket.socket, size: int = -1) -> bytes:
    """Read ``size`` bytes, or all there are until the end."""
    data = bytearray()
    while len(data) != size and (part := client.recv(65536 if size < 0 else min(65536, size - len(data)))):
        data += part
    return bytes(data)


def lost(protocol: Any) -> type[BaseException]:
    """Wait for the end of a connection and return the reason's type."""
    reason = protocol.lost.get(timeout=PATIENCE)
    assert protocol.lost.empty()
    return type(reason.value)


def test_bytes_go_both_ways_and_addresses_are_known(serve: Callable[..., Server], place: ReactorThread) -> None:
    server = serve()
    client, protocol = server.pair()
    client.sendall(b"question")
    assert protocol.receive(8) == b"question"
    place.run(protocol.transport.write, b"ans")
    place.run(protocol.transport.writeSequence, [b"w", b"er"])
    assert read(client, 6) == b"answer"
    assert protocol.transport.getPeer() == IPv4Address("TCP", *client.getsockname())
    assert protocol.transport.getHost() == IPv4Address("TCP", *client.getpeername())


def test_the_transport_is_what_twisted_says_it_is(serve: Callable[..., Server]) -> None:
    _, protocol = serve().pair()
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, protocol.transport)


def test_ipv6_and_unix_addresses(serve: Callable[..., Server], tmp_path: Any) -> None:
    server = serve("tcp:0:interface=\\:\\:1")
    with socket.create_connection(("::1", server.ports[0].number or 0), timeout=PATIENCE) as client:
        protocol = server.factory.next()
        assert protocol.transport.getPeer() == IPv6Address("TCP", *client.getsockname())
    server = serve(f"unix:{tmp_path / 'x.sock'}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "x.sock"))
        protocol = server.factory.next()
        assert protocol.transport.getPeer() == UNIXAddress(None)
        assert protocol.transport.getHost() == UNIXAddress(str(tmp_path / "x.sock").encode())


def test_options_of_the_socket(serve: Callable[..., Server], place: ReactorThread) -> None:
    _, protocol = serve().pair()
    transport = protocol.transport
    assert place.run(transport.getTcpNoDelay) is True  # small answers leave at once
    place.run(transport.setTcpNoDelay, False)
    assert place.run(transport.getTcpNoDelay) is False
    place.run(transport.setTcpKeepAlive, True)
    assert place.run(transport.getTcpKeepAlive) is True
    place.run(transport.abortConnection)
    lost(protocol)
    place.run(transport.setTcpNoDelay, True)  # too late, and harmless


def test_closing_flushes_what_was_written_first(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()

    def write_and_close() -> int:
        protocol.transport.write(b"x" * MUCH)
        protocol.transport.loseConnection()
        protocol.transport.loseConnection()
        protocol.transport.write(b"too late")
        protocol.transport.writeSequence([b"too", b"late"])
        return int(protocol.transport.buffered)

    assert place.run(write_and_close) > 0
    assert read(client) == b"x" * MUCH
    assert lost(protocol) is ConnectionDone


def test_nothing_done_to_a_closed_connection_hurts(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()
    transport = protocol.transport
    client.close()
    assert lost(protocol) is ConnectionDone

    def everything() -> None:
        for _ in range(20):
            transport.write(b"nobody reads this")
        transport.writeSequence([b"nor", b"this"])
        transport.pauseProducing()
        transport.resumeProducing()
        transport.loseConnection()
        transport.abortConnection()
        transport.loseWriteConnection()
        transport.stopProducing()
        assert transport.disconnecting
        assert transport.buffered == 0
        stopped = SimpleNamespace(count=0)
        stopped.stopProducing = lambda: setattr(stopped, "count", 1)
        transport.registerProducer(stopped, True)
        assert stopped.count == 1
        transport.unregisterProducer()

    place.run(everything)
    assert transport.getPeer().port == transport.getPeer().port


def test_writes_to_a_reset_connection_end_it_and_nothing_else(
    serve: Callable[..., Server], place: ReactorThread
) -> None:
    server = serve()
    client, protocol = server.pair()
    other, other_protocol = server.pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert lost(protocol) is ConnectionLost
    place.run(other_protocol.transport.write, b"alive")
    assert read(other, 5) == b"alive"


def test_aborting_drops_what_is_buffered(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()

    def write_and_abort() -> None:
        protocol.transport.write(b"x" * MUCH)
        protocol.transport.abortConnection()
        protocol.transport.write(b"ignored")

    place.run(write_and_abort)
    assert lost(protocol) is ConnectionAborted
    with contextlib.suppress(ConnectionResetError):
        assert len(read(client)) < MUCH


def test_a_client_that_stops_sending_still_gets_what_was_written(
    serve: Callable[..., Server], place: ReactorThread
) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.write, b"x" * MUCH)
    client.shutdown(socket.SHUT_WR)
    assert read(client) == b"x" * MUCH
    assert lost(protocol) is ConnectionDone


def test_a_peer_that_takes_nothing_cannot_hold_a_closing_connection(
    serve: Callable[..., Server], place: ReactorThread
) -> None:
    _client, protocol = serve(linger=0.05).pair()

    def write_and_close() -> None:
        protocol.transport.write(b"x" * MUCH)
        protocol.transport.loseConnection()

    place.run(write_and_close)
    assert lost(protocol) is ConnectionLost


class Raw:
    """The loop's transport, as far as ours needs it, moved by hand."""

    def __init__(self, peer: Any = ("127.0.0.1", 1)) -> None:
        self.peer = peer
        self.size = 0
        self.aborted = self.closed = False
        self.reading = True

    def get_extra_info(self, name: str) -> Any:
        return self.peer

    def get_write_buffer_size(self) -> int:
        return self.size

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 64 * 1024

    def write(self, data: Any) -> None:
        self.size += len(data)

    def writelines(self, data: Any) -> None:
        self.size += len(b"".join(data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Turns:
    """A loop that only keeps what is to be called in its next turn."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon(self, function: Any, *args: Any) -> None:
        self.calls.append(lambda: function(*args))

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_what_is_read_although_reading_is_paused_waits(factory: Any) -> None:
    """uvloop starts reading after connection_made whatever was said in it."""
    loop, raw = Turns(), Raw()
    transport = LoopTransport(Acceptor(loop, factory))  # type: ignore[arg-type]
    transport.connection_made(raw)
    protocol = factory.next()
    transport.pauseProducing()
    raw.resume_reading()
    transport.data_received(b"one")
    assert not raw.reading
    transport.data_received(b"two")
    transport.resumeProducing()
    assert protocol.received.empty()  # never within the protocol's own call
    transport.pauseProducing()
    loop.turn()
    assert protocol.received.empty()
    transport.resumeProducing()
    loop.turn()
    assert protocol.receive(6) == b"onetwo"
    assert raw.reading
    transport.pauseProducing()
    transport.data_received(b"boom")
    protocol.dataReceived = lambda data: 1 / 0
    transport.resumeProducing()
    loop.turn()
    assert raw.aborted
    transport.connection_lost(None)
    transport.connection_lost(None)
    assert lost(protocol) is ConnectionDone


def test_what_waits_is_dropped_with_the_connection(factory: Any) -> None:
    loop, raw = Turns(), Raw()
    transport = LoopTransport(Acceptor(loop, factory))  # type: ignore[arg-type]
    transport.connection_made(raw)
    protocol = factory.next()
    transport.pauseProducing()
    transport.data_received(b"one")
    transport.resumeProducing()
    transport.abortConnection()
    transport.abortConnection()
    transport.connection_lost(None)
    loop.turn()
    assert lost(protocol) is ConnectionAborted
    assert protocol.received.empty()


def test_a_slow_peer_may_take_as_long_as_it_takes(manual: Any, factory: Any) -> None:
    """Only a whole period without progress cuts a closing connection."""
    raw = Raw()
    transport = LoopTransport(Acceptor(manual, factory, linger=30))
    transport.connection_made(raw)
    transport.write(b"x" * 1000)
    transport.loseConnection()
    for _ in range(20):
        raw.size -= 10
        manual.advance(30)
    assert raw.closed
    assert not raw.aborted
    manual.advance(30)
    assert raw.aborted


def test_a_producer_pauses_while_the_peer_does_not_read(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()
    transport = protocol.transport

    def produce() -> None:
        transport.registerProducer(protocol, True)
        transport.write(b"x" * MUCH)

    place.run(produce)
    assert protocol.events.get(timeout=PATIENCE) == "pause"
    with pytest.raises(RuntimeError, match="never unregistered"):
        place.run(transport.registerProducer, protocol, True)
    place.run(transport.unregisterProducer)
    with pytest.raises(RuntimeError, match="push"):
        place.run(transport.registerProducer, protocol, False)
    place.run(transport.registerProducer, protocol, True)
    assert protocol.events.get(timeout=PATIENCE) == "pause"  # told at once: the peer still takes nothing
    assert read(client, MUCH) == b"x" * MUCH
    assert protocol.events.get(timeout=PATIENCE) == "resume"


def test_a_close_waits_for_the_producer(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()
    transport = protocol.transport

    def begin() -> None:
        transport.registerProducer(protocol, True)
        transport.loseConnection()
        transport.write(b"more")

    place.run(begin)
    assert read(client, 4) == b"more"
    assert protocol.lost.empty()
    place.run(transport.unregisterProducer)
    assert read(client) == b""
    assert lost(protocol) is ConnectionDone


def test_a_lost_connection_stops_its_producer(
    serve: Callable[..., Server], place: ReactorThread, caplog: pytest.LogCaptureFixture
) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.registerProducer, protocol, True)
    client.close()
    assert protocol.events.get(timeout=PATIENCE) == "stop"
    assert lost(protocol) is ConnectionDone
    client, protocol = serve().pair()
    protocol.stopProducing = lambda: 1 / 0
    place.run(protocol.transport.registerProducer, protocol, True)
    client.close()
    assert lost(protocol) is ConnectionDone
    assert "a producer could not be stopped" in caplog.text


def test_reading_stops_and_goes_on(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.pauseProducing)
    client.sendall(b"later")
    place.turns(10)
    assert protocol.received.empty()
    place.run(protocol.transport.resumeProducing)
    assert protocol.receive(5) == b"later"


def test_half_a_connection_can_be_closed(serve: Callable[..., Server], place: ReactorThread) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.write, b"last words")
    place.run(protocol.transport.loseWriteConnection)
    place.run(protocol.transport.write, b"ignored")
    assert read(client) == b"last words"
    client.sendall(b"thanks")
    assert protocol.receive(6) == b"thanks"


def test_a_protocol_that_fails_ends_its_connection_only(
    serve: Callable[..., Server], place: ReactorThread, factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    client, protocol = server.pair()
    other, other_protocol = server.pair()
    protocol.dataReceived = lambda data: 1 / 0
    client.sendall(b"boom")
    assert lost(protocol) is ConnectionLost
    assert read(client) == b""

    class Failing(factory.protocol):  # type: ignore[misc]
        def connectionMade(self) -> None:
            super().connectionMade()
            raise RuntimeError("not today")

    healthy, factory.protocol = factory.protocol, Failing
    client, protocol = server.pair()
    lost(protocol)
    assert "could not be set up" in caplog.text
    factory.protocol = healthy
    other.sendall(b"still here")
    assert other_protocol.receive(10) == b"still here"


@pytest.mark.parametrize("build", [lambda address: None, lambda address: 1 / 0])
def test_a_factory_may_turn_a_connection_away(
    serve: Callable[..., Server], factory: Any, build: Callable[[Any], Any]
) -> None:
    server = serve()
    factory.buildProtocol = build
    client = server.connect()
    try:
        assert read(client) == b""
    except ConnectionResetError:
        pass  # the other way that a closed connection shows


def test_a_connection_that_is_gone_before_it_is_looked_at(manual: Any, factory: Any) -> None:
    raw = Raw(peer=None)
    acceptor = Acceptor(manual, factory)
    transport = acceptor()
    transport.connection_made(raw)
    assert raw.aborted
    transport.connection_lost(None)
    assert factory.made.empty()
    assert not acceptor.transports


# STARTTLS


def trusting(certificate: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.certificate))


def start_tls(place: ReactorThread, protocol: Any, certificate: Any, **options: Any) -> queue.Queue[bool]:
    """Say "go" and upgrade, as a protocol does within one turn; the queue gets the outcome."""
    context = server_context(str(certificate.certificate), str(certificate.key))
    outcome: queue.Queue[bool] = queue.Queue()

    def upgrade() -> None:
        protocol.transport.write(b"go\r\n")
        task = protocol.transport.startTLS(context, **options)
        protocol.transport.write(b"written ")
        protocol.transport.writeSequence([b"mean", b"while"])
        assert protocol.transport.buffered >= 17
        task.add_done_callback(lambda done: outcome.put(done.result()))

    place.run(upgrade)
    return outcome


def test_starttls_encrypts_everything_after_it(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    assert not protocol.transport.tls
    outcome = start_tls(place, protocol, certificate)
    assert protocol.transport.tls
    assert read(client, 4) == b"go\r\n"
    with trusting(certificate).wrap_socket(client, server_hostname="localhost") as secured:
        assert outcome.get(timeout=PATIENCE) is True
        assert read(secured, 17) == b"written meanwhile"
        secured.sendall(b"secret")
        assert protocol.receive(6) == b"secret"
        with pytest.raises(RuntimeError, match="already"):
            place.run(protocol.transport.startTLS, None)
        place.run(protocol.transport.write, b"x" * MUCH)
        place.run(protocol.transport.loseConnection)
        assert read(secured) == b"x" * MUCH
        secured.close()
    assert lost(protocol) is ConnectionDone


def test_what_follows_starttls_in_the_clear_is_never_taken_for_tls(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    outcome = start_tls(place, protocol, certificate)
    client.sendall(b"MAIL FROM:<injected@example.com>\r\n")
    assert outcome.get(timeout=PATIENCE) is False
    assert lost(protocol) is ConnectionLost
    assert protocol.received.empty()


def test_a_failed_handshake_hurts_no_other_connection(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    server = serve()
    client, protocol = server.pair()
    other, other_protocol = server.pair()
    leaving = start_tls(place, protocol, certificate)
    client.close()
    assert leaving.get(timeout=PATIENCE) is False
    assert issubclass(lost(protocol), ConnectionLost | ConnectionDone)
    other.sendall(b"still here")
    assert other_protocol.receive(10) == b"still here"


def test_a_handshake_that_never_comes_is_given_up(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    outcome = start_tls(place, protocol, certificate, handshake_timeout=0.1)
    assert outcome.get(timeout=PATIENCE) is False
    assert lost(protocol) is ConnectionLost
    assert b"written meanwhile" not in read(client)


def test_closing_during_the_handshake_waits_for_it(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    outcome = start_tls(place, protocol, certificate)
    place.run(protocol.transport.loseConnection)
    assert read(client, 4) == b"go\r\n"
    with trusting(certificate).wrap_socket(client, server_hostname="localhost") as secured:
        assert read(secured) == b"written meanwhile"
        assert outcome.get(timeout=PATIENCE) is True
        secured.close()
    assert lost(protocol) is ConnectionDone


def test_aborting_during_the_handshake_ends_it(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    _client, protocol = serve().pair()
    outcome = start_tls(place, protocol, certificate)
    place.turns()
    place.run(protocol.transport.abortConnection)
    assert outcome.get(timeout=PATIENCE) is False
    assert lost(protocol) is ConnectionAborted


@pytest.mark.parametrize("how", ["abortConnection", "loseConnection"])
def test_closing_in_the_turn_of_starttls(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any, how: str
) -> None:
    _client, protocol = serve(linger=0.1).pair()
    context = server_context(str(certificate.certificate), str(certificate.key))

    def close_and_upgrade() -> Any:
        getattr(protocol.transport, how)()
        return protocol.transport.startTLS(context)

    async def upgrade() -> bool:
        return bool(await close_and_upgrade())

    assert place.call(upgrade()) is False
    assert issubclass(lost(protocol), ConnectionAborted | ConnectionDone)


def test_cancelling_the_handshake_ends_the_connection(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    _client, protocol = serve().pair()
    context = server_context(str(certificate.certificate), str(certificate.key))
    task = place.run(protocol.transport.startTLS, context)
    place.turns()
    place.run(task.cancel)
    assert issubclass(lost(protocol), ConnectionLost | ConnectionDone)
    assert task.cancelled()


def test_reading_stays_paused_over_the_handshake(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    outcome = start_tls(place, protocol, certificate)
    place.run(protocol.transport.pauseProducing)
    assert read(client, 4) == b"go\r\n"
    with trusting(certificate).wrap_socket(client, server_hostname="localhost") as secured:
        assert outcome.get(timeout=PATIENCE) is True
        secured.sendall(b"later")
        place.turns(10)
        assert protocol.received.empty()
        place.run(protocol.transport.resumeProducing)
        assert protocol.receive(5) == b"later"


def test_a_producer_paused_before_the_handshake_goes_on_after_it(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.registerProducer, protocol, True)
    place.run(protocol.transport.write, b"x" * MUCH)
    assert protocol.events.get(timeout=PATIENCE) == "pause"
    start_tls(place, protocol, certificate)
    assert read(client, MUCH + 4) == b"x" * MUCH + b"go\r\n"
    with trusting(certificate).wrap_socket(client, server_hostname="localhost") as secured:
        assert protocol.events.get(timeout=PATIENCE) == "resume"
        assert read(secured, 17) == b"written meanwhile"

        def write_in_pieces() -> None:
            for _ in range(128):
                protocol.transport.write(b"y" * (MUCH // 128))

        place.run(write_in_pieces)
        assert protocol.events.get(timeout=PATIENCE) == "pause"
        assert read(secured, MUCH) == b"y" * MUCH
        assert protocol.events.get(timeout=PATIENCE) == "resume"


def test_a_client_that_leaves_before_it_took_what_came_before_starttls(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    client, protocol = serve().pair()
    place.run(protocol.transport.registerProducer, protocol, True)
    place.run(protocol.transport.write, b"x" * MUCH)
    assert protocol.events.get(timeout=PATIENCE) == "pause"
    outcome = start_tls(place, protocol, certificate)
    place.turns()
    assert place.run(lambda: protocol.transport.buffered) > 17
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert outcome.get(timeout=PATIENCE) is False
    lost(protocol)


def test_a_client_that_never_takes_what_came_before_starttls(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    _client, protocol = serve().pair()
    place.run(protocol.transport.write, b"x" * MUCH)
    outcome = start_tls(place, protocol, certificate, handshake_timeout=0.1)
    assert outcome.get(timeout=PATIENCE) is False
    lost(protocol)


# TLS from the first byte


def secure(certificate: Any) -> str:
    return f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"


def test_tls_from_the_first_byte(serve: Callable[..., Server], place: ReactorThread, certificate: Any) -> None:
    server = serve(secure(certificate))
    assert server.ports[0].tls
    client = server.connect()
    with trusting(certificate).wrap_socket(client, server_hostname="localhost") as secured:
        secured.sendall(b"at once")
        protocol = server.factory.next()
        assert protocol.transport.tls
        assert protocol.receive(7) == b"at once"
        place.run(protocol.transport.write, b"x" * MUCH)
        assert place.run(lambda: protocol.transport.buffered) > 0
        assert read(secured, MUCH) == b"x" * MUCH
        secured.close()
    assert lost(protocol) is ConnectionDone


def test_a_client_that_ends_tcp_without_ending_tls_is_noticed_by_the_next_write(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(secure(certificate), linger=0.05)
    with trusting(certificate).wrap_socket(server.connect(), server_hostname="localhost") as secured:
        protocol = server.factory.next()
        transport = protocol.transport
        place.run(transport.write, b"x" * MUCH)
        secured.shutdown(socket.SHUT_WR)
        while protocol.lost.empty():
            place.run(transport.write, b"event")
            place.run(transport.writeSequence, [b"an", b"other"])
        assert lost(protocol) is ConnectionLost
    assert caplog.records == []


def test_what_is_sent_with_the_end_of_the_handshake_is_not_lost(serve: Callable[..., Server], certificate: Any) -> None:
    """A client's first words often share a packet with its Finished; they may come before the upgrade is noticed."""
    server = serve(secure(certificate))
    client = server.connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talking = trusting(certificate).wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            talking.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.sendall(outgoing.read())
            received = client.recv(65536)
            assert received
            incoming.write(received)
    talking.write(b"early")
    client.sendall(outgoing.read())
    assert server.factory.next().receive(5) == b"early"


def test_a_failed_first_handshake_builds_no_protocol(
    serve: Callable[..., Server], place: ReactorThread, certificate: Any
) -> None:
    server, impatient = serve(secure(certificate)), serve(secure(certificate), handshake_timeout=0.1)
    plain, silent = server.connect(), impatient.connect()
    plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for client in (plain, silent):
        try:
            read(client)
        except ConnectionResetError:
            pass
    with trusting(certificate).wrap_socket(server.connect(), server_hostname="localhost"):
        server.factory.next()
    assert server.factory.made.empty()


def test_a_protocol_that_fails_on_early_bytes_ends_its_connection(
    serve: Callable[..., Server], certificate: Any, factory: Any, manual: Any
) -> None:
    server = serve(secure(certificate))

    class Failing(factory.protocol):  # type: ignore[misc]
        def dataReceived(self, data: bytes) -> None:
            raise RuntimeError("not today")

    factory.protocol = Failing
    with trusting(certificate).wrap_socket(server.connect(), server_hostname="localhost") as secured:
        secured.sendall(b"boom")
        lost(server.factory.next())


def test_reading_can_be_paused_before_it_begins(
    serve: Callable[..., Server], place: ReactorThread, factory: Any
) -> None:
    class Pausing(factory.protocol):  # type: ignore[misc]
        def connectionMade(self) -> None:
            self.transport.pauseProducing()
            super().connectionMade()

    factory.protocol = Pausing
    client, protocol = serve().pair()
    client.sendall(b"early")
    place.turns(10)
    assert protocol.received.empty()
    place.run(protocol.transport.resumeProducing)
    assert protocol.receive(5) == b"early"
    client.sendall(b"later")
    assert protocol.receive(5) == b"later"
