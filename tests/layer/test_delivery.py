"""What is promised of delivery holds between processes, too, on every engine that has some; with counts.

Between threads, and for the memory engine, the suite of all engines shows it (`layer/testing/conformance`).

Movers of delayed messages: on Redis every process that waits for messages is one; the bus is the only one of its
messages. Jumping clocks: the store in memory and the bus go by the monotonic clock, which does not jump; Redis goes by
the clock of its machine. There a jump is the same as if everything that is kept had become older or younger at once,
since scripts compare the clock with times in the data only, and that is what `jump` makes of it (`redis/aging.py`).
"""

from __future__ import annotations

import json
import secrets
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest

from trunkline.layer import Layer, MemoryLayer, open_layer

from .ipc.conftest import Broker
from .redis.aging import AGE
from .redis.conftest import RedisServer

PROGRAM = Path(__file__).with_name("delivery_processes.py")
PROCESSES = 8
PATIENCE = 60.0  # seconds until a test that hangs is called failed; nothing is measured by it
LONGEST = 0.2  # seconds after which a mover looks although nobody told it to
LATE = 5.0  # seconds that a busy machine may take for what is due at once

Tell = Callable[[str], None]


class Process:
    """A process with a layer of its own, for one work after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def prepare(self, url: str, do: str, options: dict[str, Any], **arguments: Any) -> None:
        self._write(json.dumps({"url": url, "do": do, "options": options, **arguments}))

    def prepared(self) -> None:
        assert self.told() == "ready"

    def go(self) -> None:
        """Have it begin; or end, where it works until it is told."""
        self._write("")

    def told(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Place:
    """An engine's place that processes share.

    Args:
        url: Where it is.
        redis: The server, where it is one.
    """

    def __init__(self, url: str, redis: RedisServer | None = None) -> None:
        self.url = url
        self._redis = redis
        self._prefix = "trunkline:"

    def take(self, layer: Layer, channel: str) -> int | None:
        """Wait for what was moved to a channel by others, and return its number; None: nothing came for a while."""
        if self._redis is None:
            deliveries = layer.receive_batch([channel], 1, LATE)
            return deliveries[0].message["n"] if deliveries else None
        # A layer that reads would move messages, too.
        popped = self._redis.command("BLPOP", f"{self._prefix}q:{{{channel}}}", LATE)
        if popped is None:
            return None
        element = popped[1]
        _, name, extra = struct.unpack_from(">BBI", element, 16)
        number: int = msgpack.unpackb(element[22 + name + extra :])["n"]
        return number

    def jump(self, seconds: float) -> None:
        """Set the clock of Redis, as far as it can be told from what is kept."""
        assert self._redis
        assert self._redis.command("EVAL", AGE, 0, self._prefix, seconds) is None


@pytest.fixture(scope="module")
def crew() -> Iterator[list[Process]]:
    """Eight processes."""
    crew = [Process() for _ in range(PROCESSES)]
    yield crew
    for process in crew:
        process.kill()


@pytest.fixture(scope="module")
def bus() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="trunkline.") as folder:
        broker = Broker(folder)
        broker.start()
        yield Place(f"ipc://{broker.path}")
        broker.end()


@pytest.fixture(scope="module")
def redis(peer: Callable[[str], str]) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="trunkline.") as folder:
        server = RedisServer(peer("redis-server"), Path(folder))
        yield Place(server.unix_url, server)
        server.kill()


@pytest.fixture(params=["bus", "redis"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def channel() -> str:
    """A channel of one's own."""
    return f"c.{secrets.token_hex(8)}"


def begin(crew: list[Process], place: Place, works: list[dict[str, Any]], **options: Any) -> None:
    """Have processes work at the same time."""
    for process, work in zip(crew, works, strict=True):
        process.prepare(place.url, **{"options": options, **work})
    for process in crew:
        process.prepared()
    for process in crew:
        process.go()


def results(crew: list[Process]) -> list[Any]:
    return [process.told() for process in crew]


def drain(layer: Layer, channel: str) -> list[dict[str, Any]]:
    found = []
    while deliveries := layer.receive_batch([channel], 1000):
        found += [delivery.message for delivery in deliveries]
    return found


