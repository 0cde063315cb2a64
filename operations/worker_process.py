"""The life of a process that is a worker and nothing else: in the main thread, without an event loop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Collection
from queue import SimpleQueue
from types import FrameType

from .errors import ExitError
from .process import CLOSING, SIGNALS, Worker, exit_now, to_handle

log = logging.getLogger("trunkline.process")


class WorkerProcess:
    """Runs a worker until a signal; the first one makes it finish what was started, the second one ends the process.

    Args:
        worker: The worker; its `stop` has to be safe in a signal handler.
        grace: Seconds that consumers may take from the first signal on.
        ready: Called when signals are handled, right before the worker begins.
        stopping: Called when the first signal came, in a thread of its own.
        signals: Those that stop it; others stay as they are.
        now: Ends the process.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        grace: float,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
        signals: Collection[signal.Signals] = SIGNALS,
        now: Callable[[int], None] = exit_now,
    ) -> None:
        self._worker = worker
        self._grace = grace
        self._ready = ready
        self._stopping = stopping
        self._signals = signals
        self._now = now
        self._signalled = False
        # A signal handler may not take a lock that the thread it interrupts could hold: putting here takes none.
        self._told: SimpleQueue[None] = SimpleQueue()

    def main(self) -> int:
        """Run from start to end, in the main thread; from then on a signal ends the process at once.

        Returns:
            0: all was finished; 1: the worker failed.
        """
        for number in to_handle(self._signals):
            signal.signal(number, self._hung_up if number == signal.SIGHUP else self._take)
        threading.Thread(target=self._limit, name="trunkline-grace", daemon=True).start()
        self._ready()
        try:
            self._worker.run()
        except BaseException:
            # Whatever it was, SystemExit of a consumer included: the command has failed.
            log.critical("the worker failed", exc_info=True)
            return ExitError.code
        finally:
            self._signalled = True
        return 0

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            self._now(ExitError.code)
        else:
            self._signalled = True
            self._told.put(None)
            self._worker.stop()

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        """Take a SIGHUP: however often it comes, it does not cut off what others let finish."""
        if not self._signalled:
            self._take(number, frame)

    def _limit(self) -> None:
        """Wait for the first signal, and see that the process ends in time whatever consumers do."""
        self._told.get()
        self._stopping()
        time.sleep(self._grace + CLOSING)
        log.error("consumers were still at work after %g s and are abandoned", self._grace)
        self._now(ExitError.code)
