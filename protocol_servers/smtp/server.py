"""The SMTP and the LMTP server: mail in, questions and messages on the bus, and its answers back to the sender."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

from ...layer import Layer
from ...message_formats import FormatError
from ...message_formats.email.formats import REPLY
from ...operations.errors import UsageError
from ..base import Connection, Message, ProtocolServer, Refusal
from ..networks import UNIX, Networks, one_client, read_address
from ..tls import client_context, server_context
from . import replies
from .addresses import is_domain
from .asking import Question
from .authentication import Authentication, Sender, load_authenticator
from .commands import LMTP, SMTP, Dialect
from .content import Content, Room, Share
from .delivery import Delivery
from .envelope import Limits
from .events import LoginAsked, Mail, Origin, Recipient
from .logins import Logins, load_check
from .neighbours import Neighbours
from .outgoing import Outbox
from .protocol import SmtpConnection, SmtpFactory
from .replies import Reply, made_reply
from .settings import LmtpSettings, MailSettings, SmtpSettings

if TYPE_CHECKING:
    from ..http_core.hooks import HookFactory
    from .authentication.judging import Authenticator
    from .webhooks.settings import WebhooksSettings

MAX_MEMORY = 512 * 1024 * 1024  # bytes of mail in memory, of all sessions
# Mail from there was not sent from there: what is on this machine or beside it takes it from somebody else.
NEAR = Networks(
    [
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1", "fc00::/7", "fe80::/10", UNIX),
    ],
    "near",
)
_NAME_TIMEOUT = 2.0

T = TypeVar("T")


class SmtpServer(ProtocolServer):
    """Take mail for consumers on the bus; 250 only once they are done with it, or it is safe in a durable channel.

    Attributes:
        dialect: SMTP or LMTP.
        authenticator: Finds out who sent a mail; None: nobody can.
        ended: Nothing may be sent any more.
        outbox: What sends mail; None: there is no relay.
        room: What all mails that are here take.
    """

    name = "smtp"
    extra = "email"
    Settings: ClassVar[type[MailSettings]] = SmtpSettings
    settings: MailSettings
    dialect: Dialect = SMTP

    def __init__(
        self, layer: Layer, settings: MailSettings, *, reactor: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(layer, settings, reactor=reactor, clock=clock)
        self.idle_timeout = settings.idle_timeout
        self.min_data_rate = settings.min_data_rate
        self.tls_context: ssl.SSLContext | None = None
        self.limits = Limits()
        self.factory = SmtpFactory(self)
        self.room = Room(MAX_MEMORY, settings.max_spool)
        self._shares: WeakValueDictionary[str | bytes, Share] = WeakValueDictionary()  # while they have a mail
        self.ended = False
        self.outbox: Outbox | None = None
        self.authenticator: Authenticator | None = None
        self._neighbours = Neighbours(settings.trusted, settings.rate, clock)
        self._logins: Logins | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[SmtpConnection] = set()
        self._hooks: list[HookFactory] = []
        self._last_gone: asyncio.Future[None] | None = None
        self._parser = ThreadPoolExecutor(1, f"{self.name}-parser")

    async def listen(self) -> None:
        """Listen on the endpoints of the settings.

        Raises:
            UsageError: The certificate cannot be used, or an endpoint makes no sense, or `accept` does not fit the
                channel.
            StartError: A port is taken or may not be used.
        """
        settings = self.settings
        self._check_channel()
        if settings.certificate is not None:
            try:
                self.tls_context = server_context(settings.certificate, settings.key)
            except OSError as error:
                raise UsageError(
                    f"[{self.name}] certificate {settings.certificate} cannot be used: {error.strerror or error}"
                ) from error
        check = load_check(f"[{self.name}]", settings.auth_file, settings.auth_callable)
        self._logins = None if check is None else Logins(check, self.loop)
        self.limits = Limits(
            hostname=settings.hostname or await own_name(self.loop),
            max_size=settings.max_size,
            max_recipients=settings.max_recipients,
            max_line=settings.max_line,
            max_errors=settings.max_errors,
            postmaster=settings.postmaster,
            offers_auth=check is not None,
        )
        self.authenticator = load_authenticator(self.in_thread)
        await self.listen_on(settings.endpoints, self.factory, self.name)
        if isinstance(settings, SmtpSettings) and any(settings.webhooks.all()):
            await self._listen_to(settings.webhooks)
        relay = settings.parsed_relay
        if relay is not None:
            self.outbox = Outbox(self, relay, name=self.limits.hostname, context=client_context())
            self.outbox.start()
            self.peers.append(str(relay))

    async def _listen_to(self, webhooks: WebhooksSettings) -> None:
        try:
            from .webhooks import listening
        except ModuleNotFoundError as error:
            needed = "trunkline[email]"
            raise UsageError(
                f"[{self.name}.webhooks] needs {needed}: pip install '{needed}' ({error.name} is missing)"
            ) from error
        self._hooks = await listening.listen(self, webhooks)

    def _check_channel(self) -> None:
        """Refuse a way of accepting that does not fit the channel: only what is durable keeps a mail after its 250."""
        queued = self.settings.accept == "queued"
        if queued is self.layer.is_durable("email.receive"):
            return
        if queued:
            why = 'accept = "queued" needs [channels."email.receive"] durable = true: a mail is safe nowhere else'
        else:
            why = 'accept = "consumed" needs a channel email.receive that is not durable: its sender keeps the mail'
        raise UsageError(f"[{self.name}] {why}")

    async def stop(self, grace: float) -> bool:
        """Stop: 421 to whoever has no mail open, and to the others after it or at the end of `grace` seconds."""
        ending = [super().stop(grace)]
        if self.outbox is not None:
            ending.append(self.outbox.stop(grace))
        try:
            return all(await asyncio.gather(*ending))
        finally:
            self.ended = True
            self._parser.shutdown(wait=False, cancel_futures=True)
            if self._logins is not None:
                self._logins.close()

    async def drain(self, grace: float) -> None:
        """Finish the open mails, and wait until every connection has ended."""
        try:
            for client in list(self._clients):
                client.end(replies.STOPPING)
            while self._clients:
                self._last_gone = self.loop.create_future()
                await self._last_gone
            await asyncio.gather(super().drain(grace), *(hooks.drain(grace) for hooks in self._hooks))
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

    def trusts(self, client: SmtpConnection) -> bool:
        """Say whether the client is one of `trusted`."""
        return self._neighbours.trusts(client.peer[0])

    def admit_mail(self, client: SmtpConnection) -> Reply | None:
        """Say why the client may not send a mail now; None: it may."""
        if client.session.trusted or self._neighbours.admit_mail(client.peer[0]):
            return None
        self.stats["rate_limited"] += 1
        return replies.TOO_OFTEN

    def admit_commands(self, client: SmtpConnection, count: int) -> bool:
        """Say whether the client may go on, having said so many commands."""
        return client.session.trusted or self._neighbours.admit_commands(client.peer[0], count)

    def room_of(self, client: SmtpConnection) -> Room:
        """Return what the mails of a client are counted in: all of the room where it is trusted, else a share."""
        if client.session.trusted:
            return self.room
        key = one_client(client.peer[0])
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share(self.room, 2 * self.settings.max_size)
        return share

    def open_content(self, client: SmtpConnection) -> Content:
        """Return a place for the bytes of a mail."""
        return Content(self.room_of(client))

    def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
        """Ask the workers whether they take a recipient."""
        if self.settings.rcpt == "any":
            client.answer_recipient(recipient, replies.RECIPIENT_OK)
        else:
            Question(self, client, mail, recipient)

    def log_in(self, client: SmtpConnection, login: LoginAsked) -> None:
        """Have a login checked, and tell the client."""
        assert self._logins is not None
        self.keep(self._log_in(self._logins, client, login))

    async def _log_in(self, logins: Logins, client: SmtpConnection, login: LoginAsked) -> None:
        try:
            user = await logins.user(login.user, login.password)
        except (TimeoutError, LookupError, RuntimeError):  # RuntimeError: we are stopping
            self.stats["logins_unanswered"] += 1
            client.answer_login(replies.AUTH_LATER)
            return
        self.stats["logins_refused" if user is None else "logins"] += 1
        client.answer_login(replies.AUTH_FAILED if user is None else replies.LOGGED_IN, user)

    def take(self, client: SmtpConnection, mail: Mail) -> None:
        """Give a mail to the consumers of its recipients."""
        session, answers_each = client.session, self.dialect.answers_each
        origin = Origin(
            client.peer,
            session.helo,
            session.tls,
            session.user,
            session.trusted,
            # LMTP is spoken by a server that took the mail from somebody else.
            judged=not (answers_each or session.trusted or client.peer[0] in NEAR),
        )
        Delivery(self, client, mail, origin, answers_each=answers_each).start()

    def judge(
        self, content: Content, origin: Origin, mail: Mail, then: Callable[[Authentication | None], None]
    ) -> None:
        """Find out who sent a mail, and call `then`, at once where nobody has to be sender."""
        if self.authenticator is None:
            then(None)
            return
        client = read_address(origin.peer[0]) if origin.judged else None
        sender = Sender(client, origin.helo, mail.sender, origin.spf)
        found = self.authenticator.at_once(content, sender)
        if found is not None:
            then(found)
        else:
            self.keep(self._judge(self.authenticator, content, sender, then))

    async def _judge(
        self, authenticator: Authenticator, content: Content, sender: Sender, then: Callable[[Authentication], None]
    ) -> None:
        found = await authenticator.judge(content, sender)
        if not self.ended:
            then(found)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done; the loop alone would let it vanish."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def in_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call something that takes its time, after what was given here before."""
        return self.loop.run_in_executor(self._parser, function)

    @property
    def relays(self) -> bool:
        """Whether mail can be sent from here."""
        return self.settings.relay is not None

    @property
    def nobody(self) -> str:
        """A reply channel for answers that nobody waits for."""
        return self._inbox_name + "nobody"

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


class LmtpServer(SmtpServer):
    """The same by LMTP (RFC 2033), from a mail server that keeps what one recipient does not take."""

    name = "lmtp"
    Settings = LmtpSettings
    dialect = LMTP


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
