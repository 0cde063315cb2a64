"""The worker: what it listens to, batches, threads, stopping, outages (workers.md, "The worker")."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline import Channel, Message, Worker, timeout
from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.operations.errors import UsageError
from trunkline.workers import RoutingError, route
from trunkline.workers.place import _BATCH_TIME, Place
from trunkline.workers.worker import _Helper

from .conftest import REPLIES, Bench

MakeBench = Callable[..., Bench]

WAIT = 60.0  # seconds until a test that hangs is called failed


def nothing(message: Message) -> None: ...


# What it listens to


@pytest.mark.parametrize(
    ("routed", "options", "listened"),
    [
        (["http.request"], {}, "asgi.delay http.request"),
        (["jobs"], {}, "asgi.delay jobs"),
        (["websocket.receive"], {}, "asgi.delay websocket.connect websocket.disconnect websocket.receive"),
        (["websocket.disconnect"], {}, "asgi.delay websocket.connect websocket.disconnect websocket.receive"),
        (["email.receive"], {}, "asgi.delay email.receive email.recipient"),
        (["email.recipient"], {}, "asgi.delay email.recipient"),
        (["http.request", "jobs"], {"only": ["http.*"]}, "http.request"),
        (["http.request", "jobs"], {"only": ["http.*", "asgi.*"]}, "asgi.delay http.request"),
        (["http.request", "jobs"], {"exclude": ["http.*"]}, "asgi.delay jobs"),
        (["http.request", "jobs"], {"only": ["http.*", "jobs"], "exclude": ["jobs"]}, "http.request"),
        (["websocket.receive"], {"exclude": ["websocket.disconnect", "a*"]}, "websocket.connect websocket.receive"),
        (["email.receive", "jobs"], {"only": ["email.receive"]}, "email.receive email.recipient"),
        (["email.receive", "jobs"], {"exclude": ["email.receive"]}, "asgi.delay jobs"),
        (["email.receive", "jobs"], {"only": ["email.re*"]}, "email.receive email.recipient"),
        (["http.request", "jobs"], {"only": "http.*"}, "http.request"),
        (["http.request", "jobs"], {"exclude": "http.*"}, "asgi.delay jobs"),
        (["http.*"], {}, "asgi.delay http.disconnect http.request"),
    ],
)
def test_listens_to(layer: MemoryLayer, routed: list[str], options: dict[str, Any], listened: str) -> None:
    assert Worker(layer, [route(name, nothing) for name in routed], **options).channels == listened.split()


def test_arguments_that_cannot_be(layer: MemoryLayer) -> None:
    for name in ("threads", "prefetch", "max_messages"):
        options: dict[str, Any] = {name: 0}
        with pytest.raises(UsageError, match=f"{name} must be 1 or more, not 0"):
            Worker(layer, [route("x", nothing)], **options)
    with pytest.raises(UsageError, match="no channel is left to listen to; the routing has x"):
        Worker(layer, [route("x", nothing)], only=["y"])
    with pytest.raises(RoutingError, match="is no route"):
        Worker(layer, 5)
    assert Worker(layer, []).channels == ["asgi.delay"]


def test_announces_what_it_listens_to(bench: MakeBench, layer: MemoryLayer, clock: ManualClock) -> None:
    worker = bench(route("x", nothing))
    assert worker.worker.name.startswith("worker.")
    worker.run()
    announced = {worker.worker.name: {"channels": {"asgi.delay": False, "x": False}}}
    assert layer.listeners() == announced
    for _ in range(10):
        clock.advance(5)
        worker.run()
        assert layer.listeners() == announced
    clock.advance(15.1)
    assert layer.listeners() == {}


# Steps and batches


def test_step_takes_and_finishes_one_batch(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("x", lambda message: Channel("y").send(message.content)), prefetch=3)
    for n in range(5):
        worker.send("x", n=n)
    assert worker.worker.step() == 3
    assert len(worker.taken("y")) == 3
    assert [worker.worker.step(), worker.worker.step()] == [2, 0]
    assert len(worker.taken("y")) == 2


def test_batches_are_sized_by_the_consumers_speed(layer: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 ms ÷ mean consumer time, between 1 and 64."""
    spent = {"now": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: spent["now"])

    def consumer(message: Message) -> None:
        spent["now"] += message["seconds"]

    worker = Worker(layer, [route("x", consumer)])

    def steps(seconds: float, messages: int) -> list[int]:
        for _ in range(messages):
            layer.send("x", {"seconds": seconds})
        sizes = []
        while size := worker.step():
            sizes.append(size)
        return sizes

    assert steps(1.0, 3) == [1, 1, 1]
    fast = steps(0.000001, 900)
    assert (fast[0], max(fast), fast == sorted(fast[:-1]) + fast[-1:]) == (1, 64, True)
    even = steps(0.0005, 200)
    assert even[-2] == 10
    assert steps(0.1, 100)[-1] == 1
    assert _BATCH_TIME == 0.005


