"""Streams that a WebSocket takes over (RFC 8441): the handshake, bytes both ways, and every end there is."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.protocol_servers.http_core.http2 import opening
from trunkline.protocol_servers.http_core.http2 import tunnel as tunnel_module
from trunkline.protocol_servers.testing.http2_client import (
    CANCEL,
    DATA,
    GET,
    HEADERS,
    NO_ERROR,
    RST_STREAM,
    WINDOW_UPDATE,
    data,
    rst_stream,
    settings,
    window_update,
)

CONNECT = ((b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket"), (b"sec-websocket-version", b"13"))


def content(frames: Any, stream_id: int = 1) -> bytes:
    return b"".join(got.payload for got in frames if got.kind == DATA and got.stream_id == stream_id)


@pytest.fixture
def socket(peer: Any) -> Any:
    """A WebSocket whose handshake was accepted."""
    assert peer.ask(peer.headers(1, CONNECT, end=False)) == []
    (socket,) = peer.handler.sockets
    socket.transport.accept([(b"sec-websocket-protocol", b"chat")])
    (head,) = peer.take()
    assert head.fields == ((b":status", b"200"), (b"sec-websocket-protocol", b"chat"))
    assert not head.ends
    return socket


def test_the_request_is_that_of_a_websocket(socket: Any) -> None:
    request = socket.request
    assert (request.method, request.path, request.http_version, request.upgrade) == ("CONNECT", "/", "2", True)
    assert request.header(b"sec-websocket-version") == b"13"


def test_bytes_go_both_ways(peer: Any, socket: Any) -> None:
    peer.ask(data(1, b"one"), data(1, b"two", padding=4))
    assert socket.data == [b"one", b"two"]
    socket.transport.write(b"three")
    assert content(peer.take()) == b"three"
    assert peer.connection.sockets == [socket]


def test_a_refused_handshake_ends_the_stream(peer: Any) -> None:
    peer.ask(peer.headers(1, CONNECT, end=False))
    (socket,) = peer.handler.sockets
    socket.transport.refuse(403, [(b"content-type", b"text/plain")], b"no")
    frames = peer.take()
    assert [(got.kind, got.ends) for got in frames] == [(HEADERS, False), (DATA, True)]
    assert frames[0].status == 403
    assert socket.losses == 0
    peer.ask(data(1, b"", end=True))
    assert socket.losses == 1
    assert not peer.connection._flows


def test_where_nobody_wants_websockets_they_are_refused(peer: Any) -> None:
    peer.handler.sockets_wanted = False
    frames = peer.ask(peer.headers(1, CONNECT, end=False))
    assert frames[0].status == 501
    assert not peer.connection._flows


def test_closing_waits_for_what_was_written_and_then_for_the_client(peer: Any, socket: Any) -> None:
    socket.transport.write(bytes(70_000))
    socket.transport.loseConnection()
    socket.transport.write(b"too late")
    assert socket.transport.buffered == 70_000 - 65_535
    frames = peer.take()
    assert not any(got.ends for got in frames)
    frames = peer.ask(window_update(0, 100_000), window_update(1, 100_000))
    assert len(content(frames)) == 70_000 - 65_535
    assert frames[-1].ends
    peer.ask(data(1, b"still read"))
    assert socket.data == [b"still read"]
    peer.ask(data(1, b"", end=True))
    assert socket.losses == 1


def test_a_client_that_does_not_close_is_reset(peer: Any, socket: Any) -> None:
    socket.transport.loseConnection()
    assert peer.take()[-1].ends
    peer.advance(tunnel_module.LINGER + 1)
    assert [(got.kind, got.code) for got in peer.take()] == [(RST_STREAM, NO_ERROR)]
    assert socket.losses == 1


def test_our_side_may_be_closed_alone(peer: Any, socket: Any) -> None:
    socket.transport.loseWriteConnection()
    assert peer.take()[-1].ends
    peer.ask(data(1, b"read"))
    assert socket.data == [b"read"]
    socket.transport.loseConnection()
    assert peer.take() == []


def test_aborting_resets(peer: Any, socket: Any) -> None:
    socket.transport.abortConnection()
    assert [(got.kind, got.code) for got in peer.take()] == [(RST_STREAM, CANCEL)]
    assert socket.losses == 1
    socket.transport.write(b"ignored")
    socket.transport.abortConnection()
    assert peer.take() == []


@pytest.mark.parametrize("how", ["end", "reset", "connection"])
def test_the_clients_end_is_the_end(peer: Any, socket: Any, how: str) -> None:
    if how == "end":
        assert peer.ask(data(1, b"last", end=True))[-1].ends
        assert socket.data == [b"last"]
    elif how == "reset":
        peer.ask(rst_stream(1))
    else:
        peer.lose()
    assert socket.losses == 1
    assert socket.transport.disconnecting
    socket.transport.write(b"ignored")


def test_a_paused_socket_is_sent_no_more_than_its_window(peer: Any, socket: Any) -> None:
    socket.transport.pauseProducing()
    frames = []
    for _ in range(opening.STREAM_WINDOW // 16384):
        frames += peer.ask(data(1, bytes(16384)))
    assert not [got for got in frames if got.kind == WINDOW_UPDATE and got.stream_id == 1]
    assert socket.data == []
    socket.transport.resumeProducing()
    assert sum(map(len, socket.data)) == opening.STREAM_WINDOW
    assert [got for got in peer.take() if got.kind == WINDOW_UPDATE and got.stream_id == 1]


def test_what_comes_before_the_end_is_read_before_the_end(peer: Any, socket: Any) -> None:
    socket.transport.pauseProducing()
    peer.ask(data(1, b"one"), data(1, b"two", end=True))
    assert (socket.data, socket.losses) == ([], 0)
    socket.transport.resumeProducing()
    assert (socket.data, socket.losses) == ([b"one", b"two"], 1)


def test_what_a_client_does_not_take_is_counted(peer: Any, socket: Any) -> None:
    peer.ask(settings((4, 10)))
    socket.transport.write(bytes(65_535))
    assert socket.transport.buffered == 65_525
    peer.ask(window_update(1, 100))
    assert socket.transport.buffered == 65_425
