"""Twisted's reactor in a thread of its own, so that tests can be plain functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ...operations.event_loop import install_reactor
from ..loops import loop_of

T = TypeVar("T")


class ReactorThread:
    """Install the reactor as the command line does, and run it in a background thread. One a process.

    Attributes:
        reactor: Twisted's asyncio reactor.
        loop: Its asyncio loop.
    """

    def __init__(self) -> None:
        self.reactor: Any = install_reactor()
        self.loop: asyncio.AbstractEventLoop = loop_of(self.reactor)
        started = threading.Event()
        self.reactor.callWhenRunning(started.set)
        self._thread = threading.Thread(
            target=self.reactor.run, kwargs={"installSignalHandlers": False}, name="reactor", daemon=True
        )
        self._thread.start()
        started.wait()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
        """Run a coroutine on the loop and return its result.

        Raises:
            TimeoutError: It took longer than ``timeout`` seconds; it was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def run(self, function: Callable[..., T], *args: Any, timeout: float = 60.0) -> T:
        """Call a plain function on the loop's thread and return its result."""

        async def calling() -> T:
            return function(*args)

        return self.call(calling(), timeout)

    def turns(self, count: int = 3) -> None:
        """Let the loop turn a few times, so that everything that was ready has happened."""

        async def turning() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.call(turning())

    def stop(self) -> None:
        """Stop the reactor for good and wait for its thread."""
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(20)
