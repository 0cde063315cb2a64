"""How what was sent leaves: in order, waiting for full channels and for a layer that is away (workers.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline import Channel, ChannelFull, Group, Message
from trunkline.layer import Batch, LayerUnavailable, MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import route
from trunkline.workers.flushing import Flusher, Letter, traceback_of

from .conftest import REPLIES, Bench

MakeBench = Callable[..., Bench]


@pytest.fixture
def small(clock: ManualClock) -> MemoryLayer:
    """A layer whose channel `full` holds two messages, and whose reply inbox three."""
    return MemoryLayer(clock=clock, channel_capacity={"full": 2, "http.reply*": 3})


def never(left: float) -> bool:
    """Wait for no layer."""
    return False


def numbers(found: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [message["n"] for _, message in found]


def sending(*sends: tuple[str, int]) -> Callable[[Message], None]:
    def consumer(message: Message) -> None:
        for name, number in sends:
            Channel(name).send({"n": number})

    return consumer


def test_a_full_channel_is_tried_for_2_s_and_the_rest_leaves(small: MemoryLayer, clock: ManualClock) -> None:
    worker = Bench(small, clock, [route("x", sending(("full", 1), ("full", 2), ("full", 3), ("free", 4), ("full", 5)))])
    worker.send("x")
    worker.run()
    assert numbers(worker.taken("free")) == [4]
    worker.advance(1.5)
    assert numbers(worker.taken("full")) == [1, 2]
    worker.advance(0.4)
    assert numbers(worker.taken("full")) == [3, 5]
    assert worker.stats == {"messages": 1}
    assert small.dead_letters() == []


def test_what_found_no_room_in_2_s_is_a_dead_letter(small: MemoryLayer, clock: ManualClock) -> None:
    worker = Bench(small, clock, [route("x", sending(("full", 1), ("full", 2), ("full", 3), ("full", 4)))])
    worker.send("x")
    worker.run()
    worker.advance(2.2)
    assert numbers(worker.taken("full")) == [1, 2]
    assert worker.stats == {"messages": 1, "dropped_full": 2, "dead_letters": 2}
    letters = [(letter["channel"], letter["message"], letter["reason"]) for letter in small.dead_letters()]
    assert letters == [("full", {"n": n}, "full stayed full") for n in (3, 4)]
    worker.send("x")
    worker.run()
    assert numbers(worker.taken("full")) == [1, 2], "the channel is used again"


def test_later_sends_to_a_full_channel_wait_behind(small: MemoryLayer, clock: ManualClock) -> None:
    """The worker goes on meanwhile; what is sent to that channel by later consumers does not overtake."""

    def consumer(message: Message) -> None:
        Channel("full").send({"n": message["n"]})
        Channel("free").send({"n": message["n"]})

    worker = Bench(small, clock, [route("x", consumer)])
    for n in range(6):
        worker.send("x", n=n)
    worker.run()
    assert numbers(worker.taken("free")) == [0, 1, 2, 3, 4, 5]
    got: list[Any] = []
    for n in range(6, 12):
        found = small.receive(["full"])[1]
        got += [found["n"]] if found else []
        worker.send("x", n=n)
        worker.run()
        worker.advance(0.2)
        got += numbers(worker.taken("full"))
    assert got == list(range(12))
    assert "dropped_full" not in worker.stats


def test_an_outcome_of_each_send(small: MemoryLayer, clock: ManualClock) -> None:
    """Sent = arrived + dropped, whatever the pace of the reader."""

    def consumer(message: Message) -> None:
        for _ in range(5):
            Channel("full").send({"n": message["n"]})

    worker = Bench(small, clock, [route("x", consumer)], prefetch=3)
    arrived = []
    for n in range(20):
        worker.send("x", n=n)
        worker.run()
        worker.advance(0.3)
        arrived += numbers(worker.taken("full"))
    worker.advance(5)
    arrived += numbers(worker.taken("full"))
    assert len(arrived) + worker.stats["dropped_full"] == 100
    assert worker.stats["dropped_full"] == worker.stats["dead_letters"] == len(small.dead_letters()) > 0
    assert arrived == sorted(arrived)


def test_group_sends_never_wait(small: MemoryLayer, clock: ManualClock) -> None:
    def consumer(message: Message) -> None:
        Group("g").add("full")
        for n in range(4):
            Group("g").send({"n": n})

    worker = Bench(small, clock, [route("x", consumer)])
    worker.send("x")
    worker.run()
    worker.advance(3)
    assert numbers(worker.taken("full")) == [0, 1]
    assert worker.stats == {"messages": 1}


def test_a_dropped_chunk_ends_its_response_as_an_error(small: MemoryLayer, clock: ManualClock) -> None:
    """The rest of the response goes with it; a second status closes the connection (messages.md, HTTP)."""
    worker = Bench(small, clock, [route("http.request", lambda message: message.reply(b"x" * 400_000))])
    worker.request(local="1")
    worker.run()
    worker.advance(2.2)
    assert [len(message["content"]) for message in worker.replies("1")] == [65536, 65536, 65536]
    assert worker.stats == {"messages": 1, "dropped_full": 4, "dead_letters": 1}
    worker.advance(0.2)
    (last,) = worker.replies("1")
    assert last["status"] == 500
    assert small.dead_letters()[0]["reason"] == f"{REPLIES} stayed full"


def test_the_small_last_part_of_a_response_does_not_pass_the_others(clock: ManualClock) -> None:
    """An inbox is full by bytes, too: where no part of 64 KiB fits, the rest of a body may."""
    layer = MemoryLayer(clock=clock)
    body = bytes(range(256)) * 1172
    worker = Bench(layer, clock, [route("http.request", lambda message: message.reply(body))])
    for size in [1 << 20] * 63 + [(1 << 20) - 66_000]:
        layer.send(f"{REPLIES}other", {"x": b"x" * size}, expiry=1)
    for local in "12":
        worker.request(local=local)
    worker.run()
    clock.advance(0.5)
    worker.run()
    clock.advance(0.6)
    worker.run()
    found = worker.taken(REPLIES)
    for local in "12":
        parts = [message for name, message in found if name == REPLIES + local]
        assert [part.get("status") for part in parts] == [200, None, None, None, None]
        assert b"".join(part["content"] for part in parts) == body
    assert worker.stats == {"messages": 2}


def test_the_end_of_a_response_is_tried_longer(small: MemoryLayer, clock: ManualClock) -> None:
    worker = Bench(small, clock, [route("http.request", lambda message: message.reply(b"x" * 400_000))])
    worker.request()
    worker.run()
    worker.advance(20)
    worker.taken(REPLIES)
    worker.advance(0.2)
    assert [message["status"] for message in worker.replies()] == [500]
    worker.request()
    worker.run()
    worker.advance(40)
    worker.taken(REPLIES)
    worker.advance(1)
    assert worker.taken(REPLIES) == []
    assert worker.stats["dropped_full"] == 4 + 5


def test_other_replies_to_a_full_inbox_wait_their_turn(small: MemoryLayer, clock: ManualClock) -> None:
    worker = Bench(small, clock, [route("http.request", lambda message: message.reply(message["path"]))])
    for n in range(6):
        worker.request(f"/{n}", str(n))
    worker.run()
    assert [name for name, _ in worker.taken(REPLIES)] == [f"{REPLIES}{n}" for n in range(3)]
    worker.advance(0.2)
    assert [name for name, _ in worker.taken(REPLIES)] == [f"{REPLIES}{n}" for n in range(3, 6)]


def test_a_dropped_frame_does_not_close_its_socket(small: MemoryLayer, clock: ManualClock) -> None:
    def consumer(message: Message) -> None:
        for n in range(5):
            message.reply(str(n))

    worker = Bench(small, clock, [route("websocket.receive", consumer)])
    worker.send("websocket.receive", reply_channel=REPLIES + "1", path="/", text="x", order=1)
    worker.run()
    worker.advance(2.2)
    worker.advance(0.2)
    assert worker.replies() == [{"text": "0"}, {"text": "1"}, {"text": "2"}]
    assert worker.stats == {"messages": 1, "dropped_full": 2, "dead_letters": 2}


def test_what_waits_is_bounded(clock: ManualClock) -> None:
    layer = MemoryLayer(clock=clock, channel_capacity={"full": 1})
    flusher = Flusher(layer, clock.advance, print, never)
    for _ in range(70):
        batch = layer.batch()
        batch.send("full", {"b": b"x" * 1_000_000})
        flusher.put(batch.calls)
        flusher.flush()
    assert flusher.stats["dropped_full"] == 2
    flusher.flush()
    assert flusher.stats["dead_letters"] == 2


def test_many_that_wait_cost_little(clock: ManualClock) -> None:
    """A full channel is tried with its first send alone, however many wait behind it."""
    layer = MemoryLayer(clock=clock, channel_capacity={"full": 1, "http.reply*": 1})
    worker = Bench(layer, clock, [route("http.request", lambda message: message.reply("x"))])
    for n in range(900):
        worker.request(local=str(n))
    worker.run()
    refused = layer.channel_statistics(REPLIES)["channel_full_count"]
    worker.advance(1)
    assert layer.channel_statistics(REPLIES)["channel_full_count"] - refused < 30
    arrived: list[int] = []
    while found := worker.taken(REPLIES):
        arrived += [message["status"] for _, message in found]
        worker.advance(0.05)
    worker.advance(40)
    arrived += [message["status"] for _, message in worker.taken(REPLIES)]
    given_up = worker.stats["dead_letters"]
    assert arrived.count(200) + given_up == 900
    assert worker.stats["dropped_full"] == given_up + (given_up - arrived.count(500)), "answers and their endings"


def test_an_immediate_send_does_not_overtake_what_waits(small: MemoryLayer, clock: ManualClock) -> None:
    refused: list[int] = []

    def consumer(message: Message) -> None:
        if message["n"] == 1:
            for n in range(3):
                Channel("full").send({"n": n})
            return
        Channel("free").send({}, immediately=True)
        assert small.receive(["full"])[1] == {"n": 0}, "so there is room"
        try:
            Channel("full").send({"n": 9}, immediately=True)
        except ChannelFull:
            refused.append(1)

    worker = Bench(small, clock, [route("x", consumer)], prefetch=2)
    worker.send("x", n=1)
    worker.send("x", n=2)
    worker.run()
    assert refused == [1]
    worker.advance(0.1)
    assert numbers(worker.taken("full")) == [1, 2]


# A layer that is away, and engines that break


class Away:
    """Makes a layer's batches fail, from the `first` operation on."""

    def __init__(self, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = LayerUnavailable("away")
        self.first = 0
        real = layer._run

        def run(calls: Any) -> list[Any]:
            if self.error is None:
                return real(calls)
            done = real(calls[: self.first])
            return done + [self.error] * (len(calls) - self.first)

        monkeypatch.setattr(layer, "_run", run)


def test_what_could_not_leave_is_kept_in_order(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = bench(route("x", sending(("a", 1), ("b", 2), ("a", 3))))
    away = Away(layer, monkeypatch)
    away.first = 1
    worker.send("x")
    assert worker.worker.step() == 1
    worker.send("x")
    away.first = 0
    with pytest.raises(LayerUnavailable):
        worker.worker.step()
    assert layer.channel_statistics("x")["messages_pending"] == 1, "nothing more is taken meanwhile"
    away.error = None
    worker.run()
    assert numbers(worker.taken("a")) == [1, 3, 1, 3]
    assert numbers(worker.taken("b")) == [2, 2]
    assert worker.stats == {"messages": 2}


def test_an_outage_does_not_count_against_what_waits_for_room(
    small: MemoryLayer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Bench(small, clock, [route("x", sending(("full", 1), ("full", 2), ("full", 3)))])
    worker.send("x")
    worker.run()
    away = Away(small, monkeypatch)
    worker.advance(5)
    assert numbers(worker.taken("full")) == [1, 2]
    away.error = None
    worker.advance(0.2)
    assert numbers(worker.taken("full")) == [3]


def test_dead_letters_wait_for_the_layer_too(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def consumer(message: Message) -> None:
        raise ValueError(message["n"])

    worker = bench(route("x", consumer), prefetch=5)
    for n in range(3):
        worker.send("x", n=str(n))
    real = layer.dead_letter
    calls: list[str] = []

    def dead_letter(channel: str, *arguments: Any, **keys: Any) -> Any:
        calls.append(keys["reason"])
        if len(calls) == 2:
            raise LayerUnavailable("away")
        return real(channel, *arguments, **keys)

    monkeypatch.setattr(layer, "dead_letter", dead_letter)
    worker.worker.step()
    assert worker.stats == {"messages": 3, "failures": 3, "dead_letters": 1}
    worker.run()
    assert [letter["reason"] for letter in layer.dead_letters()] == [f"ValueError: {n}" for n in range(3)]


def test_a_send_that_can_never_be_taken_is_counted(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        Group("g").send({"n": 0})
        Channel("a").send({"n": 1})

    worker = bench(route("x", consumer))
    away = Away(layer, monkeypatch)
    away.error = TypeError("the engine says no")
    worker.send("x")
    worker.run()
    away.error = None
    worker.run()
    assert worker.stats == {"messages": 1, "flush_errors": 2, "dead_letters": 1}
    assert layer.dead_letters()[0]["message"] == {"n": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "a send to the layer was refused: the engine says no",
        "a send to a was refused: the engine says no",
    ]


def test_an_engine_that_breaks_does_not_stop_the_worker(
    bench: MakeBench, layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(calls: Any) -> Any:
        raise ZeroDivisionError

    worker = bench(route("x", sending(("a", 1))))
    with monkeypatch.context() as patched:
        patched.setattr(layer, "_run", broken)
        worker.send("x")
        worker.run()
    assert worker.stats["flush_errors"] == 1
    assert "a flush of 1 operations failed" in caplog.text
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "run", lambda batch: (_ for _ in ()).throw(LayerUnavailable("away")))
        worker.send("x")
        worker.run()
    worker.run()
    assert numbers(worker.taken("a")) == [1]


def test_errors_while_waiting_for_room(small: MemoryLayer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Bench(small, clock, [route("x", sending(("full", 1), ("full", 2), ("full", 3)))])
    worker.send("x")
    worker.run()
    away = Away(small, monkeypatch)
    away.error = TypeError("no")
    worker.advance(0.1)
    away.error = None
    worker.run()
    assert worker.stats == {"messages": 1, "flush_errors": 1, "dead_letters": 1}


def test_letters_that_cannot_be_kept(layer: MemoryLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    flusher = Flusher(layer, clock.advance, print, never)
    flusher.bury(Letter("no name", {}, "x"))
    flusher.bury(Letter("x", {"n": object()}, "x"))
    flusher.bury(Letter("x", {"n": 1}, "x"))
    flusher.flush()
    assert flusher.stats == {"letters_lost": 2, "dead_letters": 1}
    assert caplog.text.count("could not be kept") == 2
    for n in range(10_003):
        flusher.bury(Letter("x", {"n": n}, "x"))
    assert flusher.stats["letters_lost"] == 5
    flusher.flush()
    assert flusher.stats["dead_letters"] == 10_001


def test_due(layer: MemoryLayer, clock: ManualClock) -> None:
    flusher = Flusher(layer, clock.advance, print, never)
    assert (flusher.due(), flusher.busy()) == (float("inf"), False)
    flusher.put([])
    assert not flusher.busy()
    batch = layer.batch()
    batch.send("x", {})
    flusher.put(batch.calls)
    assert (flusher.due(), flusher.busy()) == (clock() + 0.001, True)
    flusher.flush()
    assert (flusher.due(), flusher.busy()) == (float("inf"), False)


def test_one_flush_at_a_time(layer: MemoryLayer, clock: ManualClock) -> None:
    tried: list[bool] = []
    flusher = Flusher(layer, clock.advance, print, never)
    real = layer._run

    def run(calls: Any) -> Any:
        tried.append(flusher.try_flush())
        return real(calls)

    layer._run = run  # type: ignore[method-assign]
    batch = layer.batch()
    batch.send("x", {})
    flusher.put(batch.calls)
    assert flusher.try_flush()
    assert tried == [False]


def test_endings_are_bounded(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.workers.full_channels._MOST_ENDINGS", 2)
    layer = MemoryLayer(clock=clock, channel_capacity={"http.reply*": 1})
    worker = Bench(layer, clock, [route("http.request", lambda message: message.reply("x"))])
    for n in range(6):
        worker.request(local=str(n))
    worker.run()
    worker.advance(2.2)
    assert worker.stats["dropped_full"] == 5 + 3
    arrived = []
    while found := worker.taken(REPLIES):
        arrived += [(name[-1], message["status"]) for name, message in found]
        worker.advance(0.2)
    assert arrived == [("0", 200), ("4", 500), ("5", 500)]


def test_many_waiting_sends_leave_in_growing_batches(clock: ManualClock) -> None:
    layer = MemoryLayer(clock=clock, channel_capacity={"full": 100})
    worker = Bench(layer, clock, [route("x", sending(*[("full", n) for n in range(190)]))])
    worker.send("x")
    worker.run()
    assert numbers(worker.taken("full")) == list(range(100))
    worker.advance(0.1)
    assert numbers(worker.taken("full")) == list(range(100, 190))


def test_a_traceback_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import traceback

    def broken(error: BaseException) -> Any:
        raise RecursionError

    monkeypatch.setattr(traceback, "format_exception", broken)
    assert traceback_of(ValueError("x")) == "ValueError, and its traceback cannot be shown: RecursionError"
