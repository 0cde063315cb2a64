"""The testing kit (workers.md): what servers would publish, and what they would do with the answers."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline import (
    Channel,
    ConsumeLater,
    Conversation,
    DenyConnection,
    Group,
    Message,
    Reject,
    ResponseLater,
    include,
    retry,
    route,
)
from trunkline.layer import LayerUnavailable
from trunkline.layer.testing import ManualClock
from trunkline.workers.testing import Client, Closed, Refused
from trunkline.workers.testing import plugin as trunkline_plugin
from trunkline.workers.testing.turns import Turns

# As fixtures of this module, so that the tests run where the package is not installed with its entry points.
trunkline_client, trunkline_layer = trunkline_plugin.trunkline_client, trunkline_plugin.trunkline_layer
trunkline_clock = trunkline_plugin.trunkline_clock


def say(message: Message, **captures: Any) -> None:
    message.reply({"path": message["path"], "method": message["method"], **captures})


def fail(message: Message, **captures: Any) -> None:
    raise ValueError("as it does")


# http


def test_http() -> None:
    client = Client([include([route("http.request", say, path=r"^/(?P<name>\w+)$")], path="^/shop")])
    status, headers, body = client.http("get", "/shop/caf%C3%A9")
    assert (status, headers) == (200, [(b"content-type", b"application/json")])
    assert body == b'{"path": "/shop/caf\\u00e9", "method": "GET", "name": "caf\\u00e9"}'
    assert client.http("GET", "/")[0] == 404


@pytest.mark.parametrize(
    ("path", "query", "seen"),
    [("/x", b"a=1", b"a=1"), ("/x", "b=2", b"b=2"), ("/x?c=3", b"", b"c=3"), ("/x", b"", b"")],
)
def test_http_query(path: str, query: Any, seen: bytes) -> None:
    client = Client([route("http.request", lambda message: message.reply(message["query_string"]), path="^/x$")])
    assert client.http("GET", path, query=query)[2] == seen


def test_http_headers_are_as_servers_send_them() -> None:
    seen: list[Any] = []
    client = Client([route("http.request", lambda message: seen.append(message["headers"]))])
    client.http("GET", "/", headers=[("X-One", "1"), (b"Host", b"a")])
    client.http("GET", "/", headers=[("X-One", "1")])
    assert seen == [[[b"x-one", b"1"], [b"host", b"a"]], [[b"host", b"localhost"], [b"x-one", b"1"]]]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000, 3_000_000])
def test_http_bodies_both_ways(size: int) -> None:
    client = Client([route("http.request", lambda message: message.reply(message.stream().read()))])
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert client.http("POST", "/", body)[2] == body


def test_http_streaming() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"a", b"b", b"c")

    client = Client([route("http.request", lambda message: message.reply(pieces(), status=203))])
    status, _, body = client.http("GET", "/")
    assert (status, body) == (203, b"abc")


def test_http_that_fails_midway() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("midway")

    client = Client([route("http.request", lambda message: message.reply(pieces()))])
    with pytest.raises(ConnectionResetError, match="after it had begun"):
        client.http("GET", "/")


def test_http_failure_shows_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    client = Client([route("http.request", fail)])
    assert client.http("GET", "/")[0] == 500
    assert "ValueError: as it does" in caplog.text
    assert client.worker.stats["failures"] == 1


def test_http_without_an_answer_is_504_after_60_s() -> None:
    def later(message: Message) -> None:
        raise ResponseLater

    client = Client([route("http.request", later)])
    started = client.clock()
    assert client.http("GET", "/") == (504, [], b"")
    assert 60 <= client.clock() - started < 61


def test_http_waits_as_a_client_would() -> None:
    tried: list[int] = []

    @retry
    def consumer(message: Message) -> None:
        tried.append(1)
        if len(tried) < 4:
            raise ConnectionError
        message.reply("at last")

    assert Client([route("http.request", consumer)]).http("GET", "/")[2] == b"at last"


# websocket


def chat() -> list[Any]:
    def connect(message: Message) -> None:
        Group("room").add(message["reply_channel"])
        Group("room").send({"text": "somebody came"})

    def receive(message: Message) -> None:
        if message["text"] == "bye":
            channel = message.reply_channel
            assert channel is not None
            channel.send({"text": "bye", "close": 4000})
        elif message["bytes"] is not None:
            message.reply(message["bytes"])
        else:
            Group("room").send({"text": message["text"]}, exclude=message.reply_channel)

    def leave(message: Message) -> None:
        Channel("left").send({"code": message["code"], "order": message["order"]})

    return [
        route("websocket.connect", connect, path="^/room$"),
        route("websocket.receive", receive, path="^/room$"),
        route("websocket.disconnect", leave),
        route("websocket.receive", fail, path="^/fail"),
        route("websocket.connect", fail, path="^/broken"),
    ]


def test_websocket() -> None:
    client = Client(chat())
    ann, bob = client.websocket("/room"), client.websocket("/room?x=1", headers=[("Cookie", "a=1")])
    assert [ann.receive(), ann.receive(), bob.receive()] == ["somebody came"] * 3
    ann.send("hello")
    assert bob.receive() == "hello"
    with pytest.raises(TimeoutError):
        ann.receive()
    bob.send(b"\x00")
    assert bob.receive() == b"\x00"
    assert (ann.closed, ann.subprotocol, ann.accepted) == (None, None, True)


def test_websocket_closed_by_either_side() -> None:
    client = Client(chat())
    ann, bob = client.websocket("/room"), client.websocket("/room")
    for one in (ann, bob):
        while True:
            try:
                one.receive()
            except TimeoutError:
                break
    ann.close(1001)
    assert client.layer.group_channels("room") == ["http.reply.client!2"]
    left = client.next_message("left")
    assert left is not None
    assert left.content == {"code": 1001, "order": 1}
    bob.send("bye")
    assert bob.receive() == "bye"
    for act in (bob.receive, lambda: bob.send("x")):
        with pytest.raises(Closed) as closed:
            act()
        assert closed.value.code == 4000
    bob.close()
    left = client.next_message("left")
    assert left is not None
    assert left.content == {"code": 4000, "order": 2}
    assert client.next_message("left") is None
    assert client.layer.group_channels("room") == []


def test_websocket_refused() -> None:
    client = Client(chat())
    for path, status in (("/nowhere", 403), ("/broken", 500)):
        with pytest.raises(Refused) as refused:
            client.websocket(path)
        assert refused.value.status == status
    failing = client.websocket("/fail")
    failing.send("x")
    with pytest.raises(Closed, match="1011"):
        failing.receive()


@pytest.mark.parametrize(
    ("answers", "frames", "outcome"),
    [
        ([{"accept": True, "subprotocol": "a"}], [], "a"),
        ([{"accept": True, "text": "hi"}], ["hi"], None),
        ([{"text": "hi"}], ["hi"], None),
        ([{"accept": True}, {"accept": False}, {"text": "still"}], ["still"], None),
        ([{"text": "hi", "close": True}, {"text": "late"}], ["hi"], 1000),
        ([{"accept": False}, {"accept": True}], [], 403),
        ([{"close": True}], [], 403),
        ([{"close": 4000}], [], 403),
        ([{"close": 1011}], [], 500),
    ],
)
def test_websocket_answers(answers: list[dict[str, Any]], frames: list[str], outcome: Any) -> None:
    def connect(message: Message) -> None:
        assert message.reply_channel is not None
        for one in answers:
            message.reply_channel.send(one)

    client = Client([route("websocket.connect", connect)])
    if outcome in (403, 500):
        with pytest.raises(Refused) as refused:
            client.websocket("/")
        assert refused.value.status == outcome
        return
    socket = client.websocket("/")
    assert [socket.receive() for _ in frames] == frames
    assert outcome in (socket.subprotocol, socket.closed)


def test_websocket_group_messages_wait_for_the_handshake_and_odd_ones_are_ignored() -> None:
    def connect(message: Message) -> None:
        Group("g").add(message["reply_channel"])
        Group("g").send({"text": "a", "bytes": b"b"})
        Group("g").send({"text": "early"})
        Group("g").send({"odd": 1})

    client = Client([route("websocket.connect", connect)])
    socket = client.websocket("/")
    assert socket.receive() == "early"
    with pytest.raises(TimeoutError):
        socket.receive()


def test_websocket_unanswered_is_refused_after_10_s() -> None:
    def later(message: Message) -> None:
        if message["path"] == "/odd":
            Channel(message["reply_channel"]).send({"accept": None})
        raise ResponseLater

    client = Client([route("websocket.connect", later)])
    for path in ("/", "/odd"):
        started = client.clock()
        with pytest.raises(Refused, match="403"):
            client.websocket(path)
        assert 10 <= client.clock() - started < 11


def test_websocket_denied() -> None:
    def deny(message: Message) -> None:
        raise DenyConnection

    with pytest.raises(Refused, match="403"):
        Client([route("websocket.connect", deny)]).websocket("/")


# email


def support(message: Message, ticket: str) -> None:
    if "spam" in message["text"]:
        raise Reject(550, "5.7.1 no spam")
    message.reply(f"Thank you for {message['subject']!r} in #{ticket}.")


def test_email() -> None:
    client = Client([route("email.receive", support, address=r"^support\+(?P<ticket>\d+)@example\.com$")])
    code, text, sent = client.email("Support+42@EXAMPLE.com", "It broke.", subject="Help")
    assert (code, text) == (250, "2.0.0 OK")
    (mail,) = sent
    assert mail["to"] == ["a@example.org"]
    assert mail["text"].startswith("Thank you for 'Help' in #42.")
    assert client.email("nobody@example.com")[0] == 550
    assert client.email("support+1@example.com", "spam!") == (550, "5.7.1 no spam", [])
    assert client.email("support+1@example.com", "x", sender=None)[2] == [], "a bounce is never answered"


def test_email_raw_and_large() -> None:
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        _, attached = message["content"]["parts"]
        seen.append((message["subject"], message["from"], len(message.stream(attached).read())))

    raw = (
        b"From: x@y\r\nSubject: Raw\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + b"z" * 200_000 + b"\r\n--b--\r\n"
    )
    client = Client([route("email.receive", consumer)])
    assert client.email("a@b.example", raw=raw, sender="s@example.org")[0] == 250
    assert seen == [("Raw", "s@example.org", 200_000)]


def test_email_answers() -> None:
    def own(message: Message) -> None:
        assert message.reply_channel is not None
        message.reply_channel.send({"accept": message["subject"] == "yes"})

    def never(message: Message) -> None:
        raise ConsumeLater

    client = Client([route("email.receive", own, address="^own"), route("email.receive", never, address="^never")])
    assert client.email("own@b", subject="yes")[:2] == (250, "2.0.0 OK")
    assert client.email("own@b", subject="no")[:2] == (550, "5.7.1 Refused")
    assert client.email("never@b")[0] == 451
    assert client.email("own@b", subject="yes", raw=b"Subject: no\r\n\r\n")[0] == 550


def test_email_results() -> None:
    """What tells of a mail that was sent is an answer to nothing."""
    told: list[str] = []
    client = Client([route("email.failed", lambda message: told.append(message["id"]))])
    client.publish("email.failed", {"id": "7", "address": "a@b", "code": 550, "text": "No", "permanent": True})
    client.settle()
    assert told == ["7"]


def test_email_a_worker_that_does_not_answer() -> None:
    client = Client([route("email.recipient", lambda message: None)])
    client.worker.channels.remove("email.recipient")
    assert client.email("x@b")[:2] == (451, "4.3.0 no answer in time")


# chat


def test_chat() -> None:
    def hears(message: Message, what: str) -> None:
        message.reply(f"{message['user']} said {what}")
        Conversation("irc", "test", "#test").send({"text": "indeed"})
        Group("ops").send({"text": "to all"}, exclude=message.reply_channel)

    def joins(message: Message) -> None:
        message.reply("only when mentioned")

    client = Client(
        [route("chat.message", hears, text="^!say (?P<what>.*)"), route("chat.message", joins, mention=True)]
    )
    assert client.chat("!say hello", user="bob") == ["bob said hello", "indeed"]
    assert client.chat("hello") == []
    assert client.chat("hello", service="slack", network="acme", mention=True) == ["only when mentioned"]


# time


def test_advance() -> None:
    def consumer(message: Message) -> None:
        Channel("asgi.delay").send({"channel": "late", "delay": 5000, "content": {"n": 1}})
        message.reply("soon")

    client = Client([route("http.request", consumer)])
    client.http("GET", "/")
    client.advance(4.9)
    assert client.next_message("late") is None
    client.advance(0.2)
    late = client.next_message("late")
    assert late is not None
    assert (late["n"], late.channel) == (1, "late")


def test_a_delayed_reply_arrives_in_its_time() -> None:
    def consumer(message: Message) -> None:
        content = {"text": "a minute later"}
        Channel("asgi.delay").send({"channel": message["reply_channel"], "delay": 60_000, "content": content})

    client = Client([route("websocket.connect", consumer)])
    socket = client.websocket("/")
    client.advance(59.8)
    with pytest.raises(TimeoutError):
        socket.receive()
    client.advance(0.4)
    assert socket.receive() == "a minute later"


def test_turns_of_a_loop_by_hand() -> None:
    clock, made = ManualClock(), list[str]()
    turns = Turns(clock)
    turns.call_later(2, made.append, "later")
    turns.call_later(1, made.append, "never").cancel()
    turns.call_soon(lambda: turns.call_soon(made.append, "soon"))
    assert (turns.run(), made) == (2, ["soon"])
    clock.advance(3)
    assert (turns.run(), made) == (1, ["soon", "later"])


def test_advance_far() -> None:
    fired: list[int] = []
    client = Client([route("tick", lambda message: fired.append(1))])
    client.layer.send("asgi.delay", {"channel": "tick", "delay": 3_600_000, "content": {}, "repeat": 3_600_000})
    client.advance(86_400)
    assert len(fired) == 24


def test_consumers_that_never_come_to_an_end() -> None:
    client = Client([route("x", lambda message: Channel("x").send({}))])
    client.layer.send("x", {})
    with pytest.raises(RuntimeError, match="does one send to its own channel"):
        client.settle()


def test_a_client_can_be_closed() -> None:
    client = Client([route("x", say)])
    client.close()
    with pytest.raises(LayerUnavailable):
        client.layer.send("x", {})


def test_replies_to_nobody_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Replies of closed sockets and to nobody are ignored, as servers do."""
    client = Client(chat())
    ann = client.websocket("/room")
    ann.close()
    client.layer.send("http.reply.client!1", {"text": "too late"})
    client.layer.send("http.reply.client!nobody", {"text": "to nobody"})
    client.settle()
    assert caplog.records == []


