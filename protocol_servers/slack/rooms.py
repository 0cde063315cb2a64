"""The rooms that we are in, and who has to know of them: `chat.ready` when we come, and for every room at the start."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from ...layer import ChannelFull, LayerUnavailable
from ...layer.backoff import Backoff
from .names import Ask, Names, pages
from .web_api import RateLimited, Refused, SlackCallError

READY = "chat.ready"
_TYPES = "public_channel,private_channel,mpim"
_FIRST_LOOK, _LAST_LOOK = 0.2, 5.0  # seconds between two looks whether anybody listens by now
_AT_ONCE = 200
_NAMES = 2.0  # seconds that a room's name may take
_MOST = 10_000


class Rooms:
    """The rooms of one workspace.

    Args:
        ask: Calls a method of the Web API.
        names: Learns what they are called.
        ready: Makes the message of a room, by its id.
        wanted: Says whether anybody listens to a channel.
        put: Sends a message; the future has the layer's word on it.
        spawn: Runs a coroutine beside everything else.
        network: The workspace's name, for the log.
        stats: Counts "rooms_told".
        log: Where people read of trouble.
    """

    def __init__(
        self,
        ask: Ask,
        names: Names,
        *,
        ready: Callable[[str], dict[str, Any]],
        wanted: Callable[[str], bool],
        put: Callable[[str, dict[str, Any]], asyncio.Future[Any]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        network: str,
        stats: Counter[str],
        log: logging.Logger,
    ) -> None:
        self._ask = ask
        self._names = names
        self._ready = ready
        self._wanted = wanted
        self._put = put
        self._spawn = spawn
        self._network = network
        self._stats = stats
        self._log = log
        self._untold: dict[str, None] = {}
        self._telling: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None

    def find(self) -> None:
        """Tell of every room that we are in."""
        if self._finding is None or self._finding.done():
            self._finding = self._spawn(self._find())

    def joined(self, room: str) -> None:
        """Tell of a room that we came into."""
        if len(self._untold) < _MOST:
            self._untold[room] = None
        if self._telling is None or self._telling.done():
            self._telling = self._spawn(self._tell())

    def left(self, room: str) -> None:
        """Tell nobody any more of a room that we left."""
        self._untold.pop(room, None)

    async def _find(self) -> None:
        backoff = Backoff(1.0, 60.0)
        while True:
            try:
                arguments = {"types": _TYPES, "exclude_archived": True}
                async for shape in pages(self._ask, "users.conversations", "channels", arguments):
                    if isinstance(shape, dict) and isinstance(room := shape.get("id"), str):
                        self._names.learn_room(shape)
                        self.joined(room)
                return
            except Refused as error:
                self._log.warning("%s: the rooms cannot be listed: %s", self._network, error)
                return
            except RateLimited as error:
                await asyncio.sleep(error.retry_after)
            except SlackCallError:
                await asyncio.sleep(backoff.next())

    async def _tell(self) -> None:
        """Tell of the rooms once somebody listens."""
        pause = _FIRST_LOOK
        while self._untold:
            if not self._wanted(READY):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_LOOK)
                continue
            told = list(self._untold)[:_AT_ONCE]
            await self._names.wait(told, self._names.clock() + _NAMES)
            told = [room for room in told if room in self._untold]
            for room in told:
                del self._untold[room]
            outcomes = [self._put(READY, self._ready(room)) for room in told]
            for room, outcome in zip(told, outcomes, strict=True):
                if _is_refused(await outcome):
                    self._untold[room] = None
                else:
                    self._stats["rooms_told"] += 1
            await asyncio.sleep(_FIRST_LOOK)


def _is_refused(outcome: Any) -> bool:
    """Say whether the layer has not taken something for sure: what may have arrived is not told again."""
    return isinstance(outcome, ChannelFull) or (isinstance(outcome, LayerUnavailable) and not outcome.uncertain)
