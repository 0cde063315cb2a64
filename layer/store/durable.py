"""Durable channels: a message stays until it is acknowledged, and is delivered again where nobody does that.

                       ┌────────────────────────── nack, its delay over ─────────────────────────┐
    delayed ──► ready ─┴► taken ──► acknowledged: gone                                           │
                  ▲        ├► put back: as if it had not been taken ──► the head of the queue    │
                  │        ├► nack ──────────────────────────────────────────────────────────────┘
                  └────────┴► lapsed: not settled within the visibility timeout, which its holder may extend;
                              for the 10th time: a dead letter

All of these hold room until they are gone. Redeliveries come before what was never delivered. A message keeps its id;
`tries` counts its deliveries, and is what its holder shows when it settles it: a holder whose time is over, and whose
message somebody else has, can acknowledge it, but neither give it back nor extend it.

A journal, where there is one, is told each change, so that everything can be restored from what it kept.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from ..errors import LayerError
from .element import MESSAGE, PART, Element
from .letters import Letter, Letters
from .meter import Meter
from .queue import Delayed, Queue

LAPSES = 10
"""How often a message may be taken by somebody who is never heard of again, before it is a dead letter."""

_FOREVER = float("inf")
_SPARE = 64  # entries of the heap that may be out of date before it is made anew

READY, DELAYED, GIVEN_BACK, TAKEN = range(4)


class Record(NamedTuple):
    """What a journal keeps of a message. Times are on the store's clock; `when` is None of what can be taken."""

    id: int
    body: bytes
    queued: float
    deadline: float
    tries: int
    lapses: int
    state: int
    when: float | None
    key: str | None


class Journal(Protocol):
    """Told what changes in durable channels, before anybody else is told that it did."""

    def save(self, queue: str, visibility: float, record: Record, new: bool) -> None:
        """Keep a message, in place of what was kept of it; nothing was where it is new."""

    def forget(self, queue: str, id: int) -> None:
        """Forget a message."""

    def mark(self, queue: str, once: str, until: float) -> None:
        """Keep a mark of `once`."""

    def agree(self, patterns: Mapping[str, float]) -> None:
        """Keep which channels are durable."""

    def letter(self, letter: Letter) -> None:
        """Keep a dead letter."""

    def forget_letter(self, id: str) -> None:
        """Forget a dead letter."""

    def clear(self) -> None:
        """Forget all messages, marks and dead letters."""


class _Message:
    __slots__ = ("element", "id", "key", "lapses", "saved", "state", "tries", "turn", "when")

    def __init__(self, id: int, element: Element) -> None:
        self.id = id
        self.element = element
        self.tries = 0
        self.lapses = 0
        self.saved = False
        self.state = READY
        self.when: float | None = None
        self.key: str | None = None
        self.turn = 0  # of its entry in the heap

    def record(self) -> Record:
        deadline, queued, _, _, body, _ = self.element
        return Record(self.id, body, queued, deadline, self.tries, self.lapses, self.state, self.when, self.key)


