"""What is written for people: colours only on a terminal, errors in one line, and no trouble with where it goes."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from ..operations.errors import ExitError
from ..operations.logging import has_colours

GREEN, RED, YELLOW, DIM = "32", "31", "33", "2"


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return `text` in a colour where the stream shows colours."""
    return f"\x1b[{colour}m{text}\x1b[0m" if has_colours(stream) else text


def open_streams() -> None:
    """Have a stdout and a stderr that take any text, whatever the process was started with."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the first socket would get its number, and what is printed with it
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for letters the locale has not


def say(text: str) -> None:
    """Write a line to stdout, at once.

    Raises:
        BrokenPipeError: nobody reads it any more.
        ExitError: it cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a user's code closed it
        raise ExitError(f"cannot write to stdout: {getattr(error, 'strerror', None) or error}") from None


def close_streams() -> None:
    """Let nothing fail any more when Python itself flushes and closes stdout."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError:
        pass  # it is closed


def complain(text: str) -> None:
    """Write an error to stderr, in one line whatever it holds."""
    print(f"{coloured('trunkline:', RED, sys.stderr)} {' '.join(text.split())}", file=sys.stderr)


def printable(text: str, breaks: str = "") -> str:
    """Return a text of somebody else's, with what a terminal would obey or cannot show written as an escape.

    Args:
        text: The text.
        breaks: Which of these signs stay as they are.
    """
    return "".join(
        sign if sign.isprintable() or sign in breaks else sign.encode("unicode_escape").decode() for sign in text
    )


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Lay rows of equally many cells out in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
