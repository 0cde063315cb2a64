"""One channel's queue: what waits in it, what is not yet due, and what it counts."""

import heapq
from collections import deque
from itertools import count

from .element import PART, Element
from .meter import Meter

# due time, order, key, the element as it will be queued, and the capacity it was sent under
Waiting = tuple[float, int, str | None, Element, int]
_order = count()


class Queue:
    """A FIFO of elements with deadlines, and a heap of delayed ones.

    It enforces nothing by itself; `Queues` asks it. A single-reader queue (`?`) has one deadline for all that is in it.
    """

    __slots__ = (
        "_keys", "_ordered", "_soonest", "credit", "deadline", "delayed", "full", "items", "life", "name", "notes", "sent",
        "single", "size",
    )  # fmt: skip

    def __init__(self, name: str, sent: Meter, full: Meter) -> None:
        self.name = name
        self.sent = sent
        self.full = full
        self.items: deque[Element] = deque()
        self.single = "?" in name
        self.notes = 0  # elements that do not count against capacity
        self.size = 0  # bytes of bodies that do
        self.delayed: list[Waiting] = []
        self._keys: dict[str, Waiting] = {}
        # Deadlines that never go back need no search for expired elements behind the head.
        self._ordered = True
        self._soonest = float("inf")
        self.life = self.deadline = float("inf")  # of a single-reader queue
        self.credit: str | None = None  # the channel that is told as chunks of a single-reader queue are taken

    def used(self) -> int:
        """Return how many messages count against capacity."""
        return len(self.items) - self.notes + len(self.delayed)

    def append(self, element: Element) -> None:
        """Put an element at the tail."""
        self._count_in(element)
        items = self.items
        deadline = element[0]
        if not items:
            self._ordered, self._soonest = True, deadline
        elif deadline < items[-1][0]:
            self._ordered = False
        if deadline < self._soonest:
            self._soonest = deadline
        items.append(element)

    def prepend(self, element: Element) -> None:
        """Put an element at the head."""
        self._count_in(element)
        deadline = element[0]
        if self.items and deadline > self.items[0][0]:
            self._ordered = False
        if deadline < self._soonest:
            self._soonest = deadline
        self.items.appendleft(element)

    def pop(self, now: float) -> Element | None:
        """Take the first element that has not expired; None if there is none."""
        items = self.items
        while items:
            element = items.popleft()
            self._count_out(element)
            if element[0] > now or self.single:
                return element
        return None

    def _count_in(self, element: Element) -> None:
        if element[2] > PART:
            self.notes += 1
        else:
            self.size += len(element[4])

    def trim(self, now: float) -> None:
        """Drop all that has expired, wherever it stands."""
        if self.single:
            if self.deadline <= now:
                self.clear()
            return
        items = self.items
        while items and items[0][0] <= now:
            self._count_out(items.popleft())
        if not self._ordered and self._soonest <= now:
            kept = deque(element for element in items if element[0] > now)
            for element in items:
                if element[0] <= now:
                    self._count_out(element)
            self.items = kept
            self._soonest = min((element[0] for element in kept), default=float("inf"))

    def _count_out(self, element: Element) -> None:
        if element[2] > PART:
            self.notes -= 1
        else:
            self.size -= len(element[4])

    # delayed messages

    def delay(self, due: float, key: str | None, element: Element, capacity: int) -> None:
        """Keep an element until `due`."""
        waiting = (due, next(_order), key, element, capacity)
        heapq.heappush(self.delayed, waiting)
        self.size += len(element[4])
        if key is not None:
            self._keys[key] = waiting

    def waits(self, key: str) -> bool:
        """Tell whether a delayed message with this key is waiting."""
        return key in self._keys

    def cancel(self, key: str) -> bool:
        """Remove the delayed message with this key; False if there is none."""
        waiting = self._keys.pop(key, None)
        if waiting is None:
            return False
        self.delayed.remove(waiting)
        heapq.heapify(self.delayed)
        self.size -= len(waiting[3][4])
        return True

    def promote(self, now: float) -> None:
        """Move what has become due into the queue, as far as there is room for it."""
        delayed = self.delayed
        while delayed and delayed[0][0] <= now:
            due, _, key, element, capacity = delayed[0]
            if element[0] > now and len(self.items) - self.notes >= capacity:
                self.trim(now)
                if len(self.items) - self.notes >= capacity:
                    break
            heapq.heappop(delayed)
            if key is not None:
                del self._keys[key]
            self.size -= len(element[4])
            if element[0] > now:
                self.append(element)

    def clear(self) -> None:
        """Drop everything, waiting or not, but keep the counts."""
        self.items.clear()
        self.delayed.clear()
        self._keys.clear()
        self.notes = self.size = 0
        self._ordered, self._soonest = True, float("inf")
