"""One command as several processes: a parent that starts them, replaces what dies, and ends when all have ended.

    start all ─► up ─► SIGTERM, SIGINT ─► all drain ─► exit code
                 │ ▲
                 │ └── a process ended ─► another, with backoff where it had failed
                 └──── SIGHUP, or changed code: new ones beside the old; when all are ready, the old ones drain

The parent sleeps until a signal comes, SIGCHLD among them, or a child says something. It looks at nothing now and then,
except at files for `--reload`.

A parent that does something else besides, in `serving_parent.py`, takes the signals itself and calls what is here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .census import Census
from .child import Child, Command
from .errors import ExitError, StartError, UsageError
from .process import exit_now
from .reloading import Watch

log = logging.getLogger("trunkline.supervisor")

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
STEADY = 30.0
"""Seconds after which a process that ran counts as sound: if it dies then, the backoff begins anew."""

MARGIN = 2.0
"""Seconds beyond the grace that a process may take to end by itself, saying what it had to abandon."""

_LOOK = 1.0  # seconds between two looks at the files


class Supervisor:
    """The parent of several processes of one kind; to be made and run on the event loop's thread, the main one.

    `main` is all of a parent's life; `start`, `reap`, `renew`, `stop`, `kill` and `ended` are its parts.

    Args:
        command: What to execute for each.
        count: How many there should be.
        what: What people call one of them: "worker".
        grace: Seconds that they may take to end; they keep to it themselves and are killed if they do not.
        ready: Called once all have started, with what the first one told.
        stopping: Called when the first signal came.
        watch: Files that call for new processes when they change; None: nothing is watched.
        jitter: Returns a random number between two.
        now: Ends the parent at the second signal.

    Attributes:
        census: What the processes tell of themselves.
    """

    def __init__(
        self,
        command: Command,
        count: int,
        *,
        what: str,
        grace: float,
        ready: Callable[[Sequence[str]], None] = lambda told: None,
        stopping: Callable[[], None] = lambda: None,
        watch: Watch | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
        now: Callable[[int], None] = exit_now,
    ) -> None:
        self._command = command
        self._numbers = range(1, count + 1)
        self._what = what
        self._named = what + "s" * (count > 1)
        self._limit = grace + MARGIN
        self._grace = grace
        self._ready = ready
        self._stopping = stopping
        self._watch = watch
        self._jitter = jitter
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._alive: set[Child] = set()
        self._crew: dict[int, Child] = {}
        self._relief: dict[int, Child] = {}  # who takes over from the crew, once all of them are ready
        self._failures = dict.fromkeys(self._numbers, 0)
        self._due: dict[int, asyncio.TimerHandle] = {}  # restarts
        self._told: Sequence[str] = ()
        self._up = False
        self._ending = False
        self._decided = asyncio.Event()  # all have come up, or will not
        self._ended = asyncio.Event()
        self._failure: ExitError | None = None
        self._code = 0
        self._terminal = Terminal()
        self.census = Census(what, count, lambda: self._crew.values(), self._loop.time)

    async def main(self) -> int:
        """Start the processes and keep them until a signal.

        Returns:
            0: all ended in time and well; 1: not so.

        Raises:
            UsageError: one of them said at the first start that it was called or configured wrongly.
            StartError: one of them said at the first start that it cannot start.
        """
        handlers = {
            signal.SIGINT: self.signalled,
            signal.SIGTERM: self.signalled,
            signal.SIGHUP: self.hung_up,
        }
        with handling(self._loop, handlers), reaping(self._loop, self.reap):
            try:
                await self.start()
                return await self.ended()
            finally:
                self.kill()

    async def start(self) -> None:
        """Start the processes, and wait until all of them are ready, or `stop` was called.

        Raises:
            UsageError, StartError: As `main`; all have ended then.
        """
        self._crew = self._start_all()
        self._look()
        await self._decided.wait()
        if self._failure is not None:
            await self.ended()

    async def ended(self) -> int:
        """Wait until all have ended after `stop`.

        Returns:
            0: in time and well; 1: not so.

        Raises:
            UsageError, StartError: As `main`.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure
        return self._code

    def kill(self) -> None:
        """Kill those that are still there."""
        for child in self._alive:
            child.signal(signal.SIGKILL)

    def signalled(self) -> None:
        """Take a signal: the first one drains all processes, the second one ends them and this one."""
        if not self._ending:
            self._stopping()
            self.stop()
            return
        self.kill()
        self._now(ExitError.code)

    def hung_up(self) -> None:
        """Take a SIGHUP: new processes; but where it tells that the terminal was closed, end."""
        if self._terminal.was_closed():
            if not self._ending:
                self.signalled()
        else:
            self.renew()

    def renew(self) -> None:
        """Start new processes; when all are ready the old ones drain, and if one does not come up they stay."""
        if self._ending:
            return
        self._dismiss_relief()
        log.info("starting new %s", self._named)
        try:
            self._relief = self._start_all()
        except StartError as error:
            log.error("%s; the old ones stay", error)

    # starting

    def _start(self, number: int) -> Child:
        child = Child(number, self._command, self._hear, self._loop)
        self._alive.add(child)
        return child

    def _start_all(self) -> dict[int, Child]:
        started: dict[int, Child] = {}
        try:
            for number in self._numbers:
                started[number] = self._start(number)
        except OSError as error:
            for child in started.values():
                self._dismiss(child)
            raise StartError(f"{self._what} {number} could not be started: {error.strerror}") from error
        return started

    def _hear(self, child: Child, said: dict[str, Any]) -> None:
        if self._watch is not None:
            self._watch.add(said.get("files", ()))
        if "report" in said:
            self.census.heard(child, said["report"])
        child.failure = said.get("failed", child.failure)
        if "ready" in said and not child.leaving:
            child.ready_at = self._loop.time()
            if child.number == 1:
                self._told = said["ready"]
            self._is_ready(child)

    def _is_ready(self, child: Child) -> None:
        if self._relief.get(child.number) is child:
            if all(each.ready_at is not None for each in self._relief.values()):
                self._relieve()
        elif self._up:
            log.info("%s %s runs", self._what, child)
        self._come_up()

    def _come_up(self) -> None:
        crew = [self._crew.get(number) for number in self._numbers]
        if not self._up and all(child is not None and child.ready_at is not None for child in crew):
            self._up = True
            self._decided.set()
            self._ready(self._told)
            log.info("%s: %s", self._named, ", ".join(map(str, crew)))

    def _relieve(self) -> None:
        """Let the new processes take over."""
        old, self._crew, self._relief = self._crew, self._relief, {}
        self._cancel_restarts()
        self._failures = dict.fromkeys(self._numbers, 0)
        log.info("new %s: %s; the old ones drain", self._named, ", ".join(map(str, self._crew.values())))
        for child in old.values():
            self._dismiss(child)

    # ending

    def reap(self) -> None:
        """Take a SIGCHLD: look which have ended."""
        ended = [child for child in self._alive if child.has_ended()]
        self._alive.difference_update(ended)
        for child in ended:
            self.census.ended(child)
            self._has_ended(child)
        if self._ending and not self._alive:
            self._ended.set()

    def _has_ended(self, child: Child) -> None:
        if child.leaving or self._ending:
            # Before it was ready, and when Python has done with it, it has nothing to finish and dies of the signal.
            if child.ready_at is not None and child.code not in (0, -signal.SIGTERM):
                log.error("%s %s %s", self._what, child, child.how)
                self._code = ExitError.code if self._ending else self._code
        elif self._relief.get(child.number) is child:
            log.error("new %s %s %s; the old ones stay", self._what, child, child.how)
            self._dismiss_relief()
        elif not self._up and child.code in (UsageError.code, StartError.code):
            kind = UsageError if child.code == UsageError.code else StartError
            self._failure = kind(child.failure or f"{self._what} {child} {child.how}")
            self.stop()
        else:
            self._replace(child)

    def _replace(self, child: Child) -> None:
        number = child.number
        del self._crew[number]
        steady = child.ready_at is not None and self._loop.time() - child.ready_at >= STEADY
        if child.code == 0 and child.ready_at is not None:
            self._failures[number] = 0
            log.info("%s %s has ended; another takes its place", self._what, child)
            self._restart(number)
            return
        self._failures[number] = 1 if steady else self._failures[number] + 1
        # The exponent has a limit, as a float has.
        longest = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(self._failures[number] - 1, 10))
        delay = self._jitter(0, longest)
        log.error("%s %s %s; another starts in %.1f s", self._what, child, child.how, delay)
        self._due[number] = self._loop.call_later(delay, self._restart, number)

    def _restart(self, number: int) -> None:
        self._due.pop(number, None)
        self.census.restarts += 1
        try:
            self._crew[number] = self._start(number)
        except OSError as error:
            log.error("%s %d could not be started: %s", self._what, number, error.strerror)
            self._due[number] = self._loop.call_later(LONGEST_BACKOFF, self._restart, number)

    def stop(self) -> None:
        """Have every process drain and end."""
        self._ending = True
        self._decided.set()
        self._relief = {}
        self._cancel_restarts()
        for child in self._alive:
            self._dismiss(child)
        if not self._alive:
            self._ended.set()

    def _dismiss(self, child: Child) -> None:
        """Have a process end; a second SIGTERM would cut off what it finishes."""
        if child.leaving:
            return
        child.leaving = True
        if child.code is None:
            child.dismiss()
            child.limit = self._loop.call_later(self._limit, self._kill, child)

    def _dismiss_relief(self) -> None:
        relief, self._relief = self._relief, {}
        for child in relief.values():
            self._dismiss(child)

    def _kill(self, child: Child) -> None:
        log.error("%s %s was still there after %g s and is killed", self._what, child, self._grace)
        child.signal(signal.SIGKILL)
        self._code = ExitError.code if self._ending else self._code

    def _cancel_restarts(self) -> None:
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()

    # files

    def _look(self) -> None:
        """Start new processes when a watched file changed."""
        if self._watch is None or self._ending:
            return
        changed = self._watch.changed()
        if changed:
            log.info("%s changed", ", ".join(map(os.path.relpath, changed)))
            self.renew()
        self._loop.call_later(_LOOK, self._look)


class Terminal:
    """The terminal this process was started at, if it was."""

    def __init__(self) -> None:
        self._in_front = _in_front()

    def was_closed(self) -> bool:
        """Tell, at a SIGHUP, whether it says that the terminal is gone."""
        return bool(self._in_front) and _in_front() is None


@contextmanager
def handling(loop: asyncio.AbstractEventLoop, handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Have a loop in the main thread take signals; SIGHUP is left alone where nohup said so."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    handled = [number for number in handlers if not (number == signal.SIGHUP and nohup)]
    for number in handled:
        loop.add_signal_handler(number, handlers[number])
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextmanager
def reaping(loop: asyncio.AbstractEventLoop, reap: Callable[[], None]) -> Iterator[None]:
    """Call back on a loop in the main thread when a child may have ended.

    uvloop keeps SIGCHLD for itself and uses it for children that it started, of which there are none.
    """
    before = signal.signal(signal.SIGCHLD, lambda *_: loop.call_soon_threadsafe(reap))
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _in_front() -> bool | None:
    """Tell whether this process is in the foreground of its terminal; None where it has no terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return None
    finally:
        os.close(terminal)
