"""A layer that is away, or is lost under an operation: what is kept, what is in doubt, and nothing done twice."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from trunkline import Channel, Group, Message, Worker, timeout
from trunkline.layer import Delivery, LayerError, LayerUnavailable, MemoryLayer, Reader
from trunkline.layer.memory import _MemoryReader
from trunkline.layer.testing import ManualClock
from trunkline.workers import route
from trunkline.workers.claims import Claim, Claims
from trunkline.workers.flushing import Flusher, Letter

from .conftest import REPLIES, Bench

WAIT = 60.0  # seconds until a test that hangs is called failed

AWAY = "away"  # nothing is done, and that is certain
CUT = "cut"  # the connection breaks: the first few are done, the rest not, and nobody knows

_REPEATABLE = {"get_state", "listeners", "announce", "group_add", "group_discard", "group_members"}


def _repeatable(call: Any) -> bool:
    name, arguments = call
    return name in _REPEATABLE or (name == "put_state" and arguments[3] is None)


class FlakyLayer(MemoryLayer):
    """A layer behind a connection that breaks: `faults` says how the next round trips end, then all is well.

    Attributes:
        faults: AWAY, CUT, (CUT, operations done) or None, one for each round trip; or what draws one.
        doubted: Operations that were told to be in doubt, by name.
        undone: Those of them that were not done.
        lost: Messages that were taken and never arrived.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.faults: list[Any] = []
        self.draw: Callable[[], Any] = lambda: None
        self.doubted: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()
        self.lost: list[dict[str, Any]] = []
        self.trips = 0
        self.random = random.Random()

    def next_fault(self) -> Any:
        self.trips += 1
        return self.faults.pop(0) if self.faults else self.draw()

    def _run(self, calls: Sequence[Any]) -> list[Any]:
        fault = self.next_fault() if calls else None
        if fault is None:
            return super()._run(calls)
        if fault is AWAY:
            return [LayerUnavailable("away") for _ in calls]
        done = fault[1] if isinstance(fault, tuple) else self.random.randint(0, len(calls))
        super()._run(calls[:done])
        for index, call in enumerate(calls):
            if not _repeatable(call):
                self.doubted[call[0]] += 1
                self.undone[call[0]] += index >= done
        return [LayerUnavailable("lost", uncertain=not _repeatable(call)) for call in calls]

    def _call(self, call: Any) -> Any:
        [outcome] = self._run([call])
        if isinstance(outcome, LayerError):
            raise outcome
        return outcome

    def reader(self) -> Reader:
        return _FlakyReader(self)

    def well(self) -> MemoryLayer:
        """Return the same layer over a connection of its own."""
        return _Well(self)


class _Well(MemoryLayer):
    def __init__(self, flaky: FlakyLayer) -> None:
        super().__init__(clock=flaky.clock)
        self._hub = flaky._hub


class _FlakyReader(_MemoryReader):
    _layer: FlakyLayer

    def _take(self, *arguments: Any) -> list[Delivery]:
        fault = self._layer.next_fault()
        if fault is AWAY:
            raise LayerUnavailable("away")
        if fault is None:
            return super()._take(*arguments)
        arguments = (*arguments[:-1], 0)
        self._layer.lost += [delivery.message for delivery in super()._take(*arguments)]
        raise LayerUnavailable("lost", uncertain=True)


@pytest.fixture
def flaky(clock: ManualClock) -> Iterator[FlakyLayer]:
    """On a clock that the test moves."""
    with FlakyLayer(clock=clock) as layer:
        yield layer


@pytest.fixture
def real() -> Iterator[FlakyLayer]:
    """On real time, for workers that run in threads."""
    with FlakyLayer() as layer:
        layer.agree()
        layer.trips = 0
        yield layer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.workers.place._LONGEST_BACKOFF", 0.01)
    monkeypatch.setattr("trunkline.workers.place._FIRST_BACKOFF", 0.01)
    monkeypatch.setattr("trunkline.workers.place._AWAY_PAUSE", 0.01)


