"""The memory engine: the store itself, for any number of threads and one event loop in one process."""

import random
import re
import secrets
import threading
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from .base import Layer
from .calls import Call
from .delivery import Delivery, deliveries
from .errors import LayerUnavailable
from .inbox import Callbacks, Inbox, Then
from .membership import Membership, spread
from .options import from_mapping
from .reader import Reader, Wanted
from .store import Store
from .store.element import Element
from .waiting import Waiter, Watchers

_FOREVER = float("inf")
_SLICE = 256  # elements an inbox takes before it lets the loop do something else


class _Hub:
    """A store with its lock and those who wait for it; shared by the layers of one name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.lock = threading.Lock()
        self.watchers = Watchers()
        # A clock that a test moves is also the one that people read.
        wall = time.time if clock is time.monotonic else clock
        self.store = Store(clock, self.watchers, self.watchers.notify, wall)
        self.calls = self.store.calls
        self.take = self.store.queues.take
        self.next_due = self.store.queues.next_due
        subscribe = getattr(clock, "subscribe", None)
        if subscribe is not None:
            subscribe(self.moved)

    def moved(self) -> None:
        """Let everybody look again: a clock that is moved by hand was moved."""
        with self.lock:
            self.watchers.notify_all()

    def pass_on(self, queues: list[str]) -> None:
        """Tell the next who waits for one of these queues, where something is left in it."""
        for queue in queues:
            if queue in self.watchers and self.store.queues.ready(queue):
                self.watchers.notify(queue)


_hubs: WeakValueDictionary[str, _Hub] = WeakValueDictionary()
_hubs_lock = threading.Lock()


class MemoryLayer(Layer):
    """A channel layer within one process.

    Layers of the same name share what they hold, which is gone when the last of them is closed or dropped. Messages
    are kept packed.

    Args:
        name: What is shared; "" for a layer of its own.
        clock: Seconds, never going back; None: the system's monotonic clock. One that is moved by hand has
            `subscribe(callable)`, as `ManualClock` does.
        rng: Decides what `drop_rate` loses.
        options: Those of `Options`.

    Raises:
        ValueError: An option is unknown or has a value it cannot have, or the name is in use on another clock.
    """

    def __init__(
        self,
        name: str = "",
        *,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        **options: Any,
    ) -> None:
        super().__init__(from_mapping(options, f"memory://{name}"), rng)
        with _hubs_lock:
            hub = _hubs.get(name) if name else None
            if hub is None:
                hub = _Hub(clock or time.monotonic)
                if name:
                    _hubs[name] = hub
            elif clock is not None and clock is not hub.store.clock:
                raise ValueError(f"memory://{name} exists already, on another clock")
        self.name = name
        self.clock = hub.store.clock
        self._hub: _Hub | None = hub
        self._inboxes: set[_MemoryInbox] = set()

    def close(self) -> None:
        """Close this layer object.

        Its blocked receives and all later calls raise LayerUnavailable; its inboxes stop and lose their leases.
        What it holds lives on as long as another layer of the same name does.
        """
        hub = self._hub
        if hub is None:
            return
        for inbox in list(self._inboxes):
            inbox._stop()
        self._hub = None
        hub.moved()

    def _open(self) -> _Hub:
        if self._hub is None:
            raise self._closed()
        return self._hub

    def _closed(self) -> LayerUnavailable:
        return LayerUnavailable(f"memory://{self.name} is closed")

    def _call(self, call: Call) -> Any:
        hub = self._hub or self._open()
        name, args = call
        with hub.lock:
            return hub.calls[name](*args)

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        hub = self._hub
        if hub is None:
            return [self._closed() for _ in calls]
        with hub.lock:
            return hub.store.run(calls)

    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""
        return _MemoryReader(self)

    def _make_inbox(self, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> Inbox:
        inbox = _MemoryInbox(self, self._hub or self._open(), name, loop, callbacks, lasting)
        self._inboxes.add(inbox)
        return inbox


class _MemoryReader(Reader):
    """Takes from the store, and sleeps until somebody puts something there."""

    _layer: MemoryLayer

    def __init__(self, layer: MemoryLayer) -> None:
        super().__init__()
        self._layer = layer
        self._waiter = Waiter()

    def wake(self) -> None:
        self._waiter.wake()

    def _take(self, wanted: Wanted, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        layer, waiter = self._layer, self._waiter
        hub = layer._open()
        until = None if timeout is None else time.monotonic() + timeout if timeout > 0 else 0.0
        notified: list[str] = []  # queues whose news reached us: what we leave there has to reach the next
        try:
            while not waiter.woken():
                with hub.lock:
                    layer._open()
                    for inbox in wanted.inboxes:
                        self._attach(hub, inbox)
                    found = hub.take(wanted.queues, start, limit)
                    if found is not None and found[0] in wanted.inboxes:
                        spread_out = self._spread(hub, *found, limit)
                        if spread_out:
                            return spread_out
                        continue  # there were only notes
                    if found is None and until != 0.0:
                        notified.clear()
                        waiter.clear()
                        hub.watchers.add(wanted.queues, waiter)
                        due = hub.next_due(wanted.queues)
                if found is not None:
                    queue, now, elements = found
                    return deliveries(layer, queue, elements, now)
                if until == 0.0:
                    break
                try:
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    waiter.wait(left if due is None or (left is not None and left < due) else due)
                finally:
                    with hub.lock:
                        notified = hub.watchers.remove(wanted.queues, waiter)
            return []
        finally:
            if notified:
                with hub.lock:
                    hub.pass_on(notified)

    def _attach(self, hub: _Hub, inbox: str) -> None:
        name, args = self._layer._calls.attach(inbox, self._layer._holder)
        snapshot = hub.calls[name](*args)
        if snapshot is not None:
            self._layer._memberships.setdefault(inbox, Membership()).load(snapshot)

    def _spread(self, hub: _Hub, inbox: str, now: float, elements: list[Element], limit: int) -> list[Delivery]:
        """Open what was taken from an inbox; what is too much for this receive goes back.

        This happens under the lock: with several threads at one inbox, its notes must be applied in order.
        """
        taken = self._layer._memberships[inbox].apply(elements, lambda: hub.store.groups.snapshot(inbox))
        spread_out, rest = spread(inbox, taken, limit, now)
        if rest:
            hub.store.queues.put_back(inbox, rest)
        return spread_out


class _MemoryInbox(Inbox):
    """An inbox in the same process as the store. Its lease needs no renewal: what could die, dies together."""

    def __init__(
        self,
        layer: MemoryLayer,
        hub: _Hub,
        name: str,
        loop: AbstractEventLoop,
        callbacks: Callbacks,
        lasting: bool,
    ) -> None:
        super().__init__(layer, name, loop, callbacks, lasting)
        self._hub = hub
        self._forget = layer._inboxes.discard
        self.heard = hub.store.listeners.known
        self._holder = secrets.token_hex(8)
        self._timer: TimerHandle | None = None
        self._membership.load(layer._call(self._checked.lease(name, self._holder, _FOREVER, lasting)))
        with hub.lock:
            self.notify()

    def notify(self) -> None:
        """Have the inbox read, from whatever thread, once until it has been emptied."""
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop was closed under an open inbox: nobody will read it again
            self._hub.watchers.remove((self.name,), self)
            self._hub.store.groups.release(self.name, self._holder)

    def _drain(self) -> None:
        if self._closed:
            return
        due = None
        with self._hub.lock:
            found = self._hub.take((self.name,), 0, _SLICE)
            elements = found[2] if found else []
            emptied = len(elements) < _SLICE
            if emptied:
                self._hub.watchers.add((self.name,), self)
                due = self._hub.next_due((self.name,))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(due, self._drain)
        while elements:
            rest = self._arrived(elements)
            if rest is not None:
                self._load(self._layer._call(("snapshot", (self.name,))))
            elements = rest or []
        if not emptied:
            self._loop.call_soon(self._drain)

    def _transmit(self, calls: list[Call], thens: list[Then | None]) -> None:
        self._settle(thens, self._layer._run(calls))

    async def _shut(self) -> None:
        self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._forget(self)
        if self._timer is not None:
            self._timer.cancel()
        with self._hub.lock:
            self._hub.watchers.remove((self.name,), self)
            self._hub.store.groups.release(self.name, self._holder)


def open_memory(place: str, **options: Any) -> MemoryLayer:
    """Open `memory://place`.

    Raises:
        ValueError: The name holds anything but letters, digits, `.`, `_` and `-`.
    """
    if place and not re.fullmatch(r"[A-Za-z0-9._-]+", place):
        raise ValueError(f"memory://{place}: a name has letters, digits and '.', '_', '-' only")
    return MemoryLayer(place, **options)
