"""Where log lines go: one handler on stderr, for people or for machines.

Everything logs with the standard library under `trunkline.<room or server>`; what Twisted logs, an error nobody handled
in a Deferred included, is led there too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_RESET = "\x1b[0m"
_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}

# What peers send ends up in messages: a line break of theirs must not begin a log line, an escape not reach a terminal.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))} | {9: "\t"}


class TextFormatter(logging.Formatter):
    """One line for a person, and below it the traceback if there is one.

    Args:
        colour: Colour the levels.
        process: Which of several processes writes, to be told apart; 0: there is only one.
    """

    def __init__(self, colour: bool = False, process: int = 0) -> None:
        super().__init__()
        self._colour = colour
        self._process = f"[{process}] " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        level = f"{record.levelname:<8}"
        if self._colour and record.levelno in _COLOURS:
            level = f"{_COLOURS[record.levelno]}{level}{_RESET}"
        line = (
            f"{self.formatTime(record)} {level} {self._process}{record.name}: {record.getMessage().translate(_VISIBLE)}"
        )
        return "\n".join([line, *(text.translate(_VISIBLE | {10: "\n"}) for text in _traceback_of(self, record))])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and traceback if there is one.

    Args:
        process: Which of several processes writes, as the key "process"; 0: there is only one.
    """

    def __init__(self, process: int = 0) -> None:
        super().__init__()
        self._process = {"process": process} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        traceback = "\n".join(_traceback_of(self, record))
        return json.dumps(line | ({"traceback": traceback} if traceback else {}))


class Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream; a line that cannot be written stops nobody."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say on stderr what went wrong, unless a user's code closed that too."""
        try:
            super().handleError(record)
        except ValueError:
            pass


def setup(
    format: Literal["text", "json"] | str = "text",
    level: str = "info",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    process: int = 0,
    twisted: bool = True,
) -> None:
    """Send every log line of this process to one stream.

    Args:
        format: One of `FORMATS`.
        level: One of `LEVELS`: the least important that is shown.
        stream: Where to; None: stderr.
        environ: `NO_COLOR` and `TERM=dumb` switch colours off.
        process: Which of several processes this is, from 1 on; 0: there is only one.
        twisted: Lead what Twisted logs there too; a process without it need not load it for that.
    """
    stream = stream or sys.stderr
    handler = Handler(stream)
    coloured = has_colours(stream, environ)
    handler.setFormatter(JsonFormatter(process) if format == "json" else TextFormatter(coloured, process))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    # Twisted says "info" for every factory it starts and every connection it makes.
    logging.getLogger("twisted").setLevel(logging.NOTSET if level == "debug" else logging.WARNING)
    if twisted and not _twisted_led:
        from twisted.logger import STDLibLogObserver, globalLogBeginner

        _twisted_led.append(True)
        globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)  # type: ignore[list-item]


_twisted_led: list[bool] = []  # Twisted can be told only once a process


def has_colours(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a stream is a terminal whose user wants colours (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    lines = [formatter.formatException(record.exc_info)] if record.exc_info else []
    return [*lines, formatter.formatStack(record.stack_info)] if record.stack_info else lines
