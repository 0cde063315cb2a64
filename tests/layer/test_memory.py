"""The memory engine: what it shares, how it waits, and what happens when loops and clocks are odd."""

import asyncio
import gc
import signal
import threading
from typing import Any

import pytest

from trunkline.layer import Batch, ChannelFull, InboxItem, LayerUnavailable, MemoryLayer, memory, open_layer
from trunkline.layer.testing import Instance, ManualClock
from trunkline.layer.waiting import Waiter, Watchers


@pytest.fixture
def loop() -> Any:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))


# what is shared


def test_a_name_is_shared_and_no_name_is_new_each_time() -> None:
    one, two, other = open_layer("memory://shared.a"), open_layer("memory://shared.a"), open_layer("memory://shared.b")
    one.send("a", {"n": 1})
    assert other.receive(["a"]) == (None, None)
    assert two.receive(["a"]) == ("a", {"n": 1})
    new = open_layer("memory://")
    new.send("a", {"n": 1})
    assert open_layer("memory://").receive(["a"]) == (None, None)


def test_a_name_is_forgotten_with_its_last_layer() -> None:
    one, two = MemoryLayer("shared.c"), MemoryLayer("shared.c")
    one.send("a", {"n": 1})
    one.close()
    assert MemoryLayer("shared.c").peek("a") == [{"n": 1}]
    two.close()
    gc.collect()
    assert MemoryLayer("shared.c").peek("a") == []


def test_a_manual_clock_does_not_keep_a_layer_alive() -> None:
    clock = ManualClock()
    MemoryLayer("shared.d", clock=clock).send("a", {"n": 1})
    gc.collect()
    assert MemoryLayer("shared.d").peek("a") == []
    clock.advance(1)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_one_name_has_one_clock() -> None:
    clock = ManualClock(5.0)
    layer = MemoryLayer("shared.e", clock=clock)
    assert layer.clock() == 5.0
    assert MemoryLayer("shared.e").clock is clock
    assert MemoryLayer("shared.e", clock=clock).clock is clock
    with pytest.raises(ValueError, match="another clock"):
        MemoryLayer("shared.e", clock=ManualClock())


def test_each_layer_of_a_name_has_its_own_options() -> None:
    narrow, wide = open_layer("memory://shared.f?capacity=1"), open_layer("memory://shared.f?capacity=2")
    narrow.send("a", {})
    with pytest.raises(ChannelFull):
        narrow.send("a", {})
    wide.send("a", {})


# waiting


