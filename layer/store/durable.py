"""The durable channels of a store: which there are, and what may be asked of them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from .blobs import Blobs
from .durable_queue import DurableQueue, Journal, Message
from .letters import Letters
from .meter import Meter
from .patterns import merge


class Holder(Protocol):
    """What durable channels need of `Queues`."""

    def durable(self, name: str, make: Callable[[str, Meter, Meter], DurableQueue]) -> DurableQueue:
        """Return a queue as a durable one, made so if it was none."""

    def find_durable(self, name: str) -> DurableQueue | None:
        """Return a durable queue, if there is one of this name."""

    def put(self, name: str, local: str, body: bytes, expiry: float, capacity: int, *rest: Any) -> bool:
        """Put one message at the tail of a queue."""

    def returned(self, queue: DurableQueue) -> None:
        """Tell who waits for a queue that something was given back."""


class Durables:
    """The durable channels of a store.

    Args:
        clock: Seconds, never going back.
        queues: All queues.
        letters: Where goes what was lost too often.
        blobs: Large parts of messages.
        wall: Unix seconds.

    Attributes:
        journal: Where changes are kept; None: nowhere.
        patterns: Pattern → its visibility timeout in seconds; 0: it is said not to be durable.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        queues: Holder,
        letters: Letters,
        blobs: Blobs,
        wall: Callable[[], float],
    ) -> None:
        self.journal: Journal | None = None
        self.patterns: dict[str, float] = {}
        self._clock = clock
        self._queues = queues
        self._letters = letters
        self._blobs = blobs
        self._wall = wall

    def agree(self, patterns: Mapping[str, float]) -> dict[str, float]:
        """Tell which channels are durable; return which are for all who use this store.

        Raises:
            LayerError: Others say otherwise of the same channels.
        """
        known = self.patterns
        merge(known, patterns)
        if patterns.items() - known.items():
            if self.journal is not None:
                self.journal.agree(patterns)
            known.update(patterns)
        return dict(known)

    def put(
        self,
        name: str,
        local: str,
        body: bytes,
        expiry: float,
        capacity: int,
        max_bytes: int | None,
        delay: float,
        key: str | None,
        once: str | None,
        window: float,
        visibility: float,
        blobs: tuple[str, ...] = (),
    ) -> bool:
        """Put one message into a durable queue, to hold some blobs; see `Queues.put`.

        Raises:
            ChannelFull, LayerError: There is no room, or a blob is gone. Nothing was put, marked or replaced.
        """
        queue = self.open(name, visibility)
        if blobs:
            self._blobs.check(blobs)
            self._blobs.hold(blobs)  # before a message goes that it replaces, and that may hold the same
        sent = False
        try:
            sent = self._queues.put(
                name, local, body, expiry, capacity, max_bytes, delay, key, once, window, None, False, blobs or None
            )
        finally:
            if blobs and not sent:
                self._blobs.release(blobs, keep=True)
        if sent and once is not None and self.journal is not None:
            self.journal.mark(queue.name, once, self._clock() + window)
        return sent

    def open(self, name: str, visibility: float) -> DurableQueue:
        """Return a queue as a durable one, made so if it was none."""
        queue = self._queues.durable(name, self._make)
        queue.visibility = visibility
        return queue

    def keep(self, journal: Journal) -> None:
        """Keep what changes from now on in a journal."""
        self.journal = journal

    def flush(self) -> None:
        """Have the journal forget everything, as the queues did."""
        if self.journal is not None:
            self.journal.clear()

    def acknowledge(self, name: str, id: str, tries: int) -> bool:
        """Be done with a message; False if it was before."""
        queue, number = self._find(name, id)
        return queue is not None and queue.acknowledge(number)

    def give_back(self, name: str, id: str, tries: int, delay: float) -> bool:
        """Have a message delivered again after `delay` seconds; False if it is not this holder's any more."""
        queue, number = self._find(name, id)
        if queue is None or not queue.give_back(number, tries, self._clock() + delay):
            return False
        self._queues.returned(queue)
        return True

    def extend(self, name: str, id: str, tries: int, seconds: float) -> bool:
        """Leave a message to its holder for `seconds` from now; False if it is not this holder's any more."""
        queue, number = self._find(name, id)
        return queue is not None and queue.extend(number, tries, self._clock() + seconds)

    def put_back(self, name: str, taken: Iterable[tuple[str, int]]) -> None:
        """Put messages back to the head of their queue, as if they had not been taken."""
        queue = self._queues.find_durable(name)
        if queue is not None:
            queue.put_back((_number(id), tries) for id, tries in taken)
            self._queues.returned(queue)

    def kept(self, name: str, after: str, limit: int) -> list[tuple[Any, ...]]:
        """Tell of up to `limit` messages that come after the one with the id `after`; "": of the first."""
        queue, number = self._find(name, after)
        if queue is None:
            return []
        now = self._clock()
        queue.promote(now)
        queue.trim(now)
        return [tuple(kept) for kept in queue.look(number, limit, now)]

    def hasten(self, name: str, id: str) -> bool:
        """Have a message be delivered now that is to be delivered later; False if there is none."""
        queue, number = self._find(name, id)
        if queue is None or not queue.hasten(number):
            return False
        self._queues.returned(queue)
        return True

    def discard(self, name: str, id: str) -> bool:
        """Drop a message, whoever has it; False if there is none."""
        return self.acknowledge(name, id, 0)

    def is_named_by(self, key: str) -> bool:
        """Tell whether a key of the state begins with the name of a durable channel and a colon."""
        name, colon, _ = key.partition(":")
        return bool(colon) and self._queues.find_durable(name) is not None

    def _find(self, name: str, id: str) -> tuple[DurableQueue | None, int]:
        return self._queues.find_durable(name), _number(id)

    def _make(self, name: str, sent: Meter, full: Meter) -> DurableQueue:
        return DurableQueue(name, sent, full, self._wall, self._bury, self._blobs.release, self.journal)

    def _bury(self, name: str, message: Message) -> None:
        reason = f"taken {message.tries} times, {message.lapses} times by somebody who was never heard of again"
        self._letters.add(f"{name}.{message.id}", name, message.element[4], reason, "", message.tries, message.blobs)


def _number(id: str) -> int:
    return int(id) if id.isdecimal() else -1
