"""A mail put into the durable channel, whole: ``accept = "queued"``.

The content of each large part is stored once, in the layer, and the messages of all recipients name it. A part is
stored a few chunks at a time, so that no more than that of a mail is on its way. The message is sent with its own id
as `once`: a mail whose 250 was lost on its way to the sender, and which therefore comes again, is not queued twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...layer import ChannelFull, MessageTooLarge
from ...message_formats.email import LargePart
from ..base import Refusal
from . import replies
from .replies import Reply

if TYPE_CHECKING:
    from .delivery import Delivery
    from .server import SmtpServer

CHUNK = 64 * 1024
AHEAD = 4  # chunks on their way
REMEMBERED = 5 * 86400.0  # seconds for which a repeat is known; senders give up by then (RFC 5321 section 4.5.4.1)


class Queueing:
    """One mail on its way into the durable channel.

    Args:
        delivery: What is told what became of each recipient.
        server: The server.
        large: The content of the large parts.
        then: Is called with the keys of what is stored by then, once all of it is; sends the messages.
    """

    def __init__(
        self, delivery: Delivery, server: SmtpServer, large: list[LargePart], then: Callable[[list[str]], None]
    ) -> None:
        self._delivery = delivery
        self._server = server
        self._large = large
        self._then = then
        self._keys = [server.inbox.new_blob("email.receive") for _ in large]
        self._part = 0
        self._position = 0
        self._on_the_way = 0
        self._ended = False

    def start(self) -> None:
        """Store the parts."""
        while not self._ended and self._on_the_way < AHEAD and self._part < len(self._large):
            self._store_next()
        if not self._ended and not self._on_the_way and self._part == len(self._large):
            self._ended = True
            self._then([str(key) for key in self._keys])

    def _store_next(self) -> None:
        part = self._large[self._part]
        chunk = part.read(self._position, CHUNK)
        self._on_the_way += 1
        key = self._keys[self._part]
        self._position += len(chunk)
        if self._position >= part.size:
            self._part += 1
            self._position = 0
        self._server.inbox.append_blob(key, chunk, self._stored)

    def _stored(self, outcome: object) -> None:
        self._on_the_way -= 1
        if self._ended or self._server.ended:
            return
        if isinstance(outcome, Exception):
            self._ended = True
            for key in self._keys:
                self._server.inbox.drop_blob(key)
            self._delivery.end(_why_not(outcome))
        else:
            self.start()

    def send(self, address: str, message: dict[str, Any]) -> None:
        """Send one recipient's message."""

        def sent(outcome: object) -> None:
            # False: it was sent before, and its sender did not hear so.
            reply = _why_not(outcome) if isinstance(outcome, Exception) else replies.MAIL_QUEUED
            self._delivery.answered(address, reply)

        self._server.inbox.send(
            "email.receive", message, once=message["id"], window=REMEMBERED, blobs=self._keys, then=sent
        )


def _why_not(error: Exception) -> Reply:
    if isinstance(error, ChannelFull):
        return replies.NOT_TAKEN[Refusal.FULL]
    return replies.NOT_TAKEN[Refusal.TOO_LARGE if isinstance(error, MessageTooLarge) else Refusal.UNAVAILABLE]
