"""One supervised process, as its parent sees it; `parent.py` is the other end.

Between the two is a socket pair. On it the child says, one JSON object a line, {"ready": [texts for people]},
{"failed": "one line"}, {"files": [paths]} and, at its end and when asked, {"report": …}, what it tells of itself
(`reports.py`). The parent says nothing but ASK. That it will not say anything any more tells the child that it is
dismissed, and that its end is closed that the parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

# A terminal sends these to the whole group, children included. What they mean is the parent's to decide, so they wait
# until the child has handlers that do nothing.
DECIDED_BY_PARENT = (signal.SIGINT, signal.SIGHUP)

Command = Callable[[str], Sequence[str]]
"""From the marker of a supervised process, "number:descriptor", to what is executed."""

ASK = b"?"

_CHUNK = 65536
_NAMES: dict[int, str] = {number: number.name for number in signal.Signals}  # most real-time signals have none


class Child:
    """A process that was started; to be made on the event loop's thread.

    Args:
        number: Which of the processes it is, from 1 on.
        command: What to execute.
        told: Called with the child and what it said, as soon as it said so.
        loop: The loop.

    Attributes:
        number: Its number.
        pid: Its process id.
        ready_at: When it said that it is ready, by the loop's clock; None before.
        failure: Why it could not start, in its own words.
        code: How it ended: the exit code, or a signal's number below zero; None while it lives.
        leaving: It was told to end.
        limit: Kills it when it takes too long to leave.

    Raises:
        OSError: The system has no room for it.
    """

    def __init__(
        self,
        number: int,
        command: Command,
        told: Callable[[Child, dict[str, Any]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.number = number
        self.ready_at: float | None = None
        self.failure = ""
        self.code: int | None = None
        self.leaving = False
        self.limit: asyncio.TimerHandle | None = None
        self._told = told
        self._loop = loop
        self._said = b""
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                descriptor = theirs.fileno()
                self._process = _start(command(f"{number}:{descriptor}"), descriptor)
        except BaseException:
            self._socket.close()
            raise
        self.pid = self._process.pid
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._read)

    def __str__(self) -> str:
        return f"{self.number} (pid {self.pid})"

    @property
    def how(self) -> str:
        """How it ended, for people."""
        assert self.code is not None, "it lives"
        if self.code < 0:
            return f"was killed by {_NAMES.get(-self.code, f'signal {-self.code}')}"
        return f"ended with exit code {self.code}" + (f": {self.failure}" if self.failure else "")

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def ask(self) -> bool:
        """Ask it for a report, which it tells as anything else; False if it cannot be asked."""
        if self.ready_at is None or self.leaving:
            return False
        try:
            return self._socket.send(ASK) == len(ASK)
        except OSError:
            return False  # it has ended, or did not listen for long

    def dismiss(self) -> None:
        """Tell it to end: by SIGTERM, which it can tell from one of somebody else."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has ended
        self.signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Tell whether it has ended; then it is reaped, and all that it said was told."""
        self.code = self._process.poll()
        if self.code is None:
            return False
        self._read()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self.limit is not None:
            self.limit.cancel()
        return True

    def _read(self) -> None:
        """Take what the child has said by now."""
        try:
            while chunk := self._socket.recv(_CHUNK):
                *lines, self._said = (self._said + chunk).split(b"\n")
                for line in lines:
                    self._told(self, json.loads(line))
        except BlockingIOError:
            return
        self._loop.remove_reader(self._socket)


def _start(command: Sequence[str], descriptor: int) -> subprocess.Popen[bytes]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DECIDED_BY_PARENT)
    try:
        return subprocess.Popen(command, pass_fds=(descriptor,))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
