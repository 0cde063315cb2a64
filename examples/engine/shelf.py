"""A layer engine of one's own: the store in this process, behind one lock. `open_layer("shelf://")` opens a new one.

Memory is faster at this. Here it is about what an engine has to write: where its calls go, how its readers wait, and
how its inboxes are read.
"""

import math
import secrets
import threading
import time
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from trunkline.layer import Delivery, Inbox, Layer, LayerUnavailable, Reader
from trunkline.layer.delivery import deliveries
from trunkline.layer.membership import Membership, spread
from trunkline.layer.options import from_mapping
from trunkline.layer.store import Store
from trunkline.layer.waiting import Waiter


class Shelf:
    """Keeps messages. To the store all queues are watched: whatever is put lets everybody who waits look again."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self.lock, self.waiting = threading.RLock(), WeakSet[Any]()
        self.store = Store(clock, watched=self, notify=lambda queue: self.look_again())
        self.calls = self.store.calls | {"next_due": self.store.queues.next_due}

    def __contains__(self, queue: object) -> bool:
        return True

    def look_again(self) -> None:
        with self.lock:
            for each in self.waiting:
                each.notify()


class ShelfLayer(Layer):
    """Runs calls, which are names and plain values: to run them elsewhere, pack them, and their outcomes."""

    def __init__(self, shelf: Shelf | str, **options: Any) -> None:
        super().__init__(from_mapping(options, "shelf://"))
        self.shelf = shelf if isinstance(shelf, Shelf) else Shelf()
        self.clock, self.closed, self.inboxes = self.shelf.store.clock, False, WeakSet[ShelfInbox]()

    def _call(self, call: Any) -> Any:
        with self.shelf.lock:
            if self.closed:
                raise LayerUnavailable("the shelf is closed")
            return self.shelf.calls[call[0]](*call[1])

    def _run(self, calls: Any) -> list[Any]:
        with self.shelf.lock:
            if self.closed:
                return [LayerUnavailable("the shelf is closed")] * len(calls)
            return self.shelf.store.run(calls)

    def reader(self) -> Reader:
        return ShelfReader(self)

    def _make_inbox(self, *described: Any) -> Inbox:
        return ShelfInbox(self, *described)

    def close(self) -> None:
        for inbox in list(self.inboxes):
            inbox.stop()
        self.closed = True
        self.shelf.look_again()

    def look(self, wanted: Any, start: int, limit: int) -> list[Delivery]:
        """Take what is there. What comes out of an inbox goes through its memberships, in the order it was taken."""
        for inbox in wanted.inboxes:
            if snapshot := self._call(self._calls.attach(inbox, self._holder)):
                self._memberships.setdefault(inbox, Membership()).load(snapshot)
        got: list[Delivery] = []
        while not got and (found := self._call(("take", (wanted.queues, start, limit)))):
            queue, now, elements = found
            if queue not in wanted.inboxes:
                return deliveries(self, queue, elements, now)
            taken = self._memberships[queue].apply(elements, lambda: self._call(("snapshot", (found[0],))))
            got, rest = spread(queue, taken, limit, now)
            self._call(("put_back", (queue, rest)))
        return got


class ShelfReader(Reader):
    """Looks, and waits until something was put somewhere, becomes due, or it is woken."""

    def __init__(self, layer: ShelfLayer) -> None:
        super().__init__()
        self._layer, self.shelf, self.look, self.waiter = layer, layer.shelf, layer.look, Waiter()
        with self.shelf.lock:
            self.shelf.waiting.add(self.waiter)

    def wake(self) -> None:
        self.waiter.wake()

    def _take(self, wanted: Any, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self.waiter.woken():
            self.waiter.clear()
            with self.shelf.lock:
                found = self.look(wanted, start, limit)
            due, left = self._layer._call(("next_due", (wanted.queues,))), until - time.monotonic()
            if found or left <= 0:
                return found
            self.waiter.wait(left if due is None else min(left, due))
        return []


class ShelfInbox(Inbox):
    """Reads on its server's loop. Its lease is for ever: what could die here, dies together."""

    def __init__(self, layer: ShelfLayer, *described: Any) -> None:
        super().__init__(layer, *described)
        self.shelf, self.holder = layer.shelf, secrets.token_hex(8)
        self.heard = self.shelf.store.listeners.known
        self._membership.load(layer._call(self._checked.lease(self.name, self.holder, math.inf, self._lasting)))
        self.again = self._loop.call_soon(self.read)
        with self.shelf.lock:
            self.shelf.waiting.add(self)
            layer.inboxes.add(self)

    def notify(self) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self.read)

    def _transmit(self, calls: Any, thens: Any) -> None:
        self._settle(thens, self._layer._run(calls))

    def read(self) -> None:
        self.again.cancel()
        while not self._closed and (found := self._layer._call(("take", ((self.name,), 0, 100)))):
            if (rest := self._arrived(found[2])) is not None:
                self._load(self._layer._call(("snapshot", (self.name,))))
                self._arrived(rest)
        if not self._closed and (due := self._layer._call(("next_due", ((self.name,),)))) is not None:
            self.again = self._loop.call_later(due, self.read)

    async def _shut(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._closed = True
        self._layer._call(("release", (self.name, self.holder)))
