"""What a process logged of late that somebody should look at: the last warnings and errors, and how many there were."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from typing import Any

KEPT = 20
"""Lines that are kept."""

_MAX_TEXT = 300  # characters of a line


class Recent(logging.Handler):
    """Keeps the newest warnings and errors of this process; tracebacks stay in the log.

    Attributes:
        counts: How many lines there were, by level: `warning`, `error`.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter({"warning": 0, "error": 0})
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._guard = threading.RLock()  # a signal handler may log while its thread does

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; one that cannot be made out stops nobody."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"a line that cannot be written: {type(error).__name__}"
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text} ({record.exc_info[0].__name__})"
        line = {"time": record.created, "level": level, "logger": record.name, "text": text[:_MAX_TEXT]}
        with self._guard:
            self.counts[level] += 1
            self._lines.append(line)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines, oldest first: dicts of time (Unix seconds), level, logger and text."""
        with self._guard:
            return list(self._lines)


def keep_recent() -> Recent:
    """Keep the warnings and errors of this process from now on; to be called once logging is set up."""
    recent = Recent()
    logging.getLogger().addHandler(recent)
    return recent
