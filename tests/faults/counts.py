"""Numbers, with what they should be."""

from __future__ import annotations

from typing import Any, Protocol

import pytest


class Site(Protocol):
    """What was broken."""

    def printed(self) -> str:
        """Return what all commands printed."""


class Counts:
    """A table of what was counted, and of what it had to be."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._wrong = False

    def note(self, what: str, count: int) -> None:
        """Add a number that is as it is."""
        self._lines.append(f"{count} {what}")

    def expect(self, what: str, count: int | None, expected: int) -> None:
        """Add a number that has to be this one."""
        self._judge(f"{count} {what}", count == expected, f"expected {expected}")

    def limit(self, what: str, count: int, least: int, most: int) -> None:
        """Add a number that has to be within bounds."""
        self._judge(f"{count} {what} (at most {most})", least <= count <= most, f"expected {least} to {most}")

    def none(self, what: str, found: Any) -> None:
        """Add the number of what should not have been, a list or a dictionary; a failure shows some of it."""
        self._judge(f"{len(found)} {what}", not found, f"expected none: {str(found)[:500]}")

    def _judge(self, line: str, right: bool, otherwise: str) -> None:
        self._wrong = self._wrong or not right
        self._lines.append(line if right else f"{line} <== {otherwise}")

    def __str__(self) -> str:
        return ", ".join(self._lines)

    def check(self, site: Site) -> None:
        """Fail if a number was wrong, and show all of them and what the site printed."""
        if self._wrong:
            pytest.fail("\n  ".join(["counted:", *self._lines]) + f"\n{site.printed()}", pytrace=False)
