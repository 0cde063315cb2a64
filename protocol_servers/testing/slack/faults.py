"""Scripted trouble of the Web API, and the record of every call, by which its limits are judged.

Tiers and the limit of posting: docs.slack.dev, "Rate limits"; which method is of which tier, the method's own page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PER_MINUTE = {1: 1, 2: 20, 3: 50, 4: 100}
"""Calls a minute that an app has of each method, by its tier."""

POSTING = 60
"""Messages a minute in one channel: one a second."""

TIERS = {
    "apps.connections.open": 1,
    "bots.info": 3,
    "chat.delete": 3,
    "chat.postEphemeral": 4,
    "chat.update": 3,
    "conversations.create": 2,
    "conversations.history": 3,
    "conversations.info": 3,
    "conversations.invite": 3,
    "conversations.join": 3,
    "conversations.leave": 3,
    "conversations.list": 2,
    "conversations.members": 4,
    "conversations.open": 3,
    "conversations.replies": 3,
    "emoji.list": 2,
    "files.completeUploadExternal": 4,
    "files.getUploadURLExternal": 4,
    "files.info": 4,
    "reactions.add": 3,
    "reactions.get": 3,
    "reactions.remove": 2,
    "team.info": 3,
    "users.conversations": 3,
    "users.info": 4,
    "users.list": 2,
    "views.open": 4,
    "views.publish": 4,
    "views.push": 4,
    "views.update": 4,
}


def per_minute(method: str) -> int | None:
    """Return the calls a minute that are allowed; None for a method without a limit of its own."""
    if method == "chat.postMessage":
        return POSTING
    tier = TIERS.get(method)
    return None if tier is None else PER_MINUTE[tier]


@dataclass(eq=False)
class Call:
    """A call of the Web API.

    Attributes:
        method: Such as "chat.postMessage".
        arguments: Its arguments, without the token.
        time: When it came, by the service's clock.
        room: The channel that it names.
        status: The HTTP status of the answer; None while there is none, or where the connection was cut.
        error: Slack's word for what went wrong; "" where all went well.
        ended: When it was answered.
    """

    method: str
    arguments: dict[str, Any]
    time: float
    room: str | None = None
    status: int | None = None
    error: str = ""
    ended: float | None = None

    @property
    def limit(self) -> tuple[str, str | None]:
        """What its limit counts: the method, and for messages the channel."""
        return self.method, (self.room if self.method == "chat.postMessage" else None)


@dataclass(eq=False)
class Fault:
    """Trouble to come.

    Attributes:
        method: The method that it meets; None for every one.
        room: The channel's id that it meets; None for every one.
        times: How many calls it still meets.
        error: The error that is answered.
        status: The HTTP status.
        retry_after: Seconds of a 429.
        delay: Seconds that the answer takes longer.
        cut: "" or when the connection is cut: "before" the call is done, or "after".
        answer: What is answered instead.
    """

    method: str | None = None
    room: str | None = None
    times: int = 1
    error: str = ""
    status: int = 200
    retry_after: int | None = None
    delay: float = 0.0
    cut: str = ""
    answer: dict[str, Any] | None = None

    def meets(self, call: Call) -> bool:
        """Whether this is for a call."""
        return self.times > 0 and self.method in (None, call.method) and self.room in (None, call.room)


@dataclass
class Faults:
    """What was scripted, in order; the first that fits a call is its trouble.

    Attributes:
        planned: The faults.
        enforced: Whether the limits of the tiers are kept, with 429.
        burst: How many calls above the even pace are allowed when they are.
        speed: How many times as fast as Slack's the limits are.
    """

    planned: list[Fault] = field(default_factory=list)
    enforced: bool = False
    burst: int = 1
    speed: float = 1.0
    _ready: dict[tuple[str, str | None], float] = field(default_factory=dict)

    def take(self, call: Call) -> Fault | None:
        """Return the trouble of a call."""
        for fault in self.planned:
            if fault.meets(call):
                fault.times -= 1
                return fault
        return self._over_the_limit(call) if self.enforced else None

    def _over_the_limit(self, call: Call) -> Fault | None:
        """Keep the pace: a bucket that `burst` calls empty."""
        allowed = per_minute(call.method)
        if allowed is None:
            return None
        pause = 60 / allowed / self.speed
        ready = max(self._ready.get(call.limit, 0.0), call.time - pause * (self.burst - 1))
        if call.time + 1e-9 < ready:
            return Fault(retry_after=max(1, round(ready - call.time + 0.5)))
        self._ready[call.limit] = ready + pause
        return None


def bursts(calls: Iterable[Call], speed: float = 1.0) -> dict[tuple[str, str | None], float]:
    """Measure how calls kept the pace of their tiers.

    Args:
        calls: The calls, in order; those answered with 429 count as well.
        speed: How many times as fast as Slack's the limits are.

    Returns:
        For each method (and channel, for messages) the most calls within any span of time, less those that the span
        itself allows: 1.0 is an even pace, 5.0 means that five came at once, or four too many within a minute.
    """
    levels: dict[tuple[str, str | None], tuple[float, float]] = {}
    found: dict[tuple[str, str | None], float] = {}
    for call in calls:
        allowed = per_minute(call.method)
        if allowed is None:
            continue
        level, last = levels.get(call.limit, (0.0, call.time))
        # A bucket that leaks at the allowed pace holds, at its fullest, the most calls above it.
        level = max(0.0, level - (call.time - last) * allowed * speed / 60) + 1
        levels[call.limit] = (level, call.time)
        found[call.limit] = max(found.get(call.limit, 0.0), level)
    return found
