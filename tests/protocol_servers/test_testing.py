"""What we offer to the tests of protocol servers does what it says."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone

from trunkline.protocol_servers.testing import MemoryTransport, ReactorThread, StubLayer


def test_the_memory_transport_keeps_what_is_written(factory: Any) -> None:
    protocol = factory.buildProtocol(None)
    transport: Any = MemoryTransport(protocol)
    assert factory.next() is protocol
    transport.write(b"one")
    transport.writeSequence([b"t", b"wo"])
    assert transport.take() == b"onetwo"
    assert transport.take() == b""
    transport.loseConnection()
    transport.write(b"ignored, as on a real transport that is closing")
    transport.pauseProducing()
    transport.resumeProducing()
    assert transport.take() == b""
    transport.finish()
    assert isinstance(protocol.lost.get_nowait().value, ConnectionDone)


def test_the_memory_transport_closes_and_upgrades_like_ours(factory: Any) -> None:
    protocol = factory.buildProtocol(None)
    transport: Any = MemoryTransport(protocol)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert (transport.tls, transport.buffered) == (False, 0)
    transport.startTLS(context, handshake_timeout=1)
    assert (transport.tls, transport.tls_contexts) == (True, [context])
    transport.registerProducer(protocol, True)
    transport.loseConnection()
    transport.write(b"the producer may finish")
    assert transport.take() == b"the producer may finish"
    transport.abortConnection()
    transport.finish()
    assert isinstance(protocol.lost.get_nowait().value, ConnectionAborted)
    assert MemoryTransport(tls=True).tls


def test_the_reactor_runs_in_its_own_thread(reactor_thread: ReactorThread) -> None:
    async def where() -> tuple[Any, threading.Thread]:
        return asyncio.get_running_loop(), threading.current_thread()

    loop, thread = reactor_thread.call(where())
    assert loop is reactor_thread.loop
    assert thread is not threading.current_thread()
    assert reactor_thread.run(threading.current_thread) is thread
    from twisted.internet import reactor

    assert reactor is reactor_thread.reactor


def test_what_never_ends_is_cancelled(reactor_thread: ReactorThread) -> None:
    ended = threading.Event()

    async def waiting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        reactor_thread.call(waiting(), timeout=0.01)
    assert ended.wait(20)


def test_the_stub_layer_records_all_that_servers_do() -> None:
    layer = StubLayer(immediate=True)
    inbox = layer.open_inbox("x.reply.1!", loop=None, receive=lambda items: None)  # type: ignore[arg-type]
    outcomes: list[Any] = []
    inbox.send_group("news", {"text": "x"}, exclude=["a"], then=outcomes.append)
    inbox.send("x", {}, once="1", expiry=None)
    assert inbox.take() == [("group:news", {"text": "x"}, {"exclude": ["a"]}), ("x", {}, {"once": "1"})]
    assert outcomes == [True]
    inbox.announce({"channels": {}})
    assert inbox.announced_info == {"channels": {}}
    assert inbox.new_channel("x.body?") != inbox.new_channel("x.body?")