def test_fair_over_its_channels(bench: MakeBench) -> None:
    order: list[str] = []
    worker = bench(route(["a", "b", "c"], lambda message: order.append(message.channel)), prefetch=2)
    for name in "aaaaaaaabbcc":
        worker.send(name)
    worker.run()
    assert set(order[:6]) == {"a", "b", "c"}


def test_an_outage_ends_a_step_and_loses_nothing(bench: MakeBench, layer: MemoryLayer) -> None:
    worker = bench(route("x", nothing))
    layer.close()
    with pytest.raises(LayerUnavailable):
        worker.worker.step()


# Running in threads


@pytest.fixture
def real() -> Iterator[MemoryLayer]:
    """A layer on real time, for workers that run in threads."""
    with MemoryLayer() as layer:
        yield layer


class Running:
    """A worker in a thread; leaving the block stops it and waits for it."""

    def __init__(self, layer: MemoryLayer, *routes: Any, **options: Any) -> None:
        self.worker = Worker(layer, list(routes), **options)
        self.thread = threading.Thread(target=self.worker.run)

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.join()

    def join(self) -> None:
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the worker does not end"


def receive(layer: MemoryLayer, channel: str) -> dict[str, Any]:
    """Wait for a message."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        message = layer.receive([channel], block=True)[1]
        if message is not None:
            return message
    raise AssertionError(f"nothing came on {channel}")


@pytest.mark.parametrize("threads", [1, 3])
def test_runs_until_stopped(real: MemoryLayer, threads: int) -> None:
    with Running(real, route("x", lambda message: Channel("y").send(message.content)), threads=threads) as running:
        for n in range(50):
            real.send("x", {"n": n})
        assert sorted(receive(real, "y")["n"] for _ in range(50)) == list(range(50))
        assert running.worker.name in real.listeners()
    assert running.worker.stats == {"messages": 50}
    assert real.listeners() == {}, "a worker that ended says so"


def test_threads_consume_at_the_same_time(real: MemoryLayer) -> None:
    together = threading.Barrier(3, timeout=WAIT)

    def consumer(message: Message) -> None:
        together.wait()
        Channel("y").send({})

    with Running(real, route("x", consumer), threads=3, prefetch=1) as running:
        for _ in range(3):
            real.send("x", {})
        for _ in range(3):
            receive(real, "y")
    assert running.worker.stats == {"messages": 3}


@pytest.mark.parametrize("threads", [1, 3])
def test_ends_after_so_many_messages(real: MemoryLayer, threads: int) -> None:
    for n in range(30):
        real.send("x", {"n": n})
    with Running(real, route("x", nothing), max_messages=20, threads=threads, prefetch=7) as running:
        running.join()
    assert running.worker.stats == {"messages": 20}
    assert real.channel_statistics("x")["messages_pending"] == 10


def test_stopped_before_it_runs_it_ends_at_once(real: MemoryLayer) -> None:
    running = Running(real, route("x", nothing))
    running.worker.stop()
    real.send("x", {})
    running.thread.start()
    running.join()
    assert running.worker.stats == {}


def test_what_was_not_started_goes_back_to_the_head(real: MemoryLayer) -> None:
    """Finish what was started, put the rest back in its old order, in front of what came later."""
    started, go_on = threading.Event(), threading.Event()

    def consumer(message: Message) -> None:
        started.set()
        assert go_on.wait(WAIT)
        Channel("done").send(message.content)

    for n in range(5):
        real.send("x", {"n": n})
    with Running(real, route("x", consumer), prefetch=5) as running:
        assert started.wait(WAIT)
        real.send("x", {"n": 5})
        running.worker.stop()
        go_on.set()
    assert receive(real, "done") == {"n": 0}
    assert [message["n"] for message in real.peek("x", 10)] == [1, 2, 3, 4, 5]
    assert running.worker.stats == {"messages": 1}


def test_what_waits_for_a_slow_consumer_goes_to_others(real: MemoryLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch that was thought to be quick; in its old order, at the head of the channel."""
    monkeypatch.setattr("trunkline.workers.place._BATCH_TIME", 10.0)  # so that batches grow on any machine
    go_on, quick = threading.Event(), threading.Semaphore(0)

    def consumer(message: Message) -> None:
        if message["n"] == 0:
            assert go_on.wait(WAIT)
        quick.release()

    def send(*numbers: int) -> None:
        batch = real.batch()
        for n in numbers:
            batch.send("x", {"n": n})
        batch.run()

    with Running(real, route("x", consumer)) as running:
        send(*range(1, 101))
        for _ in range(100):
            assert quick.acquire(timeout=WAIT)
        send(*range(21))
        until = time.monotonic() + WAIT
        while [message["n"] for message in real.peek("x", 30)] != list(range(1, 21)):
            assert time.monotonic() < until, "what was not started still waits for the slow one"
            threading.Event().wait(0.001)
        go_on.set()
        for _ in range(21):
            assert quick.acquire(timeout=WAIT)
    assert running.worker.stats == {"messages": 121}


