"""A connection: requests one at a time, answers in order, and everything about time, pace and the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers import spool as spool_module
from trunkline.protocol_servers.http_core import HttpFactory, HttpLimits, Request, ResponseStream
from trunkline.protocol_servers.http_core import outflow as outflow_module
from trunkline.protocol_servers.testing import MemoryTransport
from trunkline.protocol_servers.timers import TimerWheel

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = b"GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SOCKET = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Transport(MemoryTransport):
    """A transport that can be half closed, and can be slow."""

    producer: Any
    handler: Handler
    half_closed = False
    room: int | None = None  # bytes until the client takes no more

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.room is not None:
            self.room -= len(data)
            if self.room <= 0 and self.buffered == 0:
                self.buffered = -self.room
                self.producer.pauseProducing()

    def drain(self, room: int | None = None) -> None:
        """Let the client take what is buffered, and `room` bytes more."""
        self.buffered = 0
        self.room = room
        self.producer.resumeProducing()


class Exchange:
    """What the handler made of a request, for the test to look at and answer by."""

    def __init__(self, request: Request, stream: ResponseStream, immediate: bool) -> None:
        self.request = request
        self.stream = stream
        self.immediate = immediate
        self.pieces: list[bytes] = []
        self.ended = 0
        self.losses = 0

    def body(self, data: bytes) -> None:
        self.pieces.append(data)

    def end(self) -> None:
        self.ended += 1
        if self.immediate:
            self.stream.start(200, (), self.request.path.encode())

    def lost(self) -> None:
        self.losses += 1


class Socket:
    def __init__(self, request: Request, transport: Any) -> None:
        self.request = request
        self.transport = transport
        self.data: list[bytes] = []
        self.losses = 0

    def data_received(self, data: bytes) -> None:
        self.data.append(data)

    def connection_lost(self) -> None:
        self.losses += 1


class Handler:
    """Takes every request, and answers at once or leaves that to the test."""

    def __init__(self, manual: Any) -> None:
        self.limits = HttpLimits()
        self.timers = TimerWheel(manual.call_later, manual.clock)
        self.clock = manual.clock
        self.soon: list[Callable[[], None]] = []
        self.stats: Counter[str] = Counter()
        self.immediate = False
        self.sockets_wanted = True
        self.exchanges: list[Exchange] = []
        self.sockets: list[Socket] = []
        self.log: list[tuple[str, int, int]] = []

    def begin(self, request: Request, stream: ResponseStream) -> Exchange:
        self.exchanges.append(Exchange(request, stream, self.immediate))
        return self.exchanges[-1]

    def upgrade(self, request: Request, transport: Any) -> Socket | None:
        if not self.sockets_wanted:
            return None
        self.sockets.append(Socket(request, transport))
        return self.sockets[-1]

    def answered(self, request: Request | None, client: str, status: int, size: int, began: float) -> None:
        self.log.append(("-" if request is None else request.path, status, size))

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]

    def call_soon(self, function: Callable[[], None], /) -> None:
        self.soon.append(function)

    def turn(self) -> int:
        """Let the loop turn; return how much it had to do."""
        ready, self.soon[:] = list(self.soon), []
        for each in ready:
            each()
        return len(ready)


@pytest.fixture
def handler(manual: Any) -> Handler:
    return Handler(manual)


@pytest.fixture
def connect(handler: Handler) -> Iterator[Callable[[], Transport]]:
    factory = HttpFactory(handler)
    made: list[Transport] = []

    def connecting(**options: Any) -> Transport:
        made.append(Transport(factory.buildProtocol(None), **options))
        made[-1].handler = handler
        return made[-1]

    connecting.factory = factory  # type: ignore[attr-defined]
    yield connecting
    for transport in made:
        if transport.protocol in factory.connections:
            transport.finish()
    assert not factory.connections


@pytest.fixture
def transport(connect: Callable[[], Transport]) -> Transport:
    return connect()


def feed(transport: Transport, data: bytes) -> None:
    transport.protocol.dataReceived(data)
    while transport.handler.turn():
        pass


def content(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


# One after the other


def test_a_request_is_answered_and_the_connection_stays(handler: Handler, transport: Transport) -> None:
    for number in range(3):
        feed(transport, GET % number)
        assert transport.take() == b""
        assert handler.last.ended == 1
        assert handler.last.stream.start(200, (), b"answer")
        assert content(transport.take()) == b"answer"
    assert not transport.disconnecting
    assert handler.log == [("/0", 200, 6), ("/1", 200, 6), ("/2", 200, 6)]


@pytest.mark.parametrize("line", [b"INVALID CONNECTION PREFACE", b"EHLO mail.example.org SMTPUTF8"])
def test_whoever_speaks_another_protocol_is_not_answered(handler: Handler, transport: Transport, line: bytes) -> None:
    feed(transport, line + b"\r\n\r\n")
    assert transport.take() == b""
    assert transport.disconnecting
    assert handler.stats["bad_requests"] == 1


def test_such_a_line_behind_a_request_is_refused_as_any_other(handler: Handler, transport: Transport) -> None:
    handler.immediate = True
    feed(transport, GET % 1)
    transport.take()
    feed(transport, b"INVALID CONNECTION PREFACE\r\n\r\n")
    assert transport.take().startswith(b"HTTP/1.1 400 ")


def test_a_request_knows_where_it_came_from(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 1)
    request = handler.last.request
    assert request.client == ["192.168.1.1", 54321]
    assert request.server == ["10.0.0.1", 12345]
    assert request.scheme == "http"


def test_a_request_through_tls_has_its_scheme(handler: Handler, connect: Callable[..., Transport]) -> None:
    feed(connect(tls=True), GET % 1)
    assert handler.last.request.scheme == "https"


def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0 + POST % 3 + b"abc" + GET % 2)
    for path in ("/0", "/p", "/2"):
        assert handler.last.request.path == path
        assert handler.last.ended == 1
        handler.last.stream.start(200, (), path.encode())
        assert content(transport.take()) == path.encode()
    assert len(handler.exchanges) == 3


def test_a_burst_of_requests_that_are_answered_at_once_needs_no_stack(handler: Handler, transport: Transport) -> None:
    handler.immediate = True
    feed(transport, b"".join(GET % number for number in range(3000)))
    assert len(handler.exchanges) == 3000
    assert transport.take().count(b"HTTP/1.1 200") == 3000


def test_others_come_first_after_some_requests_that_are_answered_at_once(
    handler: Handler, transport: Transport
) -> None:
    handler.immediate = True
    transport.protocol.dataReceived(b"".join(GET % number for number in range(10)))
    answered = [len(handler.exchanges)]
    while handler.turn():
        answered.append(len(handler.exchanges))
    assert answered == [4, 8, 10]
    assert transport.producerState == "producing"


def test_a_client_that_sends_too_far_ahead_is_not_read_from(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    feed(transport, GET % 1 * 2500)
    assert transport.producerState == "paused"
    handler.immediate = True
    handler.last.stream.start(200)
    while handler.turn():
        pass
    assert transport.producerState == "producing"
    assert len(handler.exchanges) == 2501


def test_an_old_client_is_answered_and_closed(handler: Handler, transport: Transport) -> None:
    feed(transport, b"GET / HTTP/1.0\r\n\r\n")
    handler.last.stream.start(200, (), b"x")
    assert b"connection: close" in transport.take()
    assert transport.disconnecting
    assert not transport.half_closed


def test_nothing_is_read_after_the_last_request(handler: Handler, transport: Transport) -> None:
    feed(transport, CLOSE + GET % 1)
    handler.last.stream.start(200)
    feed(transport, GET % 2)
    assert len(handler.exchanges) == 1
    assert transport.half_closed, "bytes that nobody reads would reset the connection before the answer was read"
    transport.take()


def test_a_streamed_response_goes_out_as_it_comes(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0 + GET % 1)
    stream = handler.last.stream
    assert not stream.start(200, (), b"", True)
    assert b"chunked" in transport.take()
    assert not stream.write(b"a", True)
    assert transport.take() == b"1\r\na\r\n"
    assert len(handler.exchanges) == 1
    assert stream.write(b"")
    assert transport.take() == b"0\r\n\r\n"
    assert len(handler.exchanges) == 2
    assert handler.log == [("/0", 200, 1)]


# Bodies


def test_a_body_is_handed_on_as_it_comes(handler: Handler, transport: Transport) -> None:
    feed(transport, POST % 6)
    feed(transport, b"abc")
    assert handler.last.pieces == [b"abc"]
    assert handler.last.ended == 0
    feed(transport, b"def")
    assert handler.last.pieces == [b"abc", b"def"]
    assert handler.last.ended == 1


def test_a_large_body_comes_in_small_pieces(handler: Handler, transport: Transport) -> None:
    body = bytes(200_000)
    feed(transport, POST % len(body) + body)
    assert max(map(len, handler.last.pieces)) == 65536
    assert b"".join(handler.last.pieces) == body
    assert handler.last.ended == 1


def test_a_client_waits_while_its_body_is_not_wanted(handler: Handler, transport: Transport) -> None:
    feed(transport, CHUNKED + b"3\r\nabc\r\n")
    exchange = handler.last
    exchange.stream.pause_body()
    feed(transport, b"20000\r\n" + bytes(0x20000))
    assert exchange.pieces == [b"abc"]
    assert transport.producerState == "paused"
    exchange.stream.resume_body()
    assert b"".join(exchange.pieces) == b"abc" + bytes(0x20000)
    assert transport.producerState == "producing"
    feed(transport, b"\r\n0\r\n\r\n")
    assert exchange.ended == 1
    exchange.stream.pause_body()  # too late, and harmless
    exchange.stream.resume_body()


def test_a_client_that_asks_is_told_to_send_its_body(handler: Handler, transport: Transport) -> None:
    feed(transport, POST[:-2] % 3 + b"Expect: 100-continue\r\n\r\n")
    assert transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    feed(transport, b"abc")
    handler.last.stream.start(200)
    assert transport.take().startswith(b"HTTP/1.1 200")


def test_a_client_that_did_not_wait_is_told_nothing(handler: Handler, transport: Transport) -> None:
    feed(transport, POST[:-2] % 3 + b"Expect: 100-continue\r\n\r\nabc")
    assert transport.take() == b""
    assert handler.last.ended == 1


def test_a_body_too_large_is_refused_before_it_is_asked_for(handler: Handler, transport: Transport) -> None:
    handler.limits.max_body = 2
    feed(transport, POST[:-2] % 3 + b"Expect: 100-continue\r\n\r\n")
    assert transport.take().startswith(b"HTTP/1.1 413")
    assert handler.exchanges == []


def test_an_answer_before_the_end_of_the_body_is_the_last_on_its_connection(
    handler: Handler, transport: Transport
) -> None:
    feed(transport, POST % 6 + b"abc")
    exchange = handler.last
    assert exchange.stream.start(403, (), b"no")
    answer = transport.take()
    assert b"connection: close" in answer
    assert content(answer) == b"no"
    assert transport.half_closed
    feed(transport, b"def" + GET % 1)
    assert exchange.pieces == [b"abc"]
    assert exchange.ended == 0
    assert len(handler.exchanges) == 1


# Refusals


def test_a_request_that_makes_no_sense_is_answered_and_closed(
    handler: Handler, transport: Transport, manual: Any
) -> None:
    feed(transport, b"GET / HTTP/1.1\r\n\r\n" + GET % 1)
    answer = transport.take()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: text/plain; charset=utf-8\r\n" in answer
    assert b"connection: close\r\n" in answer
    assert content(answer) == b"no Host header\n"
    assert handler.exchanges == []
    assert handler.stats["bad_requests"] == 1
    assert handler.log == [("-", 400, 15)]
    assert transport.half_closed
    feed(transport, b"x" * 100_000)
    assert not transport.disconnecting
    manual.advance(2.1)
    assert transport.disconnecting
    assert transport.take() == b""


def test_a_refusal_waits_its_turn(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0 + b"nonsense\r\n\r\n")
    assert transport.take() == b""
    handler.last.stream.start(200, (), b"first")
    sent = transport.take()
    assert sent.index(b"first") < sent.index(b"HTTP/1.1 400")


def test_a_body_that_makes_no_sense_ends_its_request(handler: Handler, transport: Transport) -> None:
    feed(transport, CHUNKED + b"3\r\nabc\r\nx\r\n")
    assert handler.last.pieces == [b"abc"]
    assert handler.last.losses == 1
    assert transport.take().startswith(b"HTTP/1.1 400")
    assert handler.log == [("/c", 400, content_length(handler))]


def content_length(handler: Handler) -> int:
    return handler.log[-1][2]


def test_a_body_that_makes_no_sense_cuts_a_response_that_has_begun(handler: Handler, transport: Transport) -> None:
    feed(transport, CHUNKED + b"3\r\nabc\r\n")
    handler.last.stream.start(200, (), b"", True)
    transport.take()
    feed(transport, b"x\r\n")
    assert transport.take() == b""
    assert transport.disconnected
    assert handler.last.losses == 1


def test_a_refusal_reaches_a_client_that_is_slow(handler: Handler, transport: Transport) -> None:
    handler.immediate = True
    transport.room = 10
    feed(transport, GET % 0)
    assert content(transport.take()) == b"/0"
    feed(transport, b"nonsense\r\n\r\n")
    assert transport.take() == b""
    assert not transport.half_closed
    transport.drain()
    assert transport.take().startswith(b"HTTP/1.1 400")
    assert transport.half_closed


# Time


def test_a_connection_on_which_nothing_happens_is_closed_without_a_word(
    handler: Handler, transport: Transport, manual: Any
) -> None:
    manual.advance(74)
    feed(transport, GET % 0)
    manual.advance(200)
    assert not transport.disconnecting, "the time for an answer is not the connection's business"
    handler.last.stream.start(200)
    transport.take()
    manual.advance(74)
    assert not transport.disconnecting
    manual.advance(1.2)
    assert transport.disconnecting
    assert transport.take() == b""


def test_idleness_counts_from_the_last_answer_whatever_was_waited_for_before(
    handler: Handler, connect: Callable[[], Transport], manual: Any
) -> None:
    handler.limits = HttpLimits(idle_timeout=5.0, head_timeout=3.0, body_timeout=60.0)
    handler.immediate = True
    quick = connect()
    for _ in range(4):
        feed(quick, GET % 1)
        manual.advance(2)
    posted, slow = connect(), connect()
    feed(posted, POST % 3 + b"a")
    feed(posted, b"bc")
    feed(slow, GET[:5])
    manual.advance(1)
    feed(slow, GET[5:] % 1)
    assert not any(each.disconnecting for each in (quick, posted, slow))
    manual.advance(2.2)
    assert [each.disconnecting for each in (quick, posted, slow)] == [True, False, False]
    manual.advance(2)
    assert [each.disconnecting for each in (quick, posted, slow)] == [True, True, False]
    manual.advance(1)
    assert slow.disconnecting


def test_a_head_must_come_in_time_from_its_first_byte(handler: Handler, transport: Transport, manual: Any) -> None:
    manual.advance(50)
    feed(transport, b"G")
    for _ in range(9):
        manual.advance(1)
        feed(transport, b"E")
    assert transport.take() == b""
    manual.advance(1.2)
    answer = transport.take()
    assert answer.startswith(b"HTTP/1.1 408")
    assert content(answer) == b"the head did not come within 10 s\n"
    assert handler.log == [("-", 408, 34)]


def test_a_head_in_time_leaves_no_deadline_behind(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, GET[:5])
    manual.advance(9)
    feed(transport, GET[5:] % 0)
    manual.advance(60)
    handler.last.stream.start(200)
    assert transport.take().startswith(b"HTTP/1.1 200")


def test_a_body_that_stops_coming_is_refused(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, POST % 1_000_000 + bytes(500_000))
    manual.advance(29)
    feed(transport, b"x")
    manual.advance(29)
    assert transport.take() == b""
    manual.advance(1.2)
    assert transport.take().startswith(b"HTTP/1.1 408")
    assert handler.last.losses == 1


def test_a_body_that_comes_by_drops_is_refused(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, POST % 1_000_000)
    for _ in range(29):
        manual.advance(1)
        feed(transport, bytes(10))
    assert transport.take() == b""
    manual.advance(2)  # 290 bytes at 500 a second are worth 0.58 s
    assert transport.take().startswith(b"HTTP/1.1 408")


def test_a_body_at_the_least_rate_may_take_its_time(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, POST % 100_000)
    for _ in range(200):
        manual.advance(1)
        feed(transport, bytes(500))
    assert handler.last.ended == 1


def test_without_a_least_rate_only_a_pause_ends_a_body(handler: Handler, transport: Transport, manual: Any) -> None:
    handler.limits.min_body_rate = 0
    feed(transport, POST % 1000)
    for _ in range(100):
        manual.advance(10)
        feed(transport, b"x")
    assert transport.take() == b""
    manual.advance(31)
    assert transport.take().startswith(b"HTTP/1.1 408")


def test_time_in_which_we_do_not_read_is_not_the_clients(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, POST % 1000)
    handler.last.stream.pause_body()
    handler.last.stream.pause_body()
    manual.advance(500)
    assert transport.take() == b""
    handler.last.stream.resume_body()
    manual.advance(29)
    assert transport.take() == b""
    manual.advance(1.2)
    assert transport.take().startswith(b"HTTP/1.1 408")


# Slow clients


def test_what_a_client_does_not_take_is_kept_for_it(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0 + GET % 1)
    transport.room = 1000
    answer = bytes(range(256)) * 4096
    assert handler.last.stream.start(200, (), answer)
    first = transport.take()
    assert len(first) <= 2 * 65536, "the rest waits in the spool"
    assert len(handler.exchanges) == 1, "the next request waits too"
    taken = [first]
    while len(handler.exchanges) == 1:
        transport.drain(1000)
        taken.append(transport.take())
        assert len(taken[-1]) <= 2 * 65536
    assert content(b"".join(taken)) == answer


def test_a_stream_is_kept_for_a_slow_client_and_closed_when_it_is_out(handler: Handler, transport: Transport) -> None:
    feed(transport, CLOSE)
    stream = handler.last.stream
    transport.room = 0
    stream.start(200, (), b"first", True)
    transport.take()
    for number in range(10):
        stream.write(b"%d" % number, True)
    stream.write(b"")
    assert transport.take() == b""
    assert not transport.disconnecting
    transport.drain()
    assert transport.take() == b"".join(b"1\r\n%d\r\n" % number for number in range(10)) + b"0\r\n\r\n"
    assert transport.disconnecting


def test_a_stream_goes_on_when_a_slow_client_has_caught_up(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    stream = handler.last.stream
    transport.room = 0
    stream.start(200, (), b"a", True)
    stream.write(b"b", True)
    assert transport.take().endswith(b"1\r\na\r\n")
    transport.drain()
    assert transport.take() == b"1\r\nb\r\n"
    stream.write(b"c", True)
    assert transport.take() == b"1\r\nc\r\n", "straight to the client, and not behind the spool any more"
    assert not transport.disconnecting


def test_a_client_too_far_behind_is_cut_off(
    handler: Handler, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow_module, "Spool", lambda: spool_module.Spool(memory=100, limit=1000))
    feed(transport, GET % 0)
    exchange = handler.last
    transport.room = 0
    exchange.stream.start(200, (), b"first", True)
    assert not exchange.stream.write(bytes(900), True)
    assert exchange.stream.write(bytes(900), True)
    assert transport.disconnected
    assert exchange.losses == 1
    assert handler.stats["slow_clients_cut"] == 1


def test_a_disk_that_fails_hurts_only_the_client_that_needs_it(
    handler: Handler, connect: Callable[[], Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        size = 0

        def write(self, data: bytes) -> None:
            raise OSError("no disk")

        def close(self) -> None:
            pass

    monkeypatch.setattr(outflow_module, "Spool", Broken)
    transport, other = connect(), connect()
    feed(transport, GET % 0)
    transport.room = 0
    handler.last.stream.start(200, (), b"a", True)
    handler.last.stream.write(b"b", True)
    assert transport.disconnected
    feed(other, GET % 1)
    handler.last.stream.start(200)
    assert other.take().startswith(b"HTTP/1.1 200")


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(
    handler: Handler, transport: Transport, manual: Any
) -> None:
    feed(transport, GET % 0)
    transport.room = 1000
    handler.last.stream.start(200, (), bytes(300_000))
    manual.advance(70)
    transport.drain(1000)
    manual.advance(70)
    assert not transport.disconnected, "it took something in the meantime"
    manual.advance(80)
    assert transport.disconnected
    assert handler.stats["slow_clients_cut"] == 1


# Anything

traffic = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.sampled_from(
            [GET % 0, CLOSE, POST % 5, CHUNKED, SOCKET, b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"\r\n"]
        ),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(
    pieces=traffic, answers=st.lists(st.sampled_from(["start", "stream", "cut", "drain", "wait", "pause"]), max_size=6)
)
def test_no_bytes_and_no_answers_break_a_connection(make_manual: Any, pieces: list[bytes], answers: list[str]) -> None:
    manual = make_manual()
    handler = Handler(manual)
    handler.limits = HttpLimits(max_head=256, max_body=100)
    factory = HttpFactory(handler)
    transport = Transport(factory.buildProtocol(None))
    transport.handler = handler
    steps = iter(answers)
    for piece in pieces:
        feed(transport, piece)
        stream: Any = handler.last.stream if handler.exchanges and not handler.last.losses else None
        step = next(steps, "wait")
        if step == "wait":
            manual.advance(5)
        elif step == "drain":
            transport.protocol.drain()
        elif stream is not None and stream._exchange is handler.last:
            if step == "cut":
                stream.cut()
            elif step == "pause":
                stream.pause_body()
                stream.resume_body()
            elif stream._response is not None and stream._response.status:
                stream.write(b"y", step == "stream")
            else:
                stream.start(200, (), b"x", step == "stream")
    transport.finish()
    assert not factory.connections
    assert all(exchange.ended <= 1 and exchange.losses <= 1 for exchange in handler.exchanges)
    refused = sum(path == "-" for path, _, _ in handler.log)
    assert len(handler.log) == len(handler.exchanges) + refused, "each request is in the log once"
    assert refused <= 1


def test_a_flood_of_tiny_chunks_leaves_turns_to_others(handler: Handler, transport: Transport) -> None:
    transport.protocol.dataReceived(CHUNKED + b"1\r\nx\r\n" * 40_000)
    assert transport.producerState == "paused", "what was read is enough for many turns"
    assert len(b"".join(handler.last.pieces)) < 5000
    transport.protocol.dataReceived(b"0\r\n\r\n")
    turns = 0
    while handler.turn():
        turns += 1
    assert turns == 10
    assert b"".join(handler.last.pieces) == b"x" * 40_000
    assert handler.last.ended
    assert transport.producerState == "producing"


@pytest.mark.parametrize("end", ["answer", "leave"])
def test_a_body_may_end_between_two_turns(handler: Handler, transport: Transport, end: str) -> None:
    transport.protocol.dataReceived(CHUNKED + b"1\r\nx\r\n" * 40_000)
    if end == "answer":
        handler.last.stream.start(200)
        assert transport.half_closed
        assert transport.producerState == "producing", "what still comes is read and dropped"
    else:
        transport.finish()
        assert handler.last.losses == 1
    assert handler.turn() == 1
    assert handler.turn() == 0
    assert len(b"".join(handler.last.pieces)) < 5000


# Ends


def test_a_client_that_leaves_is_told_of(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    transport.finish()
    assert handler.last.losses == 1
    assert handler.log == [("/0", 499, 0)]


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_told_of(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    handler.last.stream.start(200, (), b"abc", True)
    transport.finish()
    assert handler.last.losses == 1
    assert handler.log == [("/0", 200, 3)]


def test_a_client_that_leaves_after_its_answer_is_not_told_of(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    handler.last.stream.start(200)
    transport.finish()
    assert handler.last.losses == 0


def test_a_response_can_be_cut(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0)
    handler.last.stream.start(200, (), b"abc", True)
    handler.last.stream.cut()
    assert transport.disconnected
    assert handler.last.losses == 1
    feed(transport, GET % 1)
    transport.finish()
    assert len(handler.exchanges) == 1
    assert handler.last.losses == 1


def test_a_broken_promise_closes_the_connection(handler: Handler, transport: Transport) -> None:
    feed(transport, GET % 0 + GET % 1)
    handler.last.stream.start(200, [(b"content-length", b"5")], b"abc")
    assert content(transport.take()) == b"abc"
    assert transport.half_closed or transport.disconnecting
    assert len(handler.exchanges) == 1
    assert handler.stats["broken_promises"] == 1


# Other protocols


def test_a_websocket_takes_the_connection_over(handler: Handler, transport: Transport, manual: Any) -> None:
    feed(transport, GET % 0)
    handler.last.stream.start(200)
    transport.take()
    feed(transport, SOCKET + b"\x81\x00")
    (socket,) = handler.sockets
    assert socket.request.path == "/ws"
    assert socket.request.client == ["192.168.1.1", 54321]
    assert socket.transport is transport
    assert transport.producer is None
    feed(transport, b"more")
    assert socket.data == [b"\x81\x00", b"more"]
    manual.advance(1000)
    assert not transport.disconnecting
    assert transport.protocol.sockets == (socket,)
    transport.finish()
    assert socket.losses == 1
    assert len(handler.exchanges) == 1


def test_an_upgrade_that_nobody_wants_is_a_request_like_any_other(handler: Handler, transport: Transport) -> None:
    handler.sockets_wanted = False
    feed(transport, SOCKET + GET % 1)
    assert handler.last.request.path == "/ws"
    handler.last.stream.start(200)
    assert handler.last.request.path == "/1"
    assert transport.producer is not None


# The server stops


def test_a_server_that_stops_finishes_what_was_asked(handler: Handler, connect: Any) -> None:
    idle, busy, partial, streaming, slow = (connect() for _ in range(5))
    feed(busy, GET % 0 + GET % 1)
    answer = handler.last
    feed(partial, GET[:5])
    feed(streaming, GET % 0)
    handler.last.stream.start(200, (), b"x", True)
    feed(slow, b"nonsense\r\n\r\n")

    async def stopping() -> None:
        draining = asyncio.ensure_future(connect.factory.drain(0.05))
        await asyncio.sleep(0)
        assert idle.disconnecting
        idle.finish()
        feed(partial, GET[5:] % 5)
        handler.last.stream.start(200)
        assert b"connection: close" in partial.take()
        assert partial.disconnecting
        partial.finish()
        answer.stream.start(200)
        assert b"connection: close" in busy.take()
        assert not streaming.disconnected
        busy.finish()
        while not (streaming.disconnected and slow.disconnected):
            await asyncio.sleep(0.001)
        assert not draining.done()
        streaming.finish()
        slow.finish()
        await draining

    asyncio.run(stopping())
    assert handler.stats["cut_by_stop"] == 2


def test_whoever_waits_in_vain_is_told_before_a_server_stops(handler: Handler, connect: Any) -> None:
    half_head, half_body, unanswered, half_answered = (connect() for _ in range(4))
    feed(half_head, GET[:5])
    for number, transport in enumerate((unanswered, half_answered)):
        feed(transport, GET % number)
    handler.last.stream.start(200, [(b"content-length", b"2")], b"x", True)
    half_answered.take()
    feed(half_body, POST % 5)

    async def stopping() -> None:
        draining = asyncio.ensure_future(connect.factory.drain(0.05))
        while not half_body.half_closed:
            await asyncio.sleep(0.001)
        for transport in (half_head, half_body, unanswered, half_answered):
            transport.finish()
        await draining

    asyncio.run(stopping())
    assert half_head.take() == b""
    assert half_answered.take() == b""
    for transport in (half_body, unanswered):
        head, _, text = transport.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
        assert b"\r\nconnection: close" in head
        assert text == b"the server is stopping\n"
    assert handler.stats["cut_by_stop"] == 4 - 1, "what is half answered is left to the very end"
    assert sorted(handler.log) == [("/0", 503, 23), ("/1", 200, 1), ("/p", 503, 23)]


def test_a_server_without_connections_stops_at_once(connect: Any) -> None:
    asyncio.run(connect.factory.drain(60))
