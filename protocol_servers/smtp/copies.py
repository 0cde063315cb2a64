"""A mail for one recipient whose consumer is waited for (``accept = "consumed"``), and the large parts it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...message_formats.email import LargePart
from ..base import Connection, Message, Refusal
from . import replies
from .replies import Reply

if TYPE_CHECKING:
    from .delivery import Delivery
    from .server import SmtpServer

CHUNK = 64 * 1024
FIRST_CHUNK = 4 * 1024  # sent before anybody reads, for every large part and every recipient
AHEAD = 16  # chunks sent and not yet taken, at most: fewer where the channel holds fewer
DONE_EXPIRY = 5.0  # of the rest of a body whose consumer is done
LATE_EXPIRY = 60.0  # of the rest of a body whose consumer is late and may still read


class Copy:
    """A mail for one recipient; the state of a `Connection` until it is answered.

    Attributes:
        connection: What the recipient's consumer answers on.
        channels: The body channels, one for each large part.
    """

    __slots__ = ("_address", "_bodies", "_delivery", "_server", "channels", "connection")

    def __init__(self, delivery: Delivery, server: SmtpServer, address: str, large: list[LargePart]) -> None:
        self._delivery = delivery
        self._server = server
        self._address = address
        self.connection: Connection = server.open(self)
        self.channels = [server.inbox.new_channel("email.body?") for _ in large]
        # A chunk that was refused would be a hole in the body: the others are on their way before that is known.
        self._bodies = {
            name: _Body(part, min(AHEAD, server.inbox.capacity(name)))
            for name, part in zip(self.channels, large, strict=True)
        }

    def send(self, message: dict[str, Any]) -> None:
        """Send the message and the beginning of each body."""
        server = self._server
        seconds = server.settings.answer_timeout
        server.set_timer(self.connection, seconds)
        server.publish("email.receive", message, self.connection, expiry=seconds)
        for name in self.channels:
            self._feed(name)

    def credited(self, channel: str, count: int) -> None:
        """Go on with a body of which `count` chunks were taken."""
        body = self._bodies.get(channel)
        if body is not None:
            body.credit(count)
            self._feed(channel)

    def deliver(self, message: Message) -> None:
        """Take the consumer's answer."""
        self._answer(self._server.reply_of(self.connection, message, replies.MAIL_TAKEN))

    def refuse(self, refusal: Refusal) -> None:
        """Take note that the layer did not take the message, or a piece of a body."""
        self._answer(replies.NOT_TAKEN[refusal])

    def timed_out(self) -> None:
        """Take note that no answer came."""
        why = self._server.why_silent("email.receive", self._server.settings.answer_timeout)
        self._answer(Reply(451, f"4.3.0 Try again later: {why}"), LATE_EXPIRY)

    def _answer(self, reply: Reply, expiry: float = DONE_EXPIRY) -> None:
        for name, body in self._bodies.items():
            if not body.is_taken:  # what is left expires with this last word
                self._server.publish(name, {"content": b"", "closed": True}, expiry=expiry, last=True)
        self._bodies.clear()
        self._server.close(self.connection)
        self._delivery.answered(self._address, reply)

    def _feed(self, name: str) -> None:
        server = self._server
        # Looked up each time: a chunk that is refused answers the copy, and ends its bodies.
        while (body := self._bodies.get(name)) is not None and (chunk := body.next_chunk()) is not None:
            server.publish(
                name,
                {"content": chunk, "more_content": not body.is_sent},
                self.connection,
                expiry=server.settings.answer_timeout,
                credit=True,
                last=body.is_sent,
            )


class _Body:
    """One part on its way through a channel: a small first chunk at once, more and more ahead the more is read."""

    __slots__ = ("_ahead", "_most", "_part", "_position", "_taken")

    def __init__(self, part: LargePart, most: int) -> None:
        self._part = part
        self._most = most
        self._position = 0
        self._ahead = 0  # chunks sent and not taken
        self._taken = 0

    @property
    def is_sent(self) -> bool:
        return self._position >= self._part.size

    @property
    def is_taken(self) -> bool:
        return self.is_sent and not self._ahead

    def credit(self, count: int) -> None:
        self._ahead -= count
        self._taken += count

    def next_chunk(self) -> bytes | None:
        # Many a reader wants no more than the beginning.
        if self.is_sent or self._ahead >= min(self._most, max(1, 4 * self._taken)):
            return None
        self._ahead += 1
        chunk = self._part.read(self._position, CHUNK if self._taken else FIRST_CHUNK)
        self._position += len(chunk)
        return chunk
