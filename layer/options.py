"""The options every engine has, from keywords and from a URL."""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any
from urllib.parse import parse_qsl

from .store.patterns import overlap

CAPACITY = 1_000
MAX_SIZE = 2 * 1024 * 1024
BLOB_CAPACITY = 1024 * 1024 * 1024
VISIBILITY = 30.0
"""Seconds for which a message of a durable channel is left to who took it."""

_MAX_PATTERN = 100
_MAX_VISIBILITY = 86_400
_CREDENTIALS = re.compile(r"(?<=//)[^/]*@|(?<=password=)[^&]*|(?<=encryption_keys=)[^&]*")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a layer is told at its making.

    Args:
        expiry: Seconds a message may wait.
        group_expiry: Seconds a membership lives that nobody renews or leases.
        capacity: Messages a channel holds; None: 1 000, inboxes 10 000.
        channel_capacity: Pattern → capacity; the first that matches wins; in a str only `*` is special.
        channel_expiry: Pattern → expiry in seconds, likewise.
        durable: Patterns of durable channels, or pattern → whether they are, or for how many seconds a message is left
            to who took it (True: 30). Only `*` is special. They become those of all who use the same place.
        max_size: Bytes a packed message may have.
        blob_capacity: Bytes that all blobs may take; each takes 1 KiB beside its own.
        drop_rate: The part of all sends that are lost, from 0 to 1: for finding out what a program does then.
        encryption_keys: Secrets; the first encrypts what travels, each decrypts. Without any nothing is encrypted.
    """

    expiry: float = 60
    group_expiry: float = 86_400
    capacity: int | None = None
    channel_capacity: Any = None
    channel_expiry: Any = None
    durable: Any = None
    max_size: int = MAX_SIZE
    blob_capacity: int = BLOB_CAPACITY
    drop_rate: float = 0.0
    encryption_keys: Sequence[str | bytes] = ()

    def __post_init__(self) -> None:
        for name in ("expiry", "group_expiry", "capacity", "max_size", "blob_capacity", "drop_rate"):
            value = getattr(self, name)
            if value is None and name == "capacity":
                continue
            whole = name in ("capacity", "max_size", "blob_capacity")
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else (int, float))
                or not math.isfinite(value)
            ):
                raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")
            if name == "drop_rate":
                if not 0 <= value <= 1:
                    raise ValueError(f"drop_rate must be between 0 and 1, not {value!r}")
            elif value <= 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")
        _ = self.durable_patterns  # which looks at them

    @property
    def durable_patterns(self) -> dict[str, float]:
        """Pattern → visibility timeout in seconds; 0: not durable.

        Raises:
            ValueError: This is nothing of the kind.
        """
        given = self.durable or {}
        pairs = given.items() if isinstance(given, Mapping) else [(pattern, True) for pattern in given]
        patterns = {}
        for pattern, value in pairs:
            if not isinstance(pattern, str) or not 0 < len(pattern) <= _MAX_PATTERN:
                raise ValueError(f"durable: a pattern is a str of 1 to {_MAX_PATTERN} characters, not {pattern!r:.100}")
            if not isinstance(value, (bool, int, float)) or not 0 <= value <= _MAX_VISIBILITY:
                raise ValueError(f"durable: {pattern!r} needs true, false or seconds up to a day, not {value!r:.100}")
            patterns[pattern] = VISIBILITY if value is True else float(value)
        for one, other in combinations(patterns, 2):
            if patterns[one] != patterns[other] and overlap(one, other):
                raise ValueError(f"durable: {one!r} and {other!r} may both name a channel, and do not say the same")
        return patterns

    @property
    def plain_capacity(self) -> int:
        """The capacity of a plain channel that no pattern names."""
        return CAPACITY if self.capacity is None else self.capacity


def from_mapping(given: Mapping[str, Any], where: str, others: Sequence[str] = ()) -> Options:
    """Make options of keywords.

    Args:
        given: Name → value.
        where: The layer, for errors.
        others: Options of its engine, for errors too.

    Raises:
        ValueError: An option is unknown or has a value it cannot have.
    """
    own = {field.name for field in dataclasses.fields(Options)}
    for name in given:
        if name not in own:
            known = own.union(others)
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known options: {', '.join(sorted(known))}"
            raise ValueError(f"{where}: unknown option {name!r}; {hint}")
    try:
        return Options(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def shown(url: str) -> str:
    """Return a layer's URL for people, without user and passwords."""
    return _CREDENTIALS.sub("", url)


def from_url(url: str) -> tuple[str, str, dict[str, Any]]:
    """Take a layer's URL apart.

    Returns:
        (scheme, what is between `://` and `?`, options as keywords).

    Raises:
        ValueError: This is no URL, or an option's value cannot be read.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme:
        raise ValueError(
            f"{shown(url)!r} is no layer URL; one looks like memory://, memory://name or redis://localhost:6379/0"
        )
    place, _, query = rest.partition("?")
    if "#" in rest:
        raise ValueError(f"{shown(url)}: a layer URL has no '#' part")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise ValueError(f"{shown(url)}: the option {name!r} stands twice")
        options[name] = _read(name, text, url)
    return scheme.lower(), place, options


def _read(name: str, text: str, url: str) -> Any:
    try:
        if name == "encryption_keys":
            return text.split(",")
        if name in ("channel_capacity", "channel_expiry"):
            number = int if name == "channel_capacity" else float
            pairs = (part.rpartition(":") for part in text.split(","))
            return [(pattern, number(value)) for pattern, _, value in pairs]
        if name == "durable":
            parts = [part.partition(":") for part in text.split(",")]
            return {pattern: float(value) if colon else True for pattern, colon, value in parts}
        if name in ("capacity", "max_size", "blob_capacity"):
            return int(text)
        if name in ("expiry", "group_expiry", "drop_rate"):
            return float(text)
    except ValueError:
        examples = {"channel_capacity": "email.*:5000,http.request:200", "channel_expiry": "email.*:60,http.request:5"}
        example = examples.get(name, "jobs.*,mails.*:60" if name == "durable" else "a number")
        raise ValueError(f"{shown(url)}: {name}={text} cannot be read; expected {example}") from None
    return text
