"""What will have to be forgotten, and when: one heap for everything that expires in the store.

Nothing runs in the background. Each operation of the store forgets a few entries that are due, so that the work of
one operation is bounded and what nobody asks for any more goes all the same.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

Forget = Callable[[Any, float], float | None]


class Agenda:
    """A heap of (time, what to call, key).

    A `Forget` is called with the key and the time now; it returns None when it is done with the key, or the time at
    which it wants to be called again. An owner keeps at most one or two entries a key, whatever is done to the key
    meanwhile.
    """

    BATCH = 8

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Forget, Any]] = []
        self._order = count()
        self.next = float("inf")

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, forget: Forget, key: Any) -> None:
        """Have `forget(key, now)` called some time after `when`."""
        heapq.heappush(self._heap, (when, next(self._order), forget, key))
        self.next = self._heap[0][0]

    def run(self, now: float) -> None:
        """Call what is due, at most BATCH of it."""
        heap = self._heap
        for _ in range(self.BATCH):
            if not heap or heap[0][0] > now:
                break
            _, order, forget, key = heap[0]
            again = forget(key, now)
            if again is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (again, order, forget, key))
        self.next = heap[0][0] if heap else float("inf")

    def clear(self) -> None:
        """Forget the whole agenda; whoever calls this drops what it was about."""
        self._heap.clear()
        self.next = float("inf")
