"""UDP from a real socket through a real layer to a plain loop in another thread, and back."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline import message_formats
from trunkline.layer import ChannelFull, Layer, LayerUnavailable, MemoryLayer
from trunkline.operations.errors import StartError, UsageError
from trunkline.protocol_servers import udp
from trunkline.protocol_servers.testing import ReactorThread, StubLayer
from trunkline.protocol_servers.timers import TimerWheel
from trunkline.protocol_servers.udp import UdpServer, UdpSettings

PATIENCE = 60


@pytest.fixture
def start(reactor_thread: ReactorThread) -> Iterator[Callable[..., UdpServer]]:
    """Start servers that end with the test."""
    started: list[UdpServer] = []

    def starting(layer: Any, **settings: Any) -> UdpServer:
        server = UdpServer(layer, UdpSettings(**{"endpoints": ["udp:0"], **settings}), reactor=reactor_thread.reactor)
        reactor_thread.call(server.start())
        started.append(server)
        return server

    yield starting
    for server in started:
        assert reactor_thread.call(server.stop(PATIENCE / 2)) is True


def client(server: UdpServer, which: int = 0) -> socket.socket:
    """Return a socket that talks to the server."""
    host, _, port = server.ports[which].removeprefix("udp://").rpartition(":")
    host = host.strip("[]")
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.connect((host, int(port)))
    return made


@pytest.fixture
def echoing() -> Iterator[MemoryLayer]:
    """A layer with a plain worker that answers every datagram with itself, upper-cased, and its client's port."""
    layer = MemoryLayer()
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            for delivery in layer.receive_batch(["udp.receive"], timeout=0.1):
                message = delivery.message
                message_formats.get("udp.receive").validate(message)  # type: ignore[union-attr]
                answer = b"%s %d" % (message["data"].upper(), message["client"][1])
                layer.send(message["reply_channel"], {"data": answer})

    thread = threading.Thread(target=work)
    thread.start()
    yield layer
    ending.set()
    thread.join(PATIENCE)
    layer.close()


def test_datagrams_go_to_a_worker_and_come_back(start: Callable[..., UdpServer], echoing: Layer) -> None:
    server = start(echoing, endpoints=["udp:0", r"udp:0:interface=\:\:1"])
    for which in range(2):
        with client(server, which) as first, client(server, which) as second:
            for text in (b"one", b"two", b""):
                first.send(text)
                second.send(text * 2)
                assert first.recv(65536) == b"%s %d" % (text.upper(), first.getsockname()[1])
                assert second.recv(65536) == b"%s %d" % (text.upper() * 2, second.getsockname()[1])


def test_the_largest_datagram_passes(start: Callable[..., UdpServer], echoing: Layer) -> None:
    server = start(echoing)
    with client(server) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        asking.send(b"x" * 65_000)
        assert asking.recv(65536).startswith(b"X" * 65_000)


