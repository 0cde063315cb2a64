"""One message of a connection at a time, on channels whose workers asked for it with `@ordered`.

    send ──► on the bus ──done──► the next that waits ──► … ──► forgotten
                 ├──refused by the layer──► so is all that waits, in order: whoever sends it anew keeps the order
                 └──`order_timeout` passed──► counted; its worker is dead, or slower than that

The worker answers each message of such a channel with `{"done": mark}` on its reply channel, in the flush that carries
whatever else came of it. The mark is the message's `order`, else its `id`, else True; so a word that comes after the
timeout releases nothing that it is not about. `later` beside it says in how many seconds the message is tried again:
it keeps its place so much longer. A connection costs something here only while a message of it is under way.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..layer import ChannelFull, LayerUnavailable, MessageTooLarge
from .timers import Timer

if TYPE_CHECKING:
    from .base import ProtocolServer

ORDER_TIMEOUT = 30.0
"""Seconds after which a message whose worker said nothing makes way for the next, where no setting says otherwise."""

MOST_WAITING = 64
MOST_BYTES = 1024 * 1024

Message = dict[str, Any]
Then = Callable[[Any], None]


class _Waiting(NamedTuple):
    channel: str
    message: Message
    then: Then
    expiry: float | None
    size: int = 0
    answered: bool = True  # a worker says when it is done


class Turns:
    """The messages of one server's connections, as far as they have to wait for each other.

    Args:
        server: The server, whose inbox they leave by.
        timeout: Seconds until a silent worker is given up.
    """

    __slots__ = ("_emptied", "_server", "_timeout", "_turns")

    def __init__(self, server: ProtocolServer, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._turns: dict[str, _Turn] = {}
        self._emptied: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._turns)

    def send(
        self, channel: str, message: Message, then: Then, *, expiry: float | None = None, bounded: bool = False
    ) -> None:
        """Send a message of a connection: at once, or where workers asked for that, in its turn.

        Args:
            channel: Where to.
            message: The message; its `reply_channel` is the connection.
            then: Called once with the layer's word on it; in its turn, not before it is done or given up.
            expiry: As of `Inbox.send`.
            bounded: Refuse it with `ChannelFull` where 64 messages or 1 MiB wait already, for protocols that cannot
                stop reading; others see by the outcomes that are missing how much waits, and stop by themselves.
        """
        inbox = self._server.inbox
        if not (self._turns or inbox.heard.in_order):  # as nearly always; it is asked for every frame
            inbox.send(channel, message, expiry=expiry, then=then)
            return
        ordered = inbox.listening().get(channel)
        turn = self._turns.get(message.get("reply_channel", ""))
        if turn is not None:
            turn.wait(_Waiting(channel, message, then, expiry, _size(message) if bounded else 0), bounded)
        elif ordered:
            turn = self._turns[message["reply_channel"]] = _Turn(self, message["reply_channel"])
            turn.begin(_Waiting(channel, message, then, expiry))
        else:
            inbox.send(channel, message, expiry=expiry, then=then)

    def follow(self, channel: str, message: Message, then: Then) -> None:
        """Send what nobody answers behind what is under way of its connection: a connection's end."""
        turn = self._turns.get(message.get("reply_channel", "")) if self._turns else None
        if turn is None:
            self._server.inbox.send(channel, message, then=then)
        else:
            turn.wait(_Waiting(channel, message, then, None, answered=False), False)

    def done(self, reply_channel: str, word: Message) -> None:
        """Take a worker's word on a message: it is done, or is tried again later."""
        turn = self._turns.get(reply_channel)
        later = word.get("later")
        if turn is None or not turn.is_about(word["done"]):
            self._server.stats["order_late"] += 1
        elif isinstance(later, int | float) and math.isfinite(later):
            self._server.timers.set(turn, self._timeout + later)
        else:
            turn.release(True)

    async def emptied(self) -> None:
        """Wait until nothing is held back or under way."""
        while self._turns:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def close(self) -> None:
        """Give up what is still held back, and count it as `order_lost`."""
        for turn in self._turns.values():
            self._server.stats["order_lost"] += len(turn.waiting)
        self._turns.clear()

    def forget(self, turn: _Turn) -> None:
        """Remove a connection of which nothing is under way."""
        self._turns.pop(turn.reply_channel, None)
        self._server.timers.clear(turn)
        if not self._turns and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)


class _Turn(Timer):
    """One connection with a message on the bus; its deadline is that message's."""

    __slots__ = ("_mark", "_outcome", "_sent", "_size", "_turns", "reply_channel", "waiting")

    def __init__(self, turns: Turns, reply_channel: str) -> None:
        super().__init__()
        self._turns = turns
        self.reply_channel = reply_channel
        self.waiting: deque[_Waiting] = deque()
        self._size = 0
        self._mark: object = None
        self._sent: _Waiting | None = None  # what is on the bus
        self._outcome: object = True

    def wait(self, one: _Waiting, bounded: bool) -> None:
        """Keep a message behind those that wait already."""
        if bounded and (len(self.waiting) >= MOST_WAITING or self._size + one.size > MOST_BYTES):
            full = ChannelFull(f"{one.channel}: too much of this connection waits for its turn")
            self._turns._server.loop.call_soon(one.then, full)
            return
        self.waiting.append(one)
        self._size += one.size

    def begin(self, one: _Waiting) -> None:
        """Put a message on the bus."""
        message = one.message
        self._mark = message.get("order", message.get("id", True))
        self._sent = one
        self._outcome = True
        server = self._turns._server
        server.timers.set(self, self._turns._timeout)
        server.inbox.send(one.channel, message, expiry=one.expiry, then=partial(self._told, one))

    def is_about(self, mark: object) -> bool:
        """Tell whether a worker's word is about the message that is on the bus."""
        return self._sent is not None and type(mark) is type(self._mark) and mark == self._mark

    def release(self, outcome: object) -> None:
        """Be done with the message on the bus, and go on with the next."""
        sent, self._sent = self._sent, None
        assert sent is not None
        server = self._turns._server
        while self.waiting:
            one = self.waiting.popleft()
            self._size -= one.size
            if one.answered and server.inbox.listening().get(one.channel):
                self.begin(one)
                break
            # The end, or nobody asks for order any more: nobody would say that it is done.
            server.inbox.send(one.channel, one.message, expiry=one.expiry, then=one.then)
        else:
            self._turns.forget(self)
        sent.then(outcome)

    def fire(self) -> None:
        """Give up the worker that has the message."""
        self._turns._server.stats["order_timeouts"] += 1
        self.release(self._outcome)

    def _told(self, one: _Waiting, outcome: object) -> None:
        """Take the layer's word on a message that was sent; the worker's may have come before it."""
        if one is not self._sent or not isinstance(outcome, Exception):
            return
        if isinstance(outcome, LayerUnavailable) and outcome.uncertain:
            self._outcome = outcome  # it may be with a worker
        elif isinstance(outcome, MessageTooLarge):
            self.release(outcome)
        else:
            refused = [one, *self.waiting]
            self.waiting.clear()
            self._sent = None
            self._turns.forget(self)
            for each in refused:
                each.then(outcome)


def _size(message: Message) -> int:
    return sum(len(value) for value in message.values() if isinstance(value, str | bytes))
