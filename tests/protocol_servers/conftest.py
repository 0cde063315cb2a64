"""Loops, clocks and recording protocols for the tests of the servers' base."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.protocol import Factory, Protocol

from trunkline.protocol_servers.testing import ReactorThread

PATIENCE = 60  # seconds; a bound against hanging, never waited for


class PlainLoopThread(ReactorThread):
    """The same on a plain asyncio loop, beside the installed reactor and not installed itself."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.reactor = AsyncioSelectorReactor(self.loop)
        self._thread = threading.Thread(target=self.loop.run_forever, name="plain loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture(scope="session")
def plain_loop_thread() -> Iterator[PlainLoopThread]:
    """A reactor on a plain asyncio loop, running in a background thread."""
    running = PlainLoopThread()
    yield running
    running.stop()


@pytest.fixture(params=["uvloop", "asyncio"])
def place(request: pytest.FixtureRequest) -> ReactorThread:
    """Each of the loops that servers run on."""
    name = "reactor_thread" if request.param == "uvloop" else "plain_loop_thread"
    found = request.getfixturevalue(name)
    assert isinstance(found, ReactorThread)
    return found


class Manual:
    """A clock and a ``call_later`` that only move when told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wakes = 0
        self._calls: list[tuple[float, int, Any]] = []
        self._order = itertools.count()

    def clock(self) -> float:
        return self.now

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Any:
        handle = SimpleNamespace(cancelled=False, function=lambda: function(*args))
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        heapq.heappush(self._calls, (self.now + seconds, next(self._order), handle))
        return handle

    def scheduled(self) -> int:
        """Count the calls that are still to come."""
        return sum(not handle.cancelled for _, _, handle in self._calls)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything due in it happen at its time."""
        until = self.now + seconds
        while self._calls and self._calls[0][0] <= until:
            when, _, handle = heapq.heappop(self._calls)
            if not handle.cancelled:
                self.now = max(self.now, when)
                self.wakes += 1
                handle.function()
        self.now = until


@pytest.fixture
def manual() -> Manual:
    """A clock that stands still."""
    return Manual()


@pytest.fixture(scope="session")
def make_manual() -> type[Manual]:
    """Makes such clocks, for tests that need one an example."""
    return Manual


class Recorder(Protocol):
    """Put what happens into queues that a test can wait on; can be a producer as well."""

    def __init__(self) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        self.lost: queue.Queue[Any] = queue.Queue()
        self.events: queue.Queue[str] = queue.Queue()

    def connectionMade(self) -> None:
        self.factory.made.put(self)

    def dataReceived(self, data: bytes) -> None:
        self.received.put(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.put(reason)

    def pauseProducing(self) -> None:
        self.events.put("pause")

    def resumeProducing(self) -> None:
        self.events.put("resume")

    def stopProducing(self) -> None:
        self.events.put("stop")

    def receive(self, size: int) -> bytes:
        """Wait for ``size`` bytes."""
        data = b""
        while len(data) < size:
            data += self.received.get(timeout=PATIENCE)
        return data


class RecorderFactory(Factory):
    """Build `Recorder`s, or what a test sets as ``protocol``, and hand them over in `made`."""

    noisy = False
    protocol: Any = Recorder

    def __init__(self) -> None:
        self.made: queue.Queue[Any] = queue.Queue()
        self.started = 0
        self.stopped = 0

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.stopped += 1

    def next(self) -> Any:
        """Wait for the protocol of the next connection."""
        return self.made.get(timeout=PATIENCE)


@pytest.fixture
def factory() -> RecorderFactory:
    """A factory of recording protocols."""
    return RecorderFactory()


@pytest.fixture(scope="session")
def other_certificate(tmp_path_factory: pytest.TempPathFactory, certificate: Any) -> Any:
    """A second certificate, of the same kind as ``certificate`` and with another key."""
    return certificate.another(tmp_path_factory.mktemp("other"))