def test_without_interface_only_this_machine_is_served(start: Callable[..., UdpServer]) -> None:
    assert start(StubLayer()).ports[0].startswith("udp://127.0.0.1:")
    assert UdpSettings().endpoints == ["udp:9999"]


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something that happens on the loop."""
    ending = time.monotonic() + PATIENCE
    while time.monotonic() < ending:
        if found := condition():
            return found
        time.sleep(0.002)
    raise TimeoutError


def test_a_peer_keeps_its_channel_until_it_was_silent_for_a_while(
    start: Callable[..., UdpServer], reactor_thread: ReactorThread, manual: Any
) -> None:
    layer = StubLayer()
    server = start(layer, answer_timeout=30)
    server.timers = TimerWheel(manual.call_later, manual.clock)
    with client(server) as asking:
        asking.send(b"one")
        asking.send(b"two")
        first, second = until(lambda: len(layer.inbox.sent) == 2 and layer.inbox.take())
        assert first.message["reply_channel"] == second.message["reply_channel"]
        assert first.options == {"expiry": 30}
        reactor_thread.run(manual.advance, 29)
        assert not layer.inbox.gone_names
        reactor_thread.run(manual.advance, 2)
        assert layer.inbox.gone_names == [first.message["reply_channel"].rpartition("!")[2]]
        asking.send(b"three")
        (third,) = until(layer.inbox.take)
        assert third.message["reply_channel"] != first.message["reply_channel"]
        reactor_thread.run(layer.inbox.answer, first.message["reply_channel"], {"data": b"too late"})
        reactor_thread.run(layer.inbox.answer, third.message["reply_channel"], {"data": b"in time"})
        assert asking.recv(100) == b"in time"
        assert server.stats["late_answers"] == 1


def test_forged_addresses_cannot_fill_the_memory_and_push_out_the_longest_silent_peer(
    start: Callable[..., UdpServer], reactor_thread: ReactorThread
) -> None:
    layer = StubLayer()
    server = start(layer, max_connections=2)
    clients = [client(server) for _ in range(3)]

    def ask(number: int) -> str:
        clients[number].send(b"%d" % number)
        channel: str = until(layer.inbox.take)[0].message["reply_channel"]
        return channel

    first, second = ask(0), ask(1)
    assert ask(0) == first
    third = ask(2)
    assert server.stats["forgotten_peers"] == 1
    assert layer.inbox.gone_names == [second.rpartition("!")[2]]
    for channel in (second, first, third):
        reactor_thread.run(layer.inbox.answer, channel, {"data": channel.encode()})
    assert clients[0].recv(100) == first.encode()
    assert clients[2].recv(100) == third.encode()
    assert server.stats["late_answers"] == 1
    for asking in clients:
        asking.close()


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ChannelFull("udp.receive"), "refused_full"),
        (LayerUnavailable("away"), "refused_unavailable"),
        (LayerUnavailable("lost", uncertain=True), "in_doubt"),
    ],
)
def test_what_the_layer_does_not_take_is_dropped_and_counted(
    start: Callable[..., UdpServer], reactor_thread: ReactorThread, error: Exception, counted: str
) -> None:
    layer = StubLayer()
    server = start(layer)
    layer.inbox.refusals["udp.receive"] = error
    with client(server) as asking:
        asking.send(b"x")
        until(lambda: server.stats[counted] == 1)
        (sent,) = layer.inbox.take()
        reactor_thread.run(layer.inbox.answer, sent.message["reply_channel"], {"data": b"still served"})
        assert asking.recv(100) == b"still served"


@pytest.mark.parametrize("message", [{}, {"text": "hi"}, {"data": "hi"}, {"data": b"x" * 65_508}])
def test_an_answer_that_is_no_datagram_is_ignored_and_counted(
    start: Callable[..., UdpServer], reactor_thread: ReactorThread, message: dict[str, Any]
) -> None:
    layer = StubLayer()
    server = start(layer)
    with client(server) as asking:
        asking.send(b"x")
        channel = until(layer.inbox.take)[0].message["reply_channel"]
        reactor_thread.run(layer.inbox.answer, channel, message)
        reactor_thread.run(layer.inbox.answer, channel, {"data": b"fine", "unknown": 1})
        assert asking.recv(100) == b"fine"
        assert server.stats["unfit_messages"] == 1
        assert server.stats["failures"] == 0


def test_a_peer_that_is_gone_hurts_nobody(start: Callable[..., UdpServer], reactor_thread: ReactorThread) -> None:
    layer = StubLayer()
    server = start(layer)
    with client(server) as leaving:
        leaving.send(b"x")
        gone = until(layer.inbox.take)[0].message["reply_channel"]
    with client(server) as staying:
        for _ in range(3):  # the kernel reports a refused datagram on the next one
            reactor_thread.run(layer.inbox.answer, gone, {"data": b"anybody?"})
        staying.send(b"y")
        here = until(layer.inbox.take)[0].message["reply_channel"]
        reactor_thread.run(layer.inbox.answer, here, {"data": b"yes"})
        assert staying.recv(100) == b"yes"


def test_an_address_that_nothing_can_be_sent_to_is_counted_and_not_logged(
    start: Callable[..., UdpServer], reactor_thread: ReactorThread, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can forge datagrams from port 0 or a broadcast address."""
    layer = StubLayer()
    server = start(layer)
    with client(server) as asking:
        asking.send(b"x")
        known = until(layer.inbox.take)[0].message["reply_channel"].rpartition("!")[2]
    protocol, _ = server._connections[known].state
    for forged in (("127.0.0.1", 0), ("255.255.255.255", 9)):
        reactor_thread.run(protocol.datagramReceived, b"x", forged)
        (sent,) = layer.inbox.take()
        reactor_thread.run(layer.inbox.answer, sent.message["reply_channel"], {"data": b"y"})
    assert server.stats["unsent_datagrams"] == 2
    assert server.stats["failures"] == 0
    assert caplog.records == []


def test_mistakes_are_named(start: Callable[..., UdpServer]) -> None:
    port = start(StubLayer()).ports[0].rpartition(":")[2]
    with pytest.raises(StartError, match=f"^udp:{port}: port {port} on 127.0.0.1 is already in use$"):
        start(StubLayer(), endpoints=[f"udp:{port}"])
    with pytest.raises(UsageError, match="expected udp:PORT"):
        start(StubLayer(), endpoints=["tcp:1"])


def test_the_tutorial_server_keeps_its_promise() -> None:
    """A complete server in under 60 lines."""
    assert len(Path(udp.__file__).read_text().splitlines()) < 60
    limits = {field.name: field.metadata for field in dataclasses.fields(UdpSettings)}
    assert limits["answer_timeout"]["min"] > 0


def test_one_datagram_of_a_peer_at_a_time_where_workers_ask_for_it(start: Callable[..., UdpServer]) -> None:
    with MemoryLayer() as layer:
        layer.announce("worker.1", {"channels": {"udp.receive": True}})
        server = start(layer)
        with client(server) as first, client(server) as second:
            for number in (b"1", b"2", b"3"):
                first.send(number)
            (one,) = layer.receive_batch(["udp.receive"], 10, PATIENCE)
            second.send(b"other")
            (other,) = layer.receive_batch(["udp.receive"], 10, PATIENCE)
            assert [one.message["data"], other.message["data"]] == [b"1", b"other"]
            for number in (b"2", b"3"):
                layer.send(one.message["reply_channel"], {"done": True})
                (found,) = layer.receive_batch(["udp.receive"], 10, PATIENCE)
                assert found.message["data"] == number
            for delivery in (one, other):
                layer.send(delivery.message["reply_channel"], {"done": True})
            until(lambda: len(server.turns) == 0)
    assert not server.stats["unfit_messages"]