@pytest.mark.campaign
def test_each_sender_keeps_its_order(crew: list[Process], place: Place, channel: str, scale: int, tell: Tell) -> None:
    each = 300 * scale
    capacity = PROCESSES * each
    works = [
        {"do": "send", "channel": channel, "sender": sender, "count": each, "together": 1 + sender % 2 * 6}
        for sender in range(PROCESSES)
    ]
    with open_layer(place.url, capacity=capacity) as layer:
        begin(crew, place, works, capacity=capacity)
        reader = layer.reader()
        got: list[list[int]] = [[] for _ in range(PROCESSES)]
        while sum(map(len, got)) < capacity:
            deliveries = reader.receive_batch([channel], 50, PATIENCE)
            assert deliveries, "nothing more came"
            for delivery in deliveries:
                got[delivery.message["sender"]].append(delivery.message["n"])
        assert results(crew) == [each] * PROCESSES
        assert drain(layer, channel) == []
    assert got == [list(range(each))] * PROCESSES
    tell(f"{capacity} sent by {PROCESSES} processes, 0 lost, 0 twice, 0 out of the order of their sender")


@pytest.mark.campaign
def test_a_quiet_channel_beside_a_flooded_one(
    crew: list[Process], place: Place, channel: str, scale: int, tell: Tell
) -> None:
    busy, quiet, flooders = f"{channel}.busy", f"{channel}.quiet", crew[:3]
    rounds, worst, taken = 50 * scale, 0, 0
    begin(flooders, place, [{"do": "flood", "channel": busy}] * 3)
    with open_layer(place.url) as layer:
        reader = layer.reader()
        for n in range(rounds):
            assert reader.receive_batch([busy], 1, PATIENCE), "nobody floods"
            layer.send(quiet, {"n": n})
            for call in count(1):
                deliveries = reader.receive_batch([busy, quiet], 10, PATIENCE)
                worst = max(worst, call)
                if deliveries[0].channel == quiet:
                    break
                taken += len(deliveries)
            assert [delivery.message for delivery in deliveries] == [{"n": n}]
        for process in flooders:
            process.go()
        sent = sum(results(flooders))
        layer.purge(busy)
    assert worst <= 2, "with two busy channels each is served within two calls"
    assert taken >= rounds, "the other one was busy all the time"
    tell(f"{rounds} sent to the quiet channel, {sent} to the flooded one; received within {worst} calls")


@pytest.mark.campaign
def test_capacity_is_exact(crew: list[Process], place: Place, channel: str, scale: int, tell: Tell) -> None:
    each, capacity = 100 * scale, 300 * scale
    works = [
        {"do": "send", "channel": channel, "sender": sender, "count": each, "together": 1 + sender % 2 * 6}
        for sender in range(PROCESSES)
    ]
    begin(crew, place, works, capacity=capacity)
    taken = results(crew)
    with open_layer(place.url, capacity=capacity) as layer:
        kept = len(drain(layer, channel))
    assert sum(taken) == kept == capacity
    tell(f"{PROCESSES * each} sent by {PROCESSES} processes, {sum(taken)} taken, {kept} kept; capacity {capacity}")


@pytest.mark.campaign
def test_once_is_once(crew: list[Process], place: Place, channel: str, scale: int, tell: Tell) -> None:
    each = 100 * scale
    works = [{"do": "send_once", "channel": channel, "sender": sender, "count": each} for sender in range(PROCESSES)]
    begin(crew, place, works, capacity=each)
    sent = results(crew)
    with open_layer(place.url) as layer:
        got = sorted(message["n"] for message in drain(layer, channel))
    assert sum(sent) == each
    assert got == list(range(each))
    senders = sum(map(bool, sent))
    tell(f"{each} keys, each sent by {PROCESSES} processes: {sum(sent)} sent, by {senders} of them, {len(got)} arrived")


@pytest.mark.campaign
def test_versions_decide(crew: list[Process], place: Place, channel: str, scale: int, tell: Tell) -> None:
    each = 25 * scale
    begin(crew, place, [{"do": "add", "key": channel, "count": each}] * PROCESSES)
    added = results(crew)
    begin(crew, place, [{"do": "increment", "key": f"{channel}.count", "count": each}] * PROCESSES)
    counted = sorted(n for numbers in results(crew) for n in numbers)
    with open_layer(place.url) as layer:
        value, version = layer.get_state(channel)
    versions = [version for result in added for version in result["versions"]]
    assert value == PROCESSES * each
    assert len(set(versions)) == len(versions)
    assert max(versions) == version
    assert counted == list(range(1, PROCESSES * each + 1))
    beaten = sum(result["beaten"] for result in added)
    tell(f"{value} added by {PROCESSES} processes, 0 lost; {beaten} times another one was faster")