def test_options_of_the_layer() -> None:
    client = Client([route("x", say)], capacity=1, channel_capacity={"y": 3})
    assert client.layer.capacity == 1
    client.layer.send("z", {})
    with pytest.raises(Exception, match="is full"):
        client.layer.send("z", {})


# the plugin


def test_client_fixture(trunkline_client: Callable[..., Client]) -> None:
    client = trunkline_client([route("http.request", lambda message: Group("g").add("jobs"))])
    client.http("GET", "/")
    assert Group("g").members() == {"jobs": None}
    Channel("jobs").send({"n": 1})
    found = client.next_message("jobs")
    assert found is not None
    assert found["n"] == 1


def test_layer_and_clock_fixtures(trunkline_layer: Any, trunkline_clock: Any) -> None:
    Channel("jobs").send({"n": 1}, delay=5)
    assert trunkline_layer.receive(["jobs"]) == (None, None)
    trunkline_clock.advance(6)
    assert trunkline_layer.receive(["jobs"]) == ("jobs", {"n": 1})


def test_nothing_of_a_fixture_is_left(no_layer: None) -> None:
    with pytest.raises(RuntimeError):
        Channel("jobs").send({})


def test_importing_the_plugin_loads_next_to_nothing() -> None:
    """Every pytest run in a project that has Trunkline installed imports it."""
    program = (
        "import sys, trunkline.workers.testing.plugin;"
        "print(sorted(name for name in sys.modules if name.startswith('trunkline')))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == str(
        [
            "trunkline",
            "trunkline.workers",
            "trunkline.workers.lazy",
            "trunkline.workers.testing",
            "trunkline.workers.testing.plugin",
        ]
    )


def test_a_routing_that_is_only_run_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Client([route("http.request", lambda message: message.reply("x"))]).http("GET", "/")
    assert caplog.records == []


@pytest.mark.parametrize("seconds", [0.3, 1, 5, 60, 1234.5])
def test_what_is_due_at_the_end_of_an_advance_has_happened(seconds: float) -> None:
    got: list[str] = []
    client = Client([route("reminder", lambda message: got.append(message["text"]))])
    Channel("reminder", layer=client.layer).send({"text": "now"}, delay=seconds)
    client.advance(seconds)
    assert got == ["now"]


def test_a_closed_websocket_has_left_its_groups_when_its_consumer_runs() -> None:
    """As on a real server: its memberships end before its disconnect message."""
    seen: list[dict[str, Any]] = []

    def connect(message: Message) -> None:
        Group("room").add(message.reply_channel, info="ann")

    client = Client(
        [
            route("websocket.connect", connect),
            route("websocket.disconnect", lambda message: seen.append(Group("room").members())),
        ]
    )
    client.websocket("/").close()
    assert seen == [{}]
