"""How threads wait for messages without polling."""

import threading
from collections.abc import Iterable
from typing import Protocol


class Waiter:
    """One thread's wait: a semaphore that another thread, or a signal handler, releases.

    It holds no lock of the layer while it waits, and waking it takes none, so a signal handler that interrupted the
    layer can call `wake`.
    """

    def __init__(self) -> None:
        self._signal = threading.Lock()
        self._signal.acquire()
        self._woken = False

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._woken = True
        self.notify()

    def woken(self) -> bool:
        """Tell whether `wake` was called, and forget it."""
        woken, self._woken = self._woken, False
        return woken

    def notify(self) -> None:
        """End the present wait because something may have arrived."""
        try:
            self._signal.release()
        except RuntimeError:
            pass  # released already

    def clear(self) -> None:
        """Forget a `notify` from before."""
        self._signal.acquire(blocking=False)

    def wait(self, timeout: float | None) -> None:
        """Sleep until it is notified, or `timeout` seconds have passed."""
        if not self._woken:
            self._signal.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))


class Watcher(Protocol):
    """Somebody who waits for queues."""

    def notify(self) -> None:
        """Learn that something may have arrived. Called once, under the store's lock."""


class Watchers:
    """Who waits for which queue. Its callers hold the store's lock.

    A message wakes one of them, and those that follow it nobody until that one has come: it takes a batch of them, and
    passes on what it leaves. So a burst for fast consumers wakes one thread, not all of them to wait for each other.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[Watcher, None]] = {}
        self._coming: dict[str, Watcher] = {}

    def __contains__(self, queue: object) -> bool:
        return queue in self._waiting

    def add(self, queues: Iterable[str], watcher: Watcher) -> None:
        """Have a watcher notified when something is put into one of these queues."""
        for queue in queues:
            self._waiting.setdefault(queue, {})[watcher] = None
            if self._coming.get(queue) is watcher:
                del self._coming[queue]

    def remove(self, queues: Iterable[str], watcher: Watcher) -> list[str]:
        """Stop waiting; return the queues for which the watcher was notified meanwhile."""
        notified = []
        for queue in queues:
            if self._coming.get(queue) is watcher:
                del self._coming[queue]
            waiting = self._waiting.get(queue)
            if waiting is None or watcher not in waiting:
                notified.append(queue)
                continue
            del waiting[watcher]
            if not waiting:
                del self._waiting[queue]
        return notified

    def notify(self, queue: str) -> None:
        """Notify whoever has waited longest for a queue, unless somebody who was is still on the way."""
        if queue in self._coming:
            return
        waiting = self._waiting[queue]
        watcher = next(iter(waiting))
        del waiting[watcher]
        if not waiting:
            del self._waiting[queue]
        self._coming[queue] = watcher
        watcher.notify()

    def notify_all(self) -> None:
        """Notify everybody: time was moved, or the layer is closed."""
        everybody = {watcher for waiting in self._waiting.values() for watcher in waiting}
        self._waiting.clear()
        for watcher in everybody:
            watcher.notify()
