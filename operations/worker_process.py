"""The life of a process that is a worker and nothing else: in the main thread, without an event loop."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection

from .errors import ExitError
from .process import CLOSING, Worker, exit_now, to_handle

log = logging.getLogger("trunkline.process")


class WorkerProcess:
    """Runs a worker until a signal; the first one makes it finish what was started, the second one ends the process.

    A thread of its own takes the signals, so that they are heeded at once whatever the main thread waits for.

    Args:
        worker: The worker.
        grace: Seconds that consumers may take from the first signal on.
        ready: Called when signals are heeded, right before the worker begins.
        stopping: Called when the first signal came.
        supervised: It has a parent, as in `Process`: SIGTERM alone stops it, and may come twice.
        now: Ends the process.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        grace: float,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
        supervised: bool = False,
        now: Callable[[int], None] = exit_now,
    ) -> None:
        self._worker = worker
        self._grace = grace
        self._ready = ready
        self._stopping = stopping
        self._supervised = supervised
        self._now = now

    def main(self) -> int:
        """Run from start to end, in the main thread; a signal that comes after it ends the process at once.

        Returns:
            0: all was finished; 1: the worker failed.
        """
        handled = to_handle(self._supervised)
        woken, waking = socket.socketpair()
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.detach(), warn_on_full_buffer=False)
        for number in handled:
            signal.signal(number, lambda *_: None)
        os.register_at_fork(after_in_child=lambda: _forget(handled))
        threading.Thread(target=self._heed, args=(woken, handled), name="trunkline-signals", daemon=True).start()
        self._ready()
        try:
            self._worker.run()
        except BaseException:
            # Whatever it was, SystemExit of a consumer included: the command has failed.
            log.critical("the worker failed", exc_info=True)
            return ExitError.code
        return 0

    def _heed(self, woken: socket.socket, handled: Collection[int]) -> None:
        while woken.recv(1)[0] not in handled:
            pass
        self._stopping()
        self._worker.stop()
        until = time.monotonic() + self._grace + CLOSING
        # However often SIGHUP comes, as from a terminal that is closed, it cuts nothing off.
        again = {signal.SIGINT, signal.SIGTERM} if not self._supervised else ()
        try:
            woken.settimeout(max(0.001, until - time.monotonic()))
            while woken.recv(1)[0] not in again:
                woken.settimeout(max(0.001, until - time.monotonic()))
        except TimeoutError:
            log.error("consumers were still at work after %g s and are abandoned", self._grace)
        self._now(ExitError.code)


def _forget(handled: Collection[signal.Signals]) -> None:
    """Let a process that a consumer forked be ended by signals, and not stop the worker when it gets one."""
    signal.set_wakeup_fd(-1)
    for number in handled:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
