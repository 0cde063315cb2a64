"""The deliveries of durable channels that a worker holds: while a consumer takes its time, they are kept from others.

A delivery is extended every third of its visibility timeout, from its taking until what becomes of it is with the
flusher. One that lapsed all the same (the layer was away for too long, or this process stood still) may be with another
worker by now: it is counted, and consumed to its end.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..layer import LayerError

if TYPE_CHECKING:
    from ..layer import Delivery

log = logging.getLogger("trunkline.workers")

_PART = 3  # how many times a delivery is extended within its visibility timeout


class Leases:
    """The leases of one worker.

    Args:
        clock: Seconds.
        expect: Has `renew` called at a time on that clock.

    Attributes:
        stats: Counts `leases_lost`.
    """

    def __init__(self, clock: Callable[[], float], expect: Callable[[float], object]) -> None:
        self.stats: Counter[str] = Counter()
        self._clock = clock
        self._expect = expect
        self._held: dict[int, tuple[Delivery, float]] = {}  # with the time of its next extension
        self._mutex = threading.Lock()

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Extend these from now on."""
        now = self._clock()
        with self._mutex:
            for delivery in deliveries:
                if delivery.id is None:
                    continue  # sent before its channel was durable, perhaps
                self._held[id(delivery)] = delivery, now + delivery.visibility / _PART
        self._expect(self.due())

    def end(self, delivery: Delivery) -> None:
        """Extend a delivery no more."""
        with self._mutex:
            self._held.pop(id(delivery), None)

    def due(self) -> float:
        """Return when the next extension is due; infinity where nothing is held."""
        with self._mutex:
            return min((due for _, due in self._held.values()), default=float("inf"))

    def renew(self) -> None:
        """Extend what is due."""
        now = self._clock()
        with self._mutex:
            due = [delivery for delivery, when in self._held.values() if when <= now]
            for delivery in due:
                self._held[id(delivery)] = delivery, now + delivery.visibility / _PART
        for delivery in due:
            self._extend(delivery)

    def _extend(self, delivery: Delivery) -> None:
        try:
            extended = delivery.extend(delivery.visibility)
        except LayerError as error:
            log.warning("a delivery of %s could not be extended: %s", delivery.channel, error)
            return
        with self._mutex:
            if extended or id(delivery) not in self._held:
                return  # or it was settled meanwhile
            del self._held[id(delivery)]
        self.stats["leases_lost"] += 1
        log.warning("a delivery of %s lapsed while its consumer runs; another worker may have it", delivery.channel)
