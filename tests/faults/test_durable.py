"""Durable channels while what uses them is killed: what a sender was told stays, and repeats say that they are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import Layer, LayerUnavailable, open_layer

from .site import WAIT, Program, Redis, noted

VISIBILITY = 1.5  # seconds; what a killed worker had is delivered again after that
MESSAGES = 10_000
WORKERS = 2
_BATCH = 100

Deliveries = dict[int, list[tuple[str, int]]]
"""Number of a message → the deliveries that were consumed, as far as they were: id, tries."""

ROUTING = """
import os
import time

from trunkline import route

notes = os.open(f"{os.environ['NOTES']}/taken.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def work(message):
    delivery = message.delivery
    os.write(notes, f"{message['n']} {delivery.id} {delivery.tries}\\n".encode())
    if message["holds"]:
        try:
            os.symlink(str(os.getpid()), f"{os.environ['NOTES']}/holds.{message['n']}")
        except FileExistsError:
            pass  # who held it was killed
        else:
            time.sleep(600)
    time.sleep(0.0003)


routing = [route("jobs.a", work)]
"""


class RedisPlace:
    """Redis, which is not killed here: it keeps nothing on disk."""

    def __init__(self, folder: Path, peer: Callable[[str], str]) -> None:
        self._redis = Redis(peer("redis-server"), folder)
        self.url = f"{self._redis.url}?durable=jobs.*:{VISIBILITY}&capacity=1000000"

    def crash(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        self._redis.close()


class BusPlace:
    """A bus, which is killed again and again."""

    def __init__(self, folder: Path, peer: Callable[[str], str]) -> None:
        self._folder = folder
        os.mkdir(folder / "bus", 0o700)
        self._path = folder / "bus" / "s"
        self.url = f"ipc://{self._path}?durable=jobs.*:{VISIBILITY}&capacity=1000000"
        self._start()

    def _start(self) -> None:
        self._bus = Program(("bus", f"unix:{self._path}"), self._folder, {})
        until(lambda: self._bus.ready, "the bus runs")

    def crash(self) -> None:
        self._bus.signal(signal.SIGKILL)
        self._bus.close()
        self._start()

    def close(self) -> None:
        self._bus.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)


@pytest.fixture(params=[RedisPlace, BusPlace], ids=["redis", "ipc"])
def place(request: pytest.FixtureRequest, tmp_path: Path, peer: Callable[[str], str]) -> Iterator[Any]:
    made = request.param(tmp_path, peer)
    yield made
    made.close()


class Workers:
    """`trunkline work`, in several processes of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "app.py").write_text(ROUTING, encoding="utf-8")
        self._folder = folder
        self._environ = {"NOTES": str(folder), "TRUNKLINE_LAYER": url}
        self._programs: list[Program] = []
        for _ in range(WORKERS):
            self.start()

    def start(self) -> None:
        self._programs.append(Program(("work", "app"), self._folder, self._environ))

    def kill_holder(self, n: int) -> None:
        """Kill who has begun with a message and holds it, and start another worker."""
        holds = self._folder / f"holds.{n}"
        until(holds.is_symlink, f"a worker holds {n}")
        [program] = [program for program in self._programs if program.pid == int(holds.readlink().name)]
        self._programs.remove(program)
        program.signal(signal.SIGKILL)
        program.close()
        self.start()

    def close(self) -> None:
        for program in self._programs:
            program.close()

    def taken(self) -> Deliveries:
        found: Deliveries = defaultdict(list)
        for _, lines in noted(self._folder):
            for line in lines:
                n, id, tries = line.split()
                found[int(n)].append((id, int(tries)))
        return found


def send(url: str, numbers: Iterable[int], holds: bool, told: Counter[str]) -> None:
    """Send these until each was acknowledged; what is uncertain is sent again, as its dedupe id allows."""
    left = list(numbers)
    with open_layer(url) as layer:
        while left:
            some, left = left[:_BATCH], left[_BATCH:]
            try:
                batch = layer.batch()
                for n in some:
                    batch.send("jobs.a", {"n": n, "holds": holds}, once=str(n))
                outcomes = batch.run()
            except LayerUnavailable as error:
                outcomes = [error] * len(some)
            again = [n for n, outcome in zip(some, outcomes, strict=True) if isinstance(outcome, LayerUnavailable)]
            told["acknowledged"] += sum(isinstance(outcome, bool) for outcome in outcomes)
            told["seen before"] += outcomes.count(False)
            if again:
                told["sent again"] += len(again)
                left = again + left
                time.sleep(0.02)


@pytest.mark.campaign
def test_killed_again_and_again_nothing_is_lost(
    place: Any, tmp_path: Path, scale: int, tell: Callable[[str], None]
) -> None:
    count, kills = MESSAGES * scale, 3 * scale
    told: Counter[str] = Counter()
    workers = Workers(tmp_path, place.url)
    layer = open_layer(place.url)
    try:
        for number in range(kills):
            some = range(count * number // kills, count * (number + 1) // kills)
            sender = threading.Thread(target=send, args=(place.url, some, False, told), daemon=True)
            send(place.url, [count + number], True, told)
            part = told["acknowledged"] + len(some) // 4
            sender.start()
            until(partial(_told, told, part), "a part is sent")
            place.crash()
            workers.kill_holder(count + number)
            sender.join(WAIT)
            assert not sender.is_alive(), "it is sent in vain"
        until(lambda: _pending(layer) == 0, "everything is acknowledged")
        taken, letters = workers.taken(), layer.dead_letters()
    finally:
        workers.close()
        layer.close()
    repeated = [each for each in taken.values() if len(each) > 1]
    tell(
        f"{count + kills} sent, {told['sent again']} of them again ({told['seen before']} had arrived), "
        f"{kills} workers killed: {count + kills - len(taken)} lost, {len(repeated)} consumed again, "
        f"{sum(tries > 1 for each in taken.values() for _, tries in each)} redeliveries"
    )
    assert told["acknowledged"] == count + kills
    assert sorted(taken) == list(range(count + kills))
    assert letters == []
    assert len(repeated) >= kills
    assert all(len({id for id, _ in each}) == 1 for each in repeated), "a message keeps its id"
    assert all(len({tries for _, tries in each}) == len(each) for each in repeated), "each try has its number"


def _told(told: Counter[str], count: int) -> bool:
    return told["acknowledged"] >= count


def _pending(layer: Layer) -> int:
    try:
        return int(layer.channel_statistics("jobs.a")["messages_pending"])
    except LayerUnavailable:
        return -1
