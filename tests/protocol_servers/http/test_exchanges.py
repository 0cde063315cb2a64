"""A request on the bus: its message, its body, and every way to be answered."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import message_formats
from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.protocol_servers.base import Connection
from trunkline.protocol_servers.http.exchange import Exchange
from trunkline.protocol_servers.http_core import Request, ResponseWriter

Staging = Callable[..., Any]

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.org\r\nX: y\r\n\r\n"
POST = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = {"status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"hello"}


def check(channel: str, message: dict[str, Any]) -> None:
    """Check a message against its format."""
    format = message_formats.get(channel)
    assert format is not None
    format.validate(message)


def chunks(stage: Any) -> list[dict[str, Any]]:
    """Take what was sent, all of it chunks of one body."""
    sent = stage.inbox.take()
    assert len({each.channel for each in sent}) <= 1
    for each in sent:
        check(each.channel, each.message)
    return [each.message for each in sent]


# The request


def test_a_request_becomes_its_message(stage: Staging) -> None:
    here = stage(response_timeout=7)
    here.feed(GET)
    (sent,) = here.inbox.take()
    assert sent.options["expiry"] == 7
    message = sent.message
    reply_channel = message.pop("reply_channel")
    assert reply_channel.startswith(here.inbox.name)
    assert message == {
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "query_string": b"c=d",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x", b"y")],
        "body": b"",
        "client": ["192.168.1.1", 54321],
        "server": ["10.0.0.1", 12345],
    }


def test_the_message_is_of_its_format(stage: Staging) -> None:
    here = stage()
    for data in (GET, b"OPTIONS * HTTP/1.0\r\n\r\n", POST % 3 + b"abc", POST % 100_000 + bytes(70_000)):
        here.feed(data)
        message = here.inbox.take()[0].message
        message["headers"] = [list(header) for header in message["headers"]]
        check("http.request", message)


def test_a_body_up_to_64_kib_travels_in_the_message(stage: Staging) -> None:
    here = stage()
    body = bytes(range(256)) * 256
    transport = here.feed(POST % len(body))
    for start in range(0, len(body), 10_000):
        assert here.inbox.take() == []
        here.feed(body[start : start + 10_000], transport)
    message = here.only("http.request")
    assert message["body"] == body
    assert "body_channel" not in message


# Large bodies


def test_a_larger_body_goes_on_in_a_channel_of_its_own(stage: Staging) -> None:
    here = stage()
    body = bytes(range(256)) * 1000
    here.feed(POST % len(body) + body)
    first, *rest = here.inbox.take()
    assert first.message["body"] == body[:65536]
    assert first.message["body_channel"].startswith("http.request.body?")
    assert {each.channel for each in rest} == {first.message["body_channel"]}
    messages = [each.message for each in rest]
    assert first.message["body"] + b"".join(each["content"] for each in messages) == body
    assert [each.get("more_content", False) for each in messages] == [True] * (len(messages) - 1) + [False]
    assert max(len(each["content"]) for each in messages) <= 65536
    assert all(each.options["credit"] for each in rest)
    assert [bool(each.options.get("last")) for each in rest] == [False] * (len(rest) - 1) + [True]


def test_a_chunked_body_ends_when_its_client_says_so(stage: Staging) -> None:
    here = stage()
    transport = here.feed(CHUNKED + b"10001\r\n" + bytes(0x10001))
    assert "body_channel" in here.inbox.take()[0].message
    here.feed(b"\r\n0\r\n\r\n", transport)
    assert chunks(here)[-1] == {"content": b""}


def test_a_client_is_at_most_16_chunks_ahead_of_its_consumer(stage: Staging) -> None:
    here = stage()
    body = bytes(64 * 65536)
    transport = here.feed(POST % len(body))
    for start in range(0, 40 * 65536, 65536):
        here.feed(body[start : start + 65536], transport)
    request, *sent = here.inbox.take()
    assert len(sent) == 16
    assert transport.producerState == "paused"
    here.credit(sent[0], 4)
    assert len(chunks(here)) == 4
    for _ in range(20):
        here.credit(sent[0], 1)
    assert len(chunks(here)) == 19
    assert transport.producerState == "producing"
    here.answer(HELLO, request.message)


def test_a_slow_clients_small_pieces_reach_a_waiting_consumer_at_once(stage: Staging) -> None:
    here = stage()
    transport = here.feed(CHUNKED + b"10001\r\n" + bytes(0x10001) + b"\r\n")
    request, first = here.inbox.take()
    assert first.message == {"content": b"\0", "more_content": True}
    here.feed(b"3\r\nabc\r\n", transport)
    here.feed(b"3\r\ndef\r\n", transport)
    assert chunks(here) == [], "while a chunk waits to be taken, what comes is gathered"
    here.credit(first, 1)
    assert chunks(here) == [{"content": b"abcdef", "more_content": True}]
    here.credit(first, 1)
    here.feed(b"1\r\ng\r\n", transport)
    assert chunks(here) == [{"content": b"g", "more_content": True}]
    here.answer(HELLO, request.message)


def test_the_last_chunk_has_room_in_a_full_channel(stage: Staging) -> None:
    here = stage()
    size = 65536 * 17 + 5
    here.feed(POST % size + bytes(size))
    sent = here.inbox.take()
    assert len(sent) == 18
    assert sent[-1].options["last"]
    assert sent[-1].message == {"content": bytes(5)}


def test_no_more_chunks_are_sent_than_their_channel_holds(stage: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stage()
    monkeypatch.setattr(here.inbox, "capacity", lambda channel: 3)
    body = bytes(range(256)) * 256 * 9
    here.feed(POST % len(body) + body)
    _, *sent = here.inbox.take()
    assert len(sent) == 3
    for _ in range(3):
        here.credit(sent[0], 1)
    sent += here.inbox.take()
    assert len(sent) == 6
    here.credit(sent[0], 3)
    sent += here.inbox.take()
    assert b"".join(each.message["content"] for each in sent) == body[65536:]
    assert sent[-1].options["last"]


def test_the_end_of_a_body_waits_for_room_too(stage: Staging) -> None:
    here = stage()
    size = 65536 * 18 + 5
    here.feed(POST % size + bytes(size))
    sent = here.inbox.take()
    assert len(sent) == 17
    here.credit(sent[1], 1)
    assert chunks(here) == [{"content": bytes(65536), "more_content": True}, {"content": bytes(5)}]


def test_a_consumer_learns_that_its_client_left_in_the_middle_of_the_body(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 1_000_000 + bytes(100_000))
    request = here.inbox.take()[0].message
    transport.finish()
    disconnect, closed = here.inbox.take()
    assert disconnect.message == {"reply_channel": request["reply_channel"], "path": "/up"}
    assert closed.channel == request["body_channel"]
    assert closed.message == {"content": b"", "closed": True}
    assert closed.options["last"]


def test_a_body_that_was_sent_whole_is_not_closed_again(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 100_000 + bytes(100_000))
    here.inbox.take()
    transport.finish()
    assert [each.channel for each in here.inbox.take()] == ["http.disconnect"]


def test_an_answer_before_the_end_of_the_body_closes_body_and_connection(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 1_000_000 + bytes(100_000))
    request = here.inbox.take()[0].message
    here.answer({"status": 403, "content": b"no"}, request)
    assert transport.response == (403, b"no")
    assert chunks(here) == [{"content": b"", "closed": True}]
    here.feed(bytes(100_000), transport)
    assert here.inbox.take() == []


def test_a_body_that_makes_no_sense_is_closed(stage: Staging) -> None:
    here = stage()
    transport = here.feed(CHUNKED + b"20000\r\n" + bytes(0x20000))
    here.inbox.take()
    here.feed(b"XX", transport)
    assert transport.response[0] == 400
    assert [each.message.get("closed") for each in here.inbox.take()] == [None, True]


# The response


def test_an_answer_is_sent_and_the_next_request_taken(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    for _ in range(3):
        here.answer(HELLO)
        assert transport.response == (200, b"hello")
        here.feed(GET, transport)
    assert len(here.inbox.gone_names) == 3


def test_a_stream_is_sent_as_it_comes_and_everything_after_its_end_is_ignored(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"status": 200, "more_content": True}, request)
    here.answer({"content": b"abc", "more_content": True}, request)
    here.answer({"content": b"", "more_content": True}, request)
    here.answer({"content": b"def"}, request)
    here.answer({"content": b"ghi"}, request)
    here.answer(HELLO, request)
    assert transport.take().endswith(b"\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert here.server.stats["late_answers"] == 2
    assert not transport.disconnecting


def test_keys_without_a_value_are_absent(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    here.answer({"status": 200, "headers": None, "content": None, "more_content": None, "unknown": 1})
    assert transport.response == (200, b"")


def test_a_second_status_closes_the_connection(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"status": 200, "content": b"a", "more_content": True}, request)
    here.answer(HELLO, request)
    assert transport.disconnected
    assert here.server.stats["second_statuses"] == 1
    transport.finish()
    assert here.inbox.take() == [], "it is not the client who left"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"content": b"no status"},
        {"text": "for a WebSocket"},
        {"status": "200"},
        {"status": 100},
        {"status": 200, "content": "text"},
        {"status": 200, "headers": [[b"a", b"b\r\nc: d"]]},
        {"status": 200, "headers": {b"a": b"b"}},
    ],
)
def test_an_answer_that_is_no_response_is_a_500(
    stage: Staging, answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    here = stage()
    transport = here.feed(GET)
    with caplog.at_level(logging.ERROR):
        here.answer(answer)
    assert transport.response == (500, b"the answer to this request was no HTTP response\n")
    assert here.server.stats["bad_responses"] == 1
    assert "GET /a b" in caplog.text
    here.feed(GET, transport)
    here.answer(HELLO)
    assert transport.response == (200, b"hello")


def test_a_chunk_that_is_none_cuts_the_response(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"status": 200, "more_content": True}, request)
    here.answer({"content": "text"}, request)
    assert transport.disconnected
    transport.finish()
    assert here.inbox.take() == []


def test_a_server_push_is_ignored(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"request": {"path": "/style.css"}}, request)
    assert here.server.stats["ignored_pushes"] == 1
    here.answer(HELLO, request)
    assert transport.response == (200, b"hello")


# Groups


def test_a_group_answers_long_polls(stage: Staging) -> None:
    here = stage()
    transports = [here.feed(GET) for _ in range(3)]
    names = [each.message["reply_channel"] for each in here.inbox.take()]
    here.inbox.answer_group(names[:2], HELLO)
    assert [transport.response for transport in transports[:2]] == [(200, b"hello")] * 2
    assert transports[2].take() == b""


def test_what_fits_no_long_poll_was_meant_for_others(stage: Staging, caplog: pytest.LogCaptureFixture) -> None:
    here = stage()
    transport = here.feed(GET)
    name = here.only("http.request")["reply_channel"]
    for message in ({"text": "for WebSockets"}, {"status": "x"}, {"content": b""}):
        here.inbox.answer_group([name], message)
    assert transport.take() == b""
    assert here.server.stats["unfit_messages"] == 3
    assert caplog.text.count("ignored") == 1
    here.inbox.answer_group([name], HELLO)
    assert transport.response == (200, b"hello")


def test_one_member_that_fails_hurts_no_other(stage: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stage()
    broken, good = here.feed(GET), here.feed(GET)
    names = [each.message["reply_channel"] for each in here.inbox.take()]

    def fail(data: bytes) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(broken, "write", fail)
    here.inbox.answer_group(names, HELLO)
    assert good.response == (200, b"hello")
    assert here.server.stats["failures"] == 1


# Refusals


@pytest.mark.parametrize(
    ("error", "status", "reason", "retry"),
    [
        (ChannelFull(), 503, b"full", True),
        (LayerUnavailable("gone"), 503, b"unavailable", True),
        (LayerUnavailable("lost", uncertain=True), 503, b"unavailable", True),
        (MessageTooLarge(), 413, b"too large", False),
    ],
)
def test_a_request_that_the_layer_does_not_take_is_refused(
    stage: Staging, error: Exception, status: int, reason: bytes, retry: bool
) -> None:
    here = stage()
    here.inbox.refusals["http.request"] = error
    transport = here.feed(GET)
    answer = transport.take()
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert (b"\r\nretry-after: 1\r\n" in answer) is retry
    assert reason in answer
    here.inbox.refusals.clear()
    here.inbox.take()
    here.feed(GET, transport)
    here.answer(HELLO)
    assert transport.response == (200, b"hello")


def test_the_body_of_a_request_that_the_layer_does_not_take_stays_out_of_it(stage: Staging) -> None:
    here = stage()
    here.inbox.refusals["http.request"] = ChannelFull("full")
    transport = here.feed(POST % 1_000_000 + bytes(200_000))
    assert transport.response == (503, b"the channel is full\n")
    assert [sent.channel for sent in here.inbox.take()] == ["http.request"]


def test_whoever_took_a_request_in_doubt_learns_that_its_body_does_not_come(stage: Staging) -> None:
    """The client is told to come again, once; a worker that has the request does not wait for its body."""
    here = stage()
    here.inbox.refusals["http.request"] = LayerUnavailable("lost", uncertain=True)
    transport = here.feed(POST % 1_000_000 + bytes(200_000))
    assert transport.response == (503, b"the channel layer is unavailable\n")
    request, closed = here.inbox.take()
    assert (closed.channel, closed.message["closed"]) == (request.message["body_channel"], True)
    assert (here.server.stats["in_doubt"], here.server.stats["refused_unavailable"]) == (1, 0)


@pytest.mark.parametrize("size", [0, 100_000])
def test_an_answer_says_that_a_request_in_doubt_had_arrived(
    stage: Staging, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    here = stage()
    told: list[Any] = []
    send = here.inbox.send

    def sending(*args: Any, then: Any, **options: Any) -> None:
        told.append(then)
        send(*args, **options)

    monkeypatch.setattr(here.inbox, "send", sending)
    transport = here.feed(POST % size + bytes(size))
    request = here.inbox.take()[0].message
    here.answer({"status": 200, "content": b"half", "more_content": True}, request)
    told[0](LayerUnavailable("lost", uncertain=True))
    assert [len(sent.message["content"]) for sent in here.inbox.take()] == ([size - 65536] if size else [])
    here.answer({"content": b" whole"}, request)
    status, body = transport.response
    assert (status, body) == (200, b"4\r\nhalf\r\n6\r\n whole\r\n0\r\n\r\n")
    assert here.server.stats["in_doubt"] == 1


def test_a_chunk_in_doubt_ends_its_request_and_is_not_sent_again(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 1_000_000 + bytes(70_000))
    name = here.inbox.take()[0].message["body_channel"]
    here.inbox.refusals[name] = LayerUnavailable("lost", uncertain=True)
    here.feed(bytes(200_000), transport)
    assert transport.response[0] == 503
    chunk, closed = here.inbox.take()
    assert (chunk.channel, closed.channel, closed.message["closed"]) == (name, name, True)
    assert len(chunk.message["content"]) == 65536


def test_a_client_may_leave_before_the_layer_has_spoken(stage: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    here = stage()
    told: list[Any] = []
    send = here.inbox.send

    def sending(*args: Any, then: Any, **options: Any) -> None:
        told.append(then)
        send(*args, **options)

    monkeypatch.setattr(here.inbox, "send", sending)
    transport = here.feed(POST % 100_000 + bytes(80_000))
    transport.finish()
    told[0](True)
    request, disconnect, closed = here.inbox.take()
    assert disconnect.channel == "http.disconnect"
    assert (closed.channel, closed.message["closed"]) == (request.message["body_channel"], True)


def test_a_body_that_the_layer_does_not_take_on_ends_its_request(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 1_000_000 + bytes(70_000))
    here.inbox.refusals[here.inbox.take()[0].message["body_channel"]] = LayerUnavailable("gone")
    here.feed(bytes(200_000), transport)
    assert transport.response[0] == 503
    assert transport.half_closed


def test_a_body_that_the_layer_does_not_take_on_cuts_a_response_that_has_begun(stage: Staging) -> None:
    here = stage()
    transport = here.feed(POST % 1_000_000 + bytes(70_000))
    request = here.inbox.take()[0].message
    here.answer({"status": 200, "more_content": True}, request)
    here.inbox.refusals[request["body_channel"]] = LayerUnavailable("gone")
    here.feed(bytes(200_000), transport)
    assert transport.disconnected


# Time


def test_a_request_that_nobody_answers_says_why(stage: Staging) -> None:
    here = stage(response_timeout=2)
    transport = here.feed(GET)
    request = here.only("http.request")
    here.manual.advance(1.9)
    assert transport.take() == b""
    here.manual.advance(0.2)
    assert transport.response == (504, b"no answer within 2 s\n")
    here.answer(HELLO, request)
    assert transport.take() == b""
    assert here.server.stats["late_answers"] == 1
    here.inbox.announced.clear()
    here.feed(GET, transport)
    here.manual.advance(2.1)
    assert transport.response == (504, b"no worker listens to http.request\n")


def test_time_runs_from_the_last_chunk_that_was_taken(stage: Staging) -> None:
    here = stage(response_timeout=2)
    transport = here.feed(POST % 200_000 + bytes(200_000))
    sent = here.inbox.take()[1]
    for _ in range(3):
        here.manual.advance(1.5)
        here.credit(sent, 1)
    here.manual.advance(1.5)
    assert transport.take() == b""
    here.manual.advance(0.6)
    assert transport.response[0] == 504


def test_a_stream_that_has_begun_has_no_timeout(stage: Staging) -> None:
    here = stage(response_timeout=2, idle_timeout=2)
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"status": 200, "content": b"a", "more_content": True}, request)
    transport.take()
    here.manual.advance(1000)
    here.answer({"content": b"b", "more_content": True}, request)
    assert transport.take() == b"1\r\nb\r\n"


def test_a_504_in_the_middle_of_the_body_closes_body_and_connection(stage: Staging) -> None:
    here = stage(response_timeout=2)
    transport = here.feed(POST % 1_000_000 + bytes(70_000))
    here.inbox.take()
    here.manual.advance(2.1)
    assert transport.response[0] == 504
    assert chunks(here) == [{"content": b"", "closed": True}]
    assert transport.half_closed


# Clients that leave


def test_a_client_that_leaves_early_is_told_of_where_anybody_listens(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    transport.finish()
    assert here.only("http.disconnect") == {"reply_channel": request["reply_channel"], "path": "/a b"}
    del here.inbox.announced["http.disconnect"]
    here.feed(GET).finish()
    here.only("http.request")
    assert here.server.stats["notifications_dropped"] == 1
    assert here.server.stats["clients_left"] == 2


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_told_of(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    request = here.only("http.request")
    here.answer({"status": 200, "more_content": True}, request)
    transport.finish()
    here.only("http.disconnect")
    here.answer({"content": b"x", "more_content": True}, request)
    assert here.server.stats["late_answers"] == 1


def test_a_client_that_leaves_before_its_request_was_sent_or_after_its_answer_is_not_told_of(stage: Staging) -> None:
    here = stage()
    here.feed(GET[:20]).finish()
    here.feed(POST % 100 + b"abc").finish()
    assert here.inbox.take() == []
    transport = here.feed(GET)
    here.answer(HELLO)
    transport.finish()
    assert here.inbox.take() == []


def test_a_request_leaves_nothing_behind(stage: Staging) -> None:
    here = stage()
    transport = here.feed(GET)
    here.answer(HELLO)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(50):
            here.feed(GET, transport)
            here.answer(HELLO)
        left = [each for each in gc.get_objects() if type(each) in (Exchange, Request, ResponseWriter, Connection)]
        gc.collect()
        garbage = [each for each in gc.garbage if type(each).__module__.startswith("trunkline.protocol_servers.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == [], "counting references is enough for them"
    assert garbage == []


def test_no_two_reply_channels_are_alike(stage: Staging) -> None:
    here = stage()
    for _ in range(1000):
        here.feed(GET)
    assert len({each.message["reply_channel"] for each in here.inbox.take()}) == 1000
