"""The broker's socket, on an asyncio loop: clients come, are looked at, and are cut off where they misbehave."""

import asyncio
import logging
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter
from collections.abc import Callable
from typing import cast

from ..errors import LayerError
from ..options import MAX_SIZE
from .broker import MEMORY, Broker
from .frames import FrameError
from .journal import Journal
from .place import Claim, is_trusted, peer_of
from .session import Session
from .shelf import BlobFile

log = logging.getLogger("trunkline.bus")

CLIENTS = 4096
PATIENCE = 30.0  # seconds a client may take to end a frame it began, or to read anything of what it was sent
_UNREAD = 1024 * 1024  # bytes a client may be behind with reading before its own calls wait
_SETTLE = 1.0  # seconds after which the number of messages is counted anew, while there is traffic
_SHORTEST = 0.001  # a timer that is a little early must not spin
_GOODBYE = 1.0  # seconds for what is still to be written at the end


class Bus:
    """A broker that listens.

    Args:
        path: Where its socket will be.
        loop: Runs it; all methods are called on its thread.
        clock: Seconds, never going back.
        max_size: Bytes the largest message may have.
        memory: Bytes all messages together may take.
        clients: How many may be connected.
        patience: Seconds a client may take to end a frame it began, or to read anything of what it was sent.
        journal: The file of durable channels; None: beside the socket. It is made when there are such channels. Blobs
            are in another one beside it, whose name ends in ".blobs".
        failed: Called once when the file could not be written: nobody is served any more.

    Attributes:
        kept: How many messages of durable channels the file had.
        stats: Named counters: clients, refused (peers of other users), crowded (one client too many), cut_off.
        lost: How many messages were lost, at most, when the broker before this one was killed.

    Raises:
        ValueError, LayerError, OSError: As `Claim`.
    """

    def __init__(
        self,
        path: str,
        loop: AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_size: int = MAX_SIZE,
        memory: int = MEMORY,
        clients: int = CLIENTS,
        patience: float = PATIENCE,
        journal: str | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.loop = loop
        self.stats: Counter[str] = Counter()
        self._claim = Claim(path)
        self.lost = self._claim.lost
        self.broker = Broker(
            clock, self._wake, max_size=max_size, memory=memory, lost=self._claim.total, before_telling=self._keep
        )
        self._failed = failed
        file = journal or f"{path}.db"
        self._blobs = BlobFile(f"{file}.blobs", clock, self.broker.wall)
        self._journal = Journal(file, clock, self.broker.wall)
        try:
            self._blobs.restore(self.broker.store)
            self.kept = self._journal.restore(self.broker.store)
        except LayerError:
            self._close()
            self._claim.release()
            raise
        self._clients = clients
        self._patience = patience
        self._server: asyncio.AbstractServer | None = None
        self._protocols: dict[Session, _Client] = {}
        self._timer: TimerHandle | None = None
        self._timer_at = float("inf")
        self._watch: TimerHandle | None = None
        self._recount: TimerHandle | None = None
        self._noted = 0
        self._counted = 0, 0  # how many messages there were, and the store's balance then
        subscribe = getattr(clock, "subscribe", None)
        if subscribe is not None:
            subscribe(self._moved)

    async def start(self) -> None:
        """Listen.

        Raises:
            ValueError, OSError: The socket cannot be made there.
        """
        try:
            listener = self._claim.listen()
            self._server = await self.loop.create_unix_server(lambda: _Client(self), sock=listener)
        except BaseException:
            self._close()
            self._claim.release()
            raise

    async def stop(self, reason: str = "the bus was stopped") -> int:
        """Stop accepting, say goodbye to every client, and give the place up; return how many messages are lost."""
        if self._server is not None:
            self._server.close()
        lost = self.broker.stop(reason)
        protocols = list(self._protocols.values())
        for protocol in protocols:
            protocol.transport.close()
        for timer in (self._timer, self._watch, self._recount):
            if timer is not None:
                timer.cancel()
        if protocols:
            await asyncio.wait([protocol.gone for protocol in protocols], timeout=_GOODBYE)
        for protocol in list(self._protocols.values()):
            protocol.transport.abort()
        self._close()
        self._claim.release(lost)
        return lost

    def _close(self) -> None:
        self._blobs.close()
        self._journal.close()

    # turns

    def _wake(self) -> None:
        self.loop.call_soon(self._turn)

    def _moved(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.broker.moved)
        except RuntimeError:
            pass  # the loop is closed, and the clock goes on

    def _turn(self) -> None:
        self.broker.turn()
        self._set_timer()

    def _keep(self) -> None:
        """Have on file what was done in this turn, before anybody is told."""
        try:
            self._blobs.commit()
            self._journal.commit()
        except LayerError as error:
            log.critical("the bus ends: %s", error)
            self.broker.fail("what it asked for cannot be kept")
            self._failed()
            return
        self._note()

    def _note(self) -> None:
        """Keep on file how many messages there may be: who was told that one was taken must find it counted."""
        balance = self.broker.store.queues.balance
        if balance != self._noted and not self.broker.stopping:
            self._noted = balance
            count, then = self._counted
            self._claim.note(max(0, count + balance - then))
            if self._recount is None:
                self._recount = self.loop.call_later(_SETTLE, self._count)

    def _count(self) -> None:
        """Count what is held: between two counts, what has expired is still among the number on file."""
        queues = self.broker.store.queues
        self._counted = queues.held()[0], queues.balance
        self._claim.note(self._counted[0])
        self._recount = None

    def _set_timer(self) -> None:
        due = self.broker.due()
        if due is None or self.broker.stopping:
            return
        when = self.loop.time() + max(due, _SHORTEST)
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self.loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._set_timer()

    # clients

    def _came(self, client: "_Client", transport: asyncio.Transport) -> Session | None:
        peer = peer_of(transport.get_extra_info("socket"))
        client.peer = peer[0] if peer else 0
        if not is_trusted(peer):
            self.stats["refused"] += 1
            log.warning("refused process %d: it belongs to another user", client.peer)
        elif len(self._protocols) >= self._clients:
            self.stats["crowded"] += 1
            log.warning("refused process %d: %d clients are connected, the limit", client.peer, self._clients)
        elif not self.broker.stopping:
            self.stats["clients"] += 1
            session = self.broker.open(client)
            self._protocols[session] = client
            return session
        transport.abort()
        return None

    def _went(self, session: Session) -> None:
        del self._protocols[session]
        self.broker.close(session)

    def watch(self) -> None:
        """Look after clients that keep others' memory: only while there are any."""
        if self._watch is None and not self.broker.stopping:
            self._watch = self.loop.call_later(self._patience / 2, self._look)

    def _look(self) -> None:
        self._watch = None
        for session, client in list(self._protocols.items()):
            late = client.late(self._patience)
            if late:
                self.broker.cut(session, late)
            elif client.owes:
                self.watch()


class _Client(asyncio.Protocol):
    """One client's connection."""

    transport: asyncio.Transport

    def __init__(self, bus: Bus) -> None:
        self.peer = 0
        self.gone: asyncio.Future[None] = bus.loop.create_future()
        self._bus = bus
        self._session: Session | None = None
        self._paused = False
        self._owed: tuple[float, int, int] | None = None  # since when, bytes received and unwritten then
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self.transport = transport
        transport.set_write_buffer_limits(high=_UNREAD)
        self._session = self._bus._came(self, transport)

    def data_received(self, data: bytes) -> None:
        session = self._session
        if session is None or session not in self._bus.broker.sessions:
            return  # it was cut off
        self._received += len(data)
        try:
            session.feed(data)
        except FrameError as error:
            self._bus.broker.cut(session, str(error))
            return
        self.worked()
        if session.partial:
            self._bus.watch()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def worked(self) -> None:
        session = self._session
        if session is not None and session.behind != self._paused:
            self._paused = session.behind
            if self._paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def cut(self, reason: str) -> None:
        self._bus.stats["cut_off"] += 1
        log.warning("cut off process %d: %s", self.peer, reason)
        self.transport.abort()

    def pause_writing(self) -> None:
        assert self._session is not None
        self._session.stalled = True
        self._bus.watch()

    def resume_writing(self) -> None:
        session = self._session
        assert session is not None
        session.stalled = False
        self._bus.broker.ready(session)

    def connection_lost(self, error: Exception | None) -> None:
        if self._session is not None:
            self._bus._went(self._session)
        self.gone.set_result(None)

    @property
    def owes(self) -> bool:
        """Whether the client has begun a frame that it did not end, or does not read."""
        session = self._session
        return session is not None and (session.stalled or (session.partial and not self._paused))

    def late(self, patience: float) -> str | None:
        """Return what the client has kept others' memory for, without getting on, for longer than `patience`."""
        if not self.owes:
            self._owed = None
            return None
        now, progress = self._bus.loop.time(), (self._received, self.transport.get_write_buffer_size())
        if self._owed is None or self._owed[1:] != progress:
            self._owed = (now, *progress)
            return None
        if now - self._owed[0] < patience * 0.9:
            return None
        assert self._session is not None
        what = "it does not read what it is sent" if self._session.stalled else "it does not end the frame it began"
        return f"{what}, for {now - self._owed[0]:.0f} s"
