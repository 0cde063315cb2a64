"""The life of one process: servers and a worker start, run until a signal, drain, and end with an exit code.

    start servers ─► start worker ─► ready ─► signal or the worker's end ─► drain servers ─► stop worker ─► exit code

The worker goes on while the servers drain, for it is what answers their open work; servers alone are answered by
workers elsewhere. A second signal does not wait; SIGHUP does, however often it comes, for a terminal that is closed
sends it twice. A process of a worker alone, without an event loop, is in `worker_process.py`; servers with their
workers as children are in `serving_parent.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from ..layer import LayerError
from .errors import ExitError, StartError

log = logging.getLogger("trunkline.process")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a server may take beyond its drain, to close its inbox and sockets, before it is left behind.
CLOSING = 0.5


class Server(Protocol):
    """What a process needs of a protocol server."""

    @property
    def name(self) -> str:
        """The protocol's name."""

    async def start(self) -> None:
        """Listen, or raise."""

    async def stop(self, grace: float) -> bool:
        """Finish within `grace` seconds; False if something was cut off."""


class Worker(Protocol):
    """What a process needs of a worker."""

    def run(self) -> object:
        """Work until stopped."""

    def stop(self) -> object:
        """Make `run` finish what was started, and return."""


def to_handle(supervised: bool = False) -> Sequence[signal.Signals]:
    """Return the signals that end a process.

    Args:
        supervised: It has a parent, which decides what those for a whole terminal mean.
    """
    if supervised:
        return (signal.SIGTERM,)
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in SIGNALS if not (each == signal.SIGHUP and nohup)]


def exit_now(code: int) -> None:
    """End the process without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # its reader is gone, or a user's code closed it: nothing may keep the process
    os._exit(code)


def end_within(seconds: float, now: Callable[[int], None] = exit_now) -> None:
    """Have the process end in time, although Python waits for what a user's code left to a thread pool."""

    def end() -> None:
        log.error("threads that consumers left running are abandoned after %g s", seconds)
        now(ExitError.code)

    timer = threading.Timer(seconds + CLOSING, end)
    timer.daemon = True
    timer.start()


class Servers:
    """The protocol servers of one process.

    Args:
        servers: Started in this order.
        must_finish: What they have to cut off is a failure.

    Attributes:
        failed: Whether something went wrong at their end.
    """

    def __init__(self, servers: Sequence[Server], *, must_finish: bool) -> None:
        self.failed = False
        self._servers = servers
        self._must_finish = must_finish
        self._started: list[Server] = []

    async def start(self, end: asyncio.Event) -> None:
        """Start them; one that waits for something, such as another process to end, is given up when this one ends.

        Args:
            end: Set when the process is to end.

        Raises:
            StartError: one of them could not start; `stop` is for those before it.
        """
        ending = asyncio.ensure_future(end.wait())
        try:
            for server in self._servers:
                starting = asyncio.ensure_future(server.start())
                try:
                    await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
                    if not starting.done():
                        starting.cancel()
                        await asyncio.wait((starting,), timeout=CLOSING)
                        return
                    await starting
                except (LayerError, OSError) as error:
                    raise StartError(f"{server.name}: {error}") from error
                finally:
                    starting.cancel()
                self._started.append(server)
        finally:
            ending.cancel()

    async def stop(self, drain: float) -> None:
        """Stop those that were started and not stopped yet, within about `drain` seconds."""
        servers, self._started = self._started, []
        await asyncio.gather(*(self._stop(server, drain) for server in servers))

    async def _stop(self, server: Server, drain: float) -> None:
        try:
            async with asyncio.timeout(drain + CLOSING):
                if not await server.stop(drain) and self._must_finish:
                    self.failed = True
        except Exception:
            log.exception("%s did not stop properly", server.name)
            self.failed = True


class Process:
    """Servers and a worker in one process; to be made and run on the event loop's thread.

    Args:
        servers: Protocol servers, started in this order.
        worker: The worker, run in a thread of its own; None: what the servers have to cut off is a failure then, as
            somebody else was at work on it.
        drain: Seconds that the servers may take to finish open work.
        grace: Seconds that everything may take, from the first signal on.
        ready: Called once everything runs.
        stopping: Called when the first signal came.
        supervised: It has a parent, which decides what those signals mean that go to a whole terminal, and when to
            wait no longer: SIGTERM ends this process, and may come twice, from the parent and from whoever ends all.
        now: Ends the process at the second signal.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        worker: Worker | None,
        *,
        drain: float,
        grace: float,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
        supervised: bool = False,
        now: Callable[[int], None] = exit_now,
    ) -> None:
        self._servers = Servers(servers, must_finish=worker is None)
        self._worker = worker
        self._drain = min(drain, grace)
        self._grace = grace
        self._ready = ready
        self._stopping = stopping
        self._supervised = supervised
        self._now = now
        self._end = asyncio.Event()
        self._worker_ended = asyncio.Event()
        self._code = 0

    async def main(self) -> int:
        """Run from start to end.

        Returns:
            0: all was finished in time; 1: a part failed, or the grace was exceeded (a thread may still run then).

        Raises:
            StartError: a server could not start; those before it are stopped again.
        """
        loop = asyncio.get_running_loop()
        handled = to_handle(self._supervised)
        for number in handled:
            loop.add_signal_handler(number, self.hung_up if number == signal.SIGHUP else self.signalled)
        try:
            await self._servers.start(self._end)
            if not self._end.is_set():
                if self._worker is not None:
                    work, name = (self._worker, loop), "trunkline-worker"
                    threading.Thread(target=self._work, args=work, name=name, daemon=True).start()
                self._ready()
                await self._end.wait()
                await self._stop()
        finally:
            await self._servers.stop(CLOSING)
            for number in handled:
                # The loop ends before the process does.
                loop.remove_signal_handler(number)
                signal.signal(number, lambda *_: self._insist())
        return ExitError.code if self._servers.failed else self._code

    def signalled(self) -> None:
        """Take a signal: the first one drains, the second one ends the process."""
        if self._end.is_set():
            self._insist()
        else:
            self._end.set()
            self._stopping()

    def _insist(self) -> None:
        if not self._supervised:
            self._now(ExitError.code)

    def hung_up(self) -> None:
        """Take a SIGHUP: drain, unless that has begun."""
        if not self._end.is_set():
            self.signalled()

    def _work(self, worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
        try:
            worker.run()
        except BaseException:
            # Whatever it was, SystemExit of a consumer included, servers without a worker must not go on.
            log.critical("the worker failed", exc_info=True)
            self._code = ExitError.code
        try:
            loop.call_soon_threadsafe(self._worker_has_ended)
        except RuntimeError:
            pass  # the loop did not wait for this thread

    def _worker_has_ended(self) -> None:
        self._worker_ended.set()
        self._end.set()

    async def _stop(self) -> None:
        if self._worker is None:
            await self._servers.stop(self._drain)
            return
        try:
            async with asyncio.timeout(self._grace + CLOSING):
                await self._servers.stop(self._drain)
                self._worker.stop()
                await self._worker_ended.wait()
        except TimeoutError:
            log.error("consumers were still at work after %g s and are abandoned", self._grace)
            self._now(ExitError.code)
