"""The worker: takes messages from the layer and has them consumed, in one thread or several.

    threads:           flush and receive a batch ─► consume each   (one is the fast path: nothing is handed over)
    the one of run():  announce, renew claims and leases, try full channels again, flush and put back what waits for a
                       slow consumer, give up a thread whose consumer ignores its timeout, tell of failures that repeat

A thread takes as many messages at a time as its consumers finish in 5 ms. What it has not started after 10 ms goes back
to the head of its channel, so that a slow consumer holds up nothing that another thread or worker could take.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import add
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..layer import LayerError
from ..operations.errors import UsageError
from .claims import Claims
from .flushing import HOLD
from .full_channels import PATIENCE
from .leases import Leases
from .listening import in_order, listened
from .place import Place
from .repeats import Repeats
from .routing import Routing

if TYPE_CHECKING:
    from ..layer import Layer

log = logging.getLogger("trunkline.workers")

ANNOUNCE = 5.0
"""Seconds between two announcements; the layer forgets a worker after 15."""

MOST_ABANDONED = 8
"""Threads given up and still stuck with which a worker ends."""

_LAST_PATIENCE = PATIENCE + 2.0  # seconds that what is left at the end is tried, for room or for the layer
_HELPER_PAUSE = 1.0
_QUICK_SLACK = 3 * HOLD
"""Seconds by which the helper thread may be late while consumers are quick: each look of it costs the other thread more
than a whole request does, and what is held then leaves without it."""

_FOREVER = float("inf")


class Worker:
    """Consumes the messages of a routing's channels.

    Args:
        layer: The layer to take from.
        routing: A Routing, or a list of routes.
        only: Patterns (`*`, `?`, `[…]`) of channels to listen to, or one; none: all.
        exclude: Patterns of channels not to listen to, or one.
        threads: How many threads consume.
        prefetch: How many messages a thread takes at a time, and keeps; None: by the speed of its consumers, 1 to 64.
        max_messages: End after so many; None: never.
        stream_timeout: Seconds `Message.stream` waits for the next chunk of a body.

    Attributes:
        name: The name it announces itself under.
        channels: What it listens to, in order.
        ordered: Those of them on which messages of a connection come one at a time.

    Raises:
        UsageError: no channel is left to listen to, or a number is out of range.
        RoutingError: the routing cannot be.
    """

    def __init__(
        self,
        layer: Layer,
        routing: Any,
        only: Iterable[str] = (),
        exclude: Iterable[str] = (),
        threads: int = 1,
        prefetch: int | None = None,
        max_messages: int | None = None,
        stream_timeout: float = 60.0,
    ) -> None:
        for what, number in (("threads", threads), ("prefetch", prefetch), ("max_messages", max_messages)):
            if number is not None and number < 1:
                raise UsageError(f"{what} must be 1 or more, not {number}")
        self.layer = layer
        self.routing = routing if isinstance(routing, Routing) else Routing(routing)
        self.name = f"worker.{os.getpid()}.{secrets.token_hex(4)}"
        self.channels = listened(self.routing.channel_names(), only, exclude)
        self.ordered = in_order(self.routing, self.channels)
        self._threads = threads
        self._prefetch = prefetch
        self._left = max_messages
        self._left_lock = threading.Lock()
        self._stream_timeout = stream_timeout
        self._claims = Claims(layer, self._expect)
        self._leases = Leases(layer.clock, self._expect)
        self._repeats = Repeats(layer.clock, self._expect)
        self._places: list[Place] = []
        self._announced = -_FOREVER
        self._stopping = False
        self._stuck = 0
        self._silent = False  # not announced, and said so
        self._pause: Callable[[float], object] = time.sleep
        self._helper: _Helper | None = None

    @property
    def stats(self) -> Counter[str]:
        """Counts since the start: messages, failures, unrouted, retried, dropped_full, dead_letters and others.

        Of an outage: `in_doubt`, what was sent and may not have arrived; `lost_unstarted`, messages that were taken and
        could not be put back; `receives_cut`, how often the layer was lost while it was asked for messages, so that one
        batch may have been on its way.
        """
        total: Counter[str] = Counter(dict(self._leases.stats))
        for place in self._places:
            # Copied in one go: their threads go on counting.
            total.update(dict(place.consuming.stats), messages=place.consuming.messages)
            total.update(dict(place.flusher.stats))
        return +total

    def lags(self) -> dict[str, list[float]]:
        """Return how long messages waited for this worker, by channel; see `Lags.rows`."""
        total: dict[str, list[float]] = {}
        for place in self._places:
            for channel, row in list(place.lags.rows.items()):
                before = total.get(channel)
                total[channel] = list(row) if before is None else list(map(add, before, row))
        return total

    def run(self) -> None:
        """Work until `stop()`, or until `max_messages` were consumed; then send what was held and return.

        In the main thread, where nobody handles SIGINT, Ctrl-C stops it.

        Raises:
            RuntimeError: 8 threads were given up and are stuck, since their consumers ignore their timeouts.
        """
        self._helper = _Helper(self)
        while len(self._places) < self._threads:
            self._places.append(Place(self))
        try:
            with _ctrl_c_stops(self):
                self._helper.announce()
                for place in self._places:
                    place.start()
                self._helper.run()
                for place in self._places:
                    if not place.consuming.abandoned:
                        place.join()
        finally:
            self._helper = None
        self.close()
        if self._stuck >= MOST_ABANDONED:
            raise RuntimeError(f"{self._stuck} threads were given up: their consumers ignore their timeouts")

    def step(self) -> int:
        """Take and finish one batch without waiting, in this thread.

        Returns:
            How many messages were taken.

        Raises:
            LayerUnavailable: the layer is away; what is held is kept for the next step.
        """
        if not self._places:
            self._places.append(Place(self))
        if self._announced + ANNOUNCE <= self.layer.clock():
            self.announce()
        place = self._places[0]
        taken = place.take(0)
        place.flusher.flush()
        return taken

    def stop(self) -> None:
        """Have `run()` finish what was started and return; safe from any thread and any signal handler.

        What was taken and not yet started goes back to the head of its channel.
        """
        self._stopping = True
        for place in list(self._places):
            place.stop()
        self._expect(0.0)

    def wait_with(self, pause: Callable[[float], object]) -> None:
        """Replace `time.sleep`, before the first step: a test moves its clock instead.

        Args:
            pause: Lets so many seconds pass.
        """
        self._pause = pause

    def announce(self) -> None:
        """Tell the layer what this worker listens to; the helper thread and `step()` do it by themselves.

        Raises:
            LayerUnavailable: the layer is away.
        """
        self.layer.agree()
        self.layer.announce(self.name, {"channels": {name: name in self.ordered for name in self.channels}})
        self._announced = self.layer.clock()

    def close(self) -> None:
        """Send what is held and take the announcement back, after the last `step()`; `run()` does it by itself."""
        until = self.layer.clock() + _LAST_PATIENCE
        for place in self._places:
            place.finish(until)
        self._repeats.tell(all=True)
        try:
            self.layer.announce(self.name, None)
        except LayerError as error:
            log.warning("the layer still thinks this worker is alive: %s", error)

    def _away(self) -> None:
        """Have the helper thread announce the worker again soon: a layer that was away may come back empty."""
        due = self.layer.clock() + _HELPER_PAUSE
        if self._announced + ANNOUNCE > due:
            self._announced = due - ANNOUNCE
            self._expect(due)

    def _expect(self, due: float) -> None:
        """Have the helper thread look again at `due`, at the latest; steps look by themselves."""
        if self._helper is not None:
            self._helper.expect(due)

    def _replace(self, place: Place) -> None:
        """Start another thread for one that was given up."""
        # A thread whose consumer came back in the end, from a layer that was away perhaps, is no loss.
        self._stuck = sum(place.stuck for place in self._places)
        log.critical("a worker thread was given up: its consumer ignores its timeout (%d so far)", self._stuck)
        place.put_back_unstarted()
        if self._stuck >= MOST_ABANDONED:
            self.stop()
        elif not self._stopping:
            another = Place(self)
            another.start()
            self._places.append(another)

    def _reserve(self, wanted: int) -> int:
        """Return how many messages a thread may take, of those that are left of `max_messages`."""
        if self._left is None:
            return wanted
        with self._left_lock:
            granted = min(wanted, self._left)
            self._left -= granted
            return granted

    def _unreserve(self, count: int) -> None:
        if self._left is not None:
            with self._left_lock:
                self._left += count


class _Helper:
    """What cannot wait until a consumer returned; done by the thread that called `run()`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._clock = worker.layer.clock
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._wakes = 0.0  # when it wakes by itself
        self._slack = 0.0  # seconds that it may be late
        self._batches = 0  # that had begun when it last looked

    def expect(self, due: float) -> None:
        """Have the helper look again at `due`, or a little later; safe from any thread and any signal handler."""
        if due + self._slack < self._wakes:
            self._wakes = 0.0
            self._calls.put(None)

    def run(self) -> None:
        """Help until no thread works any more."""
        places = self._worker._places
        while True:
            # Infinity first: whoever has something to do from now on calls, and what came before is seen below.
            self._wakes = _FOREVER
            if not any(place.working for place in places):
                return
            try:
                due = self._work()
            except Exception:
                log.exception("a worker goes on after an error of its own")
                due = self._clock() + _HELPER_PAUSE
            self._wakes = due
            try:
                self._calls.get(timeout=max(0.0, due - self._clock()))
            except Empty:
                pass

    def announce(self) -> None:
        """Announce the worker, or have it tried again soon."""
        worker = self._worker
        try:
            worker.announce()
            if worker._silent:
                worker._silent = False
                log.info("announced again")
        except LayerError as error:
            worker._announced = self._clock() + _HELPER_PAUSE - ANNOUNCE
            if not worker._silent:
                worker._silent = True
                log.warning("not announced: %s", error)

    def _work(self) -> float:
        """Do what is due; return when something is due next."""
        worker = self._worker
        now = self._clock()
        if worker._announced + ANNOUNCE <= now:
            self.announce()
        for kept in (worker._claims, worker._leases):
            if kept.due() <= now:
                kept.renew()
        if worker._repeats.due() <= now:
            worker._repeats.tell()
        due = min(worker._announced + ANNOUNCE, worker._claims.due(), worker._leases.due(), worker._repeats.due())
        slack = self._slack = _QUICK_SLACK if all(place.quick for place in worker._places) else 0.0
        batches = sum(place.batches for place in worker._places)
        if batches != self._batches:
            # While batches come one after the other, looking again by itself is cheaper than being called for each.
            self._batches, due = batches, min(due, now + HOLD + slack)
        for place in list(worker._places):
            if place.working and place.consuming.due() <= now and place.consuming.abandon():
                worker._replace(place)
            if place.stalled_at() <= now:
                place.put_back_unstarted()
            due = min(due, place.stalled_at())
            if place.working:
                due = min(due, place.consuming.due())
            if place.flusher.due() <= now and not place.flusher.try_flush():
                due = min(due, now + HOLD)  # its thread is at it
            else:
                due = min(due, place.flusher.due() + slack)
        return due


@contextmanager
def _ctrl_c_stops(worker: Worker) -> Iterator[None]:
    """Where nobody handles SIGINT, let it stop the worker, not interrupt a consumer; a second one interrupts."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(*_: object) -> None:
        worker.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
