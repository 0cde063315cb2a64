"""The servers' common base, on a layer that records and a clock that stands still."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.operations.errors import StartError
from trunkline.protocol_servers.base import Connection, Message, ProtocolServer, Refusal
from trunkline.protocol_servers.connections import Ids
from trunkline.protocol_servers.testing import ReactorThread, StubInbox, StubLayer
from trunkline.protocol_servers.timers import TimerWheel

PATIENCE = 60


class Asker(ProtocolServer):
    """A server that notes what the base asks of it; `state` is the name a test gave."""

    name = "asker"
    Settings = SimpleNamespace

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[Any, ...]] = []
        self.endpoints: list[str] = []
        self.factory: Any = None

    async def listen(self) -> None:
        await self.listen_on(self.endpoints, self.factory, "ask")

    def deliver(self, connection: Connection, message: Message) -> None:
        self.seen.append(("deliver", connection.state, message))
        if message.get("boom"):
            raise RuntimeError("boom")

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        self.seen.append(("refuse", connection.state, refusal))

    def credited(self, connection: Connection, channel: str, count: int) -> None:
        self.seen.append(("credited", connection.state, channel, count))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs only when a test runs something on it."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def layer() -> StubLayer:
    return StubLayer(immediate=True)


@pytest.fixture
def server(loop: asyncio.AbstractEventLoop, layer: StubLayer, manual: Any) -> Asker:
    """A started server without sockets."""
    made = Asker(layer, None, reactor=SimpleNamespace(_asyncioEventloop=loop), clock=manual.clock)
    made.timers = TimerWheel(manual.call_later, manual.clock)
    loop.run_until_complete(made.start())
    return made


@pytest.fixture
def inbox(server: Asker, layer: StubLayer) -> StubInbox:
    return layer.inbox


# Names


def test_each_thing_that_can_be_answered_has_an_unguessable_channel(server: Asker, inbox: StubInbox) -> None:
    assert inbox.name == f"asker.reply.{server.process_id}!"
    connections = [server.open(number) for number in range(1000)]
    assert len({connection.id for connection in connections}) == 1000
    for connection in connections:
        assert connection.reply_channel == inbox.name + connection.id
        assert len(connection.id) == 16
        assert re.fullmatch(r"[A-Za-z0-9._-]+![A-Za-z0-9._-]+", connection.reply_channel)
        assert len(connection.reply_channel) < 100
    assert repr(connections[0]) == f"<Connection {connections[0].reply_channel}>"


def test_servers_of_one_kind_have_inboxes_of_their_own(loop: asyncio.AbstractEventLoop, layer: StubLayer) -> None:
    reactor = SimpleNamespace(_asyncioEventloop=loop)
    assert len({Asker(layer, None, reactor=reactor).inbox_name() for _ in range(10)}) == 10


def test_ids_are_drawn_in_bulk_and_never_twice() -> None:
    ids = Ids()
    drawn = [ids.draw() for _ in range(5000)]
    assert len(set(drawn)) == 5000
    # 96 random bits each: no position holds less than nearly all of the 64 characters.
    for position in range(16):
        assert len({id[position] for id in drawn}) == 64


def test_another_reactor_is_refused(layer: StubLayer) -> None:
    with pytest.raises(TypeError, match="asyncio reactor, not SimpleNamespace"):
        Asker(layer, None, reactor=SimpleNamespace())


# Answers


def test_an_answer_finds_its_connection(server: Asker, inbox: StubInbox) -> None:
    first, second = server.open("first"), server.open("second")
    inbox.answer(second.reply_channel, {"text": "2"})
    inbox.answer(first.reply_channel, {"text": "1"})
    assert server.seen == [("deliver", "second", {"text": "2"}), ("deliver", "first", {"text": "1"})]


def test_late_and_guessed_answers_are_ignored_and_counted(server: Asker, inbox: StubInbox) -> None:
    connection = server.open("gone")
    server.close(connection)
    server.close(connection)
    assert connection.state is None
    assert inbox.gone_names == [connection.id]
    inbox.answer(connection.reply_channel, {})
    inbox.answer(inbox.name + "guess", {})
    inbox.answer(inbox.name, {})
    assert server.seen == []
    assert server.stats["late_answers"] == 3


def test_a_failing_answer_is_logged_with_its_id_and_hurts_nobody_else(
    server: Asker, inbox: StubInbox, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = server.open("first"), server.open("second")
    inbox.answer(first.reply_channel, {"boom": True})
    inbox.answer(second.reply_channel, {"text": "fine"})
    assert server.seen[-1] == ("deliver", "second", {"text": "fine"})
    assert server.stats["failures"] == 1
    record = caplog.records[0]
    assert (record.name, record.levelno) == ("trunkline.asker", logging.ERROR)
    assert first.id in record.getMessage()
    assert record.connection == first.id  # type: ignore[attr-defined]
    assert "RuntimeError: boom" in caplog.text


def test_a_group_reaches_its_members_here(server: Asker, inbox: StubInbox) -> None:
    first, second = server.open("first"), server.open("second")
    inbox.answer_group([first.reply_channel, second.reply_channel], {"boom": True})
    assert [seen[1] for seen in server.seen] == ["first", "second"]
    assert server.stats["failures"] == 2


def test_a_group_message_may_be_built_once(server: Asker, inbox: StubInbox, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[list[str]] = []

    def deliver_group(connections: Sequence[Connection], message: Message) -> None:
        seen.append([connection.state for connection in connections])
        raise RuntimeError("boom")

    server.deliver_group = deliver_group  # type: ignore[method-assign]
    members = [server.open(str(number)) for number in range(3)]
    inbox.answer_group([member.reply_channel for member in members], {"text": "x"}, "news")
    assert seen == [["0", "1", "2"]]
    assert server.stats["failures"] == 1
    assert "a message of group news failed" in caplog.text


def test_members_that_closed_before_their_add_arrived_are_taken_out_again(server: Asker, inbox: StubInbox) -> None:
    here, gone = server.open("here"), server.open("gone")
    server.close(gone)
    inbox.gone_names.clear()
    inbox.answer_group([gone.reply_channel, here.reply_channel], {"text": "x"})
    assert server.seen == [("deliver", "here", {"text": "x"})]
    assert inbox.gone_names == [gone.id]
    inbox.answer_group([gone.reply_channel], {"text": "x"})
    assert len(server.seen) == 1
    assert server.stats["late_answers"] == 0  # a group's sender did nothing wrong


def test_a_message_that_breaks_its_format_is_counted_and_logged_once(
    server: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    connection = server.open("x")
    server.unfit(connection, "no text")
    server.unfit(connection, "no text")
    assert server.stats["unfit_messages"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"connection {connection.id}: a message was ignored: no text"
    ]


# Questions


def test_a_question_carries_what_the_protocol_asked_for(server: Asker, inbox: StubInbox) -> None:
    connection = server.open("x")
    server.publish("ask", {"n": 1}, connection, expiry=60)
    server.publish("ask.body?1", {"n": 2}, connection, credit=True, last=True)
    server.publish("ask", {"n": 3}, expiry=5)
    assert inbox.take() == [
        ("ask", {"n": 1}, {"expiry": 60}),
        ("ask.body?1", {"n": 2}, {"credit": connection.id, "last": True}),
        ("ask", {"n": 3}, {"expiry": 5}),
    ]
    assert server.seen == []


@pytest.mark.parametrize(
    ("error", "refusal", "text"),
    [
        (ChannelFull("ask"), Refusal.FULL, "the channel is full"),
        (MessageTooLarge("ask"), Refusal.TOO_LARGE, "the message is too large"),
        (LayerUnavailable("away"), Refusal.UNAVAILABLE, "the channel layer is unavailable"),
    ],
)
def test_what_the_layer_refuses_is_for_the_protocol_to_say(
    server: Asker, inbox: StubInbox, error: Exception, refusal: Refusal, text: str
) -> None:
    inbox.refusals["ask"] = error
    server.publish("ask", {}, server.open("x"))
    server.publish("ask", {})
    assert server.seen == [("refuse", "x", refusal)]
    assert refusal.text == text
    assert server.stats[f"refused_{refusal.name.lower()}"] == 2


def test_what_is_in_doubt_is_refused_as_unavailable_and_counted_apart(server: Asker, inbox: StubInbox) -> None:
    """The layer was lost under it: it may have arrived, so nobody may send it again."""
    inbox.refusals["ask"] = LayerUnavailable("lost", uncertain=True)
    inbox.announced["ask"] = False
    server.publish("ask", {}, server.open("x"))
    server.publish("ask", {})
    server.notify("ask", {})
    assert server.seen == [("refuse", "x", Refusal.UNAVAILABLE)]
    assert (server.stats["in_doubt"], server.stats["refused_unavailable"]) == (3, 0)
    assert server.in_doubt(LayerUnavailable("away")) is server.in_doubt(True) is server.in_doubt(ChannelFull()) is False
    assert server.stats["in_doubt"] == 3


def test_a_refusal_for_a_connection_closed_by_now_is_only_counted(server: Asker) -> None:
    connection = server.open("x")
    server.close(connection)
    connection.sent(ChannelFull("ask"))
    connection.sent(True)
    assert server.seen == []
    assert server.stats["refused_full"] == 1


def test_failures_while_refusing_and_crediting_are_contained(server: Asker, inbox: StubInbox) -> None:
    server.refuse = server.credited = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    inbox.refusals["ask"] = ChannelFull("ask")
    connection = server.open("x")
    server.publish("ask", {}, connection)
    assert inbox.credit is not None
    inbox.credit("ask.body?1", connection.id, 1)
    assert server.stats["failures"] == 2


def test_credit_finds_its_connection(server: Asker, inbox: StubInbox) -> None:
    connection = server.open("x")
    assert inbox.credit is not None
    inbox.credit("ask.body?1", connection.id, 3)
    inbox.credit("ask.body?1", "gone", 3)
    assert server.seen == [("credited", "x", "ask.body?1", 3)]


def test_notifications_go_only_where_somebody_listens(server: Asker, inbox: StubInbox) -> None:
    assert server.notify("asker.left", {}) is False
    assert inbox.take() == []
    assert server.stats["notifications_dropped"] == 1
    inbox.announced["asker.left"] = False
    assert server.listened("asker.left")
    assert server.notify("asker.left", {"n": 1}) is True
    assert inbox.take() == [("asker.left", {"n": 1}, {})]
    inbox.refusals["asker.left"] = ChannelFull("asker.left")
    server.notify("asker.left", {})
    assert server.stats["refused_full"] == 1


def test_notifications_go_to_durable_channels_whoever_listens(server: Asker, inbox: StubInbox) -> None:
    server.layer.durable.add("asker.left")  # type: ignore[attr-defined]
    assert server.wanted("asker.left")
    assert server.notify("asker.left", {"n": 1}) is True
    assert [sent.channel for sent in inbox.sent] == ["asker.left"]
    assert not server.wanted("asker.other")


def test_silence_is_explained(server: Asker, inbox: StubInbox) -> None:
    assert server.why_silent("ask") == "no worker listens to ask"
    inbox.announced["ask"] = False
    assert server.why_silent("ask") == "no answer in time"
    assert server.why_silent("ask", 60) == "no answer within 60 s"
    assert inbox.down is not None
    inbox.down("connection refused")
    assert server.why_silent("ask", 60) == "the channel layer is unavailable"


def test_an_outage_is_said_once_and_so_is_its_end(
    server: Asker, inbox: StubInbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert inbox.down is not None
    assert inbox.up is not None
    inbox.up()
    inbox.down("connection refused")
    inbox.down("connection refused")
    assert not server.available
    inbox.up()
    inbox.up()
    assert server.available
    assert server.stats["layer_outages"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the channel layer is away: connection refused",
        "the channel layer is back",
    ]


def test_what_is_told_of_it(server: Asker, inbox: StubInbox) -> None:
    assert (server.title, server.serves, server.sockets, server.waiting, server.groups) == ("asker", True, 0, 0, (0, 0))
    connection = server.open("x")
    assert server.waiting == 1
    server.close(connection)
    assert server.waiting == 0
    assert inbox.down is not None
    inbox.down("connection refused")
    assert not server.serves
    assert server.counts() == {"layer_outages": 1}
    server.network = "acme"
    assert (server.title, server.problems()) == ("asker.acme", [])


# Deadlines


def test_a_connection_out_of_time_is_closed(server: Asker, manual: Any, inbox: StubInbox) -> None:
    connection = server.open("x")
    server.set_timer(connection, 60)
    manual.advance(59)
    server.set_timer(connection, 60)
    manual.advance(59)
    assert connection.state == "x"
    manual.advance(2)
    assert inbox.gone_names == [connection.id]
    assert server.stats["timeouts"] == 1


def test_a_cleared_or_closed_connection_has_no_deadline(server: Asker, manual: Any) -> None:
    cleared, closed = server.open("cleared"), server.open("closed")
    for connection in (cleared, closed):
        server.set_timer(connection, 1)
    server.clear_timer(cleared)
    server.close(closed)
    server.set_timer(closed, 1)
    manual.advance(5)
    assert server.stats["timeouts"] == 0
    assert cleared.state == "cleared"


def test_a_failure_when_time_is_up_is_contained(server: Asker, manual: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.timed_out = lambda connection: 1 / 0  # type: ignore[method-assign, assignment]
    connection = server.open("x")
    server.set_timer(connection, 1)
    manual.advance(2)
    assert server.stats["failures"] == 1
    assert connection.id in caplog.text


# Life


def test_stopping_waits_for_open_work(server: Asker, loop: asyncio.AbstractEventLoop, inbox: StubInbox) -> None:
    connections = [server.open(number) for number in range(2)]
    loop.call_soon(server.close, connections[0])
    loop.call_later(0.01, server.close, connections[1])
    assert loop.run_until_complete(server.stop(PATIENCE)) is True
    assert server.stopping
    assert inbox.closed


def test_stopping_with_nothing_open_is_immediate(server: Asker, loop: asyncio.AbstractEventLoop) -> None:
    assert loop.run_until_complete(server.stop(0)) is True


def test_what_is_open_after_the_grace_is_cut(
    server: Asker, loop: asyncio.AbstractEventLoop, inbox: StubInbox, caplog: pytest.LogCaptureFixture
) -> None:
    connection = server.open("x")
    called: list[int] = []
    server.timers.call_later(1, lambda: called.append(1))
    assert loop.run_until_complete(server.stop(0.01)) is False
    assert connection.state is None
    assert inbox.closed
    assert "what was open after 0.01 s was cut off (waiting for an answer: 1)" in caplog.text


def test_a_failing_drain_still_ends(
    server: Asker, loop: asyncio.AbstractEventLoop, inbox: StubInbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def drain(grace: float) -> None:
        raise RuntimeError("boom")

    server.drain = drain  # type: ignore[method-assign]
    assert loop.run_until_complete(server.stop(1)) is False
    assert inbox.closed
    assert "draining failed" in caplog.text


def test_a_class_must_say_how_it_listens_and_answers(loop: asyncio.AbstractEventLoop, layer: Any) -> None:
    class Mute(ProtocolServer):
        name = "mute"

    mute = Mute(layer, None, reactor=SimpleNamespace(_asyncioEventloop=loop))
    with pytest.raises(TypeError, match="Mute does not say what it listens on"):
        loop.run_until_complete(mute.start())
    assert layer.inbox.closed
    with pytest.raises(TypeError, match="Mute does not say how it answers"):
        mute.deliver(mute.open(None), {})
    connection = mute.open(None)
    mute.refuse(connection, Refusal.FULL)
    mute.credited(connection, "x?1", 1)


# With sockets


@pytest.fixture
def start(place: ReactorThread, factory: Any) -> Iterator[Callable[..., Asker]]:
    """Start servers with sockets, that end with the test."""
    started: list[Asker] = []

    def starting(*endpoints: str) -> Asker:
        server = Asker(StubLayer(), None, reactor=place.reactor)
        server.endpoints, server.factory = list(endpoints), factory
        place.call(server.start())
        started.append(server)
        return server

    yield starting
    for server in started:
        place.call(server.stop(0))


def test_ports_are_named_for_people(start: Callable[..., Asker], certificate: Any, tmp_path: Any) -> None:
    secure = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    server = start("tcp:0", secure, f"unix:{tmp_path}/x.sock")
    assert server.ports[0].startswith("ask://127.0.0.1:")
    assert server.ports[1].startswith("asks://127.0.0.1:")
    assert server.ports[2] == f"ask://{tmp_path}/x.sock"


def test_processes_may_share_a_port(place: ReactorThread, factory: Any) -> None:
    servers = [Asker(StubLayer(), None, reactor=place.reactor) for _ in range(2)]
    endpoint = "tcp:0"
    for server in servers:
        server.reuse_port, server.endpoints, server.factory = True, [endpoint], factory
        place.call(server.start())
        endpoint = f"tcp:{server.ports[0].rpartition(':')[2]}"
    assert servers[0].ports == servers[1].ports
    for server in servers:
        place.call(server.stop(1))


def test_a_server_that_cannot_listen_leaves_nothing_behind(
    start: Callable[..., Asker], place: ReactorThread, factory: Any
) -> None:
    taken = start("tcp:0").ports[0].rpartition(":")[2]
    layer = StubLayer()
    server = Asker(layer, None, reactor=place.reactor)
    server.endpoints, server.factory = ["tcp:0", f"tcp:{taken}"], factory
    with pytest.raises(StartError, match=f"port {taken} on 127.0.0.1 is already in use"):
        place.call(server.start())
    assert layer.inbox.closed
    assert server.ports == []
    with socket.create_connection(("127.0.0.1", int(taken)), timeout=PATIENCE):
        factory.next()  # the other server is unhurt


def test_connections_that_outlive_the_grace_are_cut_and_may_say_so(
    start: Callable[..., Asker], place: ReactorThread, factory: Any
) -> None:
    server = start("tcp:0")
    inbox: Any = server.inbox

    class Leaving(factory.protocol):  # type: ignore[misc]
        def connectionLost(self, reason: Any = None) -> None:
            inbox.announced["asker.left"] = False
            assert not inbox.closed
            server.notify("asker.left", {})
            super().connectionLost(reason)

    factory.protocol = Leaving
    with socket.create_connection(("127.0.0.1", int(server.ports[0].rpartition(":")[2]))):
        protocol = factory.next()
        assert place.call(server.stop(0)) is True
        protocol.lost.get(timeout=PATIENCE)
    assert [sent.channel for sent in inbox.take()] == ["asker.left"]
    assert inbox.closed
