"""How fast Slack lets an app of a workspace call: tiers of methods, a message a second in a channel, and Retry-After.

The limits are the app's, whatever process calls. So the time of the next call under each limit stands in the layer's
state, as the generic cell rate algorithm has it: one number, moved on by whoever calls next, in one step. While the
layer is away, each process keeps to what it knows.

The times are those of the wall clock, which all machines share: a clock that is ahead makes others wait that long.

Source: https://docs.slack.dev/apis/web-api/rate-limits and the page of each method.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from ...layer import Layer, LayerError, LayerUnavailable

T = TypeVar("T")

_FURTHEST = 3600.0  # seconds ahead that a time in the layer is believed
_MOST_KNOWN = 5000
_MOST_TRIES = 20
_PATIENCE = 2.0  # seconds that the layer may take to answer
_ALONE = 5.0  # seconds that a layer which did not answer is not asked again
_KEY = re.compile(r"[A-Za-z0-9._-]{1,80}")


class Rule(NamedTuple):
    """A limit.

    Attributes:
        name: What is limited, within a workspace.
        interval: Seconds from call to call.
        burst: Calls that may follow each other at once after a silence.
    """

    name: str
    interval: float
    burst: int


def _tier(a_minute: int, burst: int) -> tuple[float, int]:
    """Return the pace of a tier: the burst and what follows it within a minute are no more than the tier has."""
    return 60.0 / max(a_minute - burst, 1), burst


_TIERS = {1: (60.0, 1), 2: _tier(20, 4), 3: _tier(50, 10), 4: _tier(100, 20)}
_POSTS = (1.0, 1)  # in each channel
_ALL_POSTS = _tier(300, 60)  # "several hundred a minute" in a workspace
_UNKNOWN = 2  # the tier of methods that the table does not name

# Everything that puts a message into a channel shares the channel's second.
_POSTING = frozenset(("chat.postMessage", "chat.meMessage", "chat.postEphemeral", "files.completeUploadExternal"))

_METHODS: dict[str, int] = {
    **dict.fromkeys(
        (
            "chat.delete", "chat.meMessage", "chat.scheduleMessage", "chat.unfurl", "chat.update", "bots.info",
            "conversations.history", "conversations.info", "conversations.invite", "conversations.join",
            "conversations.kick", "conversations.leave", "conversations.mark", "conversations.open",
            "conversations.replies", "files.delete", "files.list", "reactions.add", "reactions.get", "team.info",
            "users.conversations", "users.getPresence", "users.lookupByEmail",
        ),
        3,
    ),
    **dict.fromkeys(
        (
            "chat.getPermalink", "chat.postEphemeral", "conversations.members", "dialog.open",
            "files.completeUploadExternal", "files.getUploadURLExternal", "files.info", "users.info",
            "users.profile.get", "views.open", "views.publish", "views.push", "views.update",
        ),
        4,
    ),
}  # fmt: skip
_HUNDREDS = frozenset(("auth.test", "api.test"))  # "hundreds a minute"


def rules_for(method: str, room: str | None = None) -> list[Rule]:
    """Return the limits that a call is under.

    Args:
        method: The Web API method.
        room: The id of the channel that it puts something into, where there is one.
    """
    rules = []
    if method in _POSTING and room is not None:
        rules.append(Rule(f"post.{_shortened(room)}", *_POSTS))
    if method == "chat.postMessage":
        rules.append(Rule("post", *_ALL_POSTS))
    else:
        tier = 4 if method in _HUNDREDS else _METHODS.get(method, _UNKNOWN)
        rules.append(Rule(_shortened(method), *_TIERS[tier]))
    return rules


class State(Protocol):
    """Numbers that processes share, each with a version; see `Layer.get_state`."""

    async def read(self, key: str) -> tuple[Any, int]:
        """Return a value and its version; (None, 0) where there is none."""

    async def write(self, key: str, value: float, ttl: float, version: int) -> int:
        """Set a value if its version is still this one; return the new version, or 0."""


class LayerState:
    """The layer's state, asked in threads beside the loop; one that does not answer in time counts as away."""

    def __init__(self, layer: Layer, loop: asyncio.AbstractEventLoop) -> None:
        self._layer = layer
        self._loop = loop

    async def read(self, key: str) -> tuple[Any, int]:
        """Return a value and its version."""
        return await self._ask(self._layer.get_state, key)

    async def write(self, key: str, value: float, ttl: float, version: int) -> int:
        """Set a value if its version is still this one."""
        return await self._ask(self._layer.put_state, key, value, ttl, version)

    async def _ask(self, question: Callable[..., T], *arguments: Any) -> T:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._loop.run_in_executor(None, question, *arguments)
        except TimeoutError:
            raise LayerUnavailable from None