def test_a_reply_never_waits_for_another_consumer(real: MemoryLayer) -> None:
    """What is held 1 ms after its consumer returned is flushed by a second thread."""
    answered = threading.Event()

    def consumer(message: Message) -> None:
        if message["n"] == 0:
            Channel("y").send({"n": 0})
        else:
            assert answered.wait(WAIT), "the first reply is still held"

    real.send("x", {"n": 0})
    real.send("x", {"n": 1})
    with Running(real, route("x", consumer), prefetch=2) as running:
        assert receive(real, "y") == {"n": 0}
        answered.set()
    assert running.worker.stats == {"messages": 2}


@pytest.mark.parametrize(("seconds", "late"), [(0.01, 0.0), (0.00001, 0.003)])
def test_the_second_thread_looks_less_often_while_consumers_are_quick(
    layer: MemoryLayer, clock: ManualClock, seconds: float, late: float
) -> None:
    """What is held then leaves with the batch it came of; each look of another thread costs more than a request."""
    worker = Worker(layer, [route("x", nothing)])
    place = Place(worker)
    place._mean = seconds
    worker._places.append(place)
    worker.announce()
    helper = _Helper(worker)
    place.batches += 1
    helper._wakes = helper._work()
    assert helper._wakes == pytest.approx(clock() + 0.001 + late)
    helper.expect(clock() + 0.001)
    assert helper._calls.empty(), "it will look by itself"
    helper.expect(0.0)
    assert helper._calls.get_nowait() is None, "whoever stops does not wait"


