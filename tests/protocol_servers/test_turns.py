"""Messages of a connection that wait for each other, on a layer that records and a clock that stands still."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable, MessageTooLarge
from trunkline.protocol_servers.base import Connection, Message, ProtocolServer, Refusal
from trunkline.protocol_servers.testing import StubLayer
from trunkline.protocol_servers.timers import TimerWheel

ASK, END = "ask.receive", "ask.disconnect"


class Asker(ProtocolServer):
    """A server that notes what it has to refuse."""

    name = "asker"
    Settings = SimpleNamespace

    async def listen(self) -> None:
        self.refused: list[Refusal] = []

    def deliver(self, connection: Connection, message: Message) -> None:
        raise AssertionError("a worker's word is no answer")

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        self.refused.append(refusal)


class Bench:
    """A server with one connection, and the workers' side of it."""

    def __init__(self, manual: Any) -> None:
        self.loop = asyncio.new_event_loop()
        stub: Any = StubLayer()
        settings = SimpleNamespace(order_timeout=5.0)
        self.server = Asker(stub, settings, reactor=SimpleNamespace(_asyncioEventloop=self.loop), clock=manual.clock)
        self.server.timers = TimerWheel(manual.call_later, manual.clock)
        self.manual = manual
        self.run(self.server.start())
        self.inbox = stub.inbox
        self.inbox.announced = {ASK: True, END: True}
        self.connection = self.server.open("somebody")
        self.outcomes: list[Any] = []

    def run(self, doing: Any) -> Any:
        return self.loop.run_until_complete(doing)

    def turn(self) -> None:
        """Let the loop do what is ready, and what that makes ready."""
        for _ in range(5):
            self.run(asyncio.sleep(0))

    def message(self, number: int, **keys: Any) -> Message:
        return {"reply_channel": self.connection.reply_channel, "order": number, **keys}

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.server.turns.send(ASK, self.message(number), self.outcomes.append)
        self.turn()

    def publish(self, *numbers: int, **keys: Any) -> None:
        for number in numbers:
            self.server.publish(ASK, self.message(number, **keys), self.connection)
        self.turn()

    def done(self, mark: Any, **keys: Any) -> None:
        self.inbox.answer(self.connection.reply_channel, {"done": mark, **keys})
        self.turn()

    def sent(self) -> list[Any]:
        return [sent.message.get("order", sent.channel) for sent in self.inbox.take()]

    @property
    def stats(self) -> dict[str, int]:
        return dict(self.server.stats)


@pytest.fixture
def bench(manual: Any) -> Iterator[Bench]:
    made = Bench(manual)
    yield made
    made.server.timers.close()
    made.loop.close()


def test_what_nobody_ordered_leaves_at_once(bench: Bench) -> None:
    bench.inbox.announced = {ASK: False}
    bench.ask(1, 2)
    assert bench.sent() == [1, 2]
    assert bench.outcomes == [True, True]
    assert len(bench.server.turns) == 0
    assert bench.manual.scheduled() == 0


def test_the_next_leaves_when_the_one_before_is_done(bench: Bench) -> None:
    bench.ask(1, 2, 3)
    assert bench.sent() == [1]
    assert bench.outcomes == []
    bench.done(1)
    assert bench.sent() == [2]
    assert bench.outcomes == [True]
    bench.done(2)
    bench.done(3)
    assert bench.sent() == [3]
    assert bench.outcomes == [True, True, True]
    assert len(bench.server.turns) == 0
    bench.ask(4)
    assert bench.sent() == [4]


def test_one_connection_does_not_wait_for_another(bench: Bench) -> None:
    bench.ask(1)
    other = bench.server.open("another")
    bench.server.publish(ASK, {"reply_channel": other.reply_channel, "order": 1}, other)
    assert bench.sent() == [1, 1]


def test_the_words_of_a_worker_find_connections_that_are_closed(bench: Bench) -> None:
    bench.ask(1, 2)
    bench.server.close(bench.connection)
    bench.done(1)
    assert bench.sent() == [1, 2]


def test_a_silent_worker_is_given_up_and_counted(bench: Bench) -> None:
    bench.ask(1, 2)
    bench.manual.advance(4.9)
    assert bench.sent() == [1]
    bench.manual.advance(0.2)
    assert bench.sent() == [2]
    assert bench.outcomes == [True]
    assert bench.stats == {"order_timeouts": 1}


def test_a_late_word_releases_nothing_that_it_is_not_about(bench: Bench) -> None:
    bench.ask(1, 2, 3)
    bench.manual.advance(5.1)
    bench.done(1)
    bench.done(True)
    bench.done("2")
    assert bench.sent() == [1, 2]
    bench.done(2)
    assert bench.sent() == [3]
    bench.done(3)
    bench.done(3)
    assert bench.stats == {"order_timeouts": 1, "order_late": 4}