@dataclass(slots=True)
class _Known:
    """What we know of a limit.

    Attributes:
        full: When the burst is whole again, the one number of the algorithm.
        version: Of that number in the layer.
        floor: No call of ours before that, whatever the layer says.
        lock: Those of one process ask the layer one after the other, in their order.
    """

    full: float = 0.0
    version: int = 0
    floor: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limiter:
    """The limits of one workspace.

    Args:
        state: Where they are shared.
        workspace: The workspace's name.
        clock: Unix seconds.
        sleep: Waits for so many seconds.
        speed: How many times faster than Slack's own limits; for servers that are not Slack.
        stats: Counts "rate_limited" and "limits_not_shared".
    """

    def __init__(
        self,
        state: State,
        workspace: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        speed: float = 1.0,
        stats: Counter[str],
    ) -> None:
        self._state = state
        self._prefix = f"slack.limits.{workspace}."
        self._clock = clock
        self._sleep = sleep
        self._speed = speed
        self._stats = stats
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._alone_until = 0.0

    async def wait(self, method: str, room: str | None = None) -> None:
        """Wait until a call is allowed, and take its place: the next one waits for the one after it."""
        for rule in rules_for(method, room):
            start = await self._reserve(rule)
            # A Retry-After may have come for others while this one waited.
            while (left := max(start, self._of(rule).floor) - self._clock()) > 0:
                await self._sleep(left)

    def finished(self, method: str, room: str | None = None) -> None:
        """Tell that a call was answered.

        A call may be long on its way and the next one fast: only from the answer on is it known to have arrived, so
        that where one follows the other at a fixed distance, the distance counts from here.
        """
        for rule in rules_for(method, room):
            if rule.burst == 1:
                known = self._of(rule)
                known.floor = max(known.floor, self._clock() + rule.interval / self._speed)

    async def hold(self, method: str, seconds: float, room: str | None = None) -> None:
        """Obey a Retry-After: what shares the narrowest limit of the call waits, in all processes."""
        self._stats["rate_limited"] += 1
        rule = rules_for(method, room)[0]
        until = self._clock() + seconds
        known = self._of(rule)
        known.floor = max(known.floor, until)
        await self._move(rule, lambda full: max(full, until + (rule.burst - 1) * rule.interval / self._speed))

    async def _reserve(self, rule: Rule) -> float:
        """Take the next place under a limit, and return when it is."""
        interval = rule.interval / self._speed
        before = await self._move(rule, lambda full: max(full, self._clock()) + interval)
        return before - (rule.burst - 1) * interval

    async def _move(self, rule: Rule, change: Callable[[float], float]) -> float:
        """Change the one number of a limit; return what it was."""
        known = self._of(rule)
        async with known.lock:
            if not 0 < self._alone_until - self._clock() <= _ALONE:
                try:
                    before = await self._move_shared(self._prefix + rule.name, known, change)
                    if before is not None:
                        return before
                except LayerError:
                    self._alone_until = self._clock() + _ALONE
            self._stats["limits_not_shared"] += 1
            before = known.full
            known.full = change(before)
            return before

    async def _move_shared(self, key: str, known: _Known, change: Callable[[float], float]) -> float | None:
        for _ in range(_MOST_TRIES):
            now = self._clock()
            before = min(known.full, now + _FURTHEST)
            after = change(before)
            version = await self._state.write(key, after, max(after - now, 0.0) + 60.0, known.version)
            if version:
                known.full, known.version = after, version
                return before
            value, known.version = await self._state.read(key)
            known.full = float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
        return None

    def _of(self, rule: Rule) -> _Known:
        known = self._known.get(rule.name)
        if known is None:
            known = self._known[rule.name] = _Known()
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(rule.name)
        return known


def _shortened(name: str) -> str:
    """Return what can stand in a key, whatever a consumer wrote."""
    return name if _KEY.fullmatch(name) else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:40]
