"""Rules over several keys of one record, for what a single key's kind cannot say.

A key is *set* when it is there and not None. A rule about a key that means nothing without (or beside) another binds
senders only: to a receiver such a key is one of the unknown ones that it ignores.
"""

from __future__ import annotations

from typing import Any

from .kinds import Rule, Unfit


def _is_set(key: str) -> dict[str, Any]:
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


class Count(Rule):
    """How many of some keys must be set.

    Args:
        keys: the keys.
        low: the least number of them that must be set.
        high: the greatest number of them that may be set.
    """

    def __init__(self, keys: tuple[str, ...], low: int, high: int) -> None:
        self.keys = keys
        self._low = low
        self._high = high
        how_many = "exactly one" if low == high else "at most one" if low == 0 else "at least one"
        self.text = f"{how_many} of {', '.join(keys)}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        count = 0
        for key in self.keys:
            if record.get(key) is not None:
                count += 1
        if not self._low <= count <= self._high:
            there = [key for key in self.keys if record.get(key) is not None]
            raise Unfit(self.text, " and ".join(there) or "none of them")

    def schema(self) -> dict[str, Any]:
        options = [_is_set(key) for key in self.keys]
        if self._high > 1:
            return {"anyOf": options}
        if self._low == 1:
            return {"oneOf": options}
        return {"oneOf": [*options, {"not": {"anyOf": options}}]}


def exactly_one(*keys: str) -> Count:
    """One of the keys is set, and only one."""
    return Count(keys, 1, 1)


def at_most_one(*keys: str) -> Count:
    """One of the keys is set, or none."""
    return Count(keys, 0, 1)


def at_least_one(*keys: str) -> Count:
    """One of the keys is set, or more."""
    return Count(keys, 1, len(keys))


class OnlyWith(Rule):
    """A key means nothing unless another is set."""

    def __init__(self, key: str, other: str) -> None:
        self.keys = (key, other)
        self.text = f"{key} only with {other}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        key, other = self.keys
        if strict and record.get(key) is not None and record.get(other) is None:
            raise Unfit(self.text, f"no {other}", key)

    def schema(self) -> dict[str, Any]:
        key, other = self.keys
        return {"if": _is_set(key), "then": _is_set(other)}


class Instead(Rule):
    """A key stands instead of others: where it is set, none of them may be."""

    def __init__(self, key: str, others: tuple[str, ...]) -> None:
        self.keys = (key, *others)
        self.text = f"{key} instead of {', '.join(others)}"

    def check(self, record: dict[str, Any], strict: bool) -> None:
        key, *others = self.keys
        if strict and record.get(key) is not None:
            for other in others:
                if record.get(other) is not None:
                    raise Unfit(self.text, "both", other)

    def schema(self) -> dict[str, Any]:
        key, *others = self.keys
        return {"if": _is_set(key), "then": {"not": {"anyOf": [_is_set(other) for other in others]}}}
