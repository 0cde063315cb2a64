"""Random frames: nothing raises, nothing is kept for ever, and every request has one end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.testing.http2_client import GET, POST, PREFACE, data, frame, settings

IDS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 9, 2, 2**31 - 1])
FLAGS = st.integers(0, 255)

wild = st.builds(frame, st.integers(0, 12), IDS, st.binary(max_size=40), FLAGS)
fitting = st.one_of(
    st.builds(lambda n, code: frame(3, n, code.to_bytes(4, "big")), IDS, st.integers(0, 20)),
    st.builds(lambda n, by: frame(8, n, by.to_bytes(4, "big")), IDS, st.sampled_from([0, 1, 100, 65535, 2**31 - 1])),
    st.builds(lambda payload, flags: frame(6, 0, payload, flags), st.binary(min_size=8, max_size=8), FLAGS),
    st.builds(
        lambda name, value: settings((name, value)), st.integers(0, 9), st.sampled_from([0, 1, 16384, 65535, 2**31])
    ),
    st.builds(data, IDS, st.binary(max_size=50), end=st.booleans(), padding=st.none() | st.integers(0, 20)),
)
# A head is (stream, fields, whether it ends the stream): only the client's encoder can make its bytes.
heads = st.tuples(
    st.sampled_from([1, 3, 5, 7, 9, 11]),
    st.sampled_from(
        [
            GET,
            POST,
            (*POST, (b"content-length", b"5")),
            (*GET[1:], (b":method", b"CONNECT"), (b":protocol", b"websocket")),
            ((b"x", b"y"),),
            ((b":status", b"200"),),
            (*GET, (b"Bad", b"x")),
        ]
    ),
    st.booleans(),
)
acts = st.sampled_from(["answer", "endless", "cut", "pause", "resume", "time", "stuck", "drain", "leave", "socket"])


@given(st.lists(st.one_of(wild, fitting, heads, acts), max_size=40), st.integers(1, 200))
def test_whatever_comes_ends_well(make_manual: Any, make_peer: Callable[..., Any], steps: Any, step: int) -> None:
    peer = make_peer(make_manual(), greet=False)
    peer.handler.answer = None
    peer.send(PREFACE + settings())
    for each in steps:
        if isinstance(each, str):
            act(peer, each)
        else:
            piece = peer.headers(each[0], each[1], end=each[2]) if isinstance(each, tuple) else each
            for at in range(0, len(piece), step):
                peer.send(piece[at : at + step])
    assert peer.transport.disconnecting or len(next(iter(peer.factory.connections)).engine._buffer) < 17_000
    peer.lose()
    assert not peer.factory.connections
    assert all(each.losses <= 1 for each in peer.handler.exchanges)
    assert all(each.losses == 1 for each in peer.handler.sockets)
    assert len(peer.handler.log) >= len(peer.handler.exchanges)
    peer.advance(1000)
    assert not peer.handler.timers._slots or not any(peer.handler.timers._slots.values())


def act(peer: Any, what: str) -> None:
    exchange = peer.handler.exchanges[-1] if peer.handler.exchanges else None
    answering = exchange is not None and not exchange.losses and exchange.stream._response is not None
    if what == "time":
        peer.advance(7)
    elif what == "stuck" and peer.transport.producer is not None:
        peer.transport.producer.pauseProducing()
        peer.advance(1)
        if peer.transport.producer is not None:
            peer.transport.drain()
    elif what == "drain":
        for connection in list(peer.factory.connections):
            connection.drain()
            connection.hurry()
    elif what == "leave":
        for connection in list(peer.factory.connections):
            connection.give_up()
    elif what == "socket" and peer.handler.sockets:
        transport = peer.handler.sockets[-1].transport
        transport.write(b"frame" * 10)
        transport.loseConnection()
    elif answering and exchange is not None:
        stream = exchange.stream
        if what == "answer" and not stream._response.status:
            stream.start(200, (), b"x" * 100_000)
        elif what == "endless" and not stream._response.status:
            stream.start(200, (), b"x" * 10, True)
        elif what == "cut":
            stream.cut()
        elif what == "pause":
            stream.pause_body()
        elif what == "resume":
            stream.resume_body()
    peer.handler.turn()
