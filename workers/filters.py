"""One filter of a route: does this field of a message match, and what did it capture?

A filter never raises, whatever a message holds, and never copies what it looks at: strings are matched in place.
A field that is missing, or of a type the filter cannot look into, does not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from .exceptions import RoutingError

Rest = dict[str, "str | re.Match[str]"]
"""What an outer include left of a field, by filter key; a match is cut only when an inner filter asks."""

_HEADER_FIELDS = ("headers", "header_list")


class Filter:
    """A filter of a route: `headers__subject=r"^\\[(?P<tag>\\w+)\\]"`, `mention=True`.

    Args:
        key: The keyword it was given under. `__` reaches inside, `_` also matches `-` there, a trailing `_` is cut.
        expected: A regular expression (text or compiled) matched as `re.match`, or any other value to be equal to.

    Raises:
        RoutingError: the expression is none, or could never match.
    """

    __slots__ = ("_match", "_steps", "expected", "field", "key", "pattern")

    def __init__(self, key: str, expected: Any) -> None:
        parts = key.removesuffix("_").split("__")
        if not all(parts):
            raise RoutingError(f"filter {key!r} names no field")
        self.key = key
        self.field = parts[0]
        self.expected = expected
        self.pattern = _compiled(key, self.field, expected)
        self._match = None if self.pattern is None else self.pattern.match
        self._steps = tuple(_Step(name, before) for before, name in pairwise(parts))

    def __repr__(self) -> str:
        return f"{self.key}={self.expected!r}" if self.pattern is None else f"{self.key}={self.pattern.pattern}"

    def search(self, content: Mapping[str, Any], rest: Rest | None = None) -> re.Match[str] | bool:
        """Match the field of `content`, or what an outer include left of it.

        Returns:
            The match (its named groups are captures), True for an equal value, or False.
        """
        match = self._match
        if rest and self.key in rest:
            left = rest[self.key]
            if not isinstance(left, str):
                left = rest[self.key] = left.string[left.end() :]
            return (match(left) or False) if match is not None else left == self.expected
        value = content.get(self.field)
        if match is not None and not self._steps and type(value) is str:
            return match(value) or False
        if value is None:
            return False
        for found in _reach(value, self._steps, 0):
            if match is None:
                if _same(found, self.expected):
                    return True
            elif isinstance(found, str) and (matched := match(found)):
                return matched
        return False

    def leave(self, match: re.Match[str] | bool, rest: Rest) -> None:
        """Note in `rest` what a match left of the field, for the filters inside an include."""
        if isinstance(match, re.Match):
            rest[self.key] = match


class _Step:
    """One name inside a field: a key of a dictionary, or a name in a list of [name, value] pairs."""

    __slots__ = ("as_bytes", "loose", "name")

    def __init__(self, name: str, before: str) -> None:
        self.name = name.lower() if before in _HEADER_FIELDS else name
        self.loose = self.name.replace("-", "_") if "_" in self.name else None
        self.as_bytes = (self.loose or self.name).encode("utf-8")

    def of_dict(self, value: dict[str, Any]) -> Iterator[Any]:
        if self.loose is None:
            if self.name in value:
                yield value[self.name]
            return
        for key, found in value.items():
            if isinstance(key, str) and key.replace("-", "_") == self.loose:
                yield found

    def names(self, name: str | bytes) -> bool:
        if isinstance(name, bytes):
            return (name.replace(b"-", b"_") if self.loose else name) == self.as_bytes
        return (name.replace("-", "_") if self.loose else name) == (self.loose or self.name)


def _reach(value: Any, steps: tuple[_Step, ...], at: int) -> Iterator[Any]:
    """Yield every value the steps lead to; of a list the list itself, then its elements."""
    if at == len(steps):
        yield value
        if isinstance(value, list):
            yield from value
    elif isinstance(value, dict):
        for found in steps[at].of_dict(value):
            yield from _reach(found, steps, at + 1)
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, dict):
                yield from _reach(element, steps, at)
            elif _is_pair(element) and steps[at].names(element[0]):
                yield from _reach(element[1], steps, at + 1)
                if isinstance(element[1], bytes):
                    yield from _reach(element[1].decode("latin-1"), steps, at + 1)


def _is_pair(element: Any) -> bool:
    return isinstance(element, list) and len(element) == 2 and isinstance(element[0], str | bytes)


def _same(value: Any, expected: Any) -> bool:
    return isinstance(value, bool) is isinstance(expected, bool) and bool(value == expected)


def _compiled(key: str, field: str, expected: Any) -> re.Pattern[str] | None:
    if expected is None:
        raise RoutingError(f"filter {key}=None can never match: None is the same as absent")
    if isinstance(expected, re.Pattern):
        if not isinstance(expected.pattern, str):
            raise RoutingError(f"filter {key}: a pattern of bytes can never match; write it as text")
        return expected
    if not isinstance(expected, str):
        return None
    try:
        return re.compile(expected, re.IGNORECASE if field == "address" else 0)
    except (re.error, RecursionError, OverflowError) as error:
        raise RoutingError(f"filter {key}={expected!r} is no regular expression: {error}") from None
