"""What is written for people: colours only on a terminal, and errors in one line."""

from __future__ import annotations

import sys
from typing import TextIO

from ..operations.logging import has_colours

GREEN, RED, YELLOW, DIM = "32", "31", "33", "2"


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return `text` in a colour where the stream shows colours."""
    return f"\x1b[{colour}m{text}\x1b[0m" if has_colours(stream) else text


def complain(text: str) -> None:
    """Write an error to stderr, in one line whatever it holds."""
    print(f"{coloured('trunkline:', RED, sys.stderr)} {' '.join(text.split())}", file=sys.stderr)


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Lay rows of equally many cells out in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