def test_a_message_to_be_consumed_later_keeps_its_place(bench: Bench) -> None:
    bench.ask(1, 2)
    bench.manual.advance(4)
    bench.done(1, later=10)
    bench.manual.advance(14.5)
    assert bench.sent() == [1]
    bench.done(1)
    assert bench.sent() == [2]
    assert "order_timeouts" not in bench.stats


@pytest.mark.parametrize("later", [math.inf, math.nan, -math.inf])
def test_a_time_that_is_none_keeps_no_place(bench: Bench, later: float) -> None:
    """Workers of third parties say what they like; what came with it still arrives."""
    bench.ask(1, 2)
    bench.done(1, later=later)
    assert bench.sent() == [1, 2]
    bench.manual.advance(5.1)
    assert bench.stats["order_timeouts"] == 1


def test_the_end_of_a_connection_comes_last_and_waits_for_no_word(bench: Bench) -> None:
    bench.ask(1, 2)
    bench.server.notify(END, {"reply_channel": bench.connection.reply_channel})
    bench.done(1)
    assert bench.sent() == [1, 2]
    bench.done(2)
    assert bench.sent() == [END]
    assert len(bench.server.turns) == 0
    bench.server.notify(END, {"reply_channel": bench.connection.reply_channel})
    assert bench.sent() == [END]


def test_what_the_layer_refuses_is_refused_with_all_that_waits(bench: Bench) -> None:
    full = bench.inbox.refusals[ASK] = ChannelFull("full")
    for number in (1, 2, 3):
        bench.server.turns.send(ASK, bench.message(number), bench.outcomes.append)
    bench.turn()
    assert bench.outcomes == [full, full, full]
    assert bench.sent() == [1]
    assert len(bench.server.turns) == 0
    bench.inbox.refusals.clear()
    bench.ask(1)
    assert bench.sent() == [1]


def test_a_message_that_is_too_large_stops_none_behind_it(bench: Bench) -> None:
    large = bench.inbox.refusals[ASK] = MessageTooLarge("large")
    for number in (1, 2):
        bench.server.turns.send(ASK, bench.message(number), bench.outcomes.append)
    bench.turn()
    assert bench.sent() == [1, 2]
    assert bench.outcomes == [large, large]


@pytest.mark.parametrize("comes", [True, False])
def test_what_is_in_doubt_is_waited_for(bench: Bench, comes: bool) -> None:
    doubt = bench.inbox.refusals[ASK] = LayerUnavailable("cut", uncertain=True)
    bench.ask(1, 2)
    assert bench.sent() == [1]
    assert bench.outcomes == []
    bench.inbox.refusals.clear()
    if comes:
        bench.done(1)
        assert bench.outcomes == [True]
    else:
        bench.manual.advance(5.1)
        assert bench.outcomes == [doubt]
    assert bench.sent() == [2]


def test_a_worker_may_be_faster_than_the_layers_word(bench: Bench) -> None:
    bench.server.turns.send(ASK, bench.message(1), bench.outcomes.append)
    bench.server.turns.send(ASK, bench.message(2), bench.outcomes.append)
    bench.inbox.answer(bench.connection.reply_channel, {"done": 1})
    bench.turn()
    assert bench.sent() == [1, 2]
    assert bench.outcomes == [True]


def test_workers_that_ask_for_order_no_more_get_all_that_waits(bench: Bench) -> None:
    bench.ask(1, 2, 3)
    bench.inbox.announced = {ASK: False}
    bench.done(1)
    assert bench.sent() == [1, 2, 3]
    assert bench.outcomes == [True, True, True]
    assert len(bench.server.turns) == 0


@pytest.mark.parametrize(("keys", "most"), [({}, 64), ({"data": bytes(64 * 1024 - 100)}, 16)])
def test_a_protocol_that_cannot_stop_reading_is_told_that_too_much_waits(
    bench: Bench, keys: dict[str, Any], most: int
) -> None:
    # 64 messages or 1 MiB wait; one is on the bus
    bench.publish(*range(most + 3), **keys)
    assert bench.server.refused == [Refusal.FULL, Refusal.FULL]
    assert bench.stats == {"refused_full": 2}
    for number in range(most + 1):
        bench.done(number)
    assert bench.sent() == list(range(most + 1))


def test_stopping_waits_for_what_is_held_back(bench: Bench) -> None:
    bench.ask(1, 2)
    bench.server.close(bench.connection)

    async def stop() -> bool:
        stopping = asyncio.ensure_future(bench.server.stop(20))
        for number in (1, 2):
            await asyncio.sleep(0)
            bench.inbox.answer(bench.connection.reply_channel, {"done": number})
        return await stopping

    assert bench.run(stop()) is True
    assert bench.sent() == [1, 2]
    assert bench.inbox.closed


def test_what_nobody_was_done_with_in_time_is_counted(bench: Bench) -> None:
    bench.ask(1, 2, 3)
    bench.server.close(bench.connection)
    assert bench.run(bench.server.stop(0.01)) is False
    assert bench.stats["order_lost"] == 2
