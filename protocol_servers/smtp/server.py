"""The SMTP server: mail in, questions and messages on the bus, and its answers back to the sender."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...layer import Layer
from ...message_formats import FormatError
from ...message_formats.email import ParsedMail, parse_mail
from ...message_formats.email.formats import REPLY
from ...operations.errors import UsageError
from ..base import Connection, Message, ProtocolServer, Refusal
from ..tls import server_context
from . import replies
from .addresses import is_domain
from .delivery import Delivery, Question
from .events import Mail, Recipient
from .protocol import SmtpConnection, SmtpFactory
from .replies import Reply, made_reply
from .session import Limits
from .settings import SmtpSettings

MAX_HELD = 512 * 1024 * 1024  # bytes of mail in memory, of all sessions
PARSED_AT_ONCE = 32 * 1024  # a larger mail is taken apart in a thread, so that it holds nobody up
_NAME_TIMEOUT = 2.0


class SmtpServer(ProtocolServer):
    """Take mail for consumers on the bus; 250 only once they are done with it.

    Attributes:
        ended: Nothing may be sent any more.
    """

    name = "smtp"
    extra = "email"
    Settings = SmtpSettings
    settings: SmtpSettings

    def __init__(
        self, layer: Layer, settings: SmtpSettings, *, reactor: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(layer, settings, reactor=reactor, clock=clock)
        self.idle_timeout = settings.idle_timeout
        self.tls_context: ssl.SSLContext | None = None
        self.limits = Limits()
        self.factory = SmtpFactory(self)
        self._clients: set[SmtpConnection] = set()
        self._last_gone: asyncio.Future[None] | None = None
        self._held = 0
        self.ended = False
        self._parser = ThreadPoolExecutor(1, "smtp-parser")

    async def listen(self) -> None:
        """Listen on the endpoints of the settings.

        Raises:
            UsageError: The certificate cannot be used, or an endpoint makes no sense.
            StartError: A port is taken or may not be used.
        """
        settings = self.settings
        if settings.certificate is not None:
            try:
                self.tls_context = server_context(settings.certificate, settings.key)
            except OSError as error:
                raise UsageError(
                    f"[smtp] certificate {settings.certificate} cannot be used: {error.strerror or error}"
                ) from error
        self.limits = Limits(
            hostname=settings.hostname or await own_name(self.loop),
            max_size=settings.max_size,
            max_recipients=settings.max_recipients,
            max_line=settings.max_line,
            max_errors=settings.max_errors,
            postmaster=settings.postmaster,
        )
        await self.listen_on(settings.endpoints, self.factory, "smtp")

    async def stop(self, grace: float) -> bool:
        """Stop: 421 to whoever has no mail open, and to the others after it or at the end of `grace` seconds."""
        try:
            return await super().stop(grace)
        finally:
            self.ended = True
            self._parser.shutdown(wait=False, cancel_futures=True)

    async def drain(self, grace: float) -> None:
        """Finish the open mails, and wait until every connection has ended."""
        try:
            for client in list(self._clients):
                client.end(replies.STOPPING)
            while self._clients:
                self._last_gone = self.loop.create_future()
                await self._last_gone
            await super().drain(grace)
        finally:
            for client in list(self._clients):
                client.end(replies.STOPPING, now=True)

    # What connections ask

    def opened(self, client: SmtpConnection) -> None:
        """Take note of a connection."""
        self.stats["connections"] += 1
        self._clients.add(client)

    def gone(self, client: SmtpConnection) -> None:
        """Forget a connection; its mails on the bus stay there, for the sender may ask again."""
        self._clients.discard(client)
        for connection in list(client.questions):
            self.close(connection)
        client.questions.clear()
        if not self._clients and self._last_gone is not None and not self._last_gone.done():
            self._last_gone.set_result(None)

    def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
        """Ask the workers whether they take a recipient."""
        if self.settings.rcpt == "any":
            client.answer_recipient(recipient, replies.RECIPIENT_OK)
        else:
            Question(self, client, mail, recipient)

    def take(self, client: SmtpConnection, mail: Mail) -> None:
        """Give a mail to the consumers of its recipients."""
        content, mail.content = mail.content, b""
        delivery = Delivery(self, client, mail)
        if not delivery.hold(len(content)):
            return
        if len(content) <= PARSED_AT_ONCE:
            delivery.start(parse_mail(content))
            return

        def parsed(future: asyncio.Future[ParsedMail]) -> None:
            if not future.cancelled():
                delivery.start(future.result())

        self.loop.run_in_executor(self._parser, parse_mail, content).add_done_callback(parsed)

    def hold(self, count: int) -> bool:
        """Count bytes of mail in memory; return whether there is room for them."""
        self._held += count
        return self._held <= MAX_HELD

    # What the bus brings: a connection's state is a Question or a Copy

    def deliver(self, connection: Connection, message: Message) -> None:
        """Answer a recipient or a mail."""
        connection.state.deliver(message)

    def deliver_group(self, connections: Sequence[Connection], message: Message) -> None:
        """Ignore a group's message: nobody in a mail transaction could be told."""
        self.stats["group_messages_ignored"] += 1

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        """Tell a client that the layer did not take its message."""
        connection.state.refuse(refusal)

    def timed_out(self, connection: Connection) -> None:
        """Tell a client that no answer came in time."""
        connection.state.timed_out()

    def credited(self, connection: Connection, channel: str, count: int) -> None:
        """Send a body on."""
        connection.state.credited(channel, count)

    def reply_of(self, connection: Connection, message: Message, good: Reply) -> Reply:
        """Turn an answer from the bus into a reply; one that breaks its format is a temporary failure.

        Args:
            connection: Whose answer it is.
            message: The answer.
            good: The reply to an acceptance that says no more.
        """
        try:
            REPLY.validate(message, unknown="ignore")
        except FormatError as error:
            self.unfit(connection, str(error))
            return replies.TRY_AGAIN
        accept, code, text = message.get("accept"), message.get("code"), message.get("text")
        if accept is None or accept:
            if code is None and text is None:
                return good
            if code is None or 200 <= code < 300:
                return made_reply(code or good.code, text or "", "OK")
        elif code is None or code >= 400:
            # 421 would promise that the connection closes (RFC 5321 section 3.8).
            return made_reply(451 if code == 421 else code or 550, text or "", "Refused")
        self.unfit(connection, f"code {code} contradicts accept")
        return replies.TRY_AGAIN


async def own_name(loop: asyncio.AbstractEventLoop) -> str:
    """Return this machine's name as a mail server says it; asks the resolver for at most 2 s."""
    name = socket.gethostname()
    if "." not in name:
        try:
            async with asyncio.timeout(_NAME_TIMEOUT):
                name = await loop.run_in_executor(None, socket.getfqdn)
        except TimeoutError:
            pass
    return name if name.isascii() and is_domain(name) else "localhost"
