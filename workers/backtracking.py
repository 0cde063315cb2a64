"""Patterns whose matching may never end: a repetition of what can be cut in many ways, as in `(a+)+$`.

Python tries every way to cut before it gives up, twice as many for each further character, and nothing else of the
process runs meanwhile. Only the plain form is found: a repeated part in which nothing but one other repetition is
needed. Possessive repetitions (`a++`) and atomic groups (`(?>…)`) do not try again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT)
_MANY = 20  # repetitions from which on the number of ways is beyond waiting


def may_never_end(pattern: re.Pattern[str]) -> bool:
    """Say whether a text that does not match may keep a pattern busy for ever."""
    return any(
        _many_ways(arg[2]) for op, arg in _parts(_parser.parse(pattern.pattern, pattern.flags)) if _many(op, arg)
    )


def _many(op: Any, arg: Any) -> bool:
    return op in _REPEATS and (arg[1] is ops.MAXREPEAT or arg[1] >= _MANY)


def _parts(items: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every part of a parsed pattern, those inside others too."""
    for op, arg in items:
        yield op, arg
        for inside in _inside(op, arg):
            yield from _parts(inside)


def _inside(op: Any, arg: Any) -> list[Any]:
    if op is ops.BRANCH:
        return list(arg[1])
    if op is ops.SUBPATTERN:
        return [arg[3]]
    if op in _REPEATS:
        return [arg[2]]
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return [arg[1]]
    return []


def _many_ways(items: Any) -> bool:
    """Say whether one text can be cut into these in many ways: all that is needed in them is another repetition."""
    needed = [(op, arg) for op, arg in items if _parser.SubPattern(items.state, [(op, arg)]).getwidth()[0] > 0]
    if len(needed) > 1:
        return False
    return any(_repeats(op, arg) for op, arg in needed or items)


def _repeats(op: Any, arg: Any) -> bool:
    if op in (ops.BRANCH, ops.SUBPATTERN):
        return any(_many_ways(inside) for inside in _inside(op, arg))
    return op in _REPEATS and arg[1] > max(arg[0], 1)
