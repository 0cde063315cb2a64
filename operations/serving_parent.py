"""Protocol servers in one process, with their workers, and perhaps the bus between them, as its children.

    start bus ─► start servers ─► start workers ─► ready ─► signal ─► drain servers ─► stop workers ─► stop bus

Sockets stay open whatever becomes of the children: a worker that dies is replaced, all of them are when code changed,
and a bus that dies begins anew at the same place, where everybody finds it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from .errors import ExitError
from .process import CLOSING, Server, Servers, exit_now
from .supervision import Supervisor, Terminal, handling, reaping


class ServingParent:
    """Servers and the processes around them; to be made and run on the event loop's thread, the main one.

    Args:
        servers: Protocol servers, started in this order.
        workers: What takes their messages.
        bus: What carries them, if it belongs to nobody else.
        drain: Seconds that the servers may take to finish open work, which the workers are still there for.
        ready: Called once everything runs.
        stopping: Called when the first signal came.
        now: Ends the process at the second signal.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        workers: Supervisor,
        bus: Supervisor | None,
        *,
        drain: float,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
        now: Callable[[int], None] = exit_now,
    ) -> None:
        self._servers = Servers(servers, must_finish=False)
        self._workers = workers
        self._crews = [workers] if bus is None else [workers, bus]
        self._bus = bus
        self._drain = drain
        self._ready = ready
        self._stopping = stopping
        self._now = now
        self._starting: Supervisor | None = None
        self._end = asyncio.Event()
        self._terminal = Terminal()
        self._code = 0

    async def main(self) -> int:
        """Run from start to end.

        Returns:
            0: all ended in time and well; 1: not so.

        Raises:
            UsageError: a child said at the first start that it was called or configured wrongly.
            StartError: a child or a server cannot start; what was started before it has ended again.
        """
        handlers = {
            signal.SIGINT: self.signalled,
            signal.SIGTERM: self.signalled,
            signal.SIGHUP: self.hung_up,
        }
        loop = asyncio.get_running_loop()
        with handling(loop, handlers), reaping(loop, self._reap):
            try:
                await self._live()
            finally:
                for crew in self._crews:
                    crew.kill()
        return ExitError.code if self._servers.failed else self._code

    def signalled(self) -> None:
        """Take a signal: the first one drains everything, the second one ends it."""
        if self._end.is_set():
            for crew in self._crews:
                crew.kill()
            self._now(ExitError.code)
            return
        self._end.set()
        self._stopping()
        if self._starting is not None:
            self._starting.stop()

    def hung_up(self) -> None:
        """Take a SIGHUP: new workers; but where it tells that the terminal was closed, end."""
        if self._end.is_set():
            return
        if self._terminal.was_closed():
            self.signalled()
        else:
            self._workers.renew()

    def _reap(self) -> None:
        for crew in self._crews:
            crew.reap()

    async def _live(self) -> None:
        try:
            if self._bus is not None:
                await self._start(self._bus)
            if not self._end.is_set():
                await self._servers.start(self._end)
                await self._start(self._workers)
            if not self._end.is_set():
                self._ready()
                await self._end.wait()
        except BaseException:
            self._end.set()
            self._drain = CLOSING
            raise
        finally:
            await self._servers.stop(self._drain)
            try:
                await self._stop(self._workers)
            finally:
                if self._bus is not None:
                    await self._stop(self._bus)

    async def _start(self, crew: Supervisor) -> None:
        if self._end.is_set():
            return
        self._starting = crew
        try:
            await crew.start()
        finally:
            self._starting = None

    async def _stop(self, crew: Supervisor) -> None:
        crew.stop()
        self._code = await crew.ended() or self._code
