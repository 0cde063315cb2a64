"""One thread's part of a worker: where it receives, consumes and sends.

It takes as many messages at a time as its consumers finish in 5 ms, 64 at the most; but only 16 while it keeps up, and
twice as many after 4 full batches in a row. For servers, layer and workers are to be busy at the same time: with large
batches each waits for the other, which at 50 connections costs a sixth of all requests. While the layer is away it
keeps what it has, in order, and tries again with backoff; it takes nothing more before what it holds has left, and
never ends for it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..layer import LayerError, LayerUnavailable
from .consuming import Consuming
from .context import wall_clock
from .flushing import HOLD, Flusher
from .lags import Lags

if TYPE_CHECKING:
    from ..layer import Delivery
    from .worker import Worker

log = logging.getLogger("trunkline.workers")

_BATCH_TIME = 0.005
_STALLED = 2 * _BATCH_TIME
_LARGEST = 64
_FIRST = 16  # messages in a batch while a thread keeps up
_BEHIND = 4  # full batches in a row after which there may be twice as many messages in one
_QUICK = HOLD / 10
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.05, 2.0
_AWAY_PAUSE = 0.1  # seconds between two tries to put something back while the layer is away
_FOREVER = float("inf")


class Place:
    """One thread's part of a worker.

    Args:
        worker: The worker.

    Attributes:
        flusher: Its way out.
        consuming: What becomes of each message.
        lags: How long messages waited.
    """

    def __init__(self, worker: Worker) -> None:
        layer = worker.layer
        self._worker = worker
        self._clock = layer.clock
        self._reader = layer.reader()
        self._awake: SimpleQueue[None] = SimpleQueue()
        self._mean = _BATCH_TIME
        self._largest = _FIRST
        self._full = 0  # batches of that size, one after the other
        self._backoff = _FIRST_BACKOFF
        self._unstarted: deque[Delivery] = deque()  # of the present batch; the helper thread takes from it as well
        self._taken_at = _FOREVER
        self.batches = 0
        self.lags = Lags()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=worker.name, daemon=True)
        self.flusher = Flusher(layer, worker._pause, worker._expect, self._outage)
        wall = wall_clock(layer)
        self.consuming = Consuming(
            layer,
            worker.routing,
            self.flusher,
            worker._claims,
            worker._leases,
            worker._repeats,
            wall,
            worker._stream_timeout,
            worker.ordered,
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def working(self) -> bool:
        """Whether the thread consumes, and was not given up."""
        return not (self._ended or self.consuming.abandoned)

    @property
    def quick(self) -> bool:
        """Whether its consumers take so little time of late that the thread itself sends in time what they held."""
        return self._mean < _QUICK

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
            except LayerUnavailable as error:
                if error.uncertain:
                    self.consuming.stats["receives_cut"] += 1
                self._outage()
            except BaseException:
                log.exception("a worker thread goes on after an error of its own")
                self._outage()
        self._ended = True
        worker._expect(0.0)

    def take(self, timeout: float | None) -> int:
        """Send what is pending, take one batch and consume it; return its size."""
        worker = self._worker
        limit = worker._reserve(worker._prefetch or max(1, min(self._largest, round(_BATCH_TIME / self._mean))))
        if not limit:
            return 0
        taken = 0
        try:
            deliveries = self.flusher.receive(self._reader, worker.channels, limit, timeout)
            taken = len(deliveries)
        finally:
            worker._unreserve(limit - taken)
        if taken < limit:
            self._full, self._largest = 0, _FIRST
        elif limit < self._largest:
            self._full = 0
        else:
            self._full += 1
            if self._full == _BEHIND:
                self._full, self._largest = 0, min(2 * self._largest, _LARGEST)
        if deliveries:
            self._consume(deliveries)
        return taken

    def _consume(self, deliveries: Sequence[Delivery]) -> None:
        worker, flusher, unstarted = self._worker, self.flusher, self._unstarted
        consume, now = self.consuming.consume, time.perf_counter
        self.batches += 1
        self.lags.taken(deliveries[0], len(deliveries))
        consumed, start = 0, now()
        last = start
        told = None  # since when the helper knows that something waits
        if len(deliveries) > 1 and worker._helper is not None and worker._prefetch is None:
            self._taken_at = self._clock()
            worker._expect(self._taken_at + _STALLED)
        if deliveries[-1].id is not None:
            worker._leases.hold(deliveries)
        unstarted.extend(deliveries)
        while unstarted and not worker._stopping:
            since = flusher.since
            if since is not None and worker._helper is not None:
                if last - start >= HOLD and self._clock() - since >= HOLD:
                    flusher.flush()
                elif since != told:
                    told = since
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
                if delivery.id is not None:
                    self._worker._leases.end(delivery)
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
            self._lose(deliveries, error)
        self._worker._unreserve(len(deliveries))

    def _lose(self, deliveries: Collection[Delivery], error: object) -> None:
        count = sum(delivery.id is None for delivery in deliveries)  # durable channels deliver theirs again
        if count:
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
            self._lose(self._unstarted, "the layer is away")
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