def test_what_is_older_than_1_ms_is_flushed_before_the_next_consumer(real: MemoryLayer) -> None:
    """By the thread itself, where busy consumers leave the helper no turn."""
    seen = []

    def consumer(message: Message) -> None:
        seen.append(len(real.peek("y", 100)))
        Channel("y").send({})
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass

    for _ in range(5):
        real.send("x", {})
    with Running(real, route("x", consumer), prefetch=5, max_messages=5) as running:
        running.join()
    assert all(arrived >= before - 1 for before, arrived in enumerate(seen))


def test_a_full_channel_does_not_hold_the_worker(real: MemoryLayer) -> None:
    def consumer(message: Message) -> None:
        for n in range(3):
            Channel("full").send({"n": n})
        Channel("free").send({})

    with (
        MemoryLayer(channel_capacity={"full": 1}) as layer,
        Running(layer, route("x", consumer)) as running,
    ):
        layer.send("x", {})
        layer.send("x", {})
        receive(layer, "free")
        receive(layer, "free")
        got = [receive(layer, "full")["n"] for _ in range(6)]
    assert got == [0, 1, 2, 0, 1, 2]
    assert running.worker.stats == {"messages": 2}


def test_stopping_still_sends_what_waits_for_room() -> None:
    with MemoryLayer(channel_capacity={"full": 1}) as layer:
        layer.send("full", {"n": 0})
        with Running(layer, route("x", lambda message: Channel("full").send({"n": 1})), max_messages=1) as running:
            layer.send("x", {})
            until = time.monotonic() + WAIT
            while not running.worker.stats["messages"] and time.monotonic() < until:
                threading.Event().wait(0.001)
            assert receive(layer, "full") == {"n": 0}
            running.join()
        assert receive(layer, "full") == {"n": 1}


def test_claims_are_renewed_while_a_consumer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the helper thread: a consumer may take longer than the 15 s of a claim."""
    monkeypatch.setattr("trunkline.workers.claims.RENEW", 0.01)
    renewed = threading.Event()
    with MemoryLayer() as layer:
        real_put = layer.put_state

        def put_state(key: str, value: Any, ttl: float, if_version: int | None = None) -> int:
            if if_version:
                renewed.set()
            return real_put(key, value, ttl, if_version)

        monkeypatch.setattr(layer, "put_state", put_state)
        waited = []
        with Running(layer, route("email.receive", lambda message: waited.append(renewed.wait(WAIT)))) as running:
            layer.send("email.receive", {"reply_channel": REPLIES + "1", "id": "m", "address": "a@b"})
            assert receive(layer, REPLIES) == {"accept": True}
        assert waited == [True]
        assert running.worker.stats == {"messages": 1}


def test_the_announcement_is_renewed(monkeypatch: pytest.MonkeyPatch, real: MemoryLayer) -> None:
    monkeypatch.setattr("trunkline.workers.worker.ANNOUNCE", 0.005)
    announced = threading.Semaphore(0)
    announce = real.announce

    def counted(*arguments: Any) -> None:
        announce(*arguments)
        announced.release()

    monkeypatch.setattr(real, "announce", counted)
    with Running(real, route("x", nothing)):
        for _ in range(5):
            assert announced.acquire(timeout=WAIT)


# Errors of the worker's own, and outages


class Flaky:
    """Replaces a method of a layer by one that fails so many times first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.recovered = threading.Event()
        real = getattr(owner, name)

        def flaky(*arguments: Any, **keys: Any) -> Any:
            if self.errors:
                raise self.errors.pop(0)
            self.recovered.set()
            return real(*arguments, **keys)

        monkeypatch.setattr(owner, name, flaky)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.workers.place._LONGEST_BACKOFF", 0.01)
    monkeypatch.setattr("trunkline.workers.place._FIRST_BACKOFF", 0.01)


