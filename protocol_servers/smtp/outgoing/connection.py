"""One connection to the relay: dialogues on a transport, with a time limit for each answer."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any, TypeVar, cast

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from ...acceptor import Acceptor
from ...transport import LoopTransport
from . import dialogue
from .dialogue import Answer, AnswerReader, Ask, Dialogue, Envelope, Extensions, RelayError, Transfer
from .relay import Relay

T = TypeVar("T")

CONNECT_TIMEOUT = 30.0
BLOCK_TIMEOUT = 180.0  # for the relay to take some of a mail (RFC 5321 section 4.5.3.2.5)
_BLOCK = 64 * 1024
_LINGER = 5.0
_MOST_ANSWERS = 1000  # that came before anybody asked


class RelayConnection(Protocol):
    """A connection that is made, used for one dialogue after another, and closed.

    Args:
        loop: The event loop.
        patience: The longest wait for an answer in seconds, whatever a dialogue says.

    Attributes:
        extensions: What the relay can do.
        reason: Why it is gone; None: it is not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float = dialogue.END_TIMEOUT) -> None:
        self.extensions = Extensions()
        self.reason: str | None = None
        self._loop = loop
        self._patience = patience
        self._link: LoopTransport | None = None
        self._reader = AnswerReader()
        self._answers: deque[Answer] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._is_full = False
        self._is_written = False  # all of what was asked last

    @property
    def is_usable(self) -> bool:
        """Whether another mail can be sent on it."""
        return self.reason is None and not self._answers and self._reader.is_between

    # What the transport calls

    def connectionMade(self) -> None:
        """Begin."""
        self._link = cast("LoopTransport", self.transport)
        self._link.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        try:
            self._answers.extend(self._reader.feed(data))
            if len(self._answers) > _MOST_ANSWERS:
                raise RelayError("it answers what nobody asked")
        except RelayError as error:
            self._end(str(error))
        self._wake()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Tell who waits that the connection is gone."""
        if self.reason is None:
            why = "" if reason is None else reason.getErrorMessage().rstrip(".")
            self.reason = f"the connection was lost: {why}" if why else "the connection was lost"
        self._wake()

    def pauseProducing(self) -> None:
        """Send no more for now."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """Go on sending."""
        self._is_full = False
        self._wake()

    def stopProducing(self) -> None:
        """Nothing more is sent; the transport ends by itself."""

    # What is done on it

    async def open(self, relay: Relay, name: str, context: ssl.SSLContext) -> None:
        """Connect, with TLS and a login where they are wanted.

        Args:
            relay: Where to.
            name: Our own name.
            context: For TLS.

        Raises:
            RelayError: It did not work; no mail may be sent.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                made: Any = Acceptor(self._loop, self, linger=_LINGER)
                await self._loop.create_connection(made, relay.host, relay.port)
        except TimeoutError:
            raise RelayError(f"no connection within {CONNECT_TIMEOUT:g} s") from None
        except (OSError, UnicodeError) as error:
            raise RelayError(f"no connection: {error}") from None
        try:
            if relay.tls == "tls":
                await self._secure(context, relay.host)
            await self.run(dialogue.greeting())
            self.extensions = await self.run(dialogue.hello(name))
            if relay.tls == "starttls":
                await self.run(dialogue.start_tls(self.extensions))
                # What came with the last plain answer was put there by somebody else (RFC 3207 section 5).
                if not self.is_usable:
                    raise RelayError("it said more before TLS had begun, or somebody on the way did")
                await self._secure(context, relay.host)
                self.extensions = await self.run(dialogue.hello(name))
            if relay.user is not None:
                await self.run(dialogue.log_in(self.extensions, relay.user, relay.password or ""))
        except BaseException:
            self.abort()
            raise

    async def send(self, mail: Envelope) -> Transfer:
        """Send a mail.

        Raises:
            RelayError: The connection is of no use any more.
        """
        return await self.run(dialogue.transfer(self.extensions, mail))

    async def close(self) -> None:
        """Say goodbye, and close."""
        if self.is_usable:
            try:
                await self.run(dialogue.quit_())
            except RelayError:
                pass  # it may be gone already
        self._end("closed")

    def abort(self) -> None:
        """Close at once."""
        self.reason = self.reason or "closed"
        if self._link is not None:
            self._link.abortConnection()
        self._wake()

    def buildProtocol(self, _address: object) -> RelayConnection:
        """Return itself: it is the factory of its one connection."""
        return self

    async def run(self, talk: Dialogue[T]) -> T:
        """Have a dialogue; any error ends the connection.

        Raises:
            RelayError: It came to no end.
        """
        try:
            ask = next(talk)
            while True:
                ask = talk.send(await self._ask(ask))
        except StopIteration as end:
            value: T = end.value
            return value
        except RelayError as error:
            self._end(str(error))
            raise

    async def _ask(self, ask: Ask) -> list[Answer]:
        found: list[Answer] = []
        seconds = min(ask.seconds, self._patience)
        try:
            await self._write(ask.data)
            while len(found) < ask.answers:
                await self._until(lambda: bool(self._answers), seconds, f"no answer within {seconds:g} s")
                found.append(self._answers.popleft())
                if found[-1].code == 421:  # whatever was asked: it closes the connection now
                    raise RelayError(str(found[-1]))
            return found
        except RelayError as error:
            # Its end may have arrived once all of it was written, unless the relay said that it did not want it.
            error.in_doubt = ask.is_end and self._is_written and not found
            raise

    async def _write(self, data: bytes) -> None:
        self._is_written = False
        for begin in range(0, len(data), _BLOCK):
            await self._until(lambda: not self._is_full, BLOCK_TIMEOUT, "it takes nothing more of a mail")
            if self._link is None or self.reason is not None:
                raise RelayError(self.reason or "the connection was lost")
            self._link.write(data[begin : begin + _BLOCK])
        self._is_written = True

    async def _until(self, done: Any, seconds: float, otherwise: str) -> None:
        """Wait until something is so.

        Raises:
            RelayError: The connection was lost, or it took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    if self.reason is not None:
                        raise RelayError(self.reason)
                    self._changed = self._loop.create_future()
                    await self._changed
        except TimeoutError:
            raise RelayError(otherwise) from None

    async def _secure(self, context: ssl.SSLContext, host: str) -> None:
        if self._link is None or not await self._link.startTLS(
            context, handshake_timeout=CONNECT_TIMEOUT, server_name=host
        ):
            raise RelayError(f"TLS failed, so nothing was sent: {self.reason or 'the connection was closed'}")

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason
        if self._link is not None:
            self._link.unregisterProducer()
            self._link.loseConnection()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
