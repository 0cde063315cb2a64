"""One SMTP connection: the session's bytes and events on a Twisted transport."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from twisted.internet.interfaces import IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer  # type: ignore[import-untyped]

from ..timers import TimerWheel
from . import replies
from .events import Closed, Mail, MailReceived, Recipient, RecipientAsked, TlsWanted
from .replies import Reply
from .session import Limits, Session


class MailHost(Protocol):
    """What a connection asks of whoever it works for.

    Attributes:
        limits: What sessions allow.
        tls_context: For STARTTLS; None: it is not offered.
        loop: The event loop.
        idle_timeout: Seconds.
        timers: For the idle timeout.
        stopping: No new session is to begin.
    """

    limits: Limits
    tls_context: ssl.SSLContext | None
    loop: asyncio.AbstractEventLoop
    idle_timeout: float
    timers: TimerWheel
    stopping: bool

    def opened(self, client: SmtpConnection) -> None:
        """Take note of a connection."""

    def gone(self, client: SmtpConnection) -> None:
        """Take note that it ended."""

    def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
        """Find out whether a recipient is taken, and call `SmtpConnection.answer_recipient`."""

    def take(self, client: SmtpConnection, mail: Mail) -> None:
        """Take a mail, and call `SmtpConnection.answer_mail`."""

    def hold(self, count: int) -> bool:
        """Count bytes held in memory, negative when they are released; False when they are too many."""


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
        self._held = 0
        self._working = False
        self._reading = True
        self._writing_paused = False
        self._goes_on = False  # in the next turn of the loop

    # What the transport calls

    def connectionMade(self) -> None:
        transport, host = self.transport, self.host
        peer = transport.getPeer()
        self.peer = [getattr(peer, "host", ""), getattr(peer, "port", 0)]
        self.session = Session(host.limits, offers_tls=host.tls_context is not None, tls=transport.tls)
        self._idle = host.timers.call_later(host.idle_timeout, self._idle_timeout)
        host.opened(self)
        transport.registerProducer(self, True)
        if host.stopping:
            self.session.end(replies.STOPPING)
        else:
            self.session.begin()
        self._work()

    def dataReceived(self, data: bytes) -> None:
        self._idle.postpone(self.host.idle_timeout)
        self.session.receive_data(data)
        self._work()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._idle.cancel()
        self.session.closed = True
        self.host.hold(-self._held)
        self._held = 0
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
        """Answer `MailHost.ask`; may be called within it. Without effect when the client has gone."""
        if not self.session.closed:
            self.session.answer_recipient(recipient, reply)
            self._answered()

    def answer_mail(self, reply: Reply) -> None:
        """Answer `MailHost.take`; may be called within it. Without effect when the client has gone."""
        if not self.session.closed:
            self.session.answer_mail(reply)
            self._answered()

    def end(self, reply: Reply, *, now: bool = False) -> None:
        """Say `reply` and close: after the open mail, or now."""
        if now:
            self.session.end_now(reply)
        else:
            self.session.end(reply)
        self._work()

    # Private

    def _answered(self) -> None:
        self._idle.postpone(self.host.idle_timeout)
        self._work()

    def _idle_timeout(self) -> None:
        if self.session.is_waiting:
            self._idle.postpone(self.host.idle_timeout)
        else:
            self.end(replies.IDLE, now=True)

    def _work(self) -> None:
        """Act on what happened in the session. Called within itself, it leaves the work to the call it is in."""
        if self._working:
            return
        self._working = True
        try:
            while True:
                self._count_held()
                events = self.session.events()
                if not events:
                    break
                for event in events:
                    if isinstance(event, RecipientAsked):
                        self.host.ask(self, event.mail, event.recipient)
                    elif isinstance(event, MailReceived):
                        self.host.take(self, event.mail)
                    elif isinstance(event, TlsWanted):
                        self._start_tls()
                    elif isinstance(event, Closed):
                        self._close()
        finally:
            self._working = False
        self._flush()
        self._set_reading()
        self._read_on()

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

    def _count_held(self) -> None:
        held = self.session.held
        if held != self._held:
            if not self.host.hold(held - self._held):
                self.session.refuse_data(replies.NO_ROOM)
                self.host.hold(-held)
                held = 0
            self._held = held

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
