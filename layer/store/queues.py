"""Sending to and taking from channels: capacity, expiry, delays, keys, once marks, credit."""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import islice
from typing import Any

from ..errors import ChannelFull
from .agenda import Agenda
from .durable_queue import DurableQueue, elements_of
from .element import CREDIT, MESSAGE, Element
from .meter import Meter
from .queue import Queue

_FOREVER = float("inf")
SWEEP = 60.0  # how often a queue is looked at that nobody takes from
SENDS = frozenset(("put", "put_many", "put_durable"))
"""The calls that put messages into one queue, their first argument, or raise ChannelFull."""

ELEMENT_BYTES = 300  # what a held message or entry takes beyond its body, about
_RETIRED = 1000  # counts of queues that are gone, kept for statistics


class Queues:
    """All channels of a store.

    Args:
        clock: Seconds, never going back.
        agenda: Where to leave what has to be forgotten later.
        watched: Names of queues somebody waits for.
        notify: Called with a watched queue's name when something was put into it.
    """

    def __init__(
        self, clock: Callable[[], float], agenda: Agenda, watched: Container[str], notify: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._watched = watched
        self._notify = notify
        self._queues: dict[str, Queue] = {}
        self.balance = 0  # how many messages were put that are not durable, less those that were taken
        self._once: dict[tuple[str, str], float] = {}
        self._retired: OrderedDict[str, tuple[Meter, Meter]] = OrderedDict()
        self._sent = 0  # what queues that are gone had counted
        self._full = 0
        self._all_sent = Meter(clock())
        self._all_full = Meter(clock())

    def __len__(self) -> int:
        return len(self._queues)

    def put(
        self,
        name: str,
        local: str,
        body: bytes,
        expiry: float,
        capacity: int,
        max_bytes: int | None = None,
        delay: float = 0,
        key: str | None = None,
        once: str | None = None,
        window: float = 0,
        credit: str | None = None,
        last: bool = False,
        extra: Any = None,
    ) -> bool:
        """Put one message at the tail of a queue.

        Args:
            name: The queue: a channel, or an inbox up to and with its `!`.
            local: What stands after the `!`.
            body: The packed message.
            expiry: Seconds it may wait, from the time it is due.
            capacity: How many messages may wait, this one included.
            max_bytes: How many bytes of messages may wait, this one included.
            delay: Seconds until it is due.
            key: Replaces a delayed message with the same key.
            once: Put only if this was not seen on this queue within `window` seconds.
            credit: A channel of an inbox that is told as chunks are taken from this single-reader queue.
            last: Put it even if the queue is full.
            extra: What a durable queue is told with it.

        Returns:
            False if `once` was seen, else True.

        Raises:
            ChannelFull: Nothing was put, marked or replaced.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._open(name, now)
        if queue.single:
            queue.trim(now)
        if queue.delayed:
            queue.promote(now)
        if once is not None and self._once.get((name, once), now) > now:
            return False
        replaced = key is not None and queue.waits(key)
        if (
            (queue.used >= capacity or (max_bytes is not None and queue.size + len(body) > max_bytes))
            and not (last or replaced)
            and not self._make_room(queue, len(body), capacity, max_bytes, now)
        ):
            queue.full.count += 1
            raise ChannelFull.of(name, queue.used, capacity)
        if key is not None and replaced:
            queue.cancel(key)
        if queue.single:
            queue.life = expiry
            queue.deadline = now + delay + expiry
            if credit is not None:
                queue.credit = credit
        if delay:
            due = now + delay
            queue.delay(due, key, (due + expiry, due, MESSAGE, local, body, extra), capacity)
        else:
            queue.append((now + expiry, now, MESSAGE, local, body, extra))
        queue.sent.count += 1
        self.balance += queue.weight
        if once is not None:
            self.mark((name, once), now + window)
        if name in self._watched:
            self._notify(name)
        return True

    def put_many(
        self, name: str, expiry: float, capacity: int, max_bytes: int | None, parts: Sequence[Any]
    ) -> tuple[int, list[int]] | None:
        """Put messages at the tail of a queue, as a run of `put`s does: up to the first that finds no room.

        Args:
            name, expiry, capacity, max_bytes: As of `put`.
            parts: Of each message what stands after the `!`, and the packed message: local, body, local, body, …

        Returns:
            None if all were put; else how many wait there, and which were refused for want of room, from 0 on.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._open(name, now)
        if queue.single:
            queue.trim(now)
        if queue.delayed:
            queue.promote(now)
        deadline = now + expiry
        elements: list[Element] = [
            (deadline, now, MESSAGE, local, body, None) for local, body in zip(parts[::2], parts[1::2], strict=True)
        ]
        size = sum(map(len, parts[1::2]))
        refused: list[int] = []
        if queue.used + len(elements) <= capacity and (max_bytes is None or queue.size + size <= max_bytes):
            queue.append_all(elements, size)
            if queue.single:
                queue.life, queue.deadline = expiry, deadline
        else:
            for index, element in enumerate(elements):
                if not self._make_room(queue, len(element[4]), capacity, max_bytes, now):
                    refused.extend(range(index, len(elements)))
                    break
                queue.append(element)
                if queue.single:  # at once, so that nothing of this is taken for expired
                    queue.life, queue.deadline = expiry, deadline
        put = len(elements) - len(refused)
        queue.sent.count += put
        queue.full.count += len(refused)
        if put:
            self.balance += put * queue.weight
            if name in self._watched:
                self._notify(name)
        return (queue.used, refused) if refused else None

    def refuse(self, call: str, arguments: tuple[Any, ...]) -> ChannelFull:
        """Count what a call of `SENDS` would put behind one that found the queue full; return what it is told."""
        queue = self._queues.get(arguments[0])
        if queue is not None:  # else it has just been dropped, with all that was in it
            queue.full.count += len(arguments[4]) // 2 if call == "put_many" else 1
        return ChannelFull.behind(arguments[0])

    def offer(self, name: str, element: Element, capacity: int, max_bytes: int | None, now: float) -> bool:
        """Put a group's message at the tail of a queue; False if it is full."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._open(name, now)
        if queue.single:
            queue.trim(now)
        if queue.delayed:
            queue.promote(now)
        if not self._make_room(queue, len(element[4]), capacity, max_bytes, now):
            queue.full.count += 1
            return False
        if queue.single:
            queue.deadline = element[0]
            queue.life = element[0] - now
        queue.append(element)
        queue.sent.count += 1
        self.balance += queue.weight
        if name in self._watched:
            self._notify(name)
        return True

    def note(self, name: str, element: Element, now: float) -> None:
        """Put a note of the layer into an inbox; it counts neither against capacity nor as a message."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._open(name, now)
        queue.append(element)
        if name in self._watched:
            self._notify(name)

    def notes(self, name: str) -> int:
        """Return how many notes stand in an inbox."""
        queue = self._queues.get(name)
        return queue.notes() if queue else 0

    def cancel(self, name: str, key: str) -> bool:
        """Remove a delayed message; False if none with this key waits any more."""
        queue = self._queues.get(name)
        if queue is None:
            return False
        queue.promote(self._clock())
        return queue.cancel(key)

    def take(
        self, names: Sequence[str], start: int, limit: int, enough: float = _FOREVER
    ) -> tuple[str, float, list[Element]] | None:
        """Take up to `limit` elements from the first queue, from `names[start]` on and around, that has any.

        Args:
            enough: Bytes of messages after which no more are taken.

        Returns:
            (queue, time now, elements), or None if all are empty.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        queues = self._queues
        count = len(names)
        for index in range(start, start + count):
            queue = queues.get(names[index % count])
            if queue is None:
                continue
            if queue.single:
                queue.trim(now)
            if queue.delayed:
                queue.promote(now)
            if not queue.items:
                continue
            used = queue.used
            taken = queue.take(limit, now, enough)
            self.balance -= queue.weight * (used - queue.used)
            if taken:
                if queue.single:
                    queue.deadline = now + queue.life
                    if queue.credit is not None:
                        self._give_credit(queue.credit, queue, len(taken), now)
                return queue.name, now, taken
        return None

    def put_back(self, name: str, elements: Sequence[Element]) -> None:
        """Put elements that were taken at the head of their queue again, in the order they are given."""
        now = self._clock()
        queue = self._queues.get(name)
        if queue is None:
            queue = self._open(name, now)
        if queue.single:
            queue.trim(now)
        self.balance += len(elements)
        for element in reversed(elements):
            queue.prepend(element)
            if queue.single and queue.life == _FOREVER:
                queue.life = element[0] - element[1]
        if queue.single:
            queue.deadline = now + queue.life
        if name in self._watched:
            self._notify(name)

    def durable(self, name: str, make: Callable[[str, Meter, Meter], DurableQueue]) -> DurableQueue:
        """Return a queue as a durable one, made so if it was none: what is in it becomes durable."""
        queue = self._queues.get(name)
        if isinstance(queue, DurableQueue):
            return queue
        if queue is None:
            queue = self._open(name, self._clock())
        durable = self._queues[name] = make(name, queue.sent, queue.full)
        elements, delayed = elements_of(queue)
        for element in elements:
            durable.append(element)
        for due, _, key, element, capacity in delayed:
            durable.delay(due, key, element, capacity)
        return durable

    def find_durable(self, name: str) -> DurableQueue | None:
        """Return a durable queue, if there is one of this name."""
        queue = self._queues.get(name)
        return queue if isinstance(queue, DurableQueue) else None

    def returned(self, queue: DurableQueue) -> None:
        """Tell who waits for a queue that something was given back."""
        if queue.name in self._watched:
            self._notify(queue.name)

    def ready(self, name: str) -> bool:
        """Tell whether something can be taken from a queue."""
        queue = self._queues.get(name)
        return queue is not None and bool(queue.items)

    def next_due(self, names: Iterable[str]) -> float | None:
        """Return the seconds until the next delayed message of these queues is due; None if none is delayed."""
        soonest = None
        for name in names:
            queue = self._queues.get(name)
            if queue is not None and queue.delayed and (soonest is None or queue.delayed[0][0] < soonest):
                soonest = queue.delayed[0][0]
        return None if soonest is None else max(0.0, soonest - self._clock())

    def peek(self, name: str, limit: int) -> list[bytes]:
        """Return the first packed messages of a queue without taking them."""
        queue = self._live(name, self._clock())
        return [element[4] for element in islice(queue.messages(), limit)] if queue else []

    def purge(self, name: str) -> int:
        """Drop all messages of a queue, delayed ones too; notes stay. Return how many were dropped."""
        queue = self._live(name, self._clock())
        if queue is None:
            return 0
        dropped = queue.used
        queue.keep(notes=True)
        return dropped

    def drop(self, name: str) -> None:
        """Drop all that is in a queue."""
        queue = self._queues.get(name)
        if queue is not None:
            queue.clear()

    def drop_notes(self, name: str) -> None:
        """Drop the notes that stand in an inbox."""
        queue = self._queues.get(name)
        if queue is not None and queue.notes():
            queue.keep(notes=False)

    def flush(self) -> None:
        """Drop all messages, marks and counts."""
        self._queues.clear()
        self._once.clear()
        self._retired.clear()
        self._sent = self._full = 0
        self._all_sent = Meter(self._clock())
        self._all_full = Meter(self._clock())

    def held(self) -> tuple[int, int]:
        """Return how much is held.

        Returns:
            (How many messages that are not durable, and about how many bytes all of them, the notes and the `once`
            marks take).
        """
        now = self._clock()
        live = [queue for name in list(self._queues) if (queue := self._live(name, now)) is not None]
        elements = sum(len(queue.items) + len(queue.delayed) for queue in live) + len(self._queues) + len(self._once)
        return sum(queue.used * queue.weight for queue in live), sum(
            queue.size for queue in live
        ) + ELEMENT_BYTES * elements

    def statistics(self) -> dict[str, Any]:
        """Return the ASGI 1.x statistics over all queues."""
        now = self._clock()
        live = [queue for name in list(self._queues) if (queue := self._live(name, now)) is not None]
        self._all_sent.count = self._sent + sum(queue.sent.count for queue in live)
        self._all_full.count = self._full + sum(queue.full.count for queue in live)
        return {
            "messages_count": self._all_sent.count,
            "messages_count_per_second": self._all_sent.rate(now),
            "messages_pending": sum(queue.used for queue in live),
            "messages_max_age": max((_age(queue, now) for queue in live), default=0.0),
            "channel_full_count": self._all_full.count,
            "channel_full_count_per_second": self._all_full.rate(now),
        }

    def channel_statistics(self, name: str) -> dict[str, Any]:
        """Return the ASGI 1.x statistics of one queue."""
        now = self._clock()
        queue = self._live(name, now)
        sent, full = (queue.sent, queue.full) if queue else self._retired.get(name, (Meter(now), Meter(now)))
        return {
            "messages_count": sent.count,
            "messages_count_per_second": sent.rate(now),
            "messages_pending": queue.used if queue else 0,
            "messages_max_age": _age(queue, now) if queue else 0.0,
            "channel_full_count": full.count,
            "channel_full_count_per_second": full.rate(now),
        }

    def channels(self) -> dict[str, dict[str, Any]]:
        """Return the ASGI 1.x statistics of each queue that is not single-reader, or lately was there."""
        named = [name for name, queue in self._queues.items() if not queue.single]
        return {name: self.channel_statistics(name) for name in [*self._retired, *named]}

    def _open(self, name: str, now: float) -> Queue:
        counts = self._retired.pop(name, None)
        if counts is None:
            counts = Meter(now), Meter(now)
        else:
            self._sent -= counts[0].count
            self._full -= counts[1].count
        queue = self._queues[name] = Queue(name, *counts)
        self._agenda.add(now + SWEEP, self._sweep, name)
        return queue

    def _sweep(self, name: str, now: float) -> float | None:
        """Drop a queue in which nothing is left, with the once in a while look at the expired rest."""
        queue = self._queues[name]
        queue.promote(now)
        queue.trim(now)
        if queue.items or queue.delayed:
            return now + SWEEP
        del self._queues[name]
        self._sent += queue.sent.count
        self._full += queue.full.count
        if not queue.single:
            self._retired[name] = (queue.sent, queue.full)
            if len(self._retired) > _RETIRED:
                self._retired.popitem(last=False)
        return None

    def _live(self, name: str, now: float) -> Queue | None:
        queue = self._queues.get(name)
        if queue is not None:
            queue.promote(now)
            queue.trim(now)
        return queue

    @staticmethod
    def _make_room(queue: Queue, size: int, capacity: int, max_bytes: int | None, now: float) -> bool:
        """Drop what has expired, if there is no room as it is; tell whether there is then."""
        for trimmed in (False, True):
            if trimmed:
                queue.trim(now)
            if queue.used < capacity and (max_bytes is None or queue.size + size <= max_bytes or not queue.used):
                return True
        return False

    def mark(self, mark: tuple[str, str], until: float) -> None:
        """Remember that something was sent `once`: (queue, key)."""
        if mark not in self._once:
            self._agenda.add(until, self._forget_mark, mark)
        self._once[mark] = until

    def _forget_mark(self, mark: tuple[str, str], now: float) -> float | None:
        if self._once.get(mark, now) > now:
            return self._once[mark]
        self._once.pop(mark, None)
        return None

    def _give_credit(self, channel: str, queue: Queue, count: int, now: float) -> None:
        inbox, _, local = channel.partition("!")
        self.note(inbox + "!", (now + queue.life, now, CREDIT, local, None, (queue.name, count)), now)


def _age(queue: Queue, now: float) -> float:
    return next((now - element[1] for element in queue.messages()), 0.0)
