"""What becomes of a complete mail: taken apart once, one message for each recipient, and what its sender is told.

LMTP answers for each recipient. SMTP has one answer for all: the temporary failure of one is that of all, for the
sender shall come again; what all refuse is refused. What only some refuse is taken where its sender can be told of the
rest by a bounce, else one refusal refuses all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ...message_formats.email import ParsedMail, mail_id, parse_mail, receive_message
from ...message_formats.email.bounces import MAX_RETURNED, Outcome, delivery_report
from . import replies
from .authentication import Authentication, vouches_for
from .content import Content, NoRoom
from .copies import FIRST_CHUNK, Copy
from .events import Mail, Origin
from .queueing import REMEMBERED, Queueing
from .replies import Reply

if TYPE_CHECKING:
    from .server import SmtpServer

PARSED_AT_ONCE = 32 * 1024  # a larger mail is taken apart in a thread, so that it holds nobody up
MAX_COPIES = 256 * 1024 * 1024  # bytes that the messages of one mail may take; 100 recipients and 100 large parts fit
_BODY_WEIGHT = 4 * FIRST_CHUNK  # bytes that a channel takes before anybody reads, and the time it takes, as bytes
_SENT_AT_ONCE = 4 * 1024 * 1024  # bytes of messages in one turn of the loop


class Client(Protocol):
    """Whoever is told what became of a mail."""

    def answer_mail(self, reply: Reply) -> None:
        """Take what became of it for all recipients that have no answer yet."""

    def answer_copy(self, address: str, reply: Reply) -> None:
        """Take what became of it for one recipient, where each has an answer."""


class Delivery:
    """A complete mail on its way to all its recipients.

    Args:
        server: The server.
        client: Whose mail it is.
        mail: The mail, with its content.
        origin: Where it comes from.
        answers_each: Each recipient has an answer.
    """

    def __init__(
        self, server: SmtpServer, client: Client, mail: Mail, origin: Origin, *, answers_each: bool = False
    ) -> None:
        self._server = server
        self._client = client
        self._mail = mail
        self._origin = origin
        self._answers_each = answers_each
        self._to = mail.accepted
        self._content = mail.take_content()
        self._room = self._content.room
        self._parts = Content(self._room)  # of large parts that have to be decoded
        self._authentication: Authentication | None = None
        self._arrival = time.time()
        self._held = 0
        self._id = ""  # of the mail, whoever it is for
        self._replies: dict[str, Reply] = {}

    def start(self) -> None:
        """Take the mail apart, a larger one in a thread, and go on."""
        if self._content.size <= PARSED_AT_ONCE:
            self._parsed(self._parse())
            return

        def done(future: asyncio.Future[ParsedMail | None]) -> None:
            if not future.cancelled() and not self._server.ended:
                self._parsed(future.result())

        self._server.in_thread(self._parse).add_done_callback(done)

    def _parse(self) -> ParsedMail | None:
        try:
            return parse_mail(self._content.whole(), source=self._content, store=self._parts)
        except NoRoom:
            return None

    def _parsed(self, parsed: ParsedMail | None) -> None:
        if parsed is None:
            self.end(replies.NO_ROOM)
            return
        self._id = mail_id(self._mail.sender, "", parsed.fields["message_id"], parsed.digest)
        weight = parsed.weight + sum(map(len, self._to)) + _BODY_WEIGHT * len(parsed.large)
        if len(self._to) * weight > MAX_COPIES:
            self.end(replies.TOO_MUCH_FOR_SO_MANY)
        elif not self._hold(len(self._to) * weight):
            self.end(replies.NO_ROOM)
        else:
            self._server.judge(
                self._content, self._origin, self._mail, lambda found: self._judged(parsed, weight, found)
            )

    def _judged(self, parsed: ParsedMail, weight: int, authentication: Authentication | None) -> None:
        self._authentication = authentication
        if self._server.settings.accept == "queued":
            large = [part for _, part in parsed.large]
            queueing = Queueing(self, self._server, large, lambda keys: self._queue(queueing, parsed, keys, weight))
            queueing.start()
        else:
            self._each(weight, lambda address: self._copy(parsed, address))

    def _hold(self, count: int) -> bool:
        """Count memory that the mail takes from now until its end, if there is room."""
        try:
            self._room.take_memory(count)
        except NoRoom:
            return False
        self._held = count
        return True

    # Sending

    def _each(self, weight: int, send: Callable[[str], None], begin: int = 0) -> None:
        """Send the messages of some recipients now, and those of the rest in the next turns of the loop."""
        if self._server.ended:
            return
        end = begin + max(1, _SENT_AT_ONCE // weight)
        for address in self._to[begin:end]:
            send(address)
        if end < len(self._to):
            self._server.loop.call_soon(self._each, weight, send, end)

    def _copy(self, parsed: ParsedMail, address: str) -> None:
        copy = Copy(self, self._server, address, [part for _, part in parsed.large])
        channels = dict(enumerate(copy.channels))
        copy.send(self._message(parsed, address, copy.connection.reply_channel, body_channels=channels))

    def _queue(self, queueing: Queueing, parsed: ParsedMail, keys: list[str], weight: int) -> None:
        reply_channel = self._server.nobody
        named = dict(enumerate(keys))
        self._each(
            weight,
            lambda address: queueing.send(address, self._message(parsed, address, reply_channel, body_keys=named)),
        )

    def _message(self, parsed: ParsedMail, address: str, reply_channel: str, **bodies: Any) -> dict[str, Any]:
        sender, origin = self._mail.sender, self._origin
        return receive_message(
            parsed,
            reply_channel=reply_channel,
            id=mail_id(sender, address, parsed.fields["message_id"], parsed.digest),
            address=address,
            sender=sender,
            to=self._to,
            client=origin.peer,
            helo=origin.helo,
            tls=origin.tls,
            auth_user=origin.user,
            authentication=self._authentication,
            **bodies,
        )

    # Answers

    def answered(self, address: str, reply: Reply) -> None:
        """Take what became of one recipient's message, and say what became of the mail once that is known."""
        self._replies[address] = reply
        is_last = len(self._replies) == len(self._to)
        if not self._answers_each:
            if is_last:
                self._settle()
            return
        if is_last:  # before the answer, with which the client goes on
            self._forget(min(self._replies.values(), key=_weight))
        self._client.answer_copy(address, reply)

    def _settle(self) -> None:
        """Say what the sender of a mail is told, by what became of it for all its recipients."""
        refused = {address: reply for address, reply in self._replies.items() if not reply.is_good}
        again = next((reply for reply in refused.values() if reply.is_temporary), None)
        if again is not None:
            self.end(again)
        elif not refused:
            self.end(next(iter(self._replies.values())))
        elif len(refused) < len(self._replies) and self._can_report:
            self._report(refused)
        else:
            self.end(next(iter(refused.values())))

    @property
    def _can_report(self) -> bool:
        """Whether the sender can be told by a bounce that somebody refused the mail.

        Never where the mail is a bounce itself, or where nobody vouches for the sender: it would go to somebody who
        never wrote.
        """
        sender = self._mail.sender
        if sender is None or not self._server.relays:
            return False
        return self._origin.trusted or vouches_for(self._authentication or {}, sender)

    def _report(self, refused: Mapping[str, Reply]) -> None:
        """Have the sender told by mail who refused, and take the mail; delay it if that cannot be."""
        server, mail = self._server, self._mail
        told = [
            Outcome(address, reply.code, reply.text, original=mail.recipients[address].original)
            for address, reply in refused.items()
            if not mail.recipients[address].never
        ]
        if not told or mail.sender is None:
            self.end(replies.MAIL_TAKEN)
            return
        report = delivery_report(
            reporting_mta=server.limits.hostname,
            to=mail.sender,
            outcomes=told,
            original=self._content.read(0, MAX_RETURNED),
            date=self._arrival,
            arrival=self._arrival,
            envelope_id=mail.envelope_id,
        )

        def sent(outcome: object) -> None:
            self.end(replies.TRY_AGAIN if isinstance(outcome, Exception) else replies.MAIL_TAKEN)

        server.stats["bounces"] += 1
        message = {"to": [mail.sender], "from": "", "raw": report}
        # The mail may come again, its answer having been lost: the repeat is told the same, and reported no more.
        server.inbox.send("email.send", message, once=f"bounce.{self._id}", window=REMEMBERED, then=sent)

    def end(self, reply: Reply) -> None:
        """Forget the mail, and say what became of it to whoever has no answer yet."""
        self._forget(reply)
        self._client.answer_mail(reply)

    def _forget(self, reply: Reply) -> None:
        self._content.close()
        self._parts.close()
        self._room.give_back(self._held, 0)
        self._held = 0
        outcome = "taken" if reply.is_good else "delayed" if reply.is_temporary else "refused"
        self._server.stats[f"mails_{outcome}"] += 1


def _weight(reply: Reply) -> int:
    """Order replies by what they make of a mail: delayed, taken, refused."""
    return 0 if reply.is_temporary else 1 if reply.is_good else 2
