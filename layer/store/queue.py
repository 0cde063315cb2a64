"""One channel's queue: what waits in it, what is not yet due, and what it counts."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence

from .element import PART, Element
from .meter import Meter

_FOREVER = float("inf")
_AT_ONCE = 1024  # elements looked at together
_order = itertools.count()

# due, order, key, the element as it will be queued, and the capacity it was sent under
Delayed = tuple[float, int, str | None, Element, int]


class Queue:
    """A FIFO of elements with deadlines, and a heap of delayed ones.

    It keeps the books; `Queues` decides. A single-reader queue (`?`) has one deadline for all that is in it.

    Attributes:
        items: What can be taken.
        delayed: What is not due, or is due and waits for room.
        used: How many messages count against capacity, delayed ones too; notes do not.
        size: Bytes of those messages.
        deadline: When a single-reader queue expires.
        life: For how long each send or receive renews it.
        credit: The channel of an inbox that is told as its chunks are taken.
    """

    weight = 1  # of each message, in what is lost with the store

    __slots__ = (
        "_keys", "_ordered", "_soonest", "credit", "deadline", "delayed", "full", "items", "life", "name", "sent",
        "single", "size", "used",
    )  # fmt: skip

    def __init__(self, name: str, sent: Meter, full: Meter) -> None:
        self.name = name
        self.single = "?" in name
        self.sent = sent
        self.full = full
        self.items: deque[Element] = deque()
        self.delayed: list[Delayed] = []
        self.used = 0
        self.size = 0
        self.life = self.deadline = _FOREVER
        self.credit: str | None = None
        self._keys: dict[str, Delayed] = {}
        # While deadlines only rise from head to tail, nothing expired stands behind the head, and nobody has to
        # search for it.
        self._ordered = True
        self._soonest = _FOREVER

    def append(self, element: Element) -> None:
        """Put an element at the tail."""
        deadline, _, kind, _, body, _ = element
        if kind <= PART:
            self.used += 1
            self.size += len(body)
        if not self.items:
            self._ordered, self._soonest = True, deadline
        else:
            if deadline < self.items[-1][0]:
                self._ordered = False
            if deadline < self._soonest:
                self._soonest = deadline
        self.items.append(element)

    def append_all(self, elements: Sequence[Element], size: int) -> None:
        """Put messages of one deadline at the tail, of so many bytes together."""
        deadline = elements[0][0]
        if not self.items:
            self._ordered, self._soonest = True, deadline
        elif deadline < self.items[-1][0]:
            self._ordered = False
        if deadline < self._soonest:
            self._soonest = deadline
        self.used += len(elements)
        self.size += size
        self.items.extend(elements)

    def prepend(self, element: Element) -> None:
        """Put an element at the head."""
        deadline, _, kind, _, body, _ = element
        if kind <= PART:
            self.used += 1
            self.size += len(body)
        if not self.items:
            self._ordered, self._soonest = True, deadline
        else:
            if deadline > self.items[0][0]:
                self._ordered = False
            if deadline < self._soonest:
                self._soonest = deadline
        self.items.appendleft(element)

    def take(self, limit: int, now: float, enough: float = _FOREVER) -> list[Element]:
        """Take the first elements that have not expired, dropping those before them that have.

        Args:
            enough: Bytes of messages after which no more are taken.
        """
        items = self.items
        count = min(limit, len(items))
        if self._ordered and 0 < count <= _AT_ONCE and items[0][0] > now and not self.notes():
            # Nothing among them is a note or has expired.
            size = sum([len(element[4]) for element in itertools.islice(items, count)])
            if size < enough:
                self.used -= count
                self.size -= size
                return [items.popleft() for _ in range(count)]
        taken: list[Element] = []
        least = self.size - enough
        while items and len(taken) < limit:
            element = items.popleft()
            if element[2] <= PART:
                self.used -= 1
                self.size -= len(element[4])
                if self.size <= least:
                    limit = 0
            if element[0] > now or self.single:
                taken.append(element)
        return taken

    def trim(self, now: float) -> None:
        """Drop all that has expired, wherever it stands."""
        if self.single:
            if self.deadline <= now:
                self.clear()
            return
        if self.delayed and self.delayed[0][0] <= now:
            for delayed in [delayed for delayed in self.delayed if delayed[3][0] <= now]:
                self._undelay(delayed)
            heapq.heapify(self.delayed)
        items = self.items
        while items and items[0][0] <= now:
            self._forget(items.popleft())
        if not self._ordered and self._soonest <= now:
            for element in items:
                if element[0] <= now:
                    self._forget(element)
            self.items = deque(element for element in items if element[0] > now)
            self._soonest = min((element[0] for element in self.items), default=_FOREVER)

    def notes(self) -> int:
        """Return how many notes stand in it."""
        return len(self.items) - self.used + len(self.delayed)

    def messages(self) -> Iterator[Element]:
        """Go through the messages that can be taken, without the notes."""
        return (element for element in self.items if element[2] <= PART)

    def clear(self) -> None:
        """Drop everything, delayed or not, but keep the counts."""
        self.items.clear()
        self.delayed.clear()
        self._keys.clear()
        self.used = self.size = 0

    def keep(self, notes: bool) -> None:
        """Keep only the notes, or only what is no note."""
        kept = [element for element in self.items if (element[2] > PART) == notes]
        if notes:
            self.clear()
        else:
            self.used = len(self.delayed)
            self.size = sum(len(delayed[3][4]) for delayed in self.delayed)
            self.items.clear()
        for element in kept:
            self.append(element)

    # delayed messages

    def delay(self, due: float, key: str | None, element: Element, capacity: int) -> None:
        """Keep an element until it is due."""
        delayed = (due, next(_order), key, element, capacity)
        heapq.heappush(self.delayed, delayed)
        self.used += 1
        self.size += len(element[4])
        if key is not None:
            self._keys[key] = delayed

    def waits(self, key: str) -> bool:
        """Tell whether a delayed message has this key."""
        return key in self._keys

    def cancel(self, key: str) -> bool:
        """Remove the delayed message with this key; False if there is none."""
        delayed = self._keys.get(key)
        if delayed is None:
            return False
        self._undelay(delayed)
        heapq.heapify(self.delayed)
        return True

    def promote(self, now: float) -> None:
        """Move what has become due to the tail, as far as there is room for it."""
        while self.delayed and self.delayed[0][0] <= now:
            _, _, key, element, capacity = self.delayed[0]
            if element[0] > now or self.single:
                if self.used - len(self.delayed) >= capacity:
                    self.trim(now)
                    if self.used - len(self.delayed) >= capacity:
                        break
                    continue
                self.append(element)
            heapq.heappop(self.delayed)
            self._forget(element)
            if key is not None:
                del self._keys[key]

    def _undelay(self, delayed: Delayed) -> None:
        self.delayed.remove(delayed)
        self._forget(delayed[3])
        if delayed[2] is not None:
            del self._keys[delayed[2]]

    def _forget(self, element: Element) -> None:
        if element[2] <= PART:
            self.used -= 1
            self.size -= len(element[4])
