"""Windows both ways, whose turn it is, deadlines, floods and the end of a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline.protocol_servers import spool as spool_module
from trunkline.protocol_servers.http_core.http2 import connection as connection_module
from trunkline.protocol_servers.http_core.http2 import engine as engine_module
from trunkline.protocol_servers.http_core.http2 import opening
from trunkline.protocol_servers.testing.http2_client import (
    CANCEL,
    CONTINUATION,
    DATA,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    POST,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS_TIMEOUT,
    WINDOW_UPDATE,
    data,
    frame,
    priority,
    rst_stream,
    settings,
    window_update,
)

WIDE = (settings((4, 2**31 - 1)), window_update(0, 2**30))
POSTED = (*POST, (b"x", b"y"))


def content(frames: Any, stream_id: int = 1) -> bytes:
    return b"".join(got.payload for got in frames if got.kind == DATA and got.stream_id == stream_id)


def kinds(frames: Any) -> list[int]:
    return [got.kind for got in frames]


# Prior knowledge


def test_the_preface_is_told_from_http1_however_it_is_cut(peer_with: Any) -> None:
    for step in (1, 10, 18, 20, 1000):
        peer = peer_with(greet=False)
        greeting = PREFACE + settings() + peer.headers(1)
        for at in range(0, len(greeting), step):
            peer.send(greeting[at : at + step])
        assert content(peer.take()) == b"hello"


def test_the_preface_begins_a_connection_and_nothing_else(peer_with: Any) -> None:
    peer = peer_with(greet=False)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + PREFACE)
    written = peer.transport.take()
    assert written.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 505 " in written


def test_half_a_preface_is_no_http2(peer_with: Any) -> None:
    peer = peer_with(greet=False)
    peer.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert [got.code for got in peer.take() if got.kind == GOAWAY] == [PROTOCOL_ERROR]


# Bodies


def test_a_body_stops_at_the_window_while_nobody_takes_it(peer: Any) -> None:
    peer.handler.pause_after = 1
    peer.ask(peer.headers(1, POSTED, end=False))
    sent = 0
    while sent < opening.STREAM_WINDOW:
        frames = peer.ask(data(1, bytes(16384)))
        assert WINDOW_UPDATE not in kinds(got for got in frames if got.stream_id == 1)
        sent += 16384
    exchange = peer.handler.last
    assert len(exchange.pieces) == 1
    exchange.stream.resume_body()
    frames = peer.take()
    assert sum(map(len, exchange.pieces)) == sent
    assert 1 in {got.stream_id for got in frames if got.kind == WINDOW_UPDATE}
    peer.ask(data(1, b"end", end=True))
    assert exchange.pieces[-1] == b"end"
    assert exchange.ended == 1


def test_a_client_that_ignores_its_window_is_cut_off(peer: Any) -> None:
    peer.handler.pause_after = 1
    peer.ask(peer.headers(1, POSTED, end=False))
    frames = peer.ask(*[data(1, bytes(16384))] * 17)
    assert [got.code for got in frames if got.kind == GOAWAY] == [3]


def test_one_slow_body_does_not_stop_another(peer: Any) -> None:
    peer.handler.pause_after = 1
    peer.ask(peer.headers(1, POSTED, end=False), *[data(1, bytes(16384))] * 16)
    peer.handler.pause_after = 0
    peer.handler.answer = None
    peer.ask(peer.headers(3, POSTED, end=False))
    granted = opening.STREAM_WINDOW
    for _ in range(100):
        for got in peer.ask(data(3, bytes(16384))):
            if got.kind == WINDOW_UPDATE and got.stream_id == 3:
                granted += int.from_bytes(got.payload, "big")
        granted -= 16384
        assert granted >= 0
    assert sum(map(len, peer.handler.last.pieces)) == 100 * 16384


def test_what_was_not_taken_of_a_reset_body_is_given_back_to_the_connection(peer: Any) -> None:
    peer.handler.pause_after = 1
    given = 0
    for number in range(1, 41, 2):  # 20 x 240 KiB: far more than the connection's window
        frames = peer.ask(peer.headers(number, POSTED, end=False), *[data(number, bytes(16384))] * 15)
        frames += peer.ask(rst_stream(number))
        given += sum(
            int.from_bytes(got.payload, "big") for got in frames if got.kind == WINDOW_UPDATE and not got.stream_id
        )
        assert GOAWAY not in kinds(frames)
    assert given > 3 * opening.CONNECTION_WINDOW
    assert [each.losses for each in peer.handler.exchanges] == [1] * 20


def test_a_body_that_pauses_is_refused(peer_with: Any) -> None:
    peer = peer_with(body_timeout=5, min_body_rate=0)
    peer.ask(peer.headers(1, POSTED, end=False))
    peer.advance(4)
    peer.ask(data(1, b"x"))
    peer.advance(4)
    assert peer.take() == []
    peer.advance(2)
    frames = peer.take()
    assert frames[0].status == 408
    assert kinds(frames) == [HEADERS, DATA, RST_STREAM]
    assert peer.handler.last.losses == 1


def test_a_body_that_trickles_is_refused(peer_with: Any) -> None:
    peer = peer_with(body_timeout=5, min_body_rate=1000)
    peer.ask(peer.headers(1, POSTED, end=False))
    frames: list[Any] = []
    for _ in range(10):
        peer.advance(1)
        frames += peer.ask(data(1, b"x"))
    assert [got.status for got in frames if got.kind == HEADERS] == [408]


def test_time_while_nobody_takes_the_body_does_not_count(peer_with: Any) -> None:
    peer = peer_with(body_timeout=5)
    peer.handler.pause_after = 1
    peer.ask(peer.headers(1, POSTED, end=False), data(1, b"x"))
    peer.advance(20)
    assert HEADERS not in kinds(peer.take())
    peer.handler.last.stream.resume_body()
    peer.ask(data(1, b"y", end=True))
    assert peer.handler.last.ended == 1


# Answers


def test_streams_take_turns(peer: Any) -> None:
    peer.ask(*WIDE)
    peer.transport.room = 1  # the first answer stops the transport
    peer.handler.answer = bytes(200_000)
    begun = peer.ask(peer.headers(1), peer.headers(3), peer.headers(5))
    peer.transport.drain()
    frames = [got for got in begun + peer.take() if got.kind == DATA]
    order = [got.stream_id for got in frames if got.payload]
    assert {1, 3, 5} == set(order)
    behind = order[-20:]
    assert len(set(behind)) == 3
    assert [len(content(frames, number)) for number in (1, 3, 5)] == [200_000] * 3


def test_a_small_answer_does_not_wait_for_a_large_one(peer: Any) -> None:
    peer.ask(*WIDE)
    peer.handler.answer = bytes(3_000_000)
    peer.transport.room = 100_000
    peer.ask(peer.headers(1))
    peer.transport.drain(room=10_000_000)
    peer.handler.answer = b"small"
    frames = peer.ask(peer.headers(3))
    assert content(frames, 3) == b"small"


def test_what_a_slow_client_has_not_taken_waits_outside_of_memory(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    stream = peer.handler.last.stream
    stream.start(200, (), b"", True)
    for _ in range(100):
        stream.write(bytes(65536), True)
    assert len(content(peer.take())) == 65535
    assert stream.left == 100 * 65536 - 65535
    assert stream._spool._in_memory <= 256 * 1024
    stream.write(b"", False)
    got = 65535
    while got < 100 * 65536:
        frames = peer.ask(window_update(1, 500_000), window_update(0, 500_000))
        got += len(content(frames))
    assert frames[-1].ends
    assert peer.connection.spools == 0


def test_a_response_that_outgrows_the_spool_is_cut(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module.Spool.__init__, "__defaults__", (1000, 100_000, 1000))
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    stream = peer.handler.last.stream
    stream.start(200, (), bytes(65536), True)
    assert not stream.write(bytes(90_000), True)
    assert stream.write(bytes(90_000), True)
    assert peer.take()[-1].kind == RST_STREAM
    assert peer.handler.stats["slow_clients_cut"] == 1
    assert peer.handler.last.losses == 1


def test_a_client_that_takes_nothing_of_an_ended_answer_is_cut_off(peer_with: Any) -> None:
    peer = peer_with(idle_timeout=20)
    peer.handler.answer = bytes(100_000)
    peer.ask(peer.headers(1))
    peer.advance(15)
    peer.ask(window_update(1, 10), window_update(0, 10))
    peer.advance(15)
    assert RST_STREAM not in kinds(peer.take())
    peer.advance(21)
    assert [(got.stream_id, got.code) for got in peer.take() if got.kind == RST_STREAM] == [(1, CANCEL)]
    assert peer.handler.stats["slow_clients_cut"] == 1


def test_nothing_is_read_while_the_client_takes_nothing(peer: Any) -> None:
    peer.transport.room = 100
    peer.ask(*[frame(PING, 0, bytes(8))] * 20)
    assert not peer.transport.reading
    peer.transport.drain()
    assert peer.transport.reading


def test_a_client_that_takes_nothing_at_all_is_cut_off(peer_with: Any) -> None:
    peer = peer_with(idle_timeout=20)
    peer.ask(*WIDE)
    peer.handler.answer = bytes(1_000_000)
    peer.transport.room = 100_000
    peer.ask(peer.headers(1))
    peer.advance(70)
    assert peer.transport.disconnecting
    assert peer.handler.stats["slow_clients_cut"] >= 1  # the stream and its connection, whichever is looked at first


def test_a_client_that_leaves_is_reported(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1), peer.headers(3), peer.headers(5))
    peer.ask(rst_stream(3))
    assert [each.losses for each in peer.handler.exchanges] == [0, 1, 0]
    peer.handler.exchanges[0].stream.start(200, (), b"x")
    peer.lose()
    assert [each.losses for each in peer.handler.exchanges] == [0, 1, 1]
    assert [status for _, status, _ in peer.handler.log] == [499, 200, 499]


# Deadlines


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", SETTINGS_TIMEOUT),
        (PREFACE[:10], SETTINGS_TIMEOUT),
        (PREFACE + settings()[:5], SETTINGS_TIMEOUT),
        (PREFACE + settings() + frame(HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
        (PREFACE + settings() + frame(HEADERS, 1, b"\x82", 5)[:-1], PROTOCOL_ERROR),
        (PREFACE + settings() + b"\0", PROTOCOL_ERROR),
    ],
)
def test_a_head_must_come_in_time(peer_with: Any, sent: bytes, code: int) -> None:
    peer = peer_with(alpn=True, greet=False, head_timeout=5)
    peer.send(sent)
    peer.advance(4)
    assert GOAWAY not in kinds(peer.take())
    peer.advance(2)
    assert [got.code for got in peer.take() if got.kind == GOAWAY] == [code]
    peer.advance(3)
    assert peer.transport.disconnecting


def test_heads_that_come_in_time_may_be_many(peer_with: Any) -> None:
    peer = peer_with(head_timeout=5)
    for number in range(1, 21, 2):
        head = peer.headers(number)
        peer.send(head[:10])
        peer.advance(4)
        assert content(peer.ask(head[10:]), number) == b"hello"


def test_there_may_always_be_the_beginning_of_another_head(peer_with: Any) -> None:
    peer = peer_with(head_timeout=5)
    rest = b""
    for number in range(1, 41, 2):
        head = peer.headers(number)
        assert not [got for got in peer.ask(rest + head[:10]) if got.kind == GOAWAY]
        peer.advance(3)
        rest = head[10:]
    assert content(peer.ask(rest), 39) == b"hello"


def test_a_head_may_not_grow_for_ever(peer_with: Any) -> None:
    peer = peer_with(head_timeout=5)
    peer.send(peer.headers(1, flags=0))
    frames: list[Any] = []
    for _ in range(3):
        peer.advance(2)
        frames += peer.ask(frame(CONTINUATION, 1, b"\x00\x01x\x01y"))
    assert [got.code for got in frames if got.kind == GOAWAY] == [PROTOCOL_ERROR]


def test_an_idle_connection_is_closed_in_two_steps(peer_with: Any) -> None:
    peer = peer_with(idle_timeout=20)
    peer.advance(15)
    assert content(peer.ask(peer.headers(1))) == b"hello"
    peer.advance(18)
    assert peer.take() == []
    peer.advance(3)
    first, asked = peer.take()
    assert (first.last_stream, first.code) == (2**31 - 1, NO_ERROR)
    assert content(peer.ask(peer.headers(3)), 3) == b"hello"  # it was on its way
    (last,) = peer.ask(frame(PING, 0, asked.payload, 1))
    assert (last.last_stream, last.code) == (3, NO_ERROR)
    assert peer.transport.half_closed
    peer.advance(connection_module.LINGER + 0.1)
    assert peer.transport.disconnecting


def test_a_client_that_still_sends_is_not_closed_before_it_has_read(peer: Any) -> None:
    peer.handler.answer = bytes(60_000)
    frames = peer.ask(peer.headers(1), frame(GOAWAY, 0, bytes(8)))
    assert len(content(frames)) == 60_000
    assert peer.transport.half_closed
    passed = 0.0
    while not peer.transport.disconnecting and passed < 60:
        assert peer.transport.reading
        assert peer.ask(window_update(0, 100)) == []  # as it takes the answer, on the other side of a slow line
        peer.advance(connection_module.LINGER / 2)
        passed += connection_module.LINGER / 2
    assert connection_module.MOST_LINGER <= passed <= connection_module.MOST_LINGER + 1


def test_a_client_that_has_read_its_end_is_gone_at_once(peer: Any) -> None:
    peer.ask(frame(GOAWAY, 0, bytes(8)))
    peer.lose()
    assert not peer.factory.connections


def test_a_silent_client_is_asked_for_a_sign_of_life(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    for _ in range(5):
        peer.advance(connection_module.KEEP_ALIVE + 1)
        (asked,) = peer.take()
        assert asked.kind == PING
        peer.ask(frame(PING, 0, asked.payload, 1))
    peer.advance(connection_module.KEEP_ALIVE + 1)
    peer.advance(connection_module.PATIENCE + 1)
    assert peer.transport.disconnecting
    assert peer.handler.last.losses == 1
    assert peer.handler.stats["silent_clients_cut"] == 1


def test_an_answer_may_take_longer_than_every_timeout(peer_with: Any) -> None:
    peer = peer_with(idle_timeout=5, head_timeout=5, body_timeout=5)
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    for _ in range(10):
        peer.advance(20)
        peer.ask(*[frame(PING, 0, got.payload, 1) for got in peer.take() if got.kind == PING])
    peer.handler.last.stream.start(200, (), b"at last")
    assert content(peer.take()) == b"at last"


# Floods, with counts


def flooded(peer: Any, pieces: Any, at_most: int) -> int:
    """Send until the connection ends with ENHANCE_YOUR_CALM; return how many pieces that took."""
    sent = 0
    for piece in pieces:
        sent += 1
        codes = [got.code for got in peer.ask(piece) if got.kind == GOAWAY]
        if codes:
            assert codes == [ENHANCE_YOUR_CALM]
            assert peer.handler.stats["http2_floods"] == 1
            return sent
        assert sent <= at_most
    raise AssertionError(f"{sent} and no end")


CONTROL = {
    "PING": lambda c, n: frame(PING, 0, bytes(8)),
    "SETTINGS": lambda c, n: settings((4, n)),
    "SETTINGS ACK": lambda c, n: settings(flags=1),
    "PRIORITY": lambda c, n: priority(1),
    "unknown": lambda c, n: frame(0x20, 0),
    "GOAWAY": lambda c, n: frame(0x20, 0),
    "empty DATA": lambda c, n: data(1),
    "empty DATA with padding": lambda c, n: data(1, padding=9),
    "RST_STREAM of what is gone": lambda c, n: rst_stream(3),
    "DATA for what is gone": lambda c, n: data(5, b"x"),
}


@pytest.mark.parametrize("make", CONTROL.values(), ids=CONTROL)
def test_frames_that_move_nothing_end_with_calm(peer: Any, make: Any) -> None:
    peer.handler.answer = None
    peer.ask(
        peer.headers(1, POST, end=False),
        peer.headers(3),
        rst_stream(3),
        peer.headers(5, POST, end=False),
        rst_stream(5),
    )
    most = engine_module.CONTROL
    assert most * 0.9 < flooded(peer, (make(peer, n) for n in range(10_000)), most + 10) <= most + 10


def test_a_patient_client_may_send_as_many(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    for _ in range(2000):
        assert kinds(peer.ask(frame(PING, 0, bytes(8)))) == [PING]
        peer.advance(0.05)


def test_rapid_resets_end_with_calm_and_few_requests(peer: Any) -> None:
    pairs = (peer.headers(number) + rst_stream(number) for number in range(1, 100_000, 2))
    peer.handler.answer = None
    sent = flooded(peer, pairs, engine_module.RESETS + 2)
    assert len(peer.handler.exchanges) == sent <= engine_module.RESETS + 1
    assert all(each.losses == 1 for each in peer.handler.exchanges)


def test_rapid_resets_in_one_piece_end_as_well(peer: Any) -> None:
    peer.handler.answer = None
    piece = b"".join(peer.headers(number) + rst_stream(number) for number in range(1, 20_000, 2))
    assert [got.code for got in peer.ask(piece) if got.kind == GOAWAY] == [ENHANCE_YOUR_CALM]
    assert len(peer.handler.exchanges) <= engine_module.RESETS + 1


def test_streams_that_we_are_made_to_reset_count_as_well(peer: Any) -> None:
    peer.handler.answer = None
    pairs = (peer.headers(number) + window_update(number, 0) for number in range(1, 100_000, 2))
    sent = flooded(peer, pairs, engine_module.RESETS + 2)
    assert len(peer.handler.exchanges) == sent


def test_malformed_requests_end_with_calm(peer: Any) -> None:
    flooded(peer, (peer.headers(n, ((b"x", b"y"),)) for n in range(1, 10_000, 2)), engine_module.RESETS + 2)
    assert not peer.handler.exchanges


def test_streams_over_the_limit_end_with_calm(peer: Any) -> None:
    peer.handler.answer = None
    most = opening.MAX_STREAMS + engine_module.RESETS + 2
    flooded(peer, (peer.headers(number) for number in range(1, 10_000, 2)), most)
    assert len(peer.handler.exchanges) == opening.MAX_STREAMS


def test_empty_continuations_end(peer: Any) -> None:
    peer.ask(peer.headers(1, flags=0))
    frames = peer.ask(*[frame(CONTINUATION, 1)] * 10_000)
    assert GOAWAY in kinds(frames)


def test_a_window_opened_byte_by_byte_ends_with_calm(peer: Any) -> None:
    peer.handler.answer = bytes(1_000_000)
    peer.ask(settings((4, 0)), peer.headers(1))
    most = engine_module.UPDATES
    flooded(peer, (window_update(1, 1) for _ in range(10_000)), most + 10)


def test_a_client_that_takes_much_may_update_its_windows_often(peer: Any) -> None:
    peer.handler.answer = bytes(8_000_000)
    frames = peer.ask(peer.headers(1))
    got = len(content(frames))
    updates = 0
    while got < 8_000_000:
        frames = peer.ask(window_update(1, 2000), window_update(0, 2000))
        updates += 2
        got += len(content(frames))
    assert frames[-1].ends
    assert updates > 7 * engine_module.UPDATES


def test_requests_answered_speak_for_the_client(peer: Any) -> None:
    for number in range(1, 4001, 2):
        assert content(peer.ask(priority(number), peer.headers(number)), number) == b"hello"


def test_nothing_is_kept_of_streams_that_are_gone(peer: Any) -> None:
    for number in range(1, 6001, 2):
        peer.ask(peer.headers(number))
    h2 = peer.connection.engine._h2
    assert len(h2.streams) < 10
    assert len(h2._closed_streams) <= opening.REMEMBERED
    assert not peer.connection._flows


# Draining


def drain(peer: Any, grace: float = 100) -> Any:
    loop = asyncio.new_event_loop()
    draining = loop.create_task(peer.factory.drain(grace))

    def run() -> bool:
        loop.run_until_complete(asyncio.sleep(0))
        peer.handler.turn()
        loop.run_until_complete(asyncio.sleep(0))
        return draining.done()

    run()
    return run, loop, draining


def test_draining_finishes_what_is_at_hand_and_takes_no_more(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1))
    run, loop, _ = drain(peer)
    first, asked = peer.take()
    assert (first.kind, first.last_stream, first.code) == (GOAWAY, 2**31 - 1, NO_ERROR)
    peer.ask(peer.headers(3))  # sent before the client read of it
    (last,) = peer.ask(frame(PING, 0, asked.payload, 1))
    assert (last.kind, last.last_stream) == (GOAWAY, 3)
    assert [(got.kind, got.code) for got in peer.ask(peer.headers(5))] == [(RST_STREAM, REFUSED_STREAM)]
    for each in peer.handler.exchanges:
        assert not peer.transport.disconnecting
        each.stream.start(200, (), b"done")
    frames = peer.take()
    assert [content(frames, number) for number in (1, 3)] == [b"done", b"done"]
    assert peer.transport.half_closed
    assert not run()
    peer.lose()
    assert run()
    loop.close()


def test_draining_waits_for_no_round_trip_for_long(peer: Any) -> None:
    _run, loop, draining = drain(peer)
    peer.advance(connection_module.LAST_CALL + 0.1)
    assert [got.last_stream for got in peer.take() if got.kind == GOAWAY] == [2**31 - 1, 0]
    assert peer.transport.half_closed
    peer.lose()
    loop.run_until_complete(draining)
    loop.close()


def test_who_waits_for_an_answer_is_told_that_there_is_none(peer: Any) -> None:
    peer.handler.answer = None
    peer.ask(peer.headers(1), peer.headers(3))
    peer.handler.exchanges[1].stream.start(200, (), b"endless", True)
    peer.take()
    connection = peer.connection
    connection.drain()
    connection.hurry()
    assert [(got.kind, got.stream_id) for got in peer.take() if got.stream_id] == [(RST_STREAM, 3)]
    connection.give_up()
    frames = peer.take()
    assert [got.status for got in frames if got.kind == HEADERS] == [503]
    assert peer.handler.stats["cut_by_stop"] == 2
    assert [each.losses for each in peer.handler.exchanges] == [1, 1]
