"""The Redis engine: many machines, one Redis."""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Sequence
from typing import Any, Self, cast

from hiredis import ReplyError

from ..base import Layer
from ..calls import Call
from ..errors import LayerError, LayerUnavailable
from ..inbox import Callbacks, Inbox
from ..options import VISIBILITY, from_mapping
from ..reader import Reader
from ..store.element import Element
from .address import Where
from .commands import Commands
from .connection import Connection, Pool
from .elements import decode
from .inbox import RedisInbox
from .keys import Keys
from .mover import Mover
from .reader import RedisReader
from .scripts import SCRIPTS
from .topology import Topology, has_several, read_topology

log = logging.getLogger("trunkline.layer")

URL = "redis://localhost:6379/0"
PREFIX = "trunkline"
_MAX_PREFIX = 64
_OPTIONS = ("prefix", "db", "tls_ca", "tls_certificate", "tls_key", "sentinel_user", "sentinel_password")


class RedisLayer(Layer):
    """A channel layer on a Redis server, 7.0 or later, or on Valkey. Nothing is connected before the first call.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, `unix:///path/redis.sock`, or
            `redis+sentinel://[user:password@]host[:port],…/service[/db]`; with TLS `rediss://` and `rediss+sentinel://`.
            Several hosts, `redis://[user:password@]host[:port],host[:port],…[/db]`, share the channels among them;
            `redis+cluster://[user:password@]host[:port],…` names some nodes of a cluster.
        prefix: What all keys begin with: two projects on one Redis set two.
        rng: Decides what `drop_rate` loses.
        db: The database's number, where the URL does not name it.
        tls_ca: PEM file of who signed the server's certificate; default: whom the system trusts.
        tls_certificate: PEM file of a client certificate.
        tls_key: PEM file of its key.
        sentinel_user: ACL user of the Sentinels; default: their default one.
        sentinel_password: Their password, where they have one.
        options: Those of `Options`.

    Raises:
        ValueError: The URL or an option cannot be right; one line.
    """

    def __new__(cls, url: str = URL, **options: Any) -> Self:
        """Return a layer made for as many servers as the URL names."""
        if cls is RedisLayer and has_several(url):
            from .spread import SpreadLayer

            return super().__new__(cast(type[Self], SpreadLayer))
        return super().__new__(cls)

    def __init__(
        self,
        url: str = URL,
        *,
        prefix: str = PREFIX,
        rng: random.Random | None = None,
        db: int | str | None = None,
        tls_ca: str | None = None,
        tls_certificate: str | None = None,
        tls_key: str | None = None,
        sentinel_user: str | None = None,
        sentinel_password: str | None = None,
        **options: Any,
    ) -> None:
        if not prefix or len(prefix) > _MAX_PREFIX or any(sign in "{}: " or not sign.isprintable() for sign in prefix):
            must = f"prefix must be 1 to {_MAX_PREFIX} characters without braces, colons and spaces"
            raise ValueError(f"{must}, not {prefix!r}")
        topology = read_topology(
            url,
            prefix,
            db=db,
            tls_ca=tls_ca,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            sentinel_user=sentinel_user,
            sentinel_password=sentinel_password,
        )
        super().__init__(from_mapping(options, topology.text, _OPTIONS), rng)
        self.text = topology.text
        self.clock = time.monotonic
        self.closed = False
        self._open_readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        self._inboxes: weakref.WeakSet[RedisInbox] = weakref.WeakSet()
        self._found(topology)

    def _found(self, topology: Topology) -> None:
        """Make what leads to the server."""
        [(where, prefix)] = topology.places
        self._settle(where, prefix)

    def _settle(self, where: Where, prefix: str) -> None:
        self._address = where
        self._commands = Commands(Keys(prefix))
        self.opening = threading.Lock()  # held while an inbox is read plainly, until its notes are applied
        self.mover = Mover(lambda: _connect(where, "mover"), self._commands)
        self._pool = Pool(where, SCRIPTS)
        weakref.finalize(self, self.mover.stop)

    def close(self) -> None:
        """Close this layer object: its connections end, blocked receives and later calls raise LayerUnavailable."""
        if self.closed:
            return
        self.closed = True
        for inbox in list(self._inboxes):
            inbox._stop()
        for reader in list(self._open_readers):
            reader.wake()
        self._end()

    def _end(self) -> None:
        """Close what leads to the server."""
        self.mover.stop()
        self._pool.close()
        self._address.close()

    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""
        reader = RedisReader(self)
        self._open_readers.add(reader)
        return reader

    def _call(self, call: Call) -> Any:
        outcome = self._run((call,))[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        plan = self._commands.plan(calls)
        if self.closed:
            return plan.lost(self.unavailable())
        try:
            replies = self._pool.run(plan.commands)
        except LayerUnavailable as error:
            return plan.lost(error)
        return plan.outcomes(replies)

    def _make_inbox(self, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> Inbox:
        inbox = RedisInbox(self, name, loop, callbacks, lasting)
        self._inboxes.add(inbox)
        return inbox

    def problems(self) -> list[str]:
        """Return what is wrong with this Redis, a line each: it is away, takes no writes, or may lose what it holds."""
        # No queue is called so, and to what is not there it adds nothing. But it is a write that asks for memory.
        write = ("RPUSHX", self._commands.keys.list("?"), b"")
        try:
            memory, written = self._pool.run([("INFO", "memory"), write])
        except LayerUnavailable as error:
            return [str(error)]
        if isinstance(written, ReplyError):
            return [f"{self._address.text} takes no writes: {written}"]
        if isinstance(memory, ReplyError):
            return []  # whoever may not ask need not know
        facts = dict(line.split(":", 1) for line in memory.decode().splitlines() if ":" in line)
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy == "noeviction":
            return []
        return [
            f"{self._address.text}: maxmemory-policy is {policy}, so messages, groups and sessions may vanish when "
            "memory is short; with noeviction they are refused, which everybody can handle"
        ]

    # what readers and inboxes of this engine use

    def connect(self, name: str) -> Connection:
        """Open a connection.

        Raises:
            LayerUnavailable: Redis cannot be reached, or the layer is closed.
        """
        if self.closed:
            raise self.unavailable()
        return self.dial(name)

    def dial(self, name: str) -> Connection:
        """Open a connection, even if the layer is closed: something may have to be brought to an end.

        Raises:
            LayerUnavailable: Redis cannot be reached.
        """
        return _connect(self._address, name)

    def unavailable(self) -> LayerUnavailable:
        """Return the error of a layer that is closed."""
        return LayerUnavailable(f"{self.text} is closed")

    def unblock(self, client_id: int) -> None:
        """Have Redis end the wait of a connection, as if its time were over."""
        try:
            connection = self.dial("unblock")
            connection.run([("CLIENT", "UNBLOCK", client_id)])
            connection.close()
        except LayerError as error:
            log.debug("a wait goes on to its end: %s", error)

    def room_of(self, queue: str) -> tuple[Any, Any]:
        """Return what take.lua wants to know of a queue.

        Of an inbox capacity and most bytes; of a durable channel nothing and its visibility timeout; else nothing.
        """
        if queue.endswith("!"):
            address = self._calls._find(queue)[0]
            return address.capacity, address.max_bytes
        return "", self.visibility(queue) or ""

    def visibility(self, queue: str) -> float:
        """Return a durable channel's visibility timeout in seconds; 0 for any other queue."""
        return 0.0 if "?" in queue else self._calls.limits.find(queue)[0].visibility

    def learn(self, queue: str) -> float:
        """Ask anew which channels are durable, since this one is; return its visibility timeout."""
        self._calls.limits.settle = self.agree
        self.agree()
        return self.visibility(queue) or VISIBILITY

    def decode(self, queue: str, elements: Iterable[bytes]) -> list[Element]:
        """Return elements as the store knows them; what is none is dropped, with a line in the log."""
        decoded = []
        for raw in elements:
            try:
                decoded.append(decode(raw))
            except ValueError as error:
                log.error("%s: %s; it is dropped", queue, error)
        return decoded


def _connect(address: Where, name: str) -> Connection:
    connection = Connection(address, SCRIPTS, name=f"trunkline.{name}")
    connection.open()
    return connection


def open_redis(place: str, **options: Any) -> RedisLayer:
    """Open `redis://place`."""
    return RedisLayer(f"redis://{place}", **options)


def open_rediss(place: str, **options: Any) -> RedisLayer:
    """Open `rediss://place`."""
    return RedisLayer(f"rediss://{place}", **options)


def open_unix(place: str, **options: Any) -> RedisLayer:
    """Open `unix://place`."""
    return RedisLayer(f"unix://{place}", **options)


def open_sentinel(place: str, **options: Any) -> RedisLayer:
    """Open `redis+sentinel://place`."""
    return RedisLayer(f"redis+sentinel://{place}", **options)


def open_sentinel_tls(place: str, **options: Any) -> RedisLayer:
    """Open `rediss+sentinel://place`."""
    return RedisLayer(f"rediss+sentinel://{place}", **options)


def open_cluster(place: str, **options: Any) -> RedisLayer:
    """Open `redis+cluster://place`."""
    return RedisLayer(f"redis+cluster://{place}", **options)


def open_cluster_tls(place: str, **options: Any) -> RedisLayer:
    """Open `rediss+cluster://place`."""
    return RedisLayer(f"rediss+cluster://{place}", **options)
