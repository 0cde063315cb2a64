"""The worker: takes messages from the layer and has them consumed, in one thread or several.

    threads:           flush and receive a batch ─► consume each   (one is the fast path: nothing is handed over)
    the one of run():  announce, renew claims, try full channels again, flush and put back what waits for a slow
                       consumer, give up a thread whose consumer ignores its timeout

A thread takes as many messages at a time as its consumers finish in 5 ms. What it has not started after 10 ms goes back
to the head of its channel, so that a slow consumer holds up nothing that another thread or worker could take.

While the layer is away a worker keeps what it has, in order, and tries again with backoff; it takes nothing more before
what it holds has left, and never ends for it.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..layer import LayerError, LayerUnavailable
from ..operations.errors import UsageError
from .claims import Claims
from .consuming import Consuming
from .flushing import HOLD, Flusher
from .full_channels import PATIENCE
from .listening import listened
from .routing import Routing

if TYPE_CHECKING:
    from ..layer import Delivery, Layer

log = logging.getLogger("trunkline.workers")

ANNOUNCE = 5.0
"""Seconds between two announcements; the layer forgets a worker after 15."""

MOST_ABANDONED = 8
"""Threads given up and still stuck with which a worker ends."""

_BATCH_TIME = 0.005
_STALLED = 2 * _BATCH_TIME
_LARGEST = 64
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.05, 2.0
_AWAY_PAUSE = 0.1  # seconds between two tries to put something back while the layer is away
_LAST_PATIENCE = PATIENCE + 2.0  # seconds that what is left at the end is tried, for room or for the layer
_HELPER_PAUSE = 1.0
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
        self._threads = threads
        self._prefetch = prefetch
        self._left = max_messages
        self._left_lock = threading.Lock()
        self._stream_timeout = stream_timeout
        self._claims = Claims(layer, self._expect)
        self._places: list[_Place] = []
        self._announced = -_FOREVER
        self._stopping = False
        self._stuck = 0
        self._silent = False  # not announced, and said so
        self._pause: Callable[[float], object] = time.sleep
        self._helper: _Helper | None = None

    @property
    def stats(self) -> Counter[str]:
        """Counts since the start: messages, failures, unrouted, retried, dropped_full, dead_letters and others.

        Of an outage: `in_doubt`, what was sent and may not have arrived, and `lost_unstarted`, messages that were taken
        and could not be put back.
        """
        total: Counter[str] = Counter()
        for place in self._places:
            # Copied in one go: their threads go on counting.
            total.update(dict(place.consuming.stats))
            total.update(dict(place.flusher.stats))
        return total

    def run(self) -> None:
        """Work until `stop()`, or until `max_messages` were consumed; then send what was held and return.

        In the main thread, where nobody handles SIGINT, Ctrl-C stops it.

        Raises:
            RuntimeError: 8 threads were given up and are stuck, since their consumers ignore their timeouts.
        """
        self._helper = _Helper(self)
        while len(self._places) < self._threads:
            self._places.append(_Place(self))
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
            self._places.append(_Place(self))
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
        self.layer.announce(self.name, {"channels": dict.fromkeys(self.channels, False)})
        self._announced = self.layer.clock()

    def close(self) -> None:
        """Send what is held and take the announcement back, after the last `step()`; `run()` does it by itself."""
        until = self.layer.clock() + _LAST_PATIENCE
        for place in self._places:
            place.finish(until)
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

    def _replace(self, place: _Place) -> None:
        """Start another thread for one that was given up."""
        # A thread whose consumer came back in the end, from a layer that was away perhaps, is no loss.
        self._stuck = sum(place.stuck for place in self._places)
        log.critical("a worker thread was given up: its consumer ignores its timeout (%d so far)", self._stuck)
        place.put_back_unstarted()
        if self._stuck >= MOST_ABANDONED:
            self.stop()
        elif not self._stopping:
            another = _Place(self)
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


class _Place:
    """One thread's part of a worker: where it receives, consumes and sends."""

    def __init__(self, worker: Worker) -> None:
        layer = worker.layer
        self._worker = worker
        self._clock = layer.clock
        self._reader = layer.reader()
        self._awake: SimpleQueue[None] = SimpleQueue()
        self._mean = _BATCH_TIME
        self._backoff = _FIRST_BACKOFF
        self._unstarted: deque[Delivery] = deque()  # of the present batch; the helper thread takes from it as well
        self._taken_at = _FOREVER
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=worker.name, daemon=True)
        self.flusher = Flusher(layer, worker._pause, worker._expect, self._outage)
        wall = time.time if layer.clock is time.monotonic else layer.clock
        self.consuming = Consuming(layer, worker.routing, self.flusher, worker._claims, wall, worker._stream_timeout)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def working(self) -> bool:
        """Whether the thread consumes, and was not given up."""
        return not (self._ended or self.consuming.abandoned)

    @property
    def stuck(self) -> bool:
        """Whether the thread was given up and its consumer has not ended yet."""
        return self.consuming.abandoned and not self._ended

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        """Take and consume until the worker stops."""
        worker = self._worker
        while not (worker._stopping or worker._left == 0 or self.consuming.abandoned):
            try:
                if self.flusher.away and not self.flusher.flush():
                    self._outage()
                    continue
                self.take(None)
                self._backoff = _FIRST_BACKOFF
            except LayerUnavailable:
                self._outage()
            except BaseException:
                log.exception("a worker thread goes on after an error of its own")
                self._outage()
        self._ended = True
        worker._expect(0.0)

    def take(self, timeout: float | None) -> int:
        """Send what is pending, take one batch and consume it; return its size."""
        worker = self._worker
        limit = worker._reserve(worker._prefetch or max(1, min(_LARGEST, round(_BATCH_TIME / self._mean))))
        if not limit:
            return 0
        taken = 0
        try:
            deliveries = self.flusher.receive(self._reader, worker.channels, limit, timeout)
            taken = len(deliveries)
        finally:
            worker._unreserve(limit - taken)
        if deliveries:
            self._consume(deliveries)
        return taken

    def _consume(self, deliveries: Sequence[Delivery]) -> None:
        worker, flusher, unstarted = self._worker, self.flusher, self._unstarted
        consume, now = self.consuming.consume, time.perf_counter
        consumed, start = 0, now()
        last = start
        if len(deliveries) > 1 and worker._helper is not None and worker._prefetch is None:
            self._taken_at = self._clock()
            worker._expect(self._taken_at + _STALLED)
        unstarted.extend(deliveries)
        while unstarted and not worker._stopping:
            since = flusher.since
            if since is not None and worker._helper is not None:
                if last - start >= HOLD and self._clock() - since >= HOLD:
                    flusher.flush()
                else:
                    worker._expect(since + HOLD)
            try:
                delivery = unstarted.popleft()
            except IndexError:
                break  # the helper thread was faster
            consume(delivery)
            if self.consuming.abandoned:
                return
            consumed, last = consumed + 1, now()
        self.put_back_unstarted()
        if consumed:
            # A slow consumer shows at once, a fast one only after a few batches.
            mean = (last - start) / consumed
            self._mean = max(mean, self._mean + (mean - self._mean) / 4, 1e-6)

    def stalled_at(self) -> float:
        """Return when what is not started is to be put back; infinity where everything is started."""
        return self._taken_at + _STALLED if self._unstarted else _FOREVER

    def put_back_unstarted(self) -> None:
        """Put back what was taken and not started, from this thread or the helper's.

        While the layer is away it stays here, to be tried again or to be started after all.
        """
        taken: dict[str, deque[Delivery]] = {}
        try:
            while True:
                delivery = self._unstarted.pop()
                taken.setdefault(delivery.channel, deque()).appendleft(delivery)
        except IndexError:
            for deliveries in taken.values():  # one call each, so that each is back as a whole or not at all
                self._put_back(deliveries)

    def _put_back(self, deliveries: Collection[Delivery]) -> None:
        try:
            self._worker.layer.put_back(deliveries)
        except LayerError as error:
            if isinstance(error, LayerUnavailable) and not error.uncertain:
                self._unstarted.extendleft(reversed([*deliveries]))
                self._taken_at = self._clock() + _AWAY_PAUSE - _STALLED
                return
            self._lose(len(deliveries), error)
        self._worker._unreserve(len(deliveries))

    def _lose(self, count: int, error: object) -> None:
        self.consuming.stats["lost_unstarted"] += count
        log.error("%d messages that were taken and not started are lost: %s", count, error)

    def finish(self, until: float) -> None:
        """Send what is left and put back what was not started; both are tried once at least, and until then."""
        flusher = self.flusher
        while True:
            flusher.flush()
            self.put_back_unstarted()
            now = self._clock()
            if not (flusher.busy() or self._unstarted) or now >= until:
                break
            self._worker._pause(max(0.001, min(flusher.due() - now, _AWAY_PAUSE)))
        if flusher.busy():
            log.error("%s: what was still to be sent is lost", "the layer is away" if flusher.away else "no room")
        if self._unstarted:
            self._lose(len(self._unstarted), "the layer is away")
        self.consuming.close()

    def stop(self) -> None:
        """End the present or the next wait."""
        self._reader.wake()
        self._awake.put(None)

    def _outage(self, left: float = _FOREVER) -> bool:
        """Wait a little for the layer to come back.

        Args:
            left: Seconds that whoever waits still has.

        Returns:
            False where that is too short, or where the worker stops or works in steps.
        """
        if self._worker._helper is None or self._worker._stopping or left <= self._backoff:
            return False
        self._worker._away()
        wait = random.uniform(0, self._backoff)
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)
        try:
            self._awake.get(timeout=wait)
        except Empty:
            return True
        return False


class _Helper:
    """What cannot wait until a consumer returned; done by the thread that called `run()`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._clock = worker.layer.clock
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._wakes = 0.0  # when it wakes by itself

    def expect(self, due: float) -> None:
        """Have the helper look again at `due`, at the latest; safe from any thread and any signal handler."""
        if due < self._wakes:
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
            worker._silent = False
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
        if worker._claims.due() <= now:
            worker._claims.renew()
        due = min(worker._announced + ANNOUNCE, worker._claims.due())
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
                due = min(due, place.flusher.due())
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
