"""Standard output, written to without waiting for whoever reads it.

A pipe that nobody empties, or a terminal that was stopped by Ctrl-S, would otherwise stop the server at its next line.
"""

from __future__ import annotations

import os
import select
import sys
from collections import Counter
from collections.abc import Callable

KEPT = 1024 * 1024  # bytes that wait for a reader; lines beyond them are dropped
_PAUSE = 0.1  # seconds until a reader that takes nothing is tried again
_AT_ONCE = select.PIPE_BUF  # a pipe that says it has room takes so many without blocking


class Output:
    """Writes whole lines to a file descriptor, as far as it takes them.

    Args:
        descriptor: where to; it may be one that blocks.
        call_later: calls a function in some seconds.
        stats: counts ``log_lines_dropped``.
    """

    def __init__(
        self, descriptor: int, call_later: Callable[[float, Callable[[], None]], object], stats: Counter[str]
    ) -> None:
        self._descriptor = descriptor
        self._call_later = call_later
        self._stats = stats
        self._waiting = bytearray()
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Write lines, now or later."""
        data = text.encode(errors="backslashreplace")
        if not self._waiting:
            self._waiting += data
            self._go_on()
        elif len(self._waiting) + len(data) <= KEPT:
            self._waiting += data
        else:
            self._stats["log_lines_dropped"] += text.count("\n")

    def _go_on(self) -> None:
        waiting = self._waiting
        try:
            while waiting and self._room.poll(0):
                del waiting[: os.write(self._descriptor, waiting[:_AT_ONCE])]
        except OSError:
            waiting.clear()  # nobody reads any more: what is served matters more than its log
        if waiting:
            self._call_later(_PAUSE, self._go_on)


def standard_output(
    call_later: Callable[[float, Callable[[], None]], object], stats: Counter[str]
) -> Callable[[str], object]:
    """Return what writes text to standard output, whatever that is."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # replaced by something in memory, closed, or there is none
        return _to_stream
    return Output(descriptor, call_later, stats).write


def _to_stream(text: str) -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.write(text)
