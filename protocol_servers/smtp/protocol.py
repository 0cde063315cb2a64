"""One SMTP or LMTP connection: the session's bytes and events on a Twisted transport, and the patience with it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from ..timers import TimerWheel
from . import replies
from .commands import Dialect
from .content import Content
from .envelope import Limits
from .events import Closed, LoginAsked, Mail, MailReceived, Recipient, RecipientAsked, TlsWanted
from .replies import Reply
from .session import Session

FREE_GUESSES = 2  # wrong recipients of a session; the answer to each further one is said later and later
SLOWER = 1.0  # seconds more for each
SLOWEST = 10.0


class MailHost(Protocol):
    """What a connection asks of whoever it works for.

    Attributes:
        dialect: SMTP or LMTP.
        limits: What sessions allow.
        tls_context: For STARTTLS; None: it is not offered.
        loop: The event loop.
        clock: A monotonic clock in seconds.
        idle_timeout: Seconds without a command, or without data of a mail.
        min_data_rate: Bytes a second that a mail has to come at, beyond that time.
        timers: For the idle timeout.
        stopping: No new session is to begin.
    """

    dialect: Dialect
    limits: Limits
    tls_context: ssl.SSLContext | None
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    idle_timeout: float
    min_data_rate: int
    timers: TimerWheel
    stopping: bool

    def opened(self, client: SmtpConnection) -> None:
        """Take note of a connection."""

    def gone(self, client: SmtpConnection) -> None:
        """Take note that it ended."""

    def trusts(self, client: SmtpConnection) -> bool:
        """Say whether the client is known to be well-behaved."""

    def admit_mail(self, client: SmtpConnection) -> Reply | None:
        """Say why the client may not send a mail now; None: it may."""

    def admit_commands(self, client: SmtpConnection, count: int) -> bool:
        """Say whether the client may go on, having said so many commands."""

    def open_content(self, client: SmtpConnection) -> Content:
        """Return a place for the bytes of a mail."""

    def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
        """Find out whether a recipient is taken, and call `SmtpConnection.answer_recipient`."""

    def log_in(self, client: SmtpConnection, login: LoginAsked) -> None:
        """Find out whether somebody is who they say, and call `SmtpConnection.answer_login`."""

    def take(self, client: SmtpConnection, mail: Mail) -> None:
        """Take a mail with its content, and call `SmtpConnection.answer_mail` or `SmtpConnection.answer_copy`."""


@implementer(IPushProducer)
class SmtpConnection(TwistedProtocol):
    """Drive one `Session`.

    Attributes:
        session: The session.
        peer: [host, port] of the client.
        questions: Whatever the host keeps for the recipients it was asked about.
    """

    transport: Any

    def __init__(self, host: MailHost) -> None:
        self.host = host
        self.session: Session
        self.peer: list[Any] = ["", 0]
        self.questions: set[Any] = set()
        self._working = False
        self._reading = True
        self._writing_paused = False
        self._goes_on = False  # in the next turn of the loop
        self._commands = 0  # that were counted
        self._data_since = 0.0  # when the last of them was, and how much data of mails had come by then
        self._data_before = 0
        self._guesses = 0
        self._answers_at = 0.0  # before which no wrong guess is answered

    # What the transport calls

    def connectionMade(self) -> None:
        transport, host = self.transport, self.host
        peer = transport.getPeer()
        self.peer = [getattr(peer, "host", ""), getattr(peer, "port", 0)]
        self.session = Session(
            host.limits,
            dialect=host.dialect,
            offers_tls=host.tls_context is not None,
            tls=transport.tls,
            open_content=lambda: host.open_content(self),
            admit_mail=lambda: host.admit_mail(self),
        )
        self.session.trusted = host.trusts(self)
        self._idle = host.timers.call_later(host.idle_timeout, self._idle_timeout)
        host.opened(self)
        transport.registerProducer(self, True)
        if host.stopping:
            self.session.end(replies.STOPPING)
        else:
            self.session.begin()
        self._work()

    def dataReceived(self, data: bytes) -> None:
        self.session.receive_data(data)
        self._work()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._idle.cancel()
        self.session.lost()
        self.host.gone(self)

    def pauseProducing(self) -> None:
        """Read no more commands while the client takes no replies."""
        self._writing_paused = True
        self._set_reading()

    def resumeProducing(self) -> None:
        """Read on."""
        self._writing_paused = False
        self._set_reading()
        self._read_on()

    def stopProducing(self) -> None:
        """Nothing more is said; the transport ends by itself."""

    # What the host calls

    def answer_recipient(self, recipient: Recipient, reply: Reply) -> None:
        """Answer `MailHost.ask`; may be called within it. Without effect when the client has gone.

        Whoever guesses who is here waits longer for each further wrong guess.
        """
        if not (reply.is_good or reply.is_temporary or self.session.trusted):
            self._guesses += 1
        if self._guesses <= FREE_GUESSES or reply.is_good:
            self._say(self.session.answer_recipient, recipient, reply)
        else:
            self._say_later(self.session.answer_recipient, recipient, reply)

    def answer_login(self, reply: Reply, user: str | None = None) -> None:
        """Answer `MailHost.log_in`; who guesses passwords waits. Without effect when the client has gone."""
        if user is None and not reply.is_temporary:
            self._guesses += FREE_GUESSES
            self._say_later(self.session.answer_login, reply)
        else:
            self._say(self.session.answer_login, reply, user)

    def answer_mail(self, reply: Reply) -> None:
        """Answer `MailHost.take`; may be called within it. Without effect when the client has gone."""
        self._say(self.session.answer_mail, reply)

    def answer_copy(self, address: str, reply: Reply) -> None:
        """Answer `MailHost.take` for one recipient, where each has an answer."""
        self._say(self.session.answer_copy, address, reply)

    def end(self, reply: Reply, *, now: bool = False) -> None:
        """Say `reply` and close: after the open mail, or now."""
        if now:
            self.session.close(reply)
        else:
            self.session.end(reply)
        self._work()

    # Private

    def _say(self, answer: Callable[..., None], *args: Any) -> None:
        if not self.session.closed:
            answer(*args)
            self._idle.postpone(self.host.idle_timeout)
            self._work()

    def _say_later(self, answer: Callable[..., None], *args: Any) -> None:
        now = self.host.clock()
        self._answers_at = max(self._answers_at, now) + min(SLOWER * (self._guesses - FREE_GUESSES), SLOWEST)
        self.host.timers.call_later(self._answers_at - now, lambda: self._say(answer, *args))

    def _idle_timeout(self) -> None:
        if self.session.is_waiting:
            self._idle.postpone(self.host.idle_timeout)
        else:
            trickled = self.session.data_size > self._data_before
            self.end(replies.TOO_SLOW if trickled else replies.IDLE, now=True)

    def _be_patient(self) -> None:
        """Wait longer for who says commands, and for a mail as long as it comes at a fair rate; nothing else counts."""
        session, host = self.session, self.host
        said = session.commands - self._commands
        if said:
            self._commands = session.commands
            self._data_since, self._data_before = host.clock(), session.data_size
            self._idle.postpone(host.idle_timeout)
            if not host.admit_commands(self, said):
                session.close(replies.TOO_MANY_COMMANDS)
        elif session.is_reading_data:
            earned = (session.data_size - self._data_before) / host.min_data_rate
            left = self._data_since + host.idle_timeout + earned - host.clock()
            self._idle.postpone(min(left, host.idle_timeout))

    def _work(self) -> None:
        """Act on what happened in the session. Called within itself, it leaves the work to the call it is in."""
        if self._working:
            return
        self._working = True
        try:
            while True:
                self._be_patient()
                events = self.session.events()
                if not events:
                    break
                for event in events:
                    self._act(event)
        finally:
            self._working = False
        self._flush()
        self._set_reading()
        self._read_on()

    def _act(self, event: object) -> None:
        if isinstance(event, RecipientAsked):
            self.host.ask(self, event.mail, event.recipient)
        elif isinstance(event, MailReceived):
            self.host.take(self, event.mail)
        elif isinstance(event, LoginAsked):
            self.host.log_in(self, event)
        elif isinstance(event, TlsWanted):
            self._start_tls()
        elif isinstance(event, Closed):
            self._close()

    def _read_on(self) -> None:
        """Read on in the next turn, after the other connections, where the session has more than it answers at once."""
        if self.session.is_behind and not (self._writing_paused or self._goes_on):
            self._goes_on = True
            self.host.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._goes_on = False
        if self.session.is_behind and not self._writing_paused:
            self.session.go_on()
            self._work()

    def _flush(self) -> None:
        out = self.session.data_to_send()
        if out:
            self.transport.write(out)

    def _set_reading(self) -> None:
        reading = not (self._writing_paused or self.session.is_full)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def _start_tls(self) -> None:
        self._flush()
        self.transport.startTLS(self.host.tls_context)
        self.session.tls_started()

    def _close(self) -> None:
        self._idle.cancel()
        self._flush()
        self.transport.unregisterProducer()
        self.transport.loseConnection()


@implementer(IProtocolFactory)
class SmtpFactory(Factory):
    """Make the connections of one host."""

    noisy = False

    def __init__(self, host: MailHost) -> None:
        self.host = host

    def buildProtocol(self, addr: Any) -> SmtpConnection:
        """Return the protocol of a new connection."""
        return SmtpConnection(self.host)

    def too_many(self) -> bytes:
        """Return what a client is told that finds no room."""
        return replies.TOO_MANY_CONNECTIONS.encode()
