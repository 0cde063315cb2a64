"""What an SMTP session asks of the bus: who takes a recipient, and what became of a mail.

One `Question` is asked for each RCPT. A complete mail becomes one `Copy` for each recipient: its message, and body
channels for the parts that are too large for one, each fed at the pace of whoever reads it. The `Delivery` knows them
all and says what the client is told: a mail is accepted by all its recipients or by none, for there is nobody who
could send a bounce for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...message_formats.email import ParsedMail, mail_id, receive_message
from ..base import Connection, Message, Refusal
from . import replies
from .events import Mail, Recipient
from .replies import Reply

if TYPE_CHECKING:
    from .protocol import SmtpConnection
    from .server import SmtpServer

CHUNK = 64 * 1024
FIRST_CHUNK = 4 * 1024  # sent before anybody reads, for every large part and every recipient
AHEAD = 16  # chunks sent and not yet taken
MAX_COPIES = 256 * 1024 * 1024  # bytes that the messages of one mail may take; 100 recipients and 100 large parts fit
QUESTION_TIMEOUT = 10.0
DONE_EXPIRY = 5.0  # of the rest of a body whose consumer is done
LATE_EXPIRY = 60.0  # of the rest of a body whose consumer is late and may still read
_BODY_WEIGHT = 4 * FIRST_CHUNK  # bytes that a channel takes before anybody reads, and the time it takes, as bytes
_SENT_AT_ONCE = 4 * 1024 * 1024  # bytes of messages in one turn of the loop

_REFUSALS = {
    Refusal.FULL: Reply(451, "4.3.1 The channel is full, try again later"),
    Refusal.UNAVAILABLE: Reply(451, "4.3.0 The channel layer is unavailable, try again later"),
    Refusal.TOO_LARGE: Reply(552, "5.3.4 The mail is more than the channel layer carries"),
}


class Question:
    """Whether a recipient is taken; the state of a `Connection` until it is answered."""

    __slots__ = ("_client", "_connection", "_recipient", "_server")

    def __init__(self, server: SmtpServer, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
        self._server = server
        self._client = client
        self._recipient = recipient
        self._connection = server.open(self)
        client.questions.add(self._connection)
        message = {
            "reply_channel": self._connection.reply_channel,
            "address": recipient.address,
            "client": client.peer,
            "helo": client.session.helo,
        }
        if mail.sender is not None:
            message["from"] = mail.sender
        server.set_timer(self._connection, QUESTION_TIMEOUT)
        server.publish("email.recipient", message, self._connection, expiry=QUESTION_TIMEOUT)

    def deliver(self, message: Message) -> None:
        """Take the workers' answer."""
        self._answer(self._server.reply_of(self._connection, message, replies.RECIPIENT_OK))

    def refuse(self, refusal: Refusal) -> None:
        """Take note that the question was not asked."""
        self._answer(_REFUSALS[refusal])

    def timed_out(self) -> None:
        """Take note that nobody answered."""
        why = self._server.why_silent("email.recipient", QUESTION_TIMEOUT)
        self._answer(Reply(451, f"4.3.0 Try again later: {why}"))

    def _answer(self, reply: Reply) -> None:
        self._client.questions.discard(self._connection)
        self._server.close(self._connection)
        self._client.answer_recipient(self._recipient, reply)


class Delivery:
    """A complete mail on its way to the consumers of all its recipients.

    Args:
        server: The server.
        client: Whose mail it is.
        mail: The mail.
    """

    def __init__(self, server: SmtpServer, client: SmtpConnection, mail: Mail) -> None:
        self._server = server
        self._client = client
        self._mail = mail
        self._to = mail.accepted
        self._helo = client.session.helo
        self._tls = client.session.tls
        self._held = 0
        self._replies: list[Reply] = []

    def hold(self, count: int) -> bool:
        """Count memory that the mail takes from now until its end; end it, and return False, where there is no room."""
        self._held += count
        if self._server.hold(count):
            return True
        self._end(replies.NO_ROOM)
        return False

    def start(self, parsed: ParsedMail) -> None:
        """Send every recipient's message."""
        weight = parsed.weight + sum(map(len, self._to)) + _BODY_WEIGHT * len(parsed.large)
        if len(self._to) * weight > MAX_COPIES:
            self._end(replies.TOO_MUCH_FOR_SO_MANY)
        elif self.hold(len(self._to) * weight):
            self._send(parsed, 0, max(1, _SENT_AT_ONCE // weight))

    def _send(self, parsed: ParsedMail, begin: int, count: int) -> None:
        """Send the messages of `count` recipients now, and those of the rest in the next turns of the loop."""
        if self._server.ended:
            return
        end = begin + count
        for address in self._to[begin:end]:
            self._send_copy(parsed, address)
        if end < len(self._to):
            self._server.loop.call_soon(self._send, parsed, end, count)

    def _send_copy(self, parsed: ParsedMail, address: str) -> None:
        mail = self._mail
        copy = Copy(self, self._server, [data for _, data in parsed.large])
        copy.send(
            receive_message(
                parsed,
                reply_channel=copy.connection.reply_channel,
                id=mail_id(mail.sender, address, parsed.fields["message_id"], parsed.digest),
                address=address,
                sender=mail.sender,
                to=self._to,
                client=self._client.peer,
                helo=self._helo,
                tls=self._tls,
                body_channels=dict(enumerate(copy.channels)),
            )
        )

    def answered(self, reply: Reply) -> None:
        """Take what became of one copy; after the last one, say what became of the mail."""
        self._replies.append(reply)
        if len(self._replies) == len(self._to):
            self._end(verdict(self._replies))

    def _end(self, reply: Reply) -> None:
        self._server.hold(-self._held)
        outcome = "taken" if reply.is_good else "delayed" if reply.is_temporary else "refused"
        self._server.stats[f"mails_{outcome}"] += 1
        self._client.answer_mail(reply)


def verdict(answers: Sequence[Reply]) -> Reply:
    """Say what a mail's sender is told: to try again if one recipient wants that, refused if one refuses, else done."""
    for reply in answers:
        if reply.is_temporary:
            return reply
    return next((reply for reply in answers if not reply.is_good), answers[0])


class Copy:
    """A mail for one recipient; the state of a `Connection` until it is answered.

    Attributes:
        connection: What the recipient's consumer answers on.
        channels: The body channels, one for each large part.
    """

    __slots__ = ("_bodies", "_delivery", "_server", "channels", "connection")

    def __init__(self, delivery: Delivery, server: SmtpServer, large: list[bytes]) -> None:
        self._delivery = delivery
        self._server = server
        self.connection: Connection = server.open(self)
        self.channels = [server.inbox.new_channel("email.body?") for _ in large]
        self._bodies = {name: _Body(data) for name, data in zip(self.channels, large, strict=True)}

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
        self._answer(_REFUSALS[refusal])

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
        self._delivery.answered(reply)

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

    __slots__ = ("_ahead", "_data", "_position", "_taken")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._ahead = 0  # chunks sent and not taken
        self._taken = 0

    @property
    def is_sent(self) -> bool:
        return self._position >= len(self._data)

    @property
    def is_taken(self) -> bool:
        return self.is_sent and not self._ahead

    def credit(self, count: int) -> None:
        self._ahead -= count
        self._taken += count

    def next_chunk(self) -> bytes | None:
        # Many a reader wants no more than the beginning.
        if self.is_sent or self._ahead >= min(AHEAD, max(1, 4 * self._taken)):
            return None
        self._ahead += 1
        begin = self._position
        self._position += CHUNK if self._taken else FIRST_CHUNK
        return self._data[begin : self._position]
