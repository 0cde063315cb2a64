"""Failures that repeat: the first one is logged with its traceback, those after it are counted, a line a minute.

    first failure of a kind ─► whole traceback ─► a minute in which others are counted ─┬► some: one line, next minute
                                                                                        └► none: it is forgotten

A kind is a channel, a consumer and the place where the exception was raised. A consumer that fails for every message
would otherwise bury whatever else the log says, and each message is a dead letter with its own traceback anyway.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

log = logging.getLogger("trunkline.workers")

WINDOW = 60.0
"""Seconds in which failures of a kind are counted before a line tells how many there were."""

MOST = 256
"""Kinds that are remembered; the one that was told of longest ago makes room."""

_FOREVER = float("inf")


class _Kind(NamedTuple):
    what: str  # channel and consumer
    error: str  # "ValueError at app/routing.py:12"


class _Counted:
    """Failures of a kind since a moment."""

    __slots__ = ("count", "level", "since")

    def __init__(self, since: float, level: int) -> None:
        self.since = since
        self.level = level
        self.count = 0


class Repeats:
    """Decides which failures of a worker are logged in full; safe from any of its threads.

    Args:
        clock: Seconds.
        expect: Told when `tell` is wanted, at the latest.
    """

    def __init__(self, clock: Callable[[], float], expect: Callable[[float], None]) -> None:
        self._clock = clock
        self._expect = expect
        self._lock = threading.Lock()
        self._kinds: dict[_Kind, _Counted] = {}  # in the order of their windows

    def is_new(self, what: str, error: BaseException, level: int = logging.ERROR) -> bool:
        """Tell whether a failure is to be logged by the caller; otherwise it is counted here.

        Args:
            what: Channel and consumer.
            error: What was raised.
            level: Of the line that tells how many there were.
        """
        kind = _Kind(what, f"{type(error).__name__} at {_place(error)}")
        self.tell()
        with self._lock:
            counted = self._kinds.get(kind)
            if counted is not None:
                counted.count += 1
                return False
            now = self._clock()
            dropped = self._kinds.pop(first := next(iter(self._kinds))) if len(self._kinds) >= MOST else None
            self._kinds[kind] = _Counted(now, level)
        if dropped is not None:
            _say(first, dropped, now)
        self._expect(now + WINDOW)
        return True

    def due(self) -> float:
        """Return when `tell` is wanted; infinity where nothing is counted."""
        with self._lock:
            return next((counted.since + WINDOW for counted in self._kinds.values()), _FOREVER)

    def tell(self, *, all: bool = False) -> None:
        """Log how many there were of the kinds whose minute is over.

        Args:
            all: Whether it is over or not, as at the end.
        """
        now = self._clock()
        over: list[tuple[_Kind, _Counted]] = []
        with self._lock:
            for kind, counted in self._kinds.items():
                if counted.since + WINDOW > now and not all:
                    break
                over.append((kind, counted))
            for kind, counted in over:
                del self._kinds[kind]
                if counted.count:
                    self._kinds[kind] = _Counted(now, counted.level)
        for kind, counted in over:
            _say(kind, counted, now)


def _say(kind: _Kind, counted: _Counted, now: float) -> None:
    if counted.count:
        seconds = max(now - counted.since, 1.0)
        log.log(counted.level, "%s failed %d times more in %.0f s: %s", kind.what, counted.count, seconds, kind.error)


def _place(error: BaseException) -> str:
    """Return where an exception was raised, as file and line."""
    last = error.__traceback__
    if last is None:
        return "an unknown place"
    while last.tb_next is not None:
        last = last.tb_next
    return f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}"
