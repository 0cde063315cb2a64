"""The one base class of all protocol servers: what lies between a protocol's sockets and the channel layer.

A server turns bytes into messages with `ProtocolServer.publish` and gets the answers by `ProtocolServer.deliver`.
In between stand its inbox, the table of `Connection`s, their deadlines, and what happens when the layer refuses.
A protocol writes `listen`, `deliver`, `refuse` and, where they matter to it, `deliver_group`, `timed_out`,
`credited` and `drain`. Everything runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..layer import ChannelFull, Inbox, InboxItem, Layer, LayerUnavailable, MessageTooLarge
from .connections import Connection, Ids, Refusal
from .door import Door
from .endpoints import Port, listen_all, listen_udp
from .listening import ListeningSettings
from .loops import loop_of
from .timers import TimerWheel
from .turns import ORDER_TIMEOUT, Turns

if TYPE_CHECKING:
    from twisted.internet.protocol import DatagramProtocol

__all__ = ["Connection", "Message", "ProtocolServer", "Refusal"]

Message = dict[str, Any]

_FAREWELL_TURNS = 10  # in which protocols learn that their connection was cut, and publish so


class ProtocolServer:
    """Hold connections of one protocol and carry their messages over the layer.

    Args:
        layer: The channel layer.
        settings: An instance of the class's ``Settings``.
        reactor: Twisted's asyncio reactor.
        clock: A monotonic clock in seconds, for deadlines.

    Attributes:
        network: The network or workspace it belongs to; "" where there is only one server of a protocol.
        ports: What the server listens on, for people: ``http://127.0.0.1:8000``.
        peers: What it connects to, for people.
        stats: Named counters.
        stopping: True once `stop` was called; nothing new should begin.
        listening: The settings of listening; the defaults where a protocol's settings have none.
        reuse_port: Set before `start`: other processes listen on the same TCP ports (``SO_REUSEPORT``).
        available: False while the layer is away.
        timers: Deadlines of a protocol that belong to no `Connection`.
        turns: Messages of connections, in their turn where workers asked for that; a setting `order_timeout` tells how
            long a silent worker is waited for.
    """

    name: ClassVar[str]
    extra: ClassVar[str | None] = None
    network = ""
    Settings: ClassVar[type]

    def __init__(
        self, layer: Layer, settings: Any, *, reactor: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.layer = layer
        self.settings = settings
        self.listening = settings if isinstance(settings, ListeningSettings) else ListeningSettings()
        self.reactor = reactor
        self.loop = loop_of(reactor)
        self.clock = clock
        self.timers = TimerWheel(self.loop.call_later, clock)
        self.turns = Turns(self, getattr(settings, "order_timeout", ORDER_TIMEOUT))
        self.ports: list[str] = []
        self.peers: list[str] = []
        self.stats: Counter[str] = Counter()
        self.stopping = False
        self.reuse_port = False
        self.available = True
        self.log = logging.getLogger(f"trunkline.{self.name}")
        self.process_id = secrets.token_hex(8)
        self.inbox: Inbox
        self._inbox_name = self.inbox_name()
        self._ids = Ids()
        self._connections: dict[str, Connection] = {}
        self._listening: list[Port] = []
        self._emptied: asyncio.Future[None] | None = None

    @classmethod
    def instances(cls, layer: Layer, settings: Any, *, reactor: Any) -> Sequence[ProtocolServer]:
        """Return the servers that a table of settings stands for: one, unless the protocol knows better."""
        return [cls(layer, settings, reactor=reactor)]

    # What a protocol writes

    async def listen(self) -> None:
        """Open the protocol's sockets, usually by `listen_on`.

        Raises:
            StartError: A port is taken or may not be used.
            UsageError: A description makes no sense.
        """
        raise TypeError(f"{type(self).__name__} does not say what it listens on")

    def deliver(self, connection: Connection, message: Message) -> None:
        """Answer ``connection`` with a message that came on its reply channel."""
        raise TypeError(f"{type(self).__name__} does not say how it answers")

    def deliver_group(self, connections: Sequence[Connection], message: Message) -> None:
        """Give a group's message to its members here; each by itself unless building it once pays."""
        for connection in connections:
            try:
                self.deliver(connection, message)
            except Exception:
                self.failed(connection)

    def refuse(self, connection: Connection, refusal: Refusal) -> None:
        """Say in the protocol's words that the layer did not take a message of ``connection``; drops it.

        One that is in doubt, counted as ``in_doubt``, is refused as `Refusal.UNAVAILABLE` too.
        """

    def timed_out(self, connection: Connection) -> None:
        """Act on the deadline of ``connection``; closes it unless the protocol knows better."""
        self.close(connection)

    def credited(self, connection: Connection, channel: str, count: int) -> None:
        """Go on sending: ``count`` chunks were taken from a channel that ``connection`` fills."""

    async def drain(self, grace: float) -> None:
        """Finish open work; is cut off after ``grace`` seconds. Waits until every `Connection` is closed."""
        while self._connections:
            self._emptied = self.loop.create_future()
            await self._emptied

    def inbox_name(self) -> str:
        """Return the name of the server's inbox, up to and including its ``!``."""
        return f"{self.name}.reply.{self.process_id}!"

    async def take_inbox(self, *, lasting: bool = False) -> Inbox:
        """Open the inbox; a protocol whose inbox outlives the process says so, and may wait for its lease.

        Raises:
            LayerError: Another process holds it.
            LayerUnavailable: The layer is away.
        """
        return self.layer.open_inbox(
            self._inbox_name,
            loop=self.loop,
            receive=self.receive,
            credit=self._credit,
            up=self._layer_up,
            down=self._layer_down,
            lasting=lasting,
        )

    def receive(self, items: Sequence[InboxItem]) -> None:
        """Take what arrived in the inbox; each message goes to the `Connection` that it is for."""
        connections = self._connections
        for group, names, message in items:
            if group is not None:
                self._receive_group(group, names, message)
                continue
            if "done" in message:
                for name in names:
                    self.turns.done(self._inbox_name + name, message)
                continue
            for name in names:
                connection = connections.get(name)
                if connection is None:
                    self.stats["late_answers"] += 1
                    continue
                try:
                    self.deliver(connection, message)
                except Exception:
                    self.failed(connection)

    # Life

    async def start(self) -> None:
        """Open the inbox, then listen.

        Raises:
            StartError: A port is taken or may not be used.
            UsageError: An endpoint's description makes no sense.
            LayerUnavailable: The layer is away.
        """
        self.inbox = await self.take_inbox()
        try:
            await self.listen()
        except BaseException:
            await self._end()
            raise

    async def stop(self, grace: float) -> bool:
        """Stop accepting, drain for up to ``grace`` seconds, cut what is still open, close the inbox.

        Returns:
            True when everything was finished in time.
        """
        self.stopping = True
        for port in self._listening:
            port.close()
        try:
            async with asyncio.timeout(grace):
                await self.drain(grace)
                await self.turns.emptied()
            in_time = True
        except TimeoutError:
            in_time = False
            waiting = len(self._connections)
            self.log.warning("what was open after %g s was cut off (waiting for an answer: %d)", grace, waiting)
        except Exception:
            in_time = False
            self.log.exception("draining failed")
        await self._end()
        return in_time

    async def listen_on(
        self,
        descriptions: Iterable[str],
        factory: Any,
        scheme: str,
        *,
        protocols: Sequence[str] = (),
        listening: ListeningSettings | None = None,
    ) -> None:
        """Serve ``factory`` on every endpoint and add it to `ports`.

        Args:
            descriptions: Endpoint strings such as ``tcp:8000``.
            factory: A Twisted ``IProtocolFactory``; builds the protocol of each connection. Where it has a method
                ``too_many() -> bytes``, whoever is refused for the number of connections is sent that.
            scheme: What the address begins with for people; TLS adds an ``s``.
            protocols: What TLS offers to speak, the best first (ALPN).
            listening: Limits and proxies of these endpoints; None: those of the server's settings.

        Raises:
            StartError: A port is taken or may not be used.
            UsageError: A description makes no sense.
        """
        texts = list(descriptions)
        door = Door(listening or self.listening, factory, stats=self.stats, log=self.log, clock=self.clock)
        for port in await listen_all(
            self.reactor, texts, factory, reuse_port=self.reuse_port, protocols=protocols, door=door
        ):
            self.add_port(port, scheme)

    def receive_on(self, descriptions: Iterable[str], protocol: Callable[[], DatagramProtocol], scheme: str) -> None:
        """Receive datagrams on every endpoint (``udp:9999``) and add it to `ports`.

        Args:
            descriptions: Endpoint strings such as ``udp:9999``.
            protocol: Makes the Twisted protocol of each.
            scheme: What the address begins with for people.

        Raises:
            StartError: A port is taken or may not be used.
            UsageError: A description makes no sense.
        """
        for text in descriptions:
            self.add_port(listen_udp(self.reactor, text, protocol()), scheme)

    def add_port(self, port: Port, scheme: str) -> None:
        """Close ``port`` when the server stops, and name it in `ports`."""
        self._listening.append(port)
        self.ports.append(f"{scheme}{'s' if port.tls else ''}://{port.address}")

    async def _end(self) -> None:
        for port in self._listening:
            port.close()
            port.abort()
        for _ in range(_FAREWELL_TURNS):
            if any(port.connections for port in self._listening):
                await asyncio.sleep(0)
        for connection in list(self._connections.values()):
            self.close(connection)
        self.turns.close()
        self.timers.close()
        await self.inbox.close()

    # What is told of it

    @property
    def title(self) -> str:
        """Its name for people: `http`, `slack.acme`."""
        return f"{self.name}.{self.network}" if self.network else self.name

    @property
    def serves(self) -> bool:
        """Whether it can do its work for anybody at present."""
        return self.available

    @property
    def sockets(self) -> int:
        """How many connections clients have open."""
        return sum(port.connections for port in self._listening)

    @property
    def waiting(self) -> int:
        """How many things there are that can be answered, each a `Connection`."""
        return len(self._connections)

    @property
    def groups(self) -> tuple[int, int]:
        """How many groups have members here, and how many members there are."""
        return self.inbox.groups() if "inbox" in vars(self) else (0, 0)

    def problems(self) -> list[str]:
        """Return what a person has to do something about, a line each; begins with the `title`."""
        return []

    def counts(self) -> Mapping[str, int]:
        """Return the named counters."""
        return self.stats

    # What a protocol calls

    def open(self, state: Any) -> Connection:
        """Return a new `Connection`: from now on ``state`` can be answered."""
        id = self._ids.draw()
        connection = self._connections[id] = Connection(self, id, self._inbox_name + id, state)
        return connection

    def close(self, connection: Connection) -> None:
        """Forget ``connection``; answers that still come are counted as ``late_answers``. May be called twice."""
        if self._connections.pop(connection.id, None) is None:
            return
        self.timers.clear(connection)
        connection.state = None
        self.inbox.gone(connection.id)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    def publish(
        self,
        channel: str,
        message: Message,
        connection: Connection | None = None,
        *,
        expiry: float | None = None,
        credit: bool = False,
        last: bool = False,
    ) -> None:
        """Send a message to the workers; it leaves with all others of this turn of the loop.

        Args:
            channel: Where to, such as ``http.request``.
            message: The message, not to be altered afterwards.
            connection: Whose message it is; told by `refuse` when the layer does not take it.
            expiry: Seconds after which nobody waits for it any more; the layer's own when None.
            credit: Tell ``connection`` by `credited` when the message was taken.
            last: The last chunk of a channel, which ignores its capacity.
        """
        if connection is None:
            self.inbox.send(channel, message, expiry=expiry, last=last, then=self._sent)
        elif credit or last:
            name = connection.id if credit else None
            self.inbox.send(channel, message, expiry=expiry, credit=name, last=last, then=connection.sent)
        else:
            self.turns.send(channel, message, connection.sent, expiry=expiry, bounded=True)

    def notify(self, channel: str, message: Message) -> bool:
        """Publish something that nobody has to answer, only where it is `wanted`.

        Returns:
            False when it is not, so that it was dropped and counted as ``notifications_dropped``.
        """
        if not self.wanted(channel):
            self.stats["notifications_dropped"] += 1
            return False
        self.turns.follow(channel, message, self._sent)
        return True

    def wanted(self, channel: str) -> bool:
        """Return whether a notification is published: its channel is durable, or was announced in the last 60 s."""
        return channel in self.inbox.listening() or self.layer.is_durable(channel)

    def listened(self, channel: str) -> bool:
        """Return whether any worker announced ``channel`` within the last 60 s."""
        return channel in self.inbox.listening()

    def why_silent(self, channel: str, seconds: float | None = None) -> str:
        """Return why a question on ``channel`` was not answered (within ``seconds``), as people read it."""
        if not self.available:
            return Refusal.UNAVAILABLE.text
        if channel not in self.inbox.listening():
            return f"no worker listens to {channel}"
        return "no answer in time" if seconds is None else f"no answer within {seconds:g} s"

    def in_doubt(self, outcome: object) -> bool:
        """Return whether a message may have arrived although the layer was lost under it, and count it if so.

        Whoever sends anew what the layer refused asks this first: what is in doubt is never sent twice.

        Args:
            outcome: The layer's word on the message.
        """
        if isinstance(outcome, LayerUnavailable) and outcome.uncertain:
            self.stats["in_doubt"] += 1
            return True
        return False

    def set_timer(self, connection: Connection, seconds: float) -> None:
        """Give ``connection`` a deadline ``seconds`` from now in place of the one it had."""
        self.timers.set(connection, seconds)

    def clear_timer(self, connection: Connection) -> None:
        """Take the deadline of ``connection`` away."""
        self.timers.clear(connection)

    def logger(self, connection: Connection) -> logging.LoggerAdapter[logging.Logger]:
        """Return the server's log for lines about ``connection``; each carries its id as ``connection``."""
        return logging.LoggerAdapter(self.log, {"connection": connection.id})

    # What connections and the inbox call

    def timer_fired(self, connection: Connection) -> None:
        """Hand a passed deadline to the protocol."""
        if connection.id not in self._connections:
            return
        self.stats["timeouts"] += 1
        try:
            self.timed_out(connection)
        except Exception:
            self.failed(connection)

    def not_sent(self, error: Exception, connection: Connection) -> None:
        """Hand the layer's refusal of a message to the protocol, unless the connection is closed by now."""
        refusal = self._refusal(error)
        if connection.id in self._connections:
            try:
                self.refuse(connection, refusal)
            except Exception:
                self.failed(connection)

    def failed(self, connection: Connection) -> None:
        """Log and count the exception being handled as a failure of ``connection`` alone."""
        self.stats["failures"] += 1
        self.logger(connection).exception("connection %s failed", connection.id)

    def unfit(self, connection: Connection, why: str) -> None:
        """Count a message that breaks its format, as a group's may, and log the first one."""
        self.stats["unfit_messages"] += 1
        if self.stats["unfit_messages"] == 1:
            self.logger(connection).warning("connection %s: a message was ignored: %s", connection.id, why)

    def _sent(self, outcome: object) -> None:
        if isinstance(outcome, Exception):
            self._refusal(outcome)

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, ChannelFull):
            refusal = Refusal.FULL
        elif isinstance(error, MessageTooLarge):
            refusal = Refusal.TOO_LARGE
        else:
            refusal = Refusal.UNAVAILABLE
            if self.in_doubt(error):
                return refusal
        self.stats["refused_" + refusal.name.lower()] += 1
        return refusal

    def _receive_group(self, group: str, names: Sequence[str], message: Message) -> None:
        connections = self._connections
        members = [connections[name] for name in names if name in connections]
        if len(members) < len(names):
            # An add that was on its way when its connection closed.
            for name in names:
                if name not in connections:
                    self.inbox.gone(name)
        if members:
            try:
                self.deliver_group(members, message)
            except Exception:
                self.stats["failures"] += 1
                self.log.exception("a message of group %s failed", group)

    def _credit(self, channel: str, name: str, count: int) -> None:
        connection = self._connections.get(name)
        if connection is not None:
            try:
                self.credited(connection, channel, count)
            except Exception:
                self.failed(connection)

    def _layer_down(self, reason: str) -> None:
        if self.available:
            self.available = False
            self.stats["layer_outages"] += 1
            self.log.warning("the channel layer is away: %s", reason)

    def _layer_up(self) -> None:
        if not self.available:
            self.available = True
            self.log.info("the channel layer is back")
