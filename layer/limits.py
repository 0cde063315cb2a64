"""What a channel may hold: its capacity and the life of its messages, by patterns (design: layer.md, "Capacity").

`channel_capacity` patterns first, and the first that matches wins; else 1 000, inboxes 10 000 and at most 64 MiB,
single-reader channels 16. An explicit `capacity` replaces the 1 000 and the 10 000, never the 16; nor does a pattern
that matches single-reader channels only by the way, such as "email.*", go below the 16 for them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import names
from .options import CAPACITY, Options

INBOX_CAPACITY = 10_000
INBOX_BYTES = 64 * 1024 * 1024
BODY_CAPACITY = 16

_REMEMBERED = 4096
_FOREVER = float("inf")


class Address(NamedTuple):
    """What a send needs to know of the queue behind a channel.

    `max_bytes` is None where bytes are not bounded; `expiry` is in seconds. `visibility` is a durable channel's timeout
    in seconds, 0 for any other.
    """

    queue: str
    capacity: int
    max_bytes: int | None
    expiry: float
    visibility: float = 0.0


class Limits:
    """Find the address of a channel, remembering what was found.

    Args:
        options: The layer's.

    Attributes:
        durable: Which channels are, as far as it is known: pattern → visibility timeout in seconds, or 0.
        settle: Called before it matters whether a channel is durable, until `adopt` was called.
    """

    def __init__(self, options: Options) -> None:
        self.settle: Callable[[], None] | None = None
        self.durable: Mapping[str, float] = options.durable_patterns
        self._durables = _compile_durable(self.durable)
        self._options = options
        self._capacities = _compile(options.channel_capacity, "channel_capacity")
        # "email.*" means mails: a small capacity for them must not choke the channels of their bodies, whose senders
        # stay that far ahead. A pattern that names the "?" is meant for them.
        self._body_capacities = [
            (pattern, number if "?" in pattern.pattern else max(number, BODY_CAPACITY))
            for pattern, number in self._capacities
        ]
        self._expiries = _compile(options.channel_expiry, "channel_expiry")
        self._known: dict[str, Address] = {}

    def find(self, channel: str) -> tuple[Address, str]:
        """Return the address of a channel that may be sent to, and the local part of its name.

        Raises:
            TypeError: The name breaks the rules.
        """
        if type(channel) is str:
            known = self._known.get(channel)
            if known is not None:
                return known, ""
            # The many local parts of a known inbox
            begin = channel.find("!") + 1
            known = self._known.get(channel[:begin])
            if known is not None and len(channel) <= names.MAX_NAME and names.match_local(channel, begin):
                return known, channel[begin:]
        queue, local = names.split(channel)
        known = self._known.get(queue)
        if known is None:
            known = self._resolve(queue)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[queue] = known
        return known, local

    def adopt(self, durable: Mapping[str, float]) -> None:
        """Learn which channels are durable for all who use the layer."""
        self.durable = durable
        self._durables = _compile_durable(durable)
        self._known.clear()
        self.settle = None

    def durability(self, queue: str) -> float | None:
        """Return what is said of a channel: its visibility timeout, 0 where it is not durable, None: nothing."""
        visibility: float | None = _first(self._durables, queue)
        return visibility

    def _resolve(self, queue: str) -> Address:
        inbox = queue.endswith("!")
        capacity = _first(self._body_capacities if "?" in queue else self._capacities, queue)
        if capacity is None:
            if "?" in queue:
                capacity = BODY_CAPACITY
            elif self._options.capacity is not None:
                capacity = self._options.capacity
            else:
                capacity = INBOX_CAPACITY if inbox else CAPACITY
        expiry = _first(self._expiries, queue)
        if not inbox and "?" not in queue:
            if self.settle is not None:
                self.settle()
            visibility = _first(self._durables, queue)
            if visibility:
                return Address(queue, capacity, None, _FOREVER if expiry is None else expiry, visibility)
        return Address(
            queue, capacity, INBOX_BYTES if inbox else None, self._options.expiry if expiry is None else expiry
        )


def _compile(patterns: Any, option: str) -> list[tuple[re.Pattern[str], Any]]:
    """Compile patterns. In a str only `*` is special, since `?` is part of names; a compiled regex is matched."""
    pairs = patterns.items() if isinstance(patterns, Mapping) else patterns or ()
    compiled = []
    for pattern, number in pairs:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
            raise ValueError(f"{option}: {pattern!r} needs a number above 0, not {number!r}")
        if isinstance(pattern, str):
            pattern = _glob(pattern)
        elif not isinstance(pattern, re.Pattern):
            raise ValueError(f"{option}: a pattern is a str or a compiled regular expression, not {pattern!r}")
        compiled.append((pattern, number))
    return compiled


def _compile_durable(patterns: Mapping[str, float]) -> list[tuple[re.Pattern[str], float]]:
    return [(_glob(pattern), visibility) for pattern, visibility in patterns.items()]


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))) + r"\Z", re.DOTALL)


def _first(patterns: list[tuple[re.Pattern[str], Any]], queue: str) -> Any:
    return next((number for pattern, number in patterns if pattern.match(queue)), None)
