"""Taking from a durable channel for a loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import Delivery, LayerUnavailable, MemoryLayer
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.testing.ipc import BusThread
from trunkline.protocol_servers.taking import DurableTaker
from trunkline.protocol_servers.testing import ReactorThread

PATIENCE = 60.0


def wait_for(done: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < until
        time.sleep(0.005)


class Desk:
    """A taker, and what it took."""

    def __init__(
        self, place: ReactorThread, layer: Any, look: Callable[[Delivery], Any] = lambda delivery: None
    ) -> None:
        self.place = place
        self.layer = layer
        self.taken: list[tuple[Delivery, Any]] = []
        self.threads: set[int] = set()
        self.taker = place.run(lambda: DurableTaker(layer, "d", loop=place.loop, taken=self._take, look=look))
        place.run(self.taker.start)

    def _take(self, delivery: Delivery, seen: Any, when: float) -> None:
        assert 0 <= time.monotonic() - when < PATIENCE
        self.threads.add(threading.get_ident())
        self.taken.append((delivery, seen))

    def want(self, count: int) -> None:
        self.place.run(self.taker.want, count)

    def run(self, add: Callable[[Any], Any]) -> list[Any]:
        """Run a batch, and return its outcomes."""

        async def running() -> list[Any]:
            batch = self.layer.batch()
            add(batch)
            return await self.taker.run(batch)

        return self.place.call(running(), PATIENCE)

    def stop(self, grace: float = PATIENCE) -> bool:
        return self.place.call(self.taker.stop(grace), PATIENCE)


@pytest.fixture
def desk(reactor_thread: ReactorThread) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(layer: Any = None, **options: Any) -> Desk:
        made.append(Desk(reactor_thread, layer or MemoryLayer(durable={"d": 30}), **options))
        return made[-1]

    yield make
    for each in made:
        each.stop(0.5)


def test_as_many_as_are_wanted(desk: Callable[..., Desk]) -> None:
    own = desk()
    for number in range(10):
        own.layer.send("d", {"n": number})
    own.want(3)
    wait_for(lambda: len(own.taken) == 3)
    assert [delivery.message["n"] for delivery, _ in own.taken] == [0, 1, 2]
    assert own.run(lambda batch: [batch.ack(delivery) for delivery, _ in own.taken]) == [True] * 3
    assert len(own.taken) == 3
    own.want(20)
    wait_for(lambda: len(own.taken) == 10)
    own.layer.send("d", {"n": 10})
    wait_for(lambda: len(own.taken) == 11)
    assert own.place.run(threading.get_ident) in own.threads
    assert len(own.threads) == 1, "all of it on the loop's thread"


def test_a_look_at_each_in_the_thread(desk: Callable[..., Desk]) -> None:
    asked: list[int] = []

    def look(delivery: Delivery) -> int:
        asked.append(threading.get_ident())
        if len(asked) == 1:
            raise LayerUnavailable("away")
        return int(delivery.message["n"]) * 2

    own = desk(look=look)
    own.layer.send("d", {"n": 4})
    own.want(1)
    wait_for(lambda: own.taken)
    assert own.taken[0][1] == 8
    assert len(asked) == 2
    assert own.place.run(threading.get_ident) not in asked


def test_stopping_does_what_was_asked_for_and_takes_nothing(desk: Callable[..., Desk]) -> None:
    own = desk()
    own.layer.send("d", {"n": 1})
    own.want(1)
    wait_for(lambda: own.taken)

    async def stopping() -> tuple[bool, list[Any]]:
        batch = own.layer.batch()
        batch.put_state("k", 1, 60)
        batch.ack(own.taken[0][0])
        future = own.taker.run(batch)
        own.taker.want(5)
        return await own.taker.stop(PATIENCE), await future

    ended, outcomes = own.place.call(stopping(), PATIENCE)
    assert ended
    assert outcomes[1] is True
    own.layer.send("d", {"n": 2})
    assert own.layer.receive_batch(["d"])[0].message == {"n": 2}


def test_what_the_layer_was_away_for_is_done_later_in_order(desk: Callable[..., Desk], tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    bus = BusThread(path)
    layer = IpcLayer(path, durable={"d": 30})
    try:
        own = desk(layer)
        layer.send("d", {"n": 1})
        own.want(1)
        wait_for(lambda: own.taken)
        bus.close()
        wait_for(lambda: _is_away(layer))
        results: list[Any] = []

        def ask() -> None:
            for number in range(3):
                batch = layer.batch()
                batch.put_state("k", number, 60)
                own.taker.run(batch).add_done_callback(lambda future: results.append(future.result()))

        own.place.run(ask)
        own.place.turns()
        assert results == []
        bus = BusThread(path)
        wait_for(lambda: len(results) == 3)
        assert layer.get_state("k")[0] == 2
    finally:
        layer.close()
        bus.close()


def _is_away(layer: IpcLayer) -> bool:
    try:
        layer.get_state("k")
    except LayerUnavailable:
        return True
    return False


def test_stopping_while_the_layer_is_away_gives_up(desk: Callable[..., Desk]) -> None:
    bus = BusThread()
    layer = IpcLayer(bus.path, durable={"d": 30})
    own = desk(layer)
    own.want(1)
    bus.close()

    async def stopping() -> tuple[bool, asyncio.Future[list[Any]]]:
        batch = layer.batch()
        batch.put_state("k", 1, 60)
        future = own.taker.run(batch)
        return await own.taker.stop(0.3), future

    ended, future = own.place.call(stopping(), PATIENCE)
    assert ended is False
    wait_for(future.done)
    assert future.cancelled()
    layer.close()
