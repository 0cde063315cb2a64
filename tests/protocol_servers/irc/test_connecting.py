"""A connection by itself; what real sockets do with it stands in `test_server.py`."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from trunkline.protocol_servers.irc import connecting
from trunkline.protocol_servers.irc.connecting import ConnectionFailed, Wire, connect
from trunkline.protocol_servers.irc.settings import Address
from trunkline.protocol_servers.testing import MemoryTransport, ReactorThread


def test_a_wire_without_a_connection_does_nothing() -> None:
    wire = Wire()
    wire.write(b"x")
    wire.let_go()
    wire.abort()
    wire.dataReceived(b"x")
    wire.connectionLost()
    assert wire.reason == "closed"


def test_what_was_let_go_tells_nobody() -> None:
    wire = Wire()
    transport = MemoryTransport(wire)
    assert transport.producerState == "paused"
    told: list[Any] = []
    wire.open(told.append, told.append)
    wire.dataReceived(b"hello")
    wire.write(b"answer")
    assert transport.take() == b"answer"
    wire.let_go()
    assert transport.disconnecting
    wire.dataReceived(b"more")
    transport.finish()
    assert told == [b"hello"]
    wire.write(b"late")
    assert transport.take() == b""


def test_who_takes_nothing_is_cut_off() -> None:
    wire = Wire()
    transport = MemoryTransport(wire)
    told: list[str] = []
    wire.open(lambda data: None, told.append)
    transport.buffered = connecting.MOST_UNSENT + 1
    wire.write(b"x")
    transport.finish()
    assert told == ["the server does not read what we send"]


def test_a_connection_that_is_gone_before_it_is_looked_at(reactor_thread: ReactorThread) -> None:
    class Loop:
        """Connects, and has nothing to show for it."""

        async def create_connection(self, *_: object) -> None:
            return

    loop: Any = Loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ConnectionFailed, match="the connection was closed at once"):
        reactor_thread.call(connect(loop, Address("127.0.0.1", 1, False), context))


def test_giving_up_closes_the_connection(reactor_thread: ReactorThread) -> None:
    """A process that ends does not wait for a handshake."""
    lost = asyncio.Event()

    async def never_shakes_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()
        lost.set()

    async def give_up() -> None:
        listening = await asyncio.start_server(never_shakes_hands, "127.0.0.1", 0)
        address = Address("127.0.0.1", listening.sockets[0].getsockname()[1], True)
        connecting_ = asyncio.ensure_future(
            connect(asyncio.get_running_loop(), address, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        )
        await asyncio.sleep(0.05)
        connecting_.cancel()
        async with asyncio.timeout(20):
            await lost.wait()
        listening.close()

    reactor_thread.call(give_up(), timeout=30)