def test_a_wait_without_limit_has_no_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing wakes an idle reader but what it waits for."""
    clock = ManualClock()
    layer = MemoryLayer(clock=clock)
    waits: list[float | None] = []
    began = threading.Event()
    wait = Waiter.wait

    def waited(waiter: Waiter, timeout: float | None) -> None:
        waits.append(timeout)
        began.set()
        wait(waiter, timeout)

    monkeypatch.setattr(Waiter, "wait", waited)
    reader = layer.reader()
    thread = threading.Thread(target=reader.receive_batch, args=(["a", "b"], 1, None), daemon=True)
    thread.start()
    assert began.wait(20)
    began.clear()
    layer.send("b", {}, delay=1000)
    assert began.wait(20), "the next due message is the wait's timeout"
    reader.wake()
    thread.join(20)
    assert not thread.is_alive()
    assert waits == [None, 1000.0]


def test_the_wait_is_as_long_as_asked_or_until_the_next_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = MemoryLayer(clock=ManualClock())
    waits: list[Any] = []

    def waited(waiter: Waiter, timeout: float | None) -> None:
        waits.append(timeout)
        waiter.wake()

    monkeypatch.setattr(Waiter, "wait", waited)
    layer.reader().receive_batch(["a"], 1, 100)
    layer.send("a", {}, delay=3)
    layer.reader().receive_batch(["a"], 1, 100)
    layer.reader().receive_batch(["a"], 1, 2)
    assert waits[0] == pytest.approx(100, abs=5)
    assert waits[1] == 3
    assert waits[2] <= 2


def test_a_signal_handler_wakes_a_reader() -> None:
    layer = MemoryLayer()
    reader = layer.reader()
    before = signal.signal(signal.SIGALRM, lambda *_: reader.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert reader.receive_batch(["a"], 1, 20) == []
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_wait_hands_its_message_on(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = MemoryLayer()

    def interrupted(waiter: Waiter, timeout: float | None) -> None:
        layer.send("a", {"n": 1})
        raise KeyboardInterrupt

    got: list[Any] = []
    second = Waiter()
    with monkeypatch.context() as patched:
        patched.setattr(Waiter, "wait", interrupted)
        hub = layer._open()
        order: list[str] = []
        patched.setattr(second, "notify", lambda: order.append("second"), raising=True)
        reader = layer.reader()
        original = hub.watchers.add

        def add(queues: Any, watcher: Any) -> None:
            original(queues, watcher)
            original(["a"], second)

        patched.setattr(hub.watchers, "add", add)
        with pytest.raises(KeyboardInterrupt):
            reader.receive_batch(["a"], 1, 20)
        got = order
    assert got == ["second"]
    assert layer.receive(["a"]) == ("a", {"n": 1})


def test_a_waiter_forgets_old_news_but_no_wake() -> None:
    waiter = Waiter()
    waiter.notify()
    waiter.notify()
    waiter.clear()
    waiter.wait(0)
    waiter.wake()
    waiter.clear()
    waiter.wait(None)
    assert waiter.woken()
    assert not waiter.woken()


def test_watchers_are_notified_one_at_a_time_in_turn() -> None:
    class Recorded:
        def __init__(self, name: str) -> None:
            self.name = name

        def notify(self) -> None:
            told.append(self.name)

    told: list[str] = []
    watchers = Watchers()
    first, second = Recorded("first"), Recorded("second")
    watchers.add(["a", "b"], first)
    watchers.add(["a"], second)
    assert "a" in watchers
    assert "c" not in watchers
    watchers.notify("a")
    watchers.notify("a")
    assert told == ["first"]  # on its way: it will find both messages
    assert watchers.remove(["a", "b"], first) == ["a"]
    watchers.notify("a")
    assert told == ["first", "second"]
    assert "a" not in watchers
    assert watchers.remove(["a"], second) == ["a"]
    assert "b" not in watchers
    watchers.add(["a", "b"], first)
    watchers.add(["b"], second)
    assert watchers.remove(["b"], first) == []
    watchers.notify_all()
    assert sorted(told[2:]) == ["first", "second"]
    assert "a" not in watchers


class Taker:
    """A thread that takes one batch, and the list it took."""

    def __init__(self, layer: MemoryLayer, limit: int) -> None:
        self.took: list[int] = []
        self.reader = layer.reader()
        self.thread = threading.Thread(target=self.take, args=(limit,))
        self.thread.start()

    def take(self, limit: int) -> None:
        self.took = [delivery.message["n"] for delivery in self.reader.receive_batch(["a"], limit, None)]

    def end(self) -> list[int]:
        self.reader.wake()
        self.thread.join()
        return self.took


@pytest.mark.parametrize(("limit", "shares"), [(64, [4]), (1, [1, 1, 1, 1]), (2, [2, 2])])
def test_a_burst_wakes_as_many_threads_as_it_needs(limit: int, shares: list[int]) -> None:
    """One thread for what it takes in one batch; more where it leaves something."""
    layer = MemoryLayer()
    takers = [Taker(layer, limit) for _ in range(4)]
    while len(layer._open().watchers._waiting.get("a", ())) < 4:
        threading.Event().wait(0.001)
    batch = layer.batch()
    for n in range(4):
        batch.send("a", {"n": n})
    batch.run()
    while layer.channel_statistics("a")["messages_pending"]:
        threading.Event().wait(0.001)
    took = [taker.end() for taker in takers]
    assert sorted(len(numbers) for numbers in took if numbers) == sorted(shares)
    assert sorted(n for numbers in took for n in numbers) == [0, 1, 2, 3]


# the loop


def test_a_burst_wakes_the_loop_once(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = MemoryLayer()
    got: list[list[InboxItem]] = []
    layer.open_inbox("x!", loop=loop, receive=got.append)
    turn(loop)
    calls: list[Any] = []
    threadsafe = loop.call_soon_threadsafe

    def counted(callback: Any, *args: Any) -> Any:
        calls.append(callback)
        return threadsafe(callback, *args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    for n in range(100):
        layer.send("x!a", {"n": n})
        layer.group_add("g", f"x!{n}")
    assert len(calls) == 1
    turn(loop)
    assert [item.message["n"] for items in got for item in items] == list(range(100))
    layer.send("x!a", {})
    assert len(calls) == 2


def test_a_long_queue_is_taken_in_slices(loop: asyncio.AbstractEventLoop) -> None:
    layer = MemoryLayer()
    got: list[list[InboxItem]] = []
    for n in range(1000):
        layer.send("x!a", {"n": n})
    layer.open_inbox("x!", loop=loop, receive=got.append)
    turn(loop)
    assert 0 < len(got[0]) < 1000, "other work of the loop gets its turn"
    while sum(map(len, got)) < 1000:
        turn(loop)
    assert [item.message["n"] for items in got for item in items] == list(range(1000))


def test_an_idle_inbox_has_no_timers_but_for_what_is_due(loop: asyncio.AbstractEventLoop) -> None:
    clock = ManualClock()
    layer = MemoryLayer(clock=clock)
    got: list[InboxItem] = []
    inbox = layer.open_inbox("x!", loop=loop, receive=got.extend)
    turn(loop)
    timers = loop._scheduled  # type: ignore[attr-defined]
    assert timers == []
    layer.send("x!a", {"n": 1}, delay=1000)
    turn(loop)
    assert len([timer for timer in timers if not timer.cancelled()]) == 1
    clock.advance(1000)
    turn(loop)
    assert [item.message for item in got] == [{"n": 1}]
    assert [timer for timer in timers if not timer.cancelled()] == []
    layer.send("x!a", {"n": 2}, delay=1000)
    turn(loop)
    loop.run_until_complete(inbox.close())
    assert [timer for timer in timers if not timer.cancelled()] == []
    inbox._drain()  # type: ignore[attr-defined]
    assert len(got) == 1


def test_a_loop_closed_under_an_open_inbox_gives_it_back() -> None:
    layer = MemoryLayer()
    instance = Instance(layer, "x!")
    layer.group_add("g", "x!a")
    instance.got()
    instance.kill()
    layer.send("x!a", {"n": 1})
    assert layer.group_channels("g") == []
    layer.send("x!a", {"n": 2})
    Instance(layer, "x!").close()


def test_closing_a_layer_stops_its_inboxes(loop: asyncio.AbstractEventLoop) -> None:
    layer, other = MemoryLayer("shared.g"), MemoryLayer("shared.g")
    got: list[InboxItem] = []
    inbox = layer.open_inbox("x!", loop=loop, receive=got.extend)
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    layer.close()
    other.send("x!a", {})
    turn(loop)
    turn(loop)
    assert got == []
    assert [type(outcome) for outcome in outcomes] == [LayerUnavailable]
    other.open_inbox("x!", loop=loop, receive=got.extend)
    with pytest.raises(LayerUnavailable):
        layer.open_inbox("y!", loop=loop, receive=got.extend)


def test_an_inbox_without_callbacks_for_credit_takes_none(loop: asyncio.AbstractEventLoop) -> None:
    layer = MemoryLayer()
    got: list[InboxItem] = []
    inbox = layer.open_inbox("x!", loop=loop, receive=got.extend)
    inbox.send("body?1", {"n": 1}, credit="a")
    turn(loop)
    assert layer.receive(["body?1"])[1] == {"n": 1}
    layer.send("x!a", {"n": 2})
    turn(loop)
    turn(loop)
    assert [item.message for item in got] == [{"n": 2}]


def test_an_inbox_says_what_a_channel_holds(loop: asyncio.AbstractEventLoop) -> None:
    layer = MemoryLayer(capacity=50, channel_capacity={"body?*": 3, "mail.*": 7})
    inbox = layer.open_inbox("x!", loop=loop, receive=lambda items: None)
    assert [inbox.capacity(name) for name in ("body?1", "other?1", "mail.in", "mail.body?1", "a")] == [3, 16, 7, 16, 50]


def test_the_gone_are_remembered_within_bounds(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trunkline.layer import inbox as module

    monkeypatch.setattr(module, "_GONE", 3)
    inbox = MemoryLayer().open_inbox("x!", loop=loop, receive=lambda items: None)
    for n in range(10):
        inbox.gone(str(n))
    remembered = inbox._gone | inbox._gone_before
    assert remembered >= {"7", "8", "9"}
    assert len(remembered) < 6


# batches can be kept and run again


def test_what_a_batch_holds_can_be_looked_at_and_run_again() -> None:
    layer = MemoryLayer()
    batch = layer.batch()
    batch.send("x!a", {"n": 1})
    batch.send_group("g", {"n": 2})
    batch.delete_state("k")
    kept = list(batch.calls)
    assert [Batch.channel_of(call) for call in kept] == ["x!a", None, None]
    assert [batch.message_of(call) for call in kept[:2]] == [{"n": 1}, {"n": 2}]
    assert [Batch.size_of(call) > 0 for call in kept] == [True, True, False]
    assert batch.run() == [True, None, False]
    assert batch.calls == []
    batch.calls += kept[:1]
    assert batch.run() == [True]
    assert len(layer.receive_batch(["x!"], 5)) == 2


def test_readers_remember_a_bounded_number_of_lists() -> None:
    layer = MemoryLayer()
    reader = layer.reader()
    for n in range(1000):
        assert reader.receive_batch([f"a{n}"]) == []
    assert len(reader._turns) <= 64


def test_names_are_remembered_within_bounds() -> None:
    layer = MemoryLayer()
    for n in range(10_000):
        layer.channel_statistics(f"a{n}")
        layer.channel_statistics(f"x!{n}")
    known = layer._calls._find.__self__._known  # type: ignore[attr-defined]
    assert len(known) <= 4096


def test_the_module_holds_no_layer_by_itself() -> None:
    gc.collect()
    assert [name for name in memory._hubs if name.startswith("shared.")] == []