@pytest.mark.campaign
def test_keys_are_changed_while_messages_flow(
    crew: list[Process], place: Place, channel: str, scale: int, tell: Tell
) -> None:
    """Process by process: at any moment there are those of one step and those of the next."""
    old, new = "an old secret of sixteen", "a new secret of sixteen"
    steps = [[old], [old, new], [new, old], [new]]
    each = 50 * scale
    total = 0
    for before, after in pairwise(steps):
        keys = [before, after] * (PROCESSES // 2)
        senders, readers = crew[: PROCESSES // 2], crew[PROCESSES // 2 :]
        begin(
            crew,
            place,
            [
                {"options": {"encryption_keys": keys[n]}, "channel": channel}
                | ({"do": "send", "sender": n, "count": each} if n < len(senders) else {"do": "receive"})
                for n in range(PROCESSES)
            ],
        )
        assert results(senders) == [each] * len(senders)
        with open_layer(place.url, encryption_keys=before) as layer:
            for _ in readers:
                layer.send(channel, {"last": True})
        read = results(readers)
        assert [result["unreadable"] for result in read] == [0] * len(readers)
        got = sorted(tuple(entry) for result in read for entry in result["got"])
        assert got == [(sender, n) for sender in range(len(senders)) for n in range(each)]
        total += len(got)
    tell(f"{total} sent while the key was changed in {len(steps) - 1} steps, 0 lost, 0 that could not be read")


@pytest.fixture
def movers(place: Place) -> Iterator[Callable[[str, list[float]], list[Process]]]:
    """Start two processes that wait, of which the first has sent delayed messages."""
    started: list[Process] = []

    def start(channel: str, delays: list[float]) -> list[Process]:
        started.extend((Process(), Process()))
        shared = {"do": "delay", "channel": channel, "longest": LONGEST}
        begin(started, place, [{**shared, "delays": delays}, {**shared, "delays": []}])
        assert results(started) == [None, None]
        return started

    yield start
    for process in started:
        process.kill()


@pytest.mark.campaign
def test_delayed_messages_outlive_who_sent_and_moved_them(
    movers: Callable[[str, list[float]], list[Process]], place: Place, channel: str, scale: int, tell: Tell
) -> None:
    many = 100 * scale
    delays = [0.2 + 1.2 * (n * 37 % many) / many for n in range(many)]
    began = time.monotonic()
    sender, _ = movers(channel, delays)
    sent = time.monotonic()
    arrived: dict[int, float] = {}
    order = []
    with open_layer(place.url) as layer:
        while len(arrived) < many:
            number = place.take(layer, channel)
            assert number is not None, f"{many - len(arrived)} did not arrive"
            order.append(number)
            arrived.setdefault(number, time.monotonic())
            if len(arrived) == many // 3:
                sender.kill()
        assert drain(layer, channel) == []
    assert sorted(order) == list(range(many))
    early = [n for n in order if arrived[n] < began + delays[n]]
    late = max(arrived[n] - sent - delays[n] for n in order)
    assert early == []
    assert late < LATE
    tell(
        f"{many} delayed, a mover killed: {len(order)} arrived, 0 twice, 0 early, the latest {max(late, 0):.2f} s late"
    )


@pytest.mark.campaign
@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_the_clock_of_redis_jumps(
    movers: Callable[[str, list[float]], list[Process]], place: Place, channel: str, scale: int, tell: Tell
) -> None:
    many = 100 * scale
    movers(channel, [30 + n % 7 for n in range(many)])
    later = f"{channel}.later"
    with open_layer(place.url) as layer:
        place.jump(60)
        order = [place.take(layer, channel) for _ in range(many)]
        assert sorted(order, key=lambda n: ((n or 0) % 7, n)) == order, "the order in which they were due"
        assert Counter(order) == Counter(range(many))

        layer.send(later, {"n": 1}, delay=10)
        place.jump(-60)
        place.jump(30)  # more than 10 s have passed, but the clock that counts shows a time before that of the send
        time.sleep(2 * LONGEST)  # in which movers look, and must not find it
        assert layer.receive_batch([later], 1) == []
        assert drain(layer, channel) == [], "what was moved is not moved again"
        place.jump(45)
        assert place.take(layer, later) == 1
        time.sleep(2 * LONGEST)
        assert drain(layer, later) == drain(layer, channel) == []
    tell(f"{many} due at once by a jump of 60 s, 0 twice; one that waited for a clock set back came once")


def test_a_clock_in_memory_jumps() -> None:
    now = 1_000_000.0
    layer = MemoryLayer(clock=lambda: now)
    for n in range(20):
        layer.send("a", {"n": n}, delay=30 + n % 7)
    now += 60
    assert [message["n"] for message in drain(layer, "a")] == sorted(range(20), key=lambda n: (n % 7, n))
    layer.send("a", {"n": 20}, delay=0.1)
    now -= 60
    assert drain(layer, "a") == []
    now += 61
    assert drain(layer, "a") == [{"n": 20}]
    assert drain(layer, "a") == []