@contextmanager
def running(layer: MemoryLayer, *routes: Any, **options: Any) -> Iterator[Worker]:
    """Run a worker in a thread; at the end stop it and wait for it."""
    worker = Worker(layer, list(routes), **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(WAIT)
    assert not thread.is_alive(), "the worker does not end"


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < end, "it never happens"
        threading.Event().wait(0.001)


def numbers(layer: MemoryLayer, channel: str) -> list[int]:
    found = []
    while (message := layer.receive([channel])[1]) is not None:
        found.append(message["n"])
    return found


def send(layer: MemoryLayer, *numbers: int) -> None:
    """Send messages that a waiting worker takes as one batch."""
    batch = layer.batch()
    for n in numbers:
        batch.send("x", {"n": n})
    batch.run()


def never(left: float) -> bool:
    """Wait for no layer."""
    return False


def pending(layer: MemoryLayer, *sends: tuple[str, dict[str, Any]]) -> list[Any]:
    batch = layer.batch()
    for channel, message in sends:
        batch.send(channel, message)
    return batch.calls


# Everything at once, counted


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_is_consumed_or_sent_twice_and_losses_are_counted(
    real: FlakyLayer, impatient: None, caplog: pytest.LogCaptureFixture, seed: int, threads: int
) -> None:
    """Sent = consumed + lost while being taken; consumed = arrived + in doubt and not done."""
    well, count = real.well(), 300
    faults = real.random = random.Random(seed)
    consumed: Counter[int] = Counter()

    def consumer(message: Message) -> None:
        consumed[message["n"]] += 1
        Channel("y").send({"n": message["n"]})

    for n in range(count):
        well.send("x", {"n": n})
    real.draw = lambda: faults.choice([AWAY, CUT]) if faults.random() < 0.3 else None
    with running(real, route("x", consumer), threads=threads, prefetch=3) as worker:
        until(lambda: sum(consumed.values()) + len(real.lost) == count)
        real.draw = lambda: None
        until(lambda: not any(place.flusher.busy() for place in worker._places))
    lost = [message["n"] for message in real.lost]
    assert sorted([*consumed, *lost]) == list(range(count))
    assert set(consumed.values()) == {1}
    arrived = Counter(numbers(well, "y"))
    assert set(arrived.values()) == {1}, "nothing is sent twice"
    assert len(arrived) == len(consumed) - real.undone["put"]
    assert worker.stats["in_doubt"] == real.doubted["put"] > 0
    assert worker.stats["messages"] == len(consumed)
    assert "lost_unstarted" not in worker.stats
    assert worker.name not in well.listeners()


@pytest.mark.parametrize("seed", range(6))
def test_a_mail_is_consumed_once_however_often_its_sender_comes_again(
    flaky: FlakyLayer, clock: ManualClock, seed: int
) -> None:
    """The sender repeats until it is told; the outcome is stored even where the answer was lost."""
    faults = flaky.random = random.Random(seed)
    consumed: Counter[str] = Counter()
    bench = Bench(flaky.well(), clock, [])
    worker = Worker(flaky, [route("email.receive", lambda message: consumed.update([message["id"]]))])
    worker.wait_with(clock.advance)
    flaky.draw = lambda: faults.choice([AWAY, CUT]) if faults.random() < 0.4 else None
    tries = 0
    for number in range(40):
        answers: list[dict[str, Any]] = []
        while not any(answer["accept"] for answer in answers):
            tries += 1
            bench.mail(id=f"mail-{number}")
            for _ in range(5):
                try:
                    worker.step()
                except LayerUnavailable:
                    clock.advance(0.1)
            answers = bench.replies()
            clock.advance(16)
    assert consumed == {f"mail-{number}": 1 for number in range(40)}
    assert tries > 40
    assert worker.stats["in_doubt"] > 0


# A flush that is in doubt


def test_a_flush_in_doubt_is_counted_logged_once_and_not_repeated(
    flaky: FlakyLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    flusher = Flusher(flaky, clock.advance, print, never)
    flusher.put(pending(flaky, *[("y", {"n": n}) for n in range(5)]))
    flaky.faults = [(CUT, 2)]
    assert flusher.flush() is False
    assert not flusher.busy()
    assert flusher.flush() is True
    assert numbers(flaky, "y") == [0, 1]
    assert flusher.stats == {"in_doubt": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "the layer was lost under a flush: 5 operations may not have arrived, and are not repeated"
    ]


def test_what_may_be_repeated_is(flaky: FlakyLayer, clock: ManualClock) -> None:
    flusher = Flusher(flaky, clock.advance, print, never)
    batch = flaky.batch()
    batch.put_state("k", "v", 60)
    batch.put_state("l", "v", 60, if_version=0)
    batch.send("y", {"n": 1})
    flusher.put(batch.calls)
    flaky.faults = [(CUT, 0)]
    flusher.flush()
    flusher.flush()
    assert flaky.get_state("k")[0] == "v"
    assert flaky.get_state("l") == (None, 0)
    assert numbers(flaky, "y") == []
    assert flusher.stats == {"in_doubt": 2}


@pytest.mark.parametrize("done", range(4))
def test_a_response_with_a_part_in_doubt_ends_as_an_error(flaky: FlakyLayer, clock: ManualClock, done: int) -> None:
    worker = Bench(flaky, clock, [route("http.request", lambda message: message.reply(b"x" * 150_000))])
    worker.request()
    flaky.faults = [None, None, (CUT, done)]  # announced, taken, flushed
    worker.run()
    assert flaky.faults == []
    answers = worker.replies()
    assert [len(answer["content"]) for answer in answers[:done]] == [65536, 65536, 18928][:done]
    assert [answer["status"] for answer in answers[done:]] == [500]
    assert worker.stats == {"messages": 1, "in_doubt": 3}


def test_an_ending_in_doubt_is_not_repeated_either(flaky: FlakyLayer, clock: ManualClock) -> None:
    worker = Bench(flaky, clock, [route("http.request", lambda message: message.reply("x"))])
    worker.request()
    flaky.faults = [None, None, (CUT, 0), (CUT, 0)]
    with pytest.raises(LayerUnavailable):
        worker.run()
    worker.run()
    assert worker.replies() == []
    assert worker.stats == {"messages": 1, "in_doubt": 2}


def test_nothing_of_a_response_follows_its_part_in_doubt(
    flaky: FlakyLayer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever part it is that certainly did not leave; what else is kept still leaves, in order."""
    flusher = Flusher(flaky, clock.advance, print, never)
    certain, doubt = LayerUnavailable("away"), LayerUnavailable("lost", uncertain=True)
    flusher.put(
        pending(flaky, ("a!1", {"n": 1}), ("y", {"n": 2}), ("a!1", {"n": 3}), ("a!1", {"n": 4}), ("y", {"n": 5})),
        "a!1",
        {"n": 500},
    )
    with monkeypatch.context() as patched:
        patched.setattr(flaky, "_run", lambda calls: [certain, certain, doubt, certain, certain])
        flusher.flush()
    flusher.flush()
    assert numbers(flaky, "a!") == [500]
    assert numbers(flaky, "y") == [2, 5]
    assert flusher.stats == {"in_doubt": 3}


def test_what_waits_for_room_may_be_in_doubt_too(clock: ManualClock) -> None:
    """The rest of its response goes with it, and the end of it comes."""
    layer = FlakyLayer(clock=clock, channel_capacity={"a!": 1})
    flusher = Flusher(layer, clock.advance, print, never)
    flusher.put(pending(layer, *[("a!1", {"n": n}) for n in range(3)]), "a!1", {"n": 500})
    flusher.flush()
    assert numbers(layer, "a!") == [0]
    clock.advance(0.01)
    layer.faults = [(CUT, 0)]
    assert flusher.flush() is False
    assert flusher.busy()
    clock.advance(0.2)
    assert flusher.flush() is True
    assert numbers(layer, "a!") == [500]
    assert not flusher.busy()
    assert flusher.stats == {"in_doubt": 1, "dropped_full": 1}


def test_an_outage_keeps_what_waits_for_room(clock: ManualClock) -> None:
    layer = FlakyLayer(clock=clock, channel_capacity={"full": 1})
    flusher = Flusher(layer, clock.advance, print, never)
    flusher.put(pending(layer, ("full", {"n": 0}), ("full", {"n": 1})))
    flusher.flush()
    assert numbers(layer, "full") == [0]
    clock.advance(5)
    layer.faults = [AWAY]
    assert flusher.flush() is False
    clock.advance(5)
    flusher.flush()
    assert numbers(layer, "full") == [1]
    assert flusher.stats == {}


def test_what_is_kept_waits_behind_others_for_room(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two sends to a channel that is full the second was not even tried: it does not overtake the first."""
    layer = FlakyLayer(clock=clock, channel_capacity={"full": 1})
    layer.send("full", {"n": 0})
    flusher = Flusher(layer, clock.advance, print, never)
    flusher.put(pending(layer, ("full", {"n": 1}), ("full", {"n": 2})))
    with monkeypatch.context() as patched:
        patched.setattr(layer, "_run", lambda calls: [layer.ChannelFull("full"), LayerUnavailable("away")])
        flusher.flush()
    assert numbers(layer, "full") == [0]
    got = []
    for _ in range(4):
        got += [delivery.message["n"] for delivery in flusher.receive(layer.reader(), ["full"], 1, 0)]
        clock.advance(0.2)
    assert got == [1, 2]


def test_dead_letters_in_doubt_are_not_repeated(
    flaky: FlakyLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    flusher = Flusher(flaky, clock.advance, print, never)
    for n in range(4):
        flusher.bury(Letter("x", {"n": n}, "x"))
    flaky.agree()
    flaky.faults = [None, (CUT, 1), (CUT, 0), AWAY]
    assert flusher.flush() is False
    assert flusher.due() > clock()
    assert flusher.flush() is True
    assert [letter["message"]["n"] for letter in flaky.dead_letters()] == [0, 1, 3]
    assert flusher.stats == {"dead_letters": 2, "in_doubt": 2}
    assert len(caplog.records) == 1


# A flush together with the next receive


def test_what_is_pending_leaves_with_the_next_receive(real: FlakyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of the reader does for both."""
    reader, calls = real.reader(), list[int]()
    take = reader.receive_batch

    def receive_batch(*arguments: Any, flush: Any = None, **keys: Any) -> Any:
        calls.append(0 if flush is None else len(flush))
        return take(*arguments, flush=flush, **keys)

    monkeypatch.setattr(real, "reader", lambda: reader)
    monkeypatch.setattr(reader, "receive_batch", receive_batch)
    well = real.well()
    for n in range(3):
        well.send("x", {"n": n})
    with running(real, route("x", lambda message: Channel("y").send(message.content)), prefetch=1, max_messages=4):
        until(lambda: well.channel_statistics("y")["messages_pending"] == 3)
        well.send("x", {"n": 3})
        until(lambda: well.channel_statistics("y")["messages_pending"] == 4)
    assert calls == [0, 1, 1, 1]
    assert numbers(well, "y") == [0, 1, 2, 3]


def test_nobody_waits_for_a_reader_that_waits_for_messages(real: FlakyLayer) -> None:
    flusher = Flusher(real, time.sleep, print, never)
    reader = real.reader()
    flusher.put(pending(real, ("y", {"n": 1})))
    thread = threading.Thread(target=flusher.receive, args=(reader, ["x"], 1, None))
    thread.start()
    until(lambda: real.peek("y"))
    flusher.put(pending(real, ("y", {"n": 2})))
    assert flusher.flush() is True
    assert numbers(real, "y") == [1, 2]
    reader.wake()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_a_receive_that_breaks_keeps_what_was_pending(flaky: FlakyLayer, clock: ManualClock) -> None:
    flusher = Flusher(flaky, clock.advance, print, never)
    reader = flaky.reader()
    flusher.put(pending(flaky, ("y", {"n": 1})))
    flaky.faults = [AWAY]
    with pytest.raises(LayerUnavailable):
        flusher.receive(reader, ["x"], 1, None)
    assert flusher.away
    assert flusher.busy()
    assert flusher.receive(reader, ["y"], 1, None)[0].message == {"n": 1}
    assert not flusher.away
    assert flusher.try_flush() is True, "the turn is free whatever happened"


def test_a_layer_that_takes_no_sends_holds_up_the_receives(
    real: FlakyLayer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server out of memory: what is held does not grow without bound, and leaves first."""
    away, ran, consumed = threading.Event(), real._run, list[int]()
    refused = threading.Semaphore(0)
    away.set()

    def run(calls: Any) -> list[Any]:
        if calls[0][0] != "put" or not away.is_set():
            return ran(calls)
        refused.release()
        return [LayerUnavailable("no room") for _ in calls]

    def consumer(message: Message) -> None:
        consumed.append(message["n"])
        Channel("y").send(message.content)

    well = real.well()
    for n in range(20):
        well.send("x", {"n": n})
    monkeypatch.setattr(real, "_run", run)
    with running(real, route("x", consumer), prefetch=5):
        for _ in range(20):
            assert refused.acquire(timeout=WAIT)
        assert len(consumed) <= 10
        away.clear()
        until(lambda: len(well.peek("y", 30)) == 20)
    assert numbers(well, "y") == list(range(20))


# What was not started, and the end


def test_what_was_not_started_goes_back_when_the_layer_is_back(real: FlakyLayer, impatient: None) -> None:
    well, consumed = real.well(), list[int]()

    def consumer(message: Message) -> None:
        consumed.append(message["n"])
        real.faults = [AWAY] * 3
        worker.stop()

    with running(real, route("x", consumer), prefetch=5) as worker:
        send(well, *range(5))
        until(lambda: worker._stopping)
    assert consumed == [0]
    assert numbers(well, "x") == [1, 2, 3, 4]
    assert worker.stats == {"messages": 1}


@pytest.mark.parametrize(("fault", "back"), [((CUT, 0), []), ((CUT, 1), [1, 2])])
def test_unstarted_messages_in_doubt_are_counted_and_not_put_back_again(
    real: FlakyLayer, caplog: pytest.LogCaptureFixture, fault: Any, back: list[int]
) -> None:
    well = real.well()

    def consumer(message: Message) -> None:
        real.faults = [fault]
        worker.stop()

    with running(real, route("x", consumer), prefetch=3) as worker:
        send(well, *range(3))
        until(lambda: worker._stopping)
    assert numbers(well, "x") == back
    assert worker.stats == {"messages": 1, "lost_unstarted": 2}
    assert "2 messages that were taken and not started are lost: lost" in caplog.text


def test_unstarted_messages_that_cannot_go_back_in_time_are_counted(
    real: FlakyLayer, impatient: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trunkline.workers.worker._LAST_PATIENCE", 0.05)

    def consumer(message: Message) -> None:
        Channel("y").send({})
        real.draw = lambda: AWAY
        worker.stop()

    with running(real, route("x", consumer), prefetch=3) as worker:
        send(real, *range(3))
        until(lambda: worker._stopping)
    assert worker.stats == {"messages": 1, "lost_unstarted": 2}
    texts = [record.getMessage() for record in caplog.records]
    assert "2 messages that were taken and not started are lost: the layer is away" in texts
    assert "the layer is away: what was still to be sent is lost" in texts


def test_what_cannot_go_back_while_a_slow_consumer_runs_is_tried_again(
    real: FlakyLayer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the helper thread; another worker could take it."""
    monkeypatch.setattr("trunkline.workers.place._BATCH_TIME", 10.0)  # so that batches grow on any machine
    go_on, quick = threading.Event(), threading.Semaphore(0)
    well = real.well()

    def consumer(message: Message) -> None:
        if message["n"] == 0:
            real.faults = [AWAY] * 5
            assert go_on.wait(WAIT)
        quick.release()

    with running(real, route("x", consumer)) as worker:
        send(well, *range(1, 101))
        for _ in range(100):
            assert quick.acquire(timeout=WAIT)
        send(well, *range(21))
        until(lambda: [message["n"] for message in well.peek("x", 30)] == list(range(1, 21)))
        go_on.set()
        for _ in range(21):
            assert quick.acquire(timeout=WAIT)
    assert worker.stats == {"messages": 121}


def test_what_is_held_at_the_end_outlasts_a_short_outage(real: FlakyLayer, impatient: None) -> None:
    well = real.well()
    well.send("x", {})

    def consumer(message: Message) -> None:
        Channel("y").send({"n": 1})
        real.faults = [AWAY] * 3

    with running(real, route("x", consumer), max_messages=1):
        until(lambda: well.peek("y"))
    assert numbers(well, "y") == [1]


# Claims


def take(claims: Claims, token: str = "mine") -> Any:
    return claims.take("email.receive", "mail-1", token)


def test_a_claim_whose_answer_was_lost_is_known_again(flaky: FlakyLayer) -> None:
    claims = Claims(flaky, print)
    flaky.faults = [(CUT, 1)]
    with pytest.raises(LayerUnavailable):
        take(claims)
    assert take(claims, "another's") is None
    assert isinstance(take(claims), Claim)
    assert take(claims, "another's") is None


def test_a_worker_consumes_what_it_claimed_without_being_told(real: FlakyLayer, impatient: None) -> None:
    well = real.well()
    with running(real, route("email.receive", lambda message: None)) as worker:
        until(lambda: real.trips >= 2)  # announced, and waiting
        real.faults = [(CUT, 1)]
        well.send("email.receive", {"reply_channel": REPLIES + "1", "id": "m", "address": "a@b"})
        until(lambda: well.peek(REPLIES))
    assert well.receive([REPLIES])[1] == {"accept": True}
    assert worker.stats == {"messages": 1}
    assert real.doubted == {"put_state": 1}


@pytest.mark.parametrize("done", [0, 1])
def test_a_renewal_in_doubt_loses_no_claim(
    flaky: FlakyLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture, done: int
) -> None:
    claims = Claims(flaky, print)
    claim = take(claims)
    for _ in range(4):
        clock.advance(5)
        flaky.faults = [(CUT, done)]
        claims.renew()
        clock.advance(5)
        claims.renew()
    assert not claim.lost
    assert take(Claims(flaky, print), "another's") is None
    batch = flaky.batch()
    claim.release(batch)
    batch.run()
    assert isinstance(take(claims, "another's"), Claim)
    assert {record.getMessage() for record in caplog.records} == {"a claim could not be renewed: lost"}


# What a consumer asks while the layer is away


def test_groups_wait_for_the_layer_inside_a_consumer(real: FlakyLayer, impatient: None) -> None:
    well = real.well()
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        real.faults = [AWAY, (CUT, 1), AWAY]
        Group("g").add("member", {"n": 1})
        real.faults = [AWAY]
        seen.append(Group("g").members())
        real.faults = [AWAY]
        Group("g").discard("member")

    with running(real, route("x", consumer)) as worker:
        well.send("x", {})
        until(lambda: seen and not real.faults and not well.group_channels("g"))
    assert seen == [{"member": {"n": 1}}]
    assert worker.stats == {"messages": 1}
    real.faults = [AWAY]
    with pytest.raises(LayerUnavailable):
        Group("g", layer=real).add("member")


def test_a_consumer_waits_to_learn_who_listens(real: FlakyLayer, impatient: None) -> None:
    well = real.well()
    well.announce("smtp.1", {"channels": {"email.send": False}})

    def consumer(message: Message) -> None:
        real.faults = [AWAY] * 3
        Channel("email.send").send({"from": "a@example.org", "to": ["b@example.org"], "text": "x"})

    with running(real, route("x", consumer)) as worker:
        well.send("x", {})
        until(lambda: well.peek("email.send"))
    assert worker.stats == {"messages": 1}


def test_an_outage_gives_up_no_thread(real: FlakyLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer waits no longer than its own timeout allows: it fails, and its thread lives on."""
    monkeypatch.setattr("trunkline.workers.place._FIRST_BACKOFF", 0.2)
    monkeypatch.setattr("trunkline.workers.place._LONGEST_BACKOFF", 0.2)
    well = real.well()

    @timeout(0.5)
    def consumer(message: Message) -> None:
        real.draw = lambda: AWAY
        try:
            Group("g").add("member")
        finally:
            real.draw = lambda: None

    with running(real, route("x", consumer)) as worker:
        for _ in range(2):
            well.send("x", {})
        until(lambda: worker.stats["dead_letters"] == 2)
    assert worker.stats == {"messages": 2, "failures": 2, "dead_letters": 2}
    assert well.dead_letters()[0]["reason"] == "LayerUnavailable: away"


def test_threads_that_came_back_are_not_counted_as_given_up(real: FlakyLayer) -> None:
    """Nine of them in all, never two at a time: the worker goes on."""
    go_on = threading.Semaphore(0)

    @timeout(0.005)
    def stuck(message: Message) -> None:
        assert go_on.acquire(timeout=WAIT)

    with running(real, route("x", stuck)) as worker:
        for n in range(1, 10):
            real.send("x", {})
            until(lambda n=n: worker.stats["abandoned"] == n)  # type: ignore[misc]
            go_on.release()
            until(lambda: not any(place.stuck for place in worker._places))
        assert not worker._stopping
    assert worker.stats["failures"] == 9


def test_an_immediate_send_does_not_overtake_what_waits_for_the_layer(flaky: FlakyLayer, clock: ManualClock) -> None:
    refused: list[str] = []

    def consumer(message: Message) -> None:
        if message["n"] == 1:
            Channel("y").send({"n": 1})
            return
        flaky.faults = [AWAY]
        for _ in range(2):
            try:
                Channel("y").send({"n": 2}, immediately=True)
            except LayerUnavailable as error:
                refused.append(str(error))

    worker = Bench(flaky, clock, [route("x", consumer)], prefetch=2)
    worker.send("x", n=1)
    worker.send("x", n=2)
    worker.run()
    assert numbers(flaky, "y") == [1, 2]
    assert refused == ["the channel layer is out of reach, and what was sent before waits for it"]


def test_a_stream_waits_for_the_layer(flaky: FlakyLayer, clock: ManualClock) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1"
        flaky.faults = [AWAY] * 4
        yield b"2"
        yield b"3"

    worker = Bench(flaky, clock, [route("http.request", lambda message: message.reply(pieces()))])
    worker.request()
    worker.run()
    assert b"".join(answer["content"] for answer in worker.replies()) == b"123"
    assert worker.stats == {"messages": 1}


@pytest.mark.parametrize("done", [0, 1])
def test_a_stream_with_a_piece_in_doubt_ends_as_an_error(flaky: FlakyLayer, clock: ManualClock, done: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1"
        flaky.faults = [(CUT, done)]
        yield b"2"
        yield b"3"

    worker = Bench(flaky, clock, [route("http.request", lambda message: message.reply(pieces()))])
    worker.request()
    worker.run()
    answers = worker.replies()
    assert b"".join(answer["content"] for answer in answers[:-1]) == b"1" + b"2" * done
    assert answers[-1]["status"] == 500
    assert worker.stats == {"messages": 1, "failures": 1, "dead_letters": 1}


def test_a_body_with_a_chunk_in_doubt_has_no_hole(flaky: FlakyLayer, clock: ManualClock) -> None:
    """The chunk may have been taken and lost: reading fails, then and later."""
    well, errors = flaky.well(), list[bool]()
    name = well.new_channel("http.request.body?")
    for n in range(8):
        well.send(name, {"content": b"%d" % n * 100_000, "more_content": n < 7})

    def consumer(message: Message) -> None:
        file = message.stream()
        assert file.read(100_000) == b"0" * 100_000
        flaky.faults = [(CUT, 0)]
        for _ in range(2):
            try:
                file.read()
            except LayerUnavailable as error:
                errors.append(error.uncertain)
        message.reply("half")

    worker = Bench(flaky, clock, [route("http.request", consumer)])
    worker.request(body_channel=name)
    worker.run()
    assert errors == [True, True]
    assert [answer["content"] for answer in worker.replies()] == [b"half"]


# Announcing


def test_a_worker_that_could_not_announce_itself_soon_does(
    real: FlakyLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Long before the next announcement would be due; one line says that it did not, and one that it does again."""
    monkeypatch.setattr("trunkline.workers.worker._HELPER_PAUSE", 0.01)
    real.draw = lambda: AWAY
    with caplog.at_level(logging.INFO), running(real, route("x", lambda message: None)) as worker:
        until(lambda: real.trips > 10)
        real.draw = lambda: None
        until(lambda: worker.name in real.well().listeners())
        until(lambda: "announced again" in caplog.text)
    assert caplog.text.count("not announced: away") == 1


def test_a_layer_that_comes_back_empty_soon_knows_the_worker_again(
    real: FlakyLayer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.workers.worker._HELPER_PAUSE", 0.01)
    monkeypatch.setattr("trunkline.workers.worker.ANNOUNCE", 1000.0)
    well = real.well()
    with running(real, route("x", lambda message: None)) as worker:
        until(lambda: worker.name in well.listeners())
        well.announce(worker.name, None)
        real.faults = [AWAY, AWAY]
        well.send("x", {})
        until(lambda: not real.faults and worker.name in well.listeners())
