"""Traffic through a Redis that is to suffer, and the counts of what became of it.

Three kinds of messages, each with a number of its own: to a work channel, to a connection of a server, and to a group
with two connections of that server. A thread sends them in turn, the server sends to the work channel, too; a thread
reads that; and one asks all the time whether the layer is well.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from trunkline.layer import Inbox, InboxItem, LayerError, LayerUnavailable
from trunkline.layer.redis.layer import RedisLayer

PATIENCE = 60.0
NAME = "server.1!"
LIMIT = 10  # messages that the reader takes at once
_prefixes = count()


class Counted(NamedTuple):
    """What became of the messages of all kinds.

    Attributes:
        sent: How many were asked for.
        taken: How many Redis acknowledged.
        in_doubt: Of how many nobody knows.
        arrived: How many arrived.
        lost: Which were acknowledged and did not arrive.
        twice: Which arrived more than once.
        risen: Which arrived although the sender was told that they were not sent.
    """

    sent: int
    taken: int
    in_doubt: int
    arrived: int
    lost: list[int]
    twice: list[int]
    risen: list[int]

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.taken} acknowledged, {self.in_doubt} in doubt, {self.arrived} arrived, "
            f"{len(self.lost)} acknowledged ones lost, {len(self.twice)} twice"
        )


class Traffic:
    """See above.

    Args:
        url: The layer's.
        pause: Seconds between two messages of a sender.
        options: The layer's.

    Attributes:
        probes: (when it began, when it ended, whether all was said to be well), by `time.monotonic()`.
        told: "up" and "down", as the server was told.
    """

    def __init__(self, url: str, pause: float = 0.002, **options: Any) -> None:
        self.probes: list[tuple[float, float, bool]] = []
        self.told: list[str] = []
        self.arrived: Counter[int] = Counter()
        self.members: list[tuple[str, ...]] = []  # whom each group message was for
        self.kinds: dict[int, str] = {}
        self._pause = pause
        self._outcomes: dict[int, Any] = {}
        self._numbers = count()
        self._outages: list[tuple[float, float]] = []
        self._errors: list[BaseException] = []
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._last: set[int] = set()
        prefix = f"traffic.{next(_prefixes)}"
        self.layer, self._read, self._served, self._asked = (
            RedisLayer(url, prefix=prefix, **options) for _ in range(4)
        )
        self._loop = asyncio.new_event_loop()
        threads = [self._send, self._take, self._ask, self._serve]
        self._threads = [threading.Thread(target=self._watched, args=(each,), daemon=True) for each in threads]
        self._inbox: Inbox = self._served.open_inbox(
            NAME,
            loop=self._loop,
            receive=self._receive,
            up=lambda: self.told.append("up"),
            down=lambda reason: self.told.append("down"),
        )
        for local in ("a", "b"):
            self.layer.group_add("g", NAME + local)
        for thread in self._threads:
            thread.start()
        self.goes_on()

    # what a test does

    def goes_on(self, messages: int = 30) -> None:
        """Wait until more messages of each kind, sent from now on, have arrived."""
        after = next(self._numbers)

        def flowing() -> bool:
            self._check()
            arrived = Counter(self.kinds[number] for number in list(self.arrived) if number > after)
            return all(arrived[kind] >= messages for kind in ("work", "inbox", "group", "served"))

        until(flowing)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Tell that the layer cannot work while the block runs."""
        began = time.monotonic()
        yield
        self._outages.append((began, time.monotonic()))

    def finish(self) -> Counted:
        """Stop sending, wait until the last messages arrived, and count."""
        self._stopping.set()
        self._threads[0].join(PATIENCE)
        until(lambda: all(outcome is not None for outcome in list(self._outcomes.values())))
        # What is in a queue comes out in order: behind these there is nothing.
        for channel in ("work", NAME + "a"):
            last = next(self._numbers)
            self.kinds[last] = "last"
            until(lambda channel=channel, last=last: self._sent(channel, last))  # type: ignore[misc]
            until(lambda last=last: self.arrived.pop(last, 0) > 0)  # type: ignore[misc]
        until(lambda: self._asked.problems() == [] and self.told.count("up") == self.told.count("down"))
        # Whoever asks for the members now may be the first to learn where they are.
        until(lambda: self._members() is not None)
        members = self._members()
        assert members == {NAME + "a": None, NAME + "b": None}, "the members are not what they were"
        self.close()
        self._check()
        return self._count()

    def _members(self) -> dict[str, Any] | None:
        try:
            return self.layer.group_members("g")
        except LayerUnavailable:
            return None

    def close(self) -> None:
        """End it, whatever became of it."""
        if self._loop.is_closed():
            return
        self._stopping.set()
        self._finished.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        self._loop.run_until_complete(self._inbox.close())
        self._loop.close()
        for layer in (self.layer, self._read, self._served, self._asked):
            layer.close()

    def lied(self) -> list[float]:
        """Return when the layer was said to be well while it could not work; seconds since the outage began."""
        return [
            began - start
            for start, end in self._outages
            for began, ended, well in self.probes
            if well and start <= began and ended <= end
        ]

    # threads

    def _watched(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self._errors.append(error)

    def _check(self) -> None:
        if self._errors:
            raise AssertionError("a thread ended") from self._errors[0]

    def _send(self) -> None:
        while not self._stopping.wait(self._pause):
            for kind in ("work", "inbox", "group"):
                number = self._number(kind)
                try:
                    if kind == "group":
                        self.layer.send_group("g", {"n": number})
                    else:
                        self.layer.send("work" if kind == "work" else NAME + "a", {"n": number})
                    self._outcomes[number] = True
                except LayerError as error:
                    self._outcomes[number] = error

    def _number(self, kind: str) -> int:
        number = next(self._numbers)
        self.kinds[number] = kind
        self._outcomes[number] = None
        return number

    def _sent(self, channel: str, number: int) -> bool:
        try:
            return self.layer.send(channel, {"n": number})
        except LayerUnavailable:
            return False

    def _take(self) -> None:
        reader = self._read.reader()
        while not self._finished.is_set():
            try:
                for delivery in reader.receive_batch(["work"], LIMIT, 0.2):
                    self.arrived[delivery.message["n"]] += 1
            except LayerUnavailable:
                self._finished.wait(0.01)

    def _ask(self) -> None:
        while not self._finished.wait(0.02):
            began = time.monotonic()
            well = not self._asked.problems()
            self.probes.append((began, time.monotonic(), well))

    def _serve(self) -> None:
        self._loop.call_soon(self._speak)
        self._loop.run_forever()

    def _speak(self) -> None:
        if not self._stopping.is_set():
            number = self._number("served")
            self._inbox.send("work", {"n": number}, then=lambda outcome: self._outcomes.update({number: outcome}))
            self._loop.call_later(self._pause, self._speak)

    def _receive(self, items: list[InboxItem]) -> None:
        for item in items:
            self.arrived[item.message["n"]] += 1
            if item.group is not None:
                self.members.append(tuple(sorted(item.names)))

    # counting

    def _count(self) -> Counted:
        outcomes = {number: outcome for number, outcome in self._outcomes.items() if self.kinds[number] != "last"}
        taken = {number for number, outcome in outcomes.items() if outcome is True}
        doubt = {
            number
            for number, outcome in outcomes.items()
            if isinstance(outcome, LayerUnavailable) and outcome.uncertain
        }
        served = {number for number in doubt if self.kinds[number] == "served"}
        assert self._inbox.stats["in_doubt"] == len(served), "the inbox counts what is in doubt"
        assert set(self.members) <= {("a", "b")}, "a group message did not reach all members"
        return Counted(
            len(outcomes),
            len(taken),
            len(doubt),
            len(self.arrived),
            sorted(taken.difference(self.arrived)),
            sorted(number for number, times in self.arrived.items() if times > 1),
            sorted(set(self.arrived).difference(taken, doubt)),
        )


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