def test_an_outage_while_receiving(real: MemoryLayer, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    answers = MemoryLayer()
    reader = real.reader()
    Flaky(monkeypatch, reader, "receive_batch", *[LayerUnavailable("away")] * 3, ZeroDivisionError(), SystemExit())
    monkeypatch.setattr(real, "reader", lambda: reader)
    real.send("x", {})
    with Running(real, route("x", lambda message: Channel("y", layer=answers).send({}))) as running:
        receive(answers, "y")
    assert running.worker.stats == {"messages": 1}


def test_an_outage_while_flushing(
    real: MemoryLayer, monkeypatch: pytest.MonkeyPatch, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    failing, run = [2], real._run

    def flaky(calls: Any) -> list[Any]:
        if failing[0]:
            failing[0] -= 1
            return [LayerUnavailable("away")] * len(calls)
        return run(calls)

    monkeypatch.setattr(real, "_run", flaky)
    with Running(real, route("x", lambda message: Channel("y").send({}))):
        real.send("x", {})
        receive(real, "y")
    assert failing == [0]


def test_an_outage_while_claiming(real: MemoryLayer, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    run = real._run
    claims: list[Any] = []

    def flaky(calls: Any) -> Any:
        if any(call[0] == "put_state" for call in calls) and len(claims) < 3:
            claims.append(calls)
            return [LayerUnavailable("away") for _ in calls]
        return run(calls)

    monkeypatch.setattr(real, "_run", flaky)
    with Running(real, route("email.receive", nothing)) as running:
        real.send("email.receive", {"reply_channel": REPLIES + "1", "id": "m", "address": "a@b"})
        assert receive(real, REPLIES) == {"accept": True}
    assert len(claims) == 3
    assert running.worker.stats == {"messages": 1}


def test_an_outage_that_lasts_beyond_the_end(
    real: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trunkline.workers.worker._LAST_PATIENCE", 0.05)
    consumed = threading.Event()

    def consumer(message: Message) -> None:
        Channel("y").send({})
        real.close()
        consumed.set()

    with Running(real, route("x", consumer)):
        real.send("x", {})
        assert consumed.wait(WAIT)
    texts = [record.getMessage() for record in caplog.records]
    assert "the layer is away: what was still to be sent is lost" in texts
    assert any(text.startswith("the layer still thinks this worker is alive") for text in texts)


def test_errors_of_the_helper_do_not_end_it(
    real: MemoryLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trunkline.workers.worker.ANNOUNCE", 0.01)
    monkeypatch.setattr("trunkline.workers.worker._HELPER_PAUSE", 0.01)
    flaky = Flaky(monkeypatch, real, "announce", LayerUnavailable("away"), ZeroDivisionError("helper"))
    with Running(real, route("x", nothing)):
        assert flaky.recovered.wait(WAIT)
    assert "not announced: away" in caplog.text
    assert "a worker goes on after an error of its own" in caplog.text


def test_a_loop_of_async_consumers_is_closed(real: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    ended: list[str] = []
    kept: list[Any] = []

    async def left() -> None:
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def consumer(message: Message) -> None:
        kept.append(asyncio.create_task(left()))
        kept.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    with Running(real, route("x", consumer), max_messages=1) as running:
        real.send("x", {})
        running.join()
    assert ended == ["cancelled"]
    assert kept[1].is_closed()


def test_a_loop_that_does_not_end_well_is_reported(real: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    kept: list[Any] = []

    async def left() -> None:
        try:
            await asyncio.sleep(WAIT)
        finally:
            raise SystemExit("not so easily")

    async def consumer(message: Message) -> None:
        kept.append(asyncio.create_task(left()))
        await asyncio.sleep(0)

    with Running(real, route("x", consumer), max_messages=1) as running:
        real.send("x", {})
        running.join()
    assert "what an async consumer left running did not end well" in caplog.text


# Consumers that take too long


def test_a_consumer_that_ignores_its_timeout_costs_its_thread(
    real: MemoryLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """The message has failed, what it sent goes nowhere, the rest of the batch goes on in another thread."""
    go_on, ended = threading.Event(), threading.Event()

    @timeout(0.02)
    def stuck(message: Message) -> None:
        Channel("y").send({"n": "never"})
        go_on.wait(WAIT)
        ended.set()

    worker = Running(
        real,
        route("http.request", stuck, path="^/stuck"),
        route("http.request", lambda message: message.reply("fine")),
        prefetch=3,
    )
    for n, path in enumerate(("/stuck", "/1", "/2")):
        real.send("http.request", {"reply_channel": f"{REPLIES}{n}", "path": path})
    with worker as running:
        answers: dict[str, int] = {}
        while len(answers) < 3:
            name, answer = real.receive([REPLIES], block=True)
            if name is not None and answer is not None:
                answers[name[-1]] = answer["status"]
        assert answers == {"0": 500, "1": 200, "2": 200}
        go_on.set()
        assert ended.wait(WAIT)
    assert running.worker.stats == {"messages": 3, "failures": 1, "abandoned": 1, "dead_letters": 1}
    assert real.receive(["y"]) == (None, None)
    assert real.dead_letters()[0]["reason"].startswith("TimeoutError: the consumer ignores its timeout")
    assert "a worker thread was given up: its consumer ignores its timeout (1 so far)" in caplog.text


def test_a_claim_of_a_thread_that_was_given_up_is_released(real: MemoryLayer) -> None:
    go_on = threading.Event()
    stuck = timeout(0.02)(lambda message: go_on.wait(WAIT) and None)
    mail = {"reply_channel": REPLIES + "1", "id": "m", "address": "a@b"}
    with Running(real, route("email.receive", stuck)):
        for _ in range(2):
            real.send("email.receive", mail)
            assert receive(real, REPLIES)["code"] == 451
    go_on.set()


def test_after_8_such_threads_the_worker_ends_with_an_error(real: MemoryLayer) -> None:
    go_on = threading.Event()
    raised: list[str] = []
    worker = Worker(real, [route("x", timeout(0.01)(lambda message: go_on.wait(WAIT) and None))])

    def run() -> None:
        try:
            worker.run()
        except RuntimeError as error:
            raised.append(str(error))

    for _ in range(9):
        real.send("x", {})
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(WAIT)
    go_on.set()
    assert raised == ["8 threads were given up: their consumers ignore their timeouts"]
    assert worker.stats["abandoned"] == 8
    assert real.channel_statistics("x")["messages_pending"] == 1


def test_a_consumer_that_ends_just_in_time_has_its_outcome(real: MemoryLayer) -> None:
    with Running(real, route("x", timeout(WAIT)(lambda message: Channel("y").send({})))) as running:
        real.send("x", {})
        receive(real, "y")
    assert running.worker.stats == {"messages": 1}


# Signals


CTRL_C = """
import os, signal, sys, threading, time
from trunkline import Worker, open_layer, route
layer = open_layer("memory://")
def consumer(message):
    os.kill(os.getpid(), signal.SIGINT)
    while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        time.sleep(0.001)
    print("finished", flush=True)
layer.send("x", {})
layer.send("x", {})
Worker(layer, [route("x", consumer)], prefetch=2).run()
print(layer.channel_statistics("x")["messages_pending"], signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_in_the_main_thread_finishes_what_was_started() -> None:
    told = subprocess.run([sys.executable, "-c", CTRL_C], capture_output=True, text=True, timeout=WAIT * 2, check=False)
    assert (told.stdout, told.returncode) == ("finished\n1 True\n", 0), told.stderr


def test_a_handler_of_the_programs_own_is_left_alone(real: MemoryLayer) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        real.send("x", {})
        Worker(real, [route("x", nothing)], max_messages=1).run()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_logged_for_a_message_that_is_consumed(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    worker = bench(route("x", nothing))
    worker.send("x")
    with caplog.at_level(logging.DEBUG):
        worker.run()
    assert caplog.records == []
