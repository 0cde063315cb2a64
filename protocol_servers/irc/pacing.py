"""How fast we speak: a token bucket, and a queue for every room and person that is spoken to.

Servers answer floods with silence or by closing the connection; the pace here stays below what they allow by default
(ngircd and inspircd were tried). The queues take turns, line by line, so that nobody's room waits for another's long
text. What a server needs at once (PONG, QUIT) waits for nothing, and is paid for afterwards.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MOST_FIRST = 1000


@dataclass(slots=True)
class Utterance:
    """Lines that belong together and leave in order.

    Attributes:
        lines: What is to be sent yet; each entry leaves as a whole, and may be several lines.
        expires: When it is stale, by the wall clock; None: never.
        owner: Whatever the sender wants to find again.
        sent: Entries that left.
    """

    lines: deque[bytes]
    expires: float | None = None
    owner: object = None
    sent: int = 0

    @property
    def size(self) -> int:
        """Lines that are to be sent yet."""
        return sum(entry.count(b"\n") for entry in self.lines)


class Pacer:
    """The queues and the bucket.

    Args:
        clock: Monotonic seconds.
        rate: Lines a second.
        burst: Lines that may leave at once after a silence.
        most: Lines that wait for one target, and a quarter of those that wait in all.
        stats: Counts what was dropped: "queue_full", "stale", "refused".

    Attributes:
        soonest: When the next utterance expires, wall clock, or earlier; None: none will.
    """

    def __init__(
        self, clock: Callable[[], float], *, rate: float = 1.0, burst: int = 4, most: int = 250, stats: Counter[str]
    ) -> None:
        self._stats = stats
        self.soonest: float | None = None
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._most = most
        self._tokens = float(burst)
        self._filled = clock()
        self._urgent: deque[bytes] = deque()
        self._first: deque[bytes] = deque()
        self._queues: dict[str, deque[Utterance]] = {}  # in the order of their turns
        self._waiting = 0

    def __len__(self) -> int:
        """Count the lines that wait to be said."""
        return self._waiting

    def put_urgent(self, line: bytes) -> None:
        """Send ``line`` before everything else, and at once."""
        self._urgent.append(line)

    def put_first(self, line: bytes) -> None:
        """Send ``line`` as soon as the pace allows, before anything that is said."""
        if len(self._first) < _MOST_FIRST:
            self._first.append(line)
        else:
            self._stats["queue_full"] += 1

    def put(self, target: str, utterance: Utterance) -> bool:
        """Queue something for ``target``.

        Returns:
            Whether there was room for it.
        """
        queue = self._queues.get(target)
        ahead = sum(each.size for each in queue or ())
        if ahead + utterance.size > self._most or self._waiting + utterance.size > 4 * self._most:
            self._stats["queue_full"] += 1
            return False
        if queue is None:
            queue = self._queues[target] = deque()
        queue.append(utterance)
        self._waiting += utterance.size
        if utterance.expires is not None and (self.soonest is None or utterance.expires < self.soonest):
            self.soonest = utterance.expires
        return True

    def wait_for(self, target: str) -> float:
        """Estimate the seconds until a new line to ``target`` would leave."""
        ahead = sum(each.size for each in self._queues.get(target, ()))
        return max(ahead * max(len(self._queues), 1) - self._available(), 0.0) / self._rate

    def take(self, may_go: Callable[[str], bool]) -> Iterator[tuple[bytes, Utterance | None]]:
        """Yield what may leave now, with the utterance that it is of.

        Args:
            may_go: Says whether a target may be spoken to now; the queue of one that may not keeps its place.
        """
        while self._urgent:
            self._pay(self._urgent[0])
            yield self._urgent.popleft(), None
        while self._first and self._can_pay(self._first[0]):
            self._pay(self._first[0])
            yield self._first.popleft(), None
        if self._first:
            return
        while (target := self._next(may_go)) is not None:
            queue = self._queues[target]
            utterance = queue[0]
            entry = utterance.lines[0]
            if not self._can_pay(entry):
                return
            self._pay(entry)
            utterance.lines.popleft()
            utterance.sent += 1
            self._waiting -= entry.count(b"\n")
            if not utterance.lines:
                queue.popleft()
            del self._queues[target]
            if queue:
                self._queues[target] = queue  # behind the others
            yield entry, utterance
        if not self._queues:
            self.soonest = None

    def _next(self, may_go: Callable[[str], bool]) -> str | None:
        return next((target for target in self._queues if may_go(target)), None)

    def deadline(self, may_go: Callable[[str], bool]) -> float | None:
        """Return when `take` has something next, by the clock; None: when something is put."""
        if self._urgent:
            return self._filled
        if self._first:
            entry = self._first[0]
        else:
            target = self._next(may_go)
            if target is None:
                return None
            entry = self._queues[target][0].lines[0]
        # A little later than exactly, so that rounding never makes it a little too early.
        return self._filled + max(self._price(entry) - self._tokens, 0.0) / self._rate + 0.001

    def drop_stale(self, now: float) -> list[Utterance]:
        """Remove what expired by ``now``, wall clock, and return it."""
        if self.soonest is None or now < self.soonest:
            return []
        gone = self._remove(lambda each: each.expires is not None and each.expires <= now, "stale")
        left = (each.expires for queue in self._queues.values() for each in queue if each.expires is not None)
        self.soonest = min(left, default=None)
        return gone

    def drop(self, target: str) -> list[Utterance]:
        """Remove everything that waits for ``target``, and return it."""
        gone = set(map(id, self._queues.get(target, ())))
        return self._remove(lambda each: id(each) in gone, "refused")

    def drop_all(self) -> list[Utterance]:
        """Remove everything that waits to be said, and return it."""
        return self._remove(lambda each: True, "refused")

    def rewrite(self, change: Callable[[Utterance], None]) -> None:
        """Let ``change`` replace the lines of what waits to be said."""
        for queue in self._queues.values():
            for utterance in queue:
                self._waiting -= utterance.size
                change(utterance)
                self._waiting += utterance.size

    def start_again(self) -> None:
        """Forget what belonged to a connection, and keep what is to be said."""
        self._urgent.clear()
        self._first.clear()
        self._tokens = float(self._burst)
        self._filled = self._clock()

    def _remove(self, is_gone: Callable[[Utterance], bool], reason: str) -> list[Utterance]:
        gone: list[Utterance] = []
        for target, queue in list(self._queues.items()):
            leaving = [each for each in queue if is_gone(each)]
            if not leaving:
                continue
            gone += leaving
            kept = deque(each for each in queue if not is_gone(each))
            if kept:
                self._queues[target] = kept
            else:
                del self._queues[target]
        self._waiting -= sum(each.size for each in gone)
        self._stats[reason] += len(gone)
        return gone

    def _available(self) -> float:
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled) * self._rate, float(self._burst))
        self._filled = now
        return self._tokens

    def _price(self, entry: bytes) -> float:
        # What is dearer than a full bucket goes when the bucket is full, and leaves a debt.
        return min(float(entry.count(b"\n")), float(self._burst))

    def _can_pay(self, entry: bytes) -> bool:
        return self._available() >= self._price(entry)

    def _pay(self, entry: bytes) -> None:
        # The debt has a bound, so that a server's storm of PINGs does not silence us for ever.
        self._tokens = max(self._available() - entry.count(b"\n"), -4.0 * self._burst)
