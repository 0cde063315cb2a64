"""What is on its way to the workers: in order, and for a while also past a layer that is full or away.

A network cannot be asked to wait: whoever stops reading is thrown out. So what the layer does not take is held here,
up to a number of messages and seconds; then the oldest are dropped. Of each channel one flight is under way at a time,
and the next one leaves when all of it arrived; after a refusal it is a single message, until nothing waits any more.

What may have arrived although the layer was lost is never sent again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from ...layer import ChannelFull, LayerUnavailable

MOST = 1000
PATIENCE = 30.0  # seconds
_PAUSE = 0.1
_FLIGHT = 200


class _Timer(Protocol):
    def cancel(self) -> object: ...


class _Entry(NamedTuple):
    message: dict[str, Any]
    once: str | None
    since: float


class _Lane:
    """One channel."""

    __slots__ = ("channel", "flying", "refused", "stuck", "waiting")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.waiting: deque[_Entry] = deque()
        self.flying = 0
        self.refused: list[_Entry] = []
        self.stuck = False


Send = Callable[[str, dict[str, Any], str | None, Callable[[object], None]], None]


class Outbox:
    """The messages of one network that the layer has not taken yet.

    Args:
        send: Sends a message to a channel, with its `once`, and later calls back with the outcome.
        is_in_doubt: Says of an outcome whether the message may have arrived nevertheless.
        clock: Monotonic seconds.
        call_later: Calls a function after so many seconds.
        stats: Counts "held_back", "held_back_dropped", "repeats_dropped" and "refused_too_large".
    """

    def __init__(
        self,
        send: Send,
        is_in_doubt: Callable[[object], bool],
        *,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], _Timer],
        stats: Counter[str],
    ) -> None:
        self._send = send
        self._is_in_doubt = is_in_doubt
        self._clock = clock
        self._call_later = call_later
        self._stats = stats
        self._lanes: dict[str, _Lane] = {}
        self._timer: _Timer | None = None
        self._waiting = 0

    def __len__(self) -> int:
        """Count the messages that the layer has not taken yet."""
        return self._waiting + sum(lane.flying for lane in self._lanes.values())

    def put(self, channel: str, message: dict[str, Any], once: str | None = None) -> None:
        """Send a message once all before it on its channel were taken.

        Args:
            channel: Where to.
            message: The message.
            once: Names it, so that it is not taken twice.
        """
        lane = self._lanes.get(channel)
        if lane is None:
            lane = self._lanes[channel] = _Lane(channel)
        lane.waiting.append(_Entry(message, once, self._clock()))
        self._waiting += 1
        if lane.stuck:
            self._stats["held_back"] += 1
        elif not lane.flying:
            self._fly(lane)
        self._drop_old()

    def close(self) -> None:
        """Send nothing any more; what waits is dropped, counted."""
        if self._timer is not None:
            self._timer.cancel()
        self._stats["held_back_dropped"] += self._waiting
        self._lanes.clear()
        self._waiting = 0

    def _fly(self, lane: _Lane) -> None:
        count = min(1 if lane.stuck else _FLIGHT, len(lane.waiting))
        entries = [lane.waiting.popleft() for _ in range(count)]
        self._waiting -= count
        lane.flying = count
        for entry in entries:
            self._send(lane.channel, entry.message, entry.once, partial(self._landed, lane, entry))

    def _landed(self, lane: _Lane, entry: _Entry, outcome: object) -> None:
        lane.flying -= 1
        if isinstance(outcome, ChannelFull | LayerUnavailable) and not self._is_in_doubt(outcome):
            lane.refused.append(entry)
        elif isinstance(outcome, Exception):
            self._stats["refused_too_large"] += not isinstance(outcome, LayerUnavailable)
        else:
            self._stats["repeats_dropped"] += outcome is False
        if not lane.flying:
            self._all_landed(lane)

    def _all_landed(self, lane: _Lane) -> None:
        if self._lanes.get(lane.channel) is not lane:
            self._stats["held_back_dropped"] += len(lane.refused)
            return
        if lane.refused:
            if not lane.stuck:
                self._stats["held_back"] += len(lane.refused) + len(lane.waiting)
            lane.stuck = True
            lane.waiting.extendleft(reversed(lane.refused))
            self._waiting += len(lane.refused)
            lane.refused = []
            self._drop_old()
            self._try_later()
        elif lane.waiting:
            self._fly(lane)
        else:
            lane.stuck = False

    def _try_later(self) -> None:
        if self._timer is None:
            self._timer = self._call_later(_PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        self._drop_old()
        for lane in list(self._lanes.values()):
            if lane.stuck and not lane.flying and lane.waiting:
                self._fly(lane)

    def _drop_old(self) -> None:
        """Keep to the bounds."""
        oldest = self._clock() - PATIENCE
        for lane in self._lanes.values():
            while lane.waiting and lane.waiting[0].since < oldest:
                self._drop(lane)
        while self._waiting > MOST:
            self._drop(
                min((each for each in self._lanes.values() if each.waiting), key=lambda each: each.waiting[0].since)
            )

    def _drop(self, lane: _Lane) -> None:
        lane.waiting.popleft()
        self._waiting -= 1
        self._stats["held_back_dropped"] += 1
