"""The IRC server: one network's session on a connection, between it and the bus.

The network outlives its connections, and its name outlives the process: replies to its conversations wait in the
layer for whoever serves the network next. So a process holds a lease on it, and another one waits for that.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Any

from ...layer import Inbox, InboxItem, Layer, LayerError, LayerUnavailable
from ...operations.errors import StartError, UsageError
from ..base import Message, ProtocolServer
from ..tls import client_context
from .connecting import ConnectionFailed, Wire, connect
from .conversations import Conversations
from .events import Disconnected, Event, Heard, JoinFailed, Kicked, Parted, Receipt, Registered, RoomJoined
from .history import Mark
from .outbox import Outbox
from .performing import Performer
from .publishing import Publisher
from .remembering import Memory
from .session import Session
from .settings import Address, IrcSettings, NetworkSettings

LEASE_PATIENCE = 20.0  # seconds; a lease lapses 15 s after its holder was killed
_LEASE_PAUSE = 0.5
_FAREWELL = 1.0  # seconds for QUIT to be answered
_FIRST_LOOK, _LAST_LOOK = 0.2, 5.0  # seconds between two looks whether anybody listens by now

Connect = Callable[..., Awaitable[Wire]]


class IrcServer(ProtocolServer):
    """Be a client of one network.

    Args:
        layer: The channel layer.
        settings: The network's.
        network: Its name.
        reactor: Twisted's asyncio reactor.
        clock: A monotonic clock in seconds.
        random: The source of jitter.

    Attributes:
        session: The session; it counts, too (`session.stats`).
    """

    name = "irc"
    extra = "irc"
    Settings = IrcSettings
    settings: NetworkSettings
    session: Session

    def __init__(
        self,
        layer: Layer,
        settings: NetworkSettings,
        *,
        network: str,
        reactor: Any,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.network = network
        super().__init__(layer, settings, reactor=reactor, clock=clock)
        self.lease_patience = LEASE_PATIENCE
        self._random = random or SystemRandom()
        self._addresses = settings.addresses()
        self._turn = 0
        self._wire: Wire | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._alarm: tuple[float, asyncio.TimerHandle] | None = None
        self._outbox = Outbox(
            self._send, self.in_doubt, clock=clock, call_later=self.timers.call_later, stats=self.stats
        )
        self._listened_before: Mapping[str, bool] = {}
        self._unheard: dict[str, tuple[str, Message]] = {}  # what a room's consumers have to know once there are any
        self._look_pause = _FIRST_LOOK
        self._looking = False
        self._memory = Memory(
            layer,
            network,
            loop=self.loop,
            call_later=self.timers.call_later,
            marks=self._marks,
            stats=self.stats,
        )
        self._changed = asyncio.Event()
        self._left = False
        self._idle = False
        self._late: list[tuple[str, Message]] = []
        self._unsaid = 0

    @classmethod
    def instances(cls, layer: Layer, settings: IrcSettings, *, reactor: Any) -> Sequence[IrcServer]:
        """Return a server for each network."""
        return [cls(layer, each, network=name, reactor=reactor) for name, each in settings.networks.items()]

    # What is told of it

    @property
    def serves(self) -> bool:
        """Whether it is in its network."""
        return self._registered and super().serves

    def problems(self) -> list[str]:
        """Return what a person has to do something about, a line each."""
        if self._registered:
            return []
        return [f"{self.title}: {'another process is in this network' if self._idle else 'not connected'}"]

    def counts(self) -> Mapping[str, int]:
        """Return the named counters, those of the session included."""
        return self.stats + self.session.stats if "session" in vars(self) else self.stats

    @property
    def _registered(self) -> bool:
        return "session" in vars(self) and self.session.registered

    # Life

    def inbox_name(self) -> str:
        """Return the name of the network's inbox."""
        return f"irc.reply.{self.network}!"

    async def take_inbox(self, *, lasting: bool = True) -> Inbox:
        """Open the network's inbox, and make its session; waits for a process that holds it to end.

        Raises:
            StartError: That process did not end in time.
            LayerUnavailable: The layer is away.
        """
        inbox = await self._lease()
        # In the same turn of the loop, so that nothing arrives before there is somebody to take it.
        self._make_session(self._memory.read())
        return inbox

    def _make_session(self, marks: Mapping[str, Mark]) -> None:
        """Begin where the process before this one, or this one itself, stopped."""
        self.session = Session(
            self.settings.options(),
            clock=self.clock,
            wall=time.time,
            random=self._random,
            make_token=lambda: secrets.token_hex(12),
            marks=marks,
        )
        conversations = self._conversations = Conversations(self.network, self.session.fold)
        for each in self.settings.join:  # those that stand in a channel's name as a digest are known from now on
            conversations.channel(each.partition(" ")[0])
        self._publisher = Publisher(self.network, self.session, conversations, include_raw=self.settings.include_raw)
        self._performer = Performer(self.session, conversations, self.stats, raw=self.settings.raw)

    def _marks(self) -> Mapping[str, Mark] | None:
        """Return where each conversation stands, unless what was heard there may yet be lost with this process."""
        return None if len(self._outbox) else self.session.marks()

    async def _lease(self) -> Inbox:
        until = self.clock() + self.lease_patience
        waits = False
        while True:
            try:
                return await super().take_inbox(lasting=True)
            except LayerUnavailable:
                raise
            except LayerError:
                if self.clock() >= until:
                    raise StartError(
                        f"irc.{self.network}: another process serves this network, and did not end within "
                        f"{self.lease_patience:g} s"
                    ) from None
            if not waits:
                waits = True
                self.log.warning(
                    "%s: another process serves this network; waiting up to %g s for it to end",
                    self.network,
                    self.lease_patience,
                )
            await asyncio.sleep(_LEASE_PAUSE)

    async def listen(self) -> None:
        """Begin to connect; a network that is away is no reason not to start.

        Raises:
            UsageError: The certificate cannot be used.
        """
        settings = self.settings
        try:
            self._context = client_context(
                verify=settings.tls_verify and settings.tls_fingerprint is None,
                certificate=settings.certificate,
                key=settings.key,
            )
        except OSError as error:
            raise UsageError(
                f"[irc.{self.network}] certificate {settings.certificate} cannot be used: {error.strerror or error}"
            ) from error
        self.peers = [f"{self.network} at {', '.join(map(str, self._addresses))}"]
        self._dial()

    async def stop(self, grace: float) -> bool:
        """Say what waits to be said, leave the network, and give the inbox back.

        Returns:
            False when something remained unsaid.
        """
        in_time = await super().stop(grace)
        return in_time and not self._unsaid

    async def drain(self, grace: float) -> None:
        """Say what waits to be said, then QUIT."""
        session = self.session
        farewell = min(_FAREWELL, grace / 2)
        self._stop_dialling()
        until = self.clock() + grace - farewell
        await self._wait(lambda: not session.waiting or not session.registered, until)
        self._unsaid = session.waiting
        if self._unsaid:
            self.log.warning("%s: %d lines remain unsaid", self.network, self._unsaid)
        session.quit("Until later")
        self._left = True
        if self._wire is None:
            self._lost("we left")
        else:
            self._pump()
        await self._wait(lambda: self._wire is None, self.clock() + 0.9 * farewell)

    async def _wait(self, until: Callable[[], bool], end: float) -> None:
        """Wait until something is so, but not for ever."""
        while not until() and (left := end - self.clock()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    async def _end(self) -> None:
        self._left = True
        self._stop_dialling()  # of a start that failed
        if self._wire is not None:
            self._wire.abort()
            self._wire = None
        if self._alarm is not None:
            self._alarm[1].cancel()
        await self._memory.finish()
        self._outbox.close()
        for channel, message in self._late:  # came after we left: for whoever serves the network next
            self.inbox.send(channel, message)
        await super()._end()

    # The lease

    def _layer_down(self, reason: str) -> None:
        super()._layer_down(reason)
        if reason.endswith("is leased by another process") and not self._idle:
            # This one stood still for too long, and the network must not have two of us.
            self.log.error("%s: another process took over; leaving the network until it ends", self.network)
            self._idle = True
            self._stop_dialling()
            self.session.quit("Another process took over")
            self._pump()

    def _layer_up(self) -> None:
        super()._layer_up()
        if self._idle and not self.stopping:
            self._idle = False
            if self._wire is not None:
                self._wire.abort()
                self._wire = None
            try:
                marks = self._memory.read()
            except LayerError:  # away again
                marks = self.session.marks()
            self._make_session(marks)
            self._dial()

    # The connection

    def _dial(self) -> None:
        if not (self.stopping or self._idle or self._dialling or self._wire):
            self._dialling = self.loop.create_task(self._connect(self._addresses[self._turn]))

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    async def _connect(self, address: Address) -> None:
        settings = self.settings
        failure: str | None = None
        try:
            wire = await connect(
                self.loop,
                address,
                self._context,
                fingerprint=settings.tls_fingerprint,
                timeout=settings.connect_timeout,
            )
        except ConnectionFailed as error:
            self.stats["failed_connections"] += 1
            failure = str(error)
        except Exception:
            self.stats["failures"] += 1
            self.log.exception("%s: connecting to %s failed", self.network, address)
            failure = "an error of ours"
        self._dialling = None
        if failure is not None:
            self._lost(f"{address}: {failure}")
            return
        self.stats["connections"] += 1
        self._wire = wire
        self._publisher.server = (address.host, address.port)
        self.session.begin(secure=settings.is_secure(address))
        wire.open(self._received, self._lost)
        if wire.reason is not None:
            self._lost(wire.reason)
        else:
            self._pump()

    def _received(self, data: bytes) -> None:
        self.session.receive_data(data)
        self._pump()

    def _lost(self, reason: str) -> None:
        self._wire = None
        self.session.connection_lost(reason)
        self._pump()

    def _pump(self) -> None:
        """Do what has to be done after each call of the session."""
        session = self.session
        data = session.data_to_send()
        if data and self._wire is not None:
            self._wire.write(data)
        for event in session.events():
            try:
                self._take(event)
            except Exception:
                self.stats["failures"] += 1
                self.log.exception("%s: an event was lost: %r", self.network, event)
        if session.closed and self._wire is not None:
            self._wire.let_go()
            self._lost("the connection was closed")
            return
        self._set_alarm(session.deadline)
        self._changed.set()

    def _set_alarm(self, deadline: float | None) -> None:
        """Wake at `deadline`, or earlier: a timer that is set already goes off, and looks again."""
        if self._alarm is not None:
            if deadline is None or deadline >= self._alarm[0]:
                return
            self._alarm[1].cancel()
            self._alarm = None
        if deadline is not None and not (self._left and self._wire is None):
            handle = self.loop.call_later(max(deadline - self.clock(), 0.0) + 0.001, self._wake)
            self._alarm = deadline, handle

    def _wake(self) -> None:
        self._alarm = None
        self.session.advance()
        self._pump()

    # What happens there

    def _take(self, event: Event) -> None:
        """Log what an operator has to know, and publish everything."""
        match event:
            case Registered(nick):
                self.log.info("%s: connected to %s as %s", self.network, self._addresses[self._turn], nick)
            case Disconnected(reason, retry_after):
                self._disconnected(reason, retry_after)
            case JoinFailed(room, reason, final):
                self.stats["failed_joins"] += 1
                again = "" if final else "; trying again"
                self.log.warning("%s: we cannot join %s: %s%s", self.network, _shown(room), _shown(reason), again)
                if final:
                    self._forget(room)
            case Kicked(room, own=True):
                self._unheard.pop(self.session.fold(room), None)
            case Parted(room, own=True):
                self._unheard.pop(self.session.fold(room), None)
                self._forget(room)
            case Heard():
                self._memory.move()
        for channel, message in self._publisher.messages(event):
            if isinstance(event, Receipt):
                self._give_receipt(channel, message)
            elif self._is_listened(channel):
                self._outbox.put(channel, message, self._once(event))
            elif channel == "chat.ready" and isinstance(event, RoomJoined):
                self._unheard[self.session.fold(event.room)] = channel, message
                self._look_later()
            else:
                self.stats["notifications_dropped"] += 1

    def _disconnected(self, reason: str, retry_after: float | None) -> None:
        self._unheard.clear()
        if retry_after is None:
            self.log.info("%s: disconnected: %s", self.network, _shown(reason))
            return
        self._turn = (self._turn + 1) % len(self._addresses)
        self.stats["disconnections"] += 1
        self.log.warning("%s: disconnected: %s; trying again in %.1f s", self.network, _shown(reason), retry_after)
        self.timers.call_later(retry_after, self._dial)

    def _forget(self, room: str) -> None:
        """Take a room that we left for good out of all groups."""
        self.inbox.gone(self._conversations.channel(room).removeprefix(self.inbox_name()))

    def _once(self, event: Event) -> str | None:
        """Return what names a message for ever, where its network gives names."""
        if isinstance(event, Heard) and event.tags.get("msgid") == event.id:
            return f"{self.network} {event.id}"
        return None

    def _is_listened(self, channel: str) -> bool:
        """Say whether anybody listens, or did when the layer was last there."""
        listening = self.inbox.listening()
        if self.available:
            self._listened_before = listening
        return channel in listening or (not self.available and channel in self._listened_before)

    def _send(self, channel: str, message: Message, once: str | None, then: Callable[[object], None]) -> None:
        self.inbox.send(channel, message, once=once, then=then)

    def _give_receipt(self, channel: str, message: Message) -> None:
        try:
            self.inbox.send(channel, message, then=self._sent)
        except TypeError:  # a name that a group's message brought, unchecked
            self.stats["replies_ignored"] += 1

    # Rooms that nobody knew of

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self.timers.call_later(self._look_pause, self._look)
            self._look_pause = min(2 * self._look_pause, _LAST_LOOK)

    def _look(self) -> None:
        """Tell of the rooms we are in once somebody listens."""
        self._looking = False
        if not self._unheard:
            self._look_pause = _FIRST_LOOK
        elif self._is_listened("chat.ready"):
            unheard, self._unheard = self._unheard, {}
            for channel, message in unheard.values():
                self._outbox.put(channel, message)
            self._look_pause = _FIRST_LOOK
        else:
            self._look_later()

    # Replies

    def receive(self, items: Sequence[InboxItem]) -> None:
        """Do what replies ask for; each conversation of the network can be answered, known or not."""
        for _, names, message in items:
            for name in names:
                if self._left:
                    self._late.append((self.inbox_name() + name, message))
                    continue
                try:
                    self._performer.perform(name, message)
                except Exception:
                    self.stats["failures"] += 1
                    self.log.exception("%s: a reply failed", self.network)
        self._pump()


def _shown(text: str) -> str:
    """Return what a server said as it may stand in a log, which people read on terminals."""
    return "".join(each if each.isprintable() else "?" for each in text)
