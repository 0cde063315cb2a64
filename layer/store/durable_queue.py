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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from .element import MESSAGE, PART, Element
from .letters import Letter
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
    blobs: tuple[str, ...] = ()


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

    def state(self, key: str, value: bytes, until: float) -> None:
        """Keep a value of the state."""

    def forget_state(self, key: str) -> None:
        """Forget a value of the state."""

    def clear(self) -> None:
        """Forget all messages, marks, values and dead letters."""


class Kept(NamedTuple):
    """What is told of a message: `age` and `wait` in seconds; the latter until it can be taken, or is given up."""

    id: str
    body: bytes
    tries: int
    age: float
    state: str
    wait: float


class Message:
    """A message of a durable queue."""

    __slots__ = ("blobs", "element", "id", "key", "lapses", "saved", "state", "tries", "turn", "when")

    def __init__(self, id: int, element: Element, blobs: tuple[str, ...]) -> None:
        self.id = id
        self.element = element
        self.blobs = blobs
        self.tries = 0
        self.lapses = 0
        self.saved = False
        self.state = READY
        self.when: float | None = None
        self.key: str | None = None
        self.turn = 0  # of its entry in the heap

    def record(self) -> Record:
        """Return what a journal keeps of it."""
        deadline, queued, _, _, body, _ = self.element
        return Record(
            self.id, body, queued, deadline, self.tries, self.lapses, self.state, self.when, self.key, self.blobs
        )


class DurableQueue(Queue):
    """A queue whose elements stay until they are acknowledged.

    `items` holds what can be taken, redeliveries first; `delayed` is a heap of all that changes by itself: what is
    delayed, given back or taken. An entry of it is out of date where the message has another turn by now. What is put
    into it has in its element's last place the blobs that the message holds, or None.

    Args:
        name, sent, full: As of `Queue`.
        stamp: Makes ids: microseconds of Unix time.
        bury: Called with the queue's name and a message that was lost too often.
        release: Called with the blobs of a message that is gone.
        journal: Where changes are kept.
    """

    weight = 0
    __slots__ = ("_again", "_bury", "_journal", "_known", "_last", "_release", "_stamp", "_turn", "visibility")

    def __init__(
        self,
        name: str,
        sent: Meter,
        full: Meter,
        stamp: Callable[[], float],
        bury: Callable[[str, Message], None],
        release: Callable[[Iterable[str]], None],
        journal: Journal | None = None,
    ) -> None:
        super().__init__(name, sent, full)
        self.visibility = 0.0
        self._stamp = stamp
        self._bury = bury
        self._release = release
        self._journal = journal
        self._known: dict[int, Message] = {}
        self._last = 0
        self._turn = 0
        self._again = 0  # how many redeliveries stand at the head of `items`

    # what `Queues` does with any queue

    def append(self, element: Element) -> None:
        self._ready(self._new(element))

    def append_all(self, elements: Sequence[Element], size: int) -> None:
        for element in elements:
            self.append(element)

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

    def hasten(self, id: int) -> bool:
        """Have what is delayed or given back be delivered now; False if it is neither."""
        message = self._known.get(id)
        if message is None or message.state not in (DELAYED, GIVEN_BACK):
            return False
        self._ready(message, again=message.state != DELAYED)
        return True

    def look(self, after: int, limit: int, now: float) -> list[Kept]:
        """Tell of the first messages, in the order of their ids, that come after one."""
        found = []
        for id in heapq.nsmallest(limit, (id for id in self._known if id > after)):
            message = self._known[id]
            state = "waiting" if message.when is None else "taken" if message.state == TAKEN else "later"
            wait = 0.0 if message.when is None else max(0.0, message.when - now)
            age = max(0.0, now - message.element[1])
            found.append(Kept(str(id), message.element[4], message.tries, age, state, wait))
        return found

    def restore(self, record: Record) -> None:
        """Take a message back from a journal. Redeliveries come first, all others in the order of their ids."""
        element = (record.deadline, record.queued, MESSAGE, "", record.body, (record.id, 0))
        message = self._keep(record.id, element, record.blobs)
        message.tries, message.lapses, message.key = record.tries, record.lapses, record.key
        message.saved = True
        if record.when is None:
            self._ready(message, again=message.tries > 0, journal=False)
            return
        delayed = self._later(message, record.state, record.when, journal=False)
        if record.key is not None:
            self._keys[record.key] = delayed

    # shared

    def _new(self, element: Element) -> Message:
        id = self._last + 1
        stamp = int(self._stamp() * 1e6)
        return self._keep(max(id, stamp), element, element[5] or ())

    def _keep(self, id: int, element: Element, blobs: tuple[str, ...]) -> Message:
        self._last = max(self._last, id)
        deadline, queued, _, local, body, _ = element
        message = Message(id, (deadline, queued, MESSAGE, local, body, (id, 0)), blobs)
        self._known[id] = message
        self.used += 1
        self.size += len(body)
        self._soonest = min(self._soonest, deadline)
        return message

    def _ready(self, message: Message, again: bool = False, at: int | None = None, journal: bool = True) -> None:
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

    def _later(self, message: Message, state: int, when: float, journal: bool = True) -> Delayed:
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

    def _held(self, id: int, tries: int) -> Message | None:
        message = self._known.get(id)
        return message if message is not None and message.state == TAKEN and message.tries == tries else None

    def _drop(self, message: Message) -> None:
        del self._known[message.id]
        if message.key is not None:
            self._keys.pop(message.key, None)
        self.used -= 1
        self.size -= len(message.element[4])
        if self._journal is not None:
            self._journal.forget(self.name, message.id)
        if message.blobs:
            self._release(message.blobs)

    def _save(self, message: Message) -> None:
        if self._journal is not None:
            self._journal.save(self.name, self.visibility, message.record(), not message.saved)
            message.saved = True


def elements_of(queue: Queue) -> tuple[list[Element], list[Delayed]]:
    """Return what a plain queue holds: what can be taken, and what is delayed."""
    return [element for element in queue.items if element[2] <= PART], sorted(queue.delayed)
