"""Questions to the workers at RCPT: who takes a recipient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import Message, Refusal
from . import replies
from .events import Mail, Recipient
from .replies import Reply

if TYPE_CHECKING:
    from .protocol import SmtpConnection
    from .server import SmtpServer

QUESTION_TIMEOUT = 10.0


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
        self._answer(replies.NOT_TAKEN[refusal])

    def timed_out(self) -> None:
        """Take note that nobody answered."""
        why = self._server.why_silent("email.recipient", QUESTION_TIMEOUT)
        self._answer(Reply(451, f"4.3.0 Try again later: {why}"))

    def _answer(self, reply: Reply) -> None:
        self._client.questions.discard(self._connection)
        self._server.close(self._connection)
        self._client.answer_recipient(self._recipient, reply)
