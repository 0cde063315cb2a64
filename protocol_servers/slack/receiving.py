"""From Slack to the layer: what has to be there before anything is acknowledged.

The rule: put on the channels, each by a name that is the same for every repetition and on every transport, then
acknowledge. What the layer did not take is not acknowledged, so that Slack sends it again; where a part of it was
taken, or all of it and nobody knows, that part is recognised. Nobody waits for a worker, and for names only a moment.

What belongs to one room keeps its order, as far as Slack keeps it.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...layer import ChannelFull, LayerError, LayerUnavailable, MessageTooLarge
from ..traces import places_of
from .mapping import Delivery, Draft, Mapper, Unfit
from .names import Names

ACKNOWLEDGE = 2.5  # seconds; Slack waits three for its acknowledgement, its way included
NAMES = 0.8  # seconds that a name may take
MOST_OPEN = 1000


class Outcome(enum.Enum):
    """What became of something that Slack told."""

    TAKEN = "taken"
    REFUSED = "refused"  # not acknowledged: it comes again
    UNFIT = "unfit"  # it would be so the next time, too


class Bus(Protocol):
    """What is needed of the server."""

    def wanted(self, channel: str) -> bool:
        """Say whether anything on a channel would be read."""

    def put(self, channel: str, message: dict[str, Any], once: str) -> asyncio.Future[Any]:
        """Send a message; the future has the layer's word on it. May raise TypeError or ValueError."""


class Receiver:
    """What one workspace tells.

    Args:
        mapper: Makes messages of it.
        names: Who and where.
        bus: Where they go.
        follow: Told of each event before it is published.
        network: The workspace's name, for the log.
        clock: Monotonic seconds.
        stats: Counts "events", "repeats", "notifications_dropped", "refused_full", "refused_unavailable", "in_doubt",
            "refused_too_large", "unfit_events", "held_off" and "late".
        log: Where people read of trouble.
    """

    def __init__(
        self,
        mapper: Mapper,
        names: Names,
        bus: Bus,
        *,
        follow: Callable[[Mapping[str, Any]], None],
        network: str,
        clock: Callable[[], float],
        stats: Counter[str],
        log: logging.Logger,
    ) -> None:
        self._mapper = mapper
        self._names = names
        self._bus = bus
        self._follow = follow
        self._network = network
        self._clock = clock
        self._stats = stats
        self._log = log
        self._open = 0
        self._lanes: dict[str, asyncio.Future[None]] = {}

    async def take(self, delivery: Delivery) -> Outcome:
        """Put what Slack told on the bus.

        Returns:
            Whether it is there, within `ACKNOWLEDGE` seconds.
        """
        if self._open >= MOST_OPEN:
            self._stats["held_off"] += 1
            return Outcome.REFUSED
        self._open += 1
        try:
            async with asyncio.timeout(ACKNOWLEDGE):
                return await self._take(delivery)
        except TimeoutError:
            self._stats["late"] += 1
            return Outcome.REFUSED
        finally:
            self._open -= 1

    async def _take(self, delivery: Delivery) -> Outcome:
        until = self._clock() + NAMES
        self._stats["events"] += 1
        try:
            drafts = self._mapper.drafts(delivery)
        except Unfit as error:
            return self._unfit(str(error))
        except Exception as error:  # of ours; it would come again and again
            self._stats["failures"] += 1
            self._log.error("%s: what Slack told could not be read: %s", self._network, places_of(error))
            return Outcome.UNFIT
        event = delivery.payload.get("event")
        if delivery.kind == "events_api" and isinstance(event, dict):
            self._follow(event)
        wanted = [draft for draft in drafts if self._is_wanted(draft)]
        if not wanted:
            return Outcome.TAKEN
        # From here on in the turn of the room: names are asked for at once, and waited for no longer than by then.
        lane = wanted[0].room
        before = self._lanes.get(lane)
        mine = self._lanes[lane] = asyncio.get_running_loop().create_future()
        try:
            await self._names.wait({id for draft in wanted for id in draft.ids}, until)
            if before is not None:
                await asyncio.wait((before,))
            outcomes = [self._put(draft) for draft in wanted]
        finally:
            mine.set_result(None)
            if self._lanes.get(lane) is mine:
                del self._lanes[lane]
        return self._judge([await outcome for outcome in outcomes])

    def _is_wanted(self, draft: Draft) -> bool:
        if not draft.notification or self._bus.wanted(draft.channel):
            return True
        self._stats["notifications_dropped"] += 1
        return False

    def _put(self, draft: Draft) -> asyncio.Future[Any]:
        try:
            return self._bus.put(draft.channel, draft.make(), draft.once)
        except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
            outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            outcome.set_result(error)
            return outcome

    def _judge(self, outcomes: list[Any]) -> Outcome:
        judged = Outcome.TAKEN
        for outcome in outcomes:
            if isinstance(outcome, ChannelFull | LayerUnavailable):
                if isinstance(outcome, LayerUnavailable) and outcome.uncertain:
                    self._stats["in_doubt"] += 1
                else:
                    self._stats["refused_full" if isinstance(outcome, ChannelFull) else "refused_unavailable"] += 1
                judged = Outcome.REFUSED
            elif isinstance(outcome, MessageTooLarge):
                self._stats["refused_too_large"] += 1
                if self._stats["refused_too_large"] == 1:
                    self._log.warning("%s: an event is larger than the layer's messages may be: dropped", self._network)
            elif isinstance(outcome, LayerError):
                judged = Outcome.REFUSED
            elif isinstance(outcome, Exception):
                if judged is Outcome.TAKEN:
                    judged = self._unfit(type(outcome).__name__)
            elif outcome is False:
                self._stats["repeats"] += 1
        return judged

    def _unfit(self, why: str) -> Outcome:
        self._stats["unfit_events"] += 1
        if self._stats["unfit_events"] == 1:
            self._log.warning("%s: what Slack told makes no sense: %s", self._network, why)
        return Outcome.UNFIT
