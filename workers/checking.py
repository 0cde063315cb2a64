"""What people ask of a routing: which route takes this, why not, and which routes can never match."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import message_formats
from .backtracking import may_never_end
from .filters import Filter, Rest
from .routing import Leaf, Route, Routing

_PLAIN = re.compile(r"\^?((?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s])*)\Z")
_BEGINNING = re.compile(r"\^?((?:(?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s])(?![*?{]))*)")
_WHOLE = re.compile(r"\^?((?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s])*)(?:\$|\\Z)\Z")
_ENDING = re.compile(r"\^?(?:\(\?P<\w+>|\()?\.([*+])\)?((?:[^\\.^$*+?{}\[\]|()]|\\[^\w\s])+)(?:\$|\\Z)\Z")
_ESCAPE = re.compile(r"\\(.)")
_TRIVIAL = frozenset(("", "^", ".*", "^.*", "(?:)"))
_CLASS_OR_ESCAPE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """Something that is probably wrong with a route.

    Attributes:
        where: File and line that made the route, or "".
        text: What is wrong, and what to do about it.
    """

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True)
class Explained:
    """What a route does with a message.

    Attributes:
        route: The route.
        consumer: Its consumer's name.
        where: File and line that made it, or "".
        takes: True for the one route that takes the message.
        reason: Why it does or does not.
        captures: The keyword arguments its consumer would get.
    """

    route: Any
    consumer: str
    where: str
    takes: bool
    reason: str
    captures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.captures.items())
        shown = f"{self.consumer}(message{arguments})" if self.takes else self.consumer
        return f"{shown}: {self.reason}" + (f" [{self.where}]" if self.where else "")


def explain(routing: Routing, channel: str, content: Mapping[str, Any]) -> list[Explained]:
    """See `Routing.explain`."""
    told = []
    taken = False
    for leaf in routing.leaves():
        if channel not in leaf.channels:
            continue
        captures, reason = _judge(leaf, channel, content)
        takes = captures is not None and not taken
        if captures is not None and taken:
            reason = "an earlier route takes it"
        taken = taken or takes
        told.append(Explained(leaf.route, leaf.name, leaf.where, takes, reason, (captures or {}) if takes else {}))
    return told


def problems(routing: Routing) -> list[Problem]:
    """See `Routing.problems`."""
    found: dict[Problem, None] = {}
    earlier: list[Leaf] = []
    for leaf in routing.leaves():
        texts = [*_unknown_channels(leaf), *_unescaped_dots(leaf), *_endless(leaf), *_wrong_arguments(leaf)]
        texts += _unknown_fields(leaf) or _shadowed(leaf, earlier)
        for text in texts:
            found[Problem(leaf.where, text)] = None
        earlier.append(leaf)
    return list(found)


def _judge(leaf: Leaf, channel: str, content: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    captures: dict[str, Any] = {}
    rest: Rest = {}
    for one in leaf.filters:
        left = rest.get(one.key)
        found = one.search(content, rest)
        if found is False:
            value = rest[one.key] if left is not None else content.get(one.field)
            absent = left is None and one.field not in content
            shown = f"the message has no {one.field}" if absent else f"{one.field} is {_short(value)}"
            return None, f"{one!r} does not match: {shown}"
        one.leave(found, rest)
        if found is not True:
            captures.update(found.groupdict())
    if not isinstance(leaf.route, Route):
        return _ask(leaf, channel, content)
    return captures, "takes it"


def _ask(leaf: Leaf, channel: str, content: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    from .message import Message

    try:
        taken = leaf.route.match(Message(dict(content), channel))
        if taken is None:
            return None, "its match() says no"
        _, captures = taken
        return {**captures}, "takes it"
    except (Exception, SystemExit) as error:
        return None, f"its match() fails: {type(error).__name__}: {error}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _unknown_channels(leaf: Leaf) -> list[str]:
    known = message_formats.names()
    families = {name.partition(".")[0] for name in known}
    texts = []
    written = leaf.route.channels or () if isinstance(leaf.route, Route) else leaf.channels
    for name in written:
        if name.endswith("*"):
            if not any(one in leaf.channels for one in known if one.startswith(name[:-1])):
                texts.append(f"channel {name!r} stands for nothing that servers publish")
        elif message_formats.get(name) is None and "!" not in name:
            near = difflib.get_close_matches(name, known, 1, 0.8)
            if near or name.partition(".")[0] in families:
                hint = f"; did you mean {near[0]!r}?" if near else ""
                texts.append(f"channel {name!r} is not known{hint}")
    return texts


def _unknown_fields(leaf: Leaf) -> list[str]:
    """A route is dead where on none of its channels all its filters name fields of the format."""
    missing = []
    for channel in leaf.channels:
        form = message_formats.get(channel)
        fields = {one.name for one in form.fields} if form is not None else None
        wrong = [one for one in leaf.filters if fields is not None and one.field not in fields]
        if not wrong:
            return []
        near = difflib.get_close_matches(wrong[0].field, fields or (), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        missing.append(f"{leaf.name} can never match: {channel} has no field {wrong[0].field!r}{hint}")
    return missing[:1]


def _unescaped_dots(leaf: Leaf) -> list[str]:
    texts = []
    for one in leaf.filters:
        if one.field == "address" and one.pattern is not None:
            bare = _CLASS_OR_ESCAPE.sub("__", one.pattern.pattern)
            if re.search(r"\.(?![*+?{])", bare):
                texts.append(f"{one!r}: an unescaped dot matches any character; write \\.")
    return texts


def _endless(leaf: Leaf) -> list[str]:
    return [
        f"{one!r}: may take for ever on a text that does not match: it repeats a repetition, as (a+)+ does; write a+"
        for one in leaf.filters
        if one.pattern is not None and may_never_end(one.pattern)
    ]


def _wrong_arguments(leaf: Leaf) -> list[str]:
    """Captures the consumer does not take, and arguments it needs that nothing captures: TypeError every time."""
    if not isinstance(leaf.route, Route):
        return []
    captures = {name for one in leaf.filters if one.pattern is not None for name in one.pattern.groupindex}
    try:
        signature = inspect.signature(leaf.route.handler)
    except (TypeError, ValueError):
        return []
    try:
        signature.bind(object(), **dict.fromkeys(captures))
    except TypeError as error:
        return [f"{leaf.name}(message{''.join(f', {name}=…' for name in sorted(captures))}): {error}"]
    return []


def _shadowed(leaf: Leaf, earlier: list[Leaf]) -> list[str]:
    """Every channel of the route is taken by earlier routes that match whatever it matches."""
    by = [
        next((before for before in earlier if channel in before.channels and _covers(before, leaf)), None)
        for channel in leaf.channels
    ]
    if not by or None in by:
        return []
    first = by[0]
    assert first is not None
    at = f" at {first.where}" if first.where else ""
    return [f"{leaf.name} can never match: {first.name}{at} takes all its messages"]


def _covers(before: Leaf, leaf: Leaf) -> bool:
    """Say whether `before` surely matches whatever `leaf` matches; False where that is not plain to see."""
    if not isinstance(before.route, Route):
        return False
    mine, theirs = _by_key(leaf), _by_key(before)
    return all(_implied(wanted, mine.get(key, [])) for key, wanted in theirs.items())


def _by_key(leaf: Leaf) -> dict[str, list[Filter]]:
    chains: dict[str, list[Filter]] = {}
    for one in leaf.filters:
        chains.setdefault(one.key, []).append(one)
    return chains


def _implied(wanted: list[Filter], given: list[Filter]) -> bool:
    """Say whether a field that matches the chain `given` also matches the chain `wanted`, link by link."""
    if not given:
        return False
    for at, one in enumerate(wanted):
        if at >= len(given):
            return all(_trivial(left) for left in wanted[at:])
        if not _at_least(one, given[at]):
            return False
        if at + 1 < len(wanted) and one.expected != given[at].expected:
            return False
    return True


def _trivial(one: Filter) -> bool:
    return one.pattern is not None and one.pattern.pattern in _TRIVIAL


def _at_least(wide: Filter, narrow: Filter) -> bool:
    """Say whether whatever matches `narrow` also matches `wide`."""
    if wide.pattern is None or narrow.pattern is None:
        return wide.pattern is narrow.pattern and bool(wide.expected == narrow.expected)
    if _trivial(wide) or (wide.pattern.pattern, wide.pattern.flags) == (narrow.pattern.pattern, narrow.pattern.flags):
        return True
    if wide.pattern.flags != narrow.pattern.flags:
        return False
    whole = _WHOLE.match(narrow.pattern.pattern)
    if whole is not None:  # it matches one text only
        return wide.pattern.match(_ESCAPE.sub(r"\1", whole[1])) is not None
    if "|" in narrow.pattern.pattern:
        return False
    plain, beginning = _PLAIN.match(wide.pattern.pattern), _BEGINNING.match(narrow.pattern.pattern)
    assert beginning is not None
    if plain is not None:
        return beginning[1].startswith(plain[1])
    return _ends_alike(wide.pattern.pattern, narrow.pattern.pattern, beginning[1])


def _ends_alike(wide: str, narrow: str, beginning: str) -> bool:
    """Say whether `wide` is anything with an ending, such as ``.+@example\\.com$``, that `narrow` has, too."""
    found = _ENDING.match(wide)
    if found is None or not (found[1] == "*" or beginning):
        return False
    ending = found[2]
    return any(narrow.endswith(ending + end) and not narrow.endswith("\\" + ending + end) for end in ("$", r"\Z"))
