"""Rules over several keys of one record, for what a single key's kind cannot say.

A key is *set* when it is there and not None. A rule about a key that means nothing without (or beside) another binds
senders only: to a receiver such a key is one of the unknown ones that it ignores.
"""

from __future__ import annotations

from typing import Any

from .kinds import Rule, Unfit


def _is_set(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


class Count(Rule):
    """How many of some keys must be set.

    Args:
        names: the keys.
        low: the least number of them that must be set.
        high: the greatest number of them that may be set.
    """

    def __init__(self, names: tuple[str, ...], low: int, high: int) -> None:
        self._names = names
        self._low = low
        self._high = high
        how_many = "exactly one" if low == high else "at most one" if low == 0 else "at least one"
        self.text = f"{how_many} of {', '.join(names)}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        count = 0
        for name in self._names:
            if record.get(name) is not None:
                count += 1
        if not self._low <= count <= self._high:
            there = [name for name in self._names if record.get(name) is not None]
            raise Unfit(self.text, " and ".join(there) or "none of them")

    def schema(self) -> dict[str, Any]:
        options = [_is_set(name) for name in self._names]
        if self._high > 1:
            return {"anyOf": options}
        if self._low == 1:
            return {"oneOf": options}
        return {"oneOf": [*options, {"not": {"anyOf": options}}]}


def exactly_one(*names: str) -> Count:
    """One of the keys is set, and only one."""
    return Count(names, 1, 1)


def at_most_one(*names: str) -> Count:
    """One of the keys is set, or none."""
    return Count(names, 0, 1)


def at_least_one(*names: str) -> Count:
    """One of the keys is set, or more."""
    return Count(names, 1, len(names))


class OnlyWith(Rule):
    """A key means nothing unless another is set."""

    def __init__(self, name: str, other: str) -> None:
        self._name = name
        self._other = other
        self.text = f"{name} only with {other}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        if strict and record.get(self._name) is not None and record.get(self._other) is None:
            raise Unfit(self.text, f"no {self._other}", self._name)

    def schema(self) -> dict[str, Any]:
        return {"if": _is_set(self._name), "then": _is_set(self._other)}


class Instead(Rule):
    """A key stands instead of others: where it is set, none of them may be."""

    def __init__(self, name: str, others: tuple[str, ...]) -> None:
        self._name = name
        self._others = others
        self.text = f"{name} instead of {', '.join(others)}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        if strict and record.get(self._name) is not None:
            for other in self._others:
                if record.get(other) is not None:
                    raise Unfit(self.text, "both", other)

    def schema(self) -> dict[str, Any]:
        return {"if": _is_set(self._name), "then": {"not": {"anyOf": [_is_set(name) for name in self._others]}}}