class DurableQueue(Queue):
    """A queue whose elements stay until they are acknowledged.

    `items` holds what can be taken, redeliveries first; `delayed` is a heap of all that changes by itself: what is
    delayed, given back or taken. An entry of it is out of date where the message has another turn by now.

    Args:
        name, sent, full: As of `Queue`.
        stamp: Makes ids: microseconds of Unix time.
        bury: Called with the queue's name and a message that was lost too often.
        journal: Where changes are kept.
    """

    weight = 0
    __slots__ = ("_again", "_bury", "_journal", "_known", "_last", "_stamp", "_turn", "visibility")

    def __init__(
        self,
        name: str,
        sent: Meter,
        full: Meter,
        stamp: Callable[[], float],
        bury: Callable[[str, _Message], None],
        journal: Journal | None = None,
    ) -> None:
        super().__init__(name, sent, full)
        self.visibility = 0.0
        self._stamp = stamp
        self._bury = bury
        self._journal = journal
        self._known: dict[int, _Message] = {}
        self._last = 0
        self._turn = 0
        self._again = 0  # how many redeliveries stand at the head of `items`

    # what `Queues` does with any queue

    def append(self, element: Element) -> None:
        self._ready(self._new(element))

    def prepend(self, element: Element) -> None:
        self._ready(self._new(element), again=True)

    def delay(self, due: float, key: str | None, element: Element, capacity: int) -> None:
        message = self._new(element)
        message.key = key
        if key is not None:
            self._keys[key] = self._later(message, DELAYED, due)
        else:
            self._later(message, DELAYED, due)

    def take(self, limit: int, now: float, enough: float = _FOREVER) -> list[Element]:
        taken: list[Element] = []
        size = 0
        while self.items and len(taken) < limit and size < enough:
            element = self.items.popleft()
            self._again = max(0, self._again - 1)
            message = self._known[element[5][0]]
            if element[0] <= now:
                self._drop(message)
                continue
            message.tries += 1
            self._later(message, TAKEN, now + self.visibility)
            size += len(element[4])
            taken.append((*element[:5], (message.id, message.tries)))
        return taken

    def promote(self, now: float) -> None:
        while self.delayed and self.delayed[0][0] <= now:
            _, turn, _, element, _ = heapq.heappop(self.delayed)
            message = self._known.get(element[5][0])
            if message is None or message.turn != turn:
                continue
            if message.state == TAKEN:
                message.lapses += 1
                if message.lapses >= LAPSES:
                    self._bury(self.name, message)
                    self._drop(message)
                    continue
            self._ready(message, again=message.state != DELAYED)

    def trim(self, now: float) -> None:
        if self._soonest > now:
            return
        soonest = _FOREVER
        for message in list(self._known.values()):
            if message.state == TAKEN:
                continue  # its holder is at work; what becomes of it is seen when it comes back
            if message.element[0] <= now:
                self._drop(message)
            else:
                soonest = min(soonest, message.element[0])
        self._soonest = soonest
        gone = [element for element in self.items if element[5][0] not in self._known]
        if gone:
            self._again -= sum(element[0] <= now for element in list(self.items)[: self._again])
            kept = [element for element in self.items if element[5][0] in self._known]
            self.items.clear()
            self.items.extend(kept)

    def messages(self) -> Iterator[Element]:
        return iter(self.items)

    def clear(self) -> None:
        for message in list(self._known.values()):
            self._drop(message)
        super().clear()
        self._again = 0

    def keep(self, notes: bool) -> None:
        assert notes, "a durable queue is no inbox"
        self.clear()

    def cancel(self, key: str) -> bool:
        delayed = self._keys.get(key)
        if delayed is None:
            return False
        self._drop(self._known[delayed[3][5][0]])
        return True

    # settling

    def acknowledge(self, id: int) -> bool:
        """Forget a message, whoever has it; False if it is gone."""
        message = self._known.get(id)
        if message is None:
            return False
        if message.state == READY:
            self.items.remove(message.element)
            self._again = max(0, self._again - 1)  # who acknowledges it had it before
        self._drop(message)
        return True

    def give_back(self, id: int, tries: int, due: float) -> bool:
        """Have a message delivered again when it is due; False if it is not this holder's any more."""
        message = self._held(id, tries)
        if message is None:
            return False
        self._later(message, GIVEN_BACK, due)
        return True

    def put_back(self, ids: Iterable[tuple[int, int]]) -> None:
        """Put messages to the head, in this order, as if they had not been taken."""
        at = 0
        for id, tries in ids:
            message = self._held(id, tries)
            if message is not None:
                message.tries -= 1
                self._ready(message, again=True, at=at)
                at += 1

    def extend(self, id: int, tries: int, until: float) -> bool:
        """Leave a message to its holder for longer; False if it is not this holder's any more."""
        message = self._held(id, tries)
        if message is None:
            return False
        self._later(message, TAKEN, until)
        return True

    def restore(self, record: Record) -> None:
        """Take a message back from a journal. Redeliveries come first, all others in the order of their ids."""
        element = (record.deadline, record.queued, MESSAGE, "", record.body, (record.id, 0))
        message = self._keep(record.id, element)
        message.tries, message.lapses, message.key = record.tries, record.lapses, record.key
        message.saved = True
        if record.when is None:
            self._ready(message, again=message.tries > 0, journal=False)
            return
        delayed = self._later(message, record.state, record.when, journal=False)
        if record.key is not None:
            self._keys[record.key] = delayed

    # shared

    def _new(self, element: Element) -> _Message:
        id = self._last + 1
        stamp = int(self._stamp() * 1e6)
        return self._keep(max(id, stamp), element)

    def _keep(self, id: int, element: Element) -> _Message:
        self._last = max(self._last, id)
        deadline, queued, _, local, body, _ = element
        message = _Message(id, (deadline, queued, MESSAGE, local, body, (id, 0)))
        self._known[id] = message
        self.used += 1
        self.size += len(body)
        self._soonest = min(self._soonest, deadline)
        return message

    def _ready(self, message: _Message, again: bool = False, at: int | None = None, journal: bool = True) -> None:
        if message.key is not None:
            self._keys.pop(message.key, None)
            message.key = None
        message.state, message.when = READY, None
        self._turn += 1
        message.turn = self._turn
        if again:
            self.items.insert(self._again if at is None else at, message.element)
            self._again += 1
        else:
            self.items.append(message.element)
        if journal:
            self._save(message)

    def _later(self, message: _Message, state: int, when: float, journal: bool = True) -> Delayed:
        if len(self.delayed) > 2 * len(self._known) + _SPARE:
            self.delayed = [each for each in self.delayed if self._is_current(each)]
            heapq.heapify(self.delayed)
        self._turn += 1
        message.state, message.when, message.turn = state, when, self._turn
        delayed = (when, message.turn, message.key, message.element, 0)
        heapq.heappush(self.delayed, delayed)
        if journal:
            self._save(message)
        return delayed

    def _is_current(self, delayed: Delayed) -> bool:
        message = self._known.get(delayed[3][5][0])
        return message is not None and message.turn == delayed[1]

    def _held(self, id: int, tries: int) -> _Message | None:
        message = self._known.get(id)
        return message if message is not None and message.state == TAKEN and message.tries == tries else None

    def _drop(self, message: _Message) -> None:
        del self._known[message.id]
        if message.key is not None:
            self._keys.pop(message.key, None)
        self.used -= 1
        self.size -= len(message.element[4])
        if self._journal is not None:
            self._journal.forget(self.name, message.id)

    def _save(self, message: _Message) -> None:
        if self._journal is not None:
            self._journal.save(self.name, self.visibility, message.record(), not message.saved)
            message.saved = True


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
        wall: Unix seconds.

    Attributes:
        journal: Where changes are kept; None: nowhere.
        patterns: Pattern → its visibility timeout in seconds; 0: it is said not to be durable.
    """

    def __init__(self, clock: Callable[[], float], queues: Holder, letters: Letters, wall: Callable[[], float]) -> None:
        self.journal: Journal | None = None
        self.patterns: dict[str, float] = {}
        self._clock = clock
        self._queues = queues
        self._letters = letters
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
    ) -> bool:
        """Put one message into a durable queue; see `Queues.put`."""
        queue = self.open(name, visibility)
        sent = self._queues.put(name, local, body, expiry, capacity, max_bytes, delay, key, once, window)
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

    def _find(self, name: str, id: str) -> tuple[DurableQueue | None, int]:
        return self._queues.find_durable(name), _number(id)

    def _make(self, name: str, sent: Meter, full: Meter) -> DurableQueue:
        return DurableQueue(name, sent, full, self._wall, self._bury, self.journal)

    def _bury(self, name: str, message: _Message) -> None:
        reason = f"taken {message.tries} times, {message.lapses} times by somebody who was never heard of again"
        self._letters.add(f"{name}.{message.id}", name, message.element[4], reason, "", message.tries)


def merge(known: Mapping[str, float], patterns: Mapping[str, float]) -> None:
    """Look whether patterns agree with those that are known.

    Patterns that may name the same channel have to say the same, so that their order does not matter.

    Raises:
        LayerError: They do not.
    """
    for pattern, visibility in patterns.items():
        for other, theirs in known.items():
            if visibility != theirs and overlap(pattern, other):
                raise disagreement(pattern, visibility, other, theirs)


def disagreement(pattern: str, visibility: float, other: str, theirs: float) -> LayerError:
    """Return the error of two patterns of the same channels that do not say the same."""
    return LayerError(
        f"channels {pattern!r} are said to be {_said(visibility)}, but in this layer {other!r} are {_said(theirs)}: "
        "all processes have to say the same of a channel"
    )


def overlap(one: str, other: str) -> bool:
    """Tell whether any name matches both patterns, in which only `*` is special."""
    # For each beginning of `other`, whether a name of it can be one of what was looked at of `one`
    fits = [not other[:end].strip("*") for end in range(len(other) + 1)]
    for sign in one:
        before, fits = fits, [fits[0] and sign == "*"]
        for end, against in enumerate(other, 1):
            if "*" in (sign, against):
                fits.append(before[end] or fits[end - 1] or (sign == against and before[end - 1]))
            else:
                fits.append(sign == against and before[end - 1])
    return fits[-1]


def elements_of(queue: Queue) -> tuple[list[Element], list[Delayed]]:
    """Return what a plain queue holds: what can be taken, and what is delayed."""
    return [element for element in queue.items if element[2] <= PART], sorted(queue.delayed)


def _said(visibility: float) -> str:
    return f"durable with a visibility timeout of {visibility:g} s" if visibility else "not durable"


def _number(id: str) -> int:
    return int(id) if id.isdecimal() else -1
