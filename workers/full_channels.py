"""Sends that found their channel full: tried again in order for 2 s, then given up.

A part of a response that is given up, or of which nobody knows whether it arrived, takes the rest of that response
with it, and what ends the response as an error is sent in its place, tried longer and before everything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from ..layer import Batch, ChannelFull, LayerUnavailable

PATIENCE = 2.0
"""Seconds a send into a full channel is tried."""

_ENDING_PATIENCE = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
_LARGEST = 64  # sends tried at once
_MOST_ENDINGS = 1000
_MOST_BYTES = 64 * 1024 * 1024  # that wait for one queue; what waits longest is given up first

Call = Any
"""One operation of a batch, opaque to us."""


class Waiting(NamedTuple):
    """A send that found no room."""

    call: Call
    channel: str
    until: float
    ending: Mapping[str, Any] | None = None


class Owner(Protocol):
    """What a full channel asks of the flusher it belongs to."""

    away: bool

    def outcomes(self, calls: list[Call]) -> list[Any]:
        """Run operations; return an outcome of each."""
        ...

    def drop(self, send: Waiting, *, keep: bool) -> None:
        """Count a send that was given up, and keep it as a dead letter."""
        ...

    def doubt(self, count: int) -> None:
        """Count sends that may have arrived."""
        ...

    def lose(self, call: Call, error: Exception) -> None:
        """Count a send that can never be taken."""
        ...


class FullChannel:
    """What waits for room in one queue.

    Args:
        owner: The flusher.
        make: Makes the operation that sends a message to a channel.
        now: Seconds.

    Attributes:
        next: When it is to be tried again.
    """

    def __init__(self, owner: Owner, make: Callable[[str, Mapping[str, Any]], Call], now: float) -> None:
        self._owner = owner
        self._make = make
        self._sends: deque[Waiting] = deque()
        self._endings: list[Waiting] = []
        self._ended: set[str] = set()  # channels whose response was ended; what still waits for them goes too
        self._size = 0
        self._pause = _FIRST_PAUSE
        self.next = now + self._pause

    def __bool__(self) -> bool:
        return bool(self._sends or self._endings)

    def add(self, call: Call, channel: str, ending: Mapping[str, Any] | None, now: float) -> None:
        """Add a send behind the others.

        Args:
            call: The operation.
            channel: Where it goes.
            ending: What ends the response it is part of as an error; None where it is part of none.
            now: Seconds.
        """
        self._sends.append(Waiting(call, channel, now + PATIENCE, ending))
        self._size += Batch.size_of(call)
        while self._size > _MOST_BYTES:
            self._give_up(self._pop(), now)

    def retry(self, clock: Callable[[], float]) -> None:
        """Try again what waits, until the first that finds no room; give up what waited too long."""
        self._endings = self._tried(self._endings, clock)
        moved, at_once = False, 1
        while not self._owner.away:
            some = self._next(at_once)
            kept = self._tried(some, clock)
            for send in reversed(kept):
                self._sends.appendleft(send)
                self._size += Batch.size_of(send.call)
            moved = moved or len(kept) < len(some)
            if kept or not some:
                break
            at_once = min(at_once * 2, _LARGEST)
        now = clock()
        if not self._owner.away:  # an outage is not the channel's fault
            while self._sends and self._sends[0].until <= now:
                self._give_up(self._pop(), now)
            for send in [send for send in self._endings if send.until <= now]:
                self._endings.remove(send)
                self._owner.drop(send, keep=False)
        self._pause = _FIRST_PAUSE if moved else min(self._pause * 2, _LONGEST_PAUSE)
        self.next = now + self._pause

    def _next(self, count: int) -> list[Waiting]:
        """Take the first sends out, without those whose response was ended meanwhile."""
        some: list[Waiting] = []
        while self._sends and len(some) < count:
            send = self._pop()
            if send.channel in self._ended:
                self._owner.drop(send, keep=False)
            else:
                some.append(send)
        if not self._sends:
            self._ended.clear()
        return some

    def _tried(self, sends: list[Waiting], clock: Callable[[], float]) -> list[Waiting]:
        """Run some sends; return those that found no room, or no layer: behind one that found none, all of them."""
        if not sends:
            return []
        owner = self._owner
        kept, doubts = [], 0
        for send, outcome in zip(sends, owner.outcomes([send.call for send in sends]), strict=True):
            if isinstance(outcome, LayerUnavailable):
                owner.away = True
                if outcome.uncertain:
                    doubts += 1
                    self._end(send, clock())
                else:
                    kept.append(send)
            elif isinstance(outcome, ChannelFull):
                kept.append(send)
            elif isinstance(outcome, Exception):
                owner.lose(send.call, outcome)
        if doubts:
            owner.doubt(doubts)
        return kept

    def _pop(self) -> Waiting:
        send = self._sends.popleft()
        self._size -= Batch.size_of(send.call)
        return send

    def _give_up(self, send: Waiting, now: float) -> None:
        self._owner.drop(send, keep=send.channel not in self._ended)
        self._end(send, now)

    def _end(self, send: Waiting, now: float) -> None:
        """End the response that a send was part of, where that was not done before."""
        if send.ending is not None and send.channel not in self._ended:
            self._ended.add(send.channel)
            last = self._make(send.channel, send.ending)
            self._endings.append(Waiting(last, send.channel, now + _ENDING_PATIENCE))
            if len(self._endings) > _MOST_ENDINGS:
                self._owner.drop(self._endings.pop(0), keep=False)
