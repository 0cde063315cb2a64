"""Consuming from durable channels: a return acknowledges, an exception does not, and time is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import Channel, ConsumeLater, Message, Worker, retry, route
from trunkline.workers.leases import Leases

VISIBILITY = 30.0
WAIT = 60.0


@pytest.fixture
def layer(clock: ManualClock) -> Iterator[MemoryLayer]:
    with MemoryLayer(clock=clock, expiry=1000, durable={"jobs.*": VISIBILITY, "email.receive": VISIBILITY}) as layer:
        yield layer


def raising(error: Any) -> Callable[[Message], None]:
    def consumer(message: Message) -> None:
        Channel("out", layer=message.layer).send({"n": 1})
        raise error

    return consumer


def work(layer: MemoryLayer, consumer: Any, clock: ManualClock, seconds: float = 0, **filters: Any) -> Worker:
    """Consume what is on jobs.a, and what comes again within some seconds."""
    worker = Worker(layer, [route("jobs.a", consumer, **filters)])
    worker.wait_with(clock.advance)
    until = clock() + seconds
    while True:
        while worker.step():
            pass
        if clock() >= until:
            return worker
        clock.advance(0.1)


def test_a_return_acknowledges_with_its_flush(layer: MemoryLayer, clock: ManualClock) -> None:
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        seen.append((message.delivery.id, message.delivery.tries))
        Channel("out", layer=message.layer).send({"n": 1})
        assert layer.channel_statistics("jobs.a")["messages_pending"] == 1

    layer.send("jobs.a", {})
    worker = work(layer, consumer, clock, 60)
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0
    assert layer.receive(["out"]) == ("out", {"n": 1})
    assert [tries for _, tries in seen] == [1]
    assert worker.stats == {"messages": 1}


def test_the_acknowledgement_comes_last(layer: MemoryLayer, clock: ManualClock, monkeypatch: Any) -> None:
    ran: list[str] = []
    real = layer._run

    def run(calls: Any) -> list[Any]:
        ran.extend(name for name, _ in calls)
        return real(calls)

    monkeypatch.setattr(layer, "_run", run)
    layer.send("jobs.a", {"reply_channel": "back"})
    work(layer, lambda message: message.reply_channel.send({"n": 1}), clock)
    assert ran == ["put", "ack"]


@pytest.mark.parametrize(
    ("consumer", "tries", "waits"),
    [
        (raising(ValueError("x")), 10, 0.1),
        (raising(ConsumeLater), 10, 0.1),
        (raising(ConsumeLater(tries=3, delay=2)), 3, 2),
        (retry(tries=4)(raising(ValueError("x"))), 4, 0.1),
    ],
)
def test_an_exception_gives_back_and_in_the_end_buries(
    layer: MemoryLayer, clock: ManualClock, consumer: Any, tries: int, waits: float
) -> None:
    layer.send("jobs.a", {"n": 7})
    worker = work(layer, consumer, clock)
    assert worker.stats["messages"] == 1
    assert layer.receive_batch(["jobs.a"]) == [], "it is not its time yet"
    clock.advance(waits + 0.01)
    [again] = layer.receive_batch(["jobs.a"])
    assert again.tries == 2
    layer.put_back([again])
    worker = work(layer, consumer, clock, 60)
    assert (worker.stats["messages"], worker.stats["redelivered"]) == (tries - 1, tries - 1)
    assert layer.receive(["out"]) == (None, None), "what it held is dropped"
    [letter] = layer.dead_letters()
    assert (letter["channel"], letter["message"], letter["tries"]) == ("jobs.a", {"n": 7}, tries)
    assert "Error" in letter["reason"]
    assert "Traceback" in letter["traceback"]
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0


def test_what_no_route_takes_is_done_with(layer: MemoryLayer, clock: ManualClock) -> None:
    layer.send("jobs.a", {"n": "2"})
    assert work(layer, lambda message: None, clock, n="1").stats == {"messages": 1, "unrouted": 1}
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0


def test_an_accepted_mail_that_no_route_takes_is_a_dead_letter(layer: MemoryLayer) -> None:
    mail = {"id": "m", "address": "nobody@example.com", "from": "a@example.com", "subject": "Hello"}
    layer.send("email.receive", mail)
    worker = Worker(layer, [route("email.receive", lambda message: None, address="^support@")])
    assert worker.step() == 1
    assert worker.stats == {"messages": 1, "unrouted": 1, "dead_letters": 1}
    [letter] = layer.dead_letters()
    assert (letter["channel"], letter["message"], letter["reason"]) == ("email.receive", mail, "no route takes it")
    assert layer.channel_statistics("email.receive")["messages_pending"] == 0


def test_a_message_that_another_claims_is_given_back(layer: MemoryLayer, clock: ManualClock) -> None:
    worker = Worker(layer, [route("email.receive", lambda message: None)])
    content = {"reply_channel": "back!1", "id": "m", "address": "a@example.com"}
    claim = worker._claims.take("email.receive", "m", "another")
    assert claim is not None
    layer.send("email.receive", content)
    while worker.step():
        pass
    assert worker.stats["busy"] == 1
    assert layer.receive(["back!"]) == (None, None), "nobody is told to come again"
    clock.advance(20)
    while worker.step():
        pass
    assert worker.stats["messages"] == 2
    assert layer.channel_statistics("email.receive")["messages_pending"] == 0
    worker.close()


def test_it_is_repeated_where_its_sends_are_in_doubt(layer: MemoryLayer, clock: ManualClock, monkeypatch: Any) -> None:
    real, broken = layer._run, threading.Event()

    def run(calls: Any) -> list[Any]:
        if broken.is_set() or not any(name == "ack" for name, _ in calls):
            return real(calls)
        broken.set()
        lost = LayerUnavailable("gone", uncertain=True)
        return [lost if name == "put" else LayerUnavailable("gone") for name, _ in calls]

    monkeypatch.setattr(layer, "_run", run)

    def consumer(message: Message) -> None:
        if message["n"] == 1:
            Channel("out", layer=message.layer).send({"n": 1})

    for n in (1, 2):
        layer.send("jobs.a", {"n": n})
    worker = work(layer, consumer, clock, VISIBILITY + 1)
    assert worker.stats["in_doubt"] == 1
    assert worker.stats["redelivered"] == 1, "the one whose sends were in doubt, not the other one"
    assert layer.receive(["out"]) == ("out", {"n": 1})
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0


# a running worker


def test_a_long_consumer_keeps_its_message() -> None:
    layer = MemoryLayer(durable={"jobs.*": 0.15})
    entered, leave, seen = threading.Event(), threading.Event(), []

    def consumer(message: Message) -> None:
        seen.append(message.delivery.tries)
        entered.set()
        assert leave.wait(WAIT)

    worker = Worker(layer, [route("jobs.a", consumer)], threads=2)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        layer.send("jobs.a", {})
        assert entered.wait(WAIT)
        assert layer.receive_batch(["jobs.a"], 1, 0.6) == []
        assert layer.channel_statistics("jobs.a")["messages_pending"] == 1
    finally:
        leave.set()
        worker.stop()
        thread.join(WAIT)
    assert layer.channel_statistics("jobs.a")["messages_pending"] == 0
    assert seen == [1]
    assert worker.stats == {"messages": 1}
    layer.close()


def test_what_a_stopping_worker_did_not_start_counts_no_try(layer: MemoryLayer, clock: ManualClock) -> None:
    worker = Worker(layer, [route("jobs.a", lambda message: worker.stop())], prefetch=3)
    for n in range(3):
        layer.send("jobs.a", {"n": n})
    worker.step()
    assert [(each.message["n"], each.tries) for each in layer.receive_batch(["jobs.a"], 5)] == [(1, 1), (2, 1)]
    assert worker._leases.due() == float("inf")


class Held:
    """A delivery whose extensions come out as a test wants them to."""

    channel, id, visibility = "jobs.a", "1", 30.0

    def __init__(self, *outcomes: bool | LayerUnavailable) -> None:
        self.outcomes = list(outcomes)

    def extend(self, seconds: float) -> bool:
        assert seconds == self.visibility
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, LayerUnavailable):
            raise outcome
        return outcome


def test_leases(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    expected: list[float] = []
    leases = Leases(clock, expected.append)
    held, plain = Held(True, LayerUnavailable("away"), False), Held()
    plain.id = None  # type: ignore[assignment]
    leases.hold([plain, held])  # type: ignore[list-item]
    assert expected == [clock() + 10]
    for lost in (0, 0, 1):
        clock.advance(10)
        assert leases.due() == clock()
        leases.renew()
        assert leases.stats["leases_lost"] == lost
    assert leases.due() == float("inf")
    assert "could not be extended: away" in caplog.text
    assert "lapsed while its consumer runs" in caplog.text
    leases.renew()


def test_a_lease_that_ends_while_it_is_extended_is_not_lost(clock: ManualClock) -> None:
    leases = Leases(clock, lambda due: None)
    held = Held(False)
    real = held.extend

    def extend(seconds: float) -> bool:
        leases.end(held)  # type: ignore[arg-type]
        return real(seconds)

    held.extend = extend  # type: ignore[method-assign]
    leases.hold([held])  # type: ignore[list-item]
    clock.advance(10)
    leases.renew()
    assert leases.stats == {}
