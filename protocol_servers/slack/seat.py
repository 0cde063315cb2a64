"""The one process that speaks in a workspace: it holds the lease on the workspace's inbox.

Any number of processes receive: Slack gives each event to one of their connections, and the layer takes each once.
Where two of them spoke, what one channel is told would leave in no order. So replies go to the inbox of the workspace,
and whoever holds its lease says them; the others look now and then whether it lapsed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ...layer import Inbox, InboxItem, Layer, LayerError, LayerUnavailable
from ..traces import places_of

LOOK = 2.0  # seconds between two looks at the lease, on average
_HAND_OVER = 5.0  # seconds to say what was taken, when the lease is lost
_MOST_EARLY = 10_000

Message = dict[str, Any]


class Voice(Protocol):
    """What says replies; see `Speaker`."""

    async def start(self) -> None:
        """Begin, or begin again."""

    def say(self, conversation: str, message: Message) -> None:
        """Say something when its turn comes."""

    async def stop(self, grace: float) -> bool:
        """Say what waits, or give it back; False when nobody knows what became of a part of it."""


class Seat:
    """A process' claim to speak in one workspace.

    Args:
        layer: The channel layer.
        network: The workspace's name.
        loop: The event loop.
        voice: What says replies.
        taken: Called whenever this process begins to speak.
        send: Sends a message to a channel, and calls back with the layer's word on it; may raise TypeError.
        stats: Counts "seats_taken", "seats_lost", "failures" and "replies_dropped".
        log: Where people read of it.
        draw: Returns a number from 0 up to 1.

    Attributes:
        name: The inbox.
        held: Whether this process speaks.
    """

    def __init__(
        self,
        layer: Layer,
        network: str,
        *,
        loop: asyncio.AbstractEventLoop,
        voice: Voice,
        taken: Callable[[], None],
        send: Callable[[str, Message, Callable[[Any], None]], None],
        stats: Counter[str],
        log: logging.Logger,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = f"slack.reply.{network}!"
        self.held = False
        self._layer = layer
        self._network = network
        self._loop = loop
        self._voice = voice
        self._taken = taken
        self._send = send
        self._stats = stats
        self._log = log
        self._draw = draw
        self._inbox: Inbox | None = None
        self._speaking = False
        self._closing = False
        self._early: list[tuple[str, Message]] = []  # what came before we speak, or after we ended
        self._changed = asyncio.Event()
        self._living: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Claim the seat; whether it is free or not, and the layer there or not, go on in the background."""
        await self._claim()
        self._living = self._loop.create_task(self._live())

    async def stop(self, grace: float) -> bool:
        """Say what there is to say for up to ``grace`` seconds, leave the rest to others, and give the seat up.

        Returns:
            False when nobody knows what became of a part of it.
        """
        self._closing = True
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
            self._living = None
        clear = await self._voice.stop(grace) if self._speaking else True
        self._speaking = False
        await self.close()
        return clear

    async def close(self) -> None:
        """Give the seat up now, and all that was not said back to the layer."""
        self._closing = True
        if self._living is not None:
            self._living.cancel()
            self._living = None
        if self._speaking:  # `stop` was cut off, or never began: the machine is too busy for the grace
            self._speaking = False
            await self._voice.stop(0.0)
        inbox, self._inbox = self._inbox, None
        self.held = False
        if inbox is not None:
            await inbox.close()
        self._give_all_back()

    def give_back(self, conversation: str, message: Message) -> None:
        """Take back a reply that was not said, for whoever holds the seat next."""
        self._keep(conversation, message)

    def gone(self, conversation: str) -> None:
        """Take a room that we left out of all groups."""
        if self._inbox is not None:
            self._inbox.gone(conversation)

    # The lease

    async def _live(self) -> None:
        while True:
            if self._inbox is None:
                await asyncio.sleep(LOOK * (0.5 + self._draw()))
                await self._claim()
                continue
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._follow()
            except Exception as error:
                self._stats["failures"] += 1
                self._log.error("%s: the seat could not be passed on: %s", self._network, places_of(error))

    async def _claim(self) -> None:
        """Take the seat if nobody has it."""
        try:
            # A layer that does not answer keeps a thread waiting, not the loop.
            await self._loop.run_in_executor(None, self._layer.get_state, f"slack.seat.{self._network}")
            self._inbox = self._layer.open_inbox(
                self.name, loop=self._loop, receive=self._receive, up=self._up, down=self._down, lasting=True
            )
        except LayerUnavailable:
            return
        except LayerError:
            if not self._stats["seats_waited"]:
                self._log.info("%s: another process speaks in this workspace; this one receives", self._network)
            self._stats["seats_waited"] += 1
            return
        # In the same turn of the loop, so that nothing arrives before there is somebody to say it.
        self.held = True
        await self._begin()

    async def _begin(self) -> None:
        self._stats["seats_taken"] += 1
        self._log.info("%s: this process speaks", self._network)
        await self._voice.start()
        self._speaking = True
        early, self._early = self._early, []
        for conversation, message in early:
            self._voice.say(conversation, message)
        self._taken()

    async def _follow(self) -> None:
        """Begin or end to speak, as the lease says."""
        if self.held and not self._speaking:
            await self._begin()
        elif not self.held and self._speaking:
            await self._voice.stop(_HAND_OVER)
            self._speaking = False
            if self.held:  # again
                await self._begin()
            else:
                self._give_all_back()

    def _down(self, reason: str) -> None:
        if reason.endswith("is leased by another process") and self.held:
            self._stats["seats_lost"] += 1
            self._log.warning("%s: another process took over speaking", self._network)
            self.held = False
            self._changed.set()

    def _up(self) -> None:
        if not self.held and not self._closing:
            self.held = True
            self._changed.set()

    # Replies

    def _receive(self, items: Sequence[InboxItem]) -> None:
        for _, conversations, message in items:
            for conversation in conversations:
                if not self._speaking or self._closing:
                    self._keep(conversation, message)
                    continue
                try:
                    self._voice.say(conversation, message)
                except Exception as error:
                    self._stats["failures"] += 1
                    self._log.error("%s: a reply failed: %s", self._network, places_of(error))

    def _keep(self, conversation: str, message: Message) -> None:
        if len(self._early) < _MOST_EARLY:
            self._early.append((conversation, message))
        else:
            self._stats["replies_dropped"] += 1

    def _give_all_back(self) -> None:
        early, self._early = self._early, []
        for conversation, message in early:
            try:
                self._send(self.name + conversation, message, self._sent_back)
            except TypeError:  # a group's message is unchecked
                self._stats["replies_dropped"] += 1

    def _sent_back(self, outcome: Any) -> None:
        self._stats["replies_dropped"] += isinstance(outcome, Exception)
