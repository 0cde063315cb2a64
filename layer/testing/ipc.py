"""The ipc engine as a subject of the suites that every engine passes."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..base import Layer
from ..inbox import Inbox
from ..ipc.layer import IpcLayer
from ..ipc.service import Bus
from .clock import ManualClock
from .subject import PATIENCE, Subject

T = TypeVar("T")


class BusThread:
    """A broker in a thread of this process.

    Args:
        path: Its socket; None: one in a temporary folder.
        new_loop: Makes the loop.
        options: Those of `Bus`.
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        **options: Any,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="trunkline.") if path is None else None
        self.path = path or os.path.join(self._folder.name if self._folder else "", "bus.sock")
        self.loop = new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

        async def start() -> Bus:
            bus = Bus(self.path, self.loop, **options)
            await bus.start()
            return bus

        self.bus = self.call(start())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the broker's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        """Stop the broker."""
        self.call(self.bus.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
        if self._folder is not None:
            self._folder.cleanup()


class IpcSubject(Subject):
    """The ipc engine with its broker in a thread, under a clock that the test moves."""

    moves_time = True

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._bus = BusThread(clock=self.clock)
        self._layers: list[IpcLayer] = []

    def make(self, **options: Any) -> Layer:
        self._layers.append(IpcLayer(self._bus.path, clock=self.clock, **options))
        return self._layers[-1]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lapse(self, inbox: Inbox) -> None:
        self._layers[0]._call(("renew", (inbox.name, inbox._holder, -1.0)))  # type: ignore[attr-defined]

    def close(self) -> None:
        for layer in self._layers:
            layer.close()
        self._bus.close()
