"""The ipc engine: a store in a broker behind a Unix socket, for the processes of one machine."""

import logging
import random
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote
from weakref import WeakSet

from ..base import Layer
from ..calls import Call, lost
from ..errors import LayerUnavailable
from ..inbox import Callbacks, Inbox
from ..options import from_mapping
from ..reader import Reader
from .connection import TIMEOUT, Connection, Hello, Pool
from .frames import OVERHEAD
from .inbox import IpcInbox
from .place import check_path
from .reader import IpcReader

log = logging.getLogger("trunkline.layer")


class IpcLayer(Layer):
    """A channel layer at a broker that `trunkline bus` runs.

    It connects when it is first used, and again whenever the broker came back.

    Args:
        path: The broker's socket.
        clock: The broker's clock; None: the system's monotonic one.
        rng: Decides what `drop_rate` loses.
        timeout: Seconds the broker may take to answer.
        options: Those of `Options`.

    Attributes:
        lost: How many messages, at most, were lost with brokers that ended while this layer was used.

    Raises:
        ValueError: No socket can be at this path, or an option is unknown or has a value it cannot have.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] | None = None,
        rng: random.Random | None = None,
        timeout: float = TIMEOUT,
        **options: Any,
    ) -> None:
        super().__init__(from_mapping(options, f"ipc://{path}"), rng)
        self.path = check_path(path)
        self.clock = clock or time.monotonic
        self.lost = 0
        self._timeout = timeout
        self._met_last: Hello | None = None
        self._meeting = threading.Lock()
        self._pool = Pool(path, self._met, timeout)
        self._open_readers: WeakSet[IpcReader] = WeakSet()
        self._inboxes: WeakSet[IpcInbox] = WeakSet()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pool.closed

    def close(self) -> None:
        """Close this layer object: its inboxes end and lose their leases, blocked receives raise LayerUnavailable."""
        self._pool.close()
        for reader in list(self._open_readers):
            reader.alarm.ring()
        for inbox in list(self._inboxes):
            inbox._stop()

    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""
        reader = IpcReader(self)
        self._open_readers.add(reader)
        return reader

    def connect(self) -> Connection:
        """Return a connection of one's own.

        Raises:
            LayerUnavailable: There is no broker, or the layer is closed.
        """
        return self._pool.connect()

    def _call(self, call: Call) -> Any:
        (outcome,) = self._pool.run((call,))
        if isinstance(outcome, LayerUnavailable):
            raise lost((call,), outcome)[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        try:
            outcomes = self._pool.run(calls) if calls else []
        except LayerUnavailable as error:
            return [error] * len(calls)
        return [
            lost((call,), outcome)[0] if isinstance(outcome, LayerUnavailable) else outcome
            for call, outcome in zip(calls, outcomes, strict=True)
        ]

    def _make_inbox(self, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> Inbox:
        inbox = IpcInbox(self, name, loop, callbacks, lasting)
        self._inboxes.add(inbox)
        return inbox

    def _met(self, hello: Hello) -> None:
        """Learn which broker answers: another one than before has nothing of what the one before had."""
        self._calls.lower(hello.limit - OVERHEAD)
        with self._meeting:
            before, self._met_last = self._met_last, hello
            if before is None or before.epoch == hello.epoch:
                return
            lost = hello.lost - before.lost
            if lost < 0:  # somebody removed the file that it was counted in
                lost = hello.lost
            self.lost += lost
        log.warning("the bus at %s began anew: %d messages at most that waited there are lost", self.path, lost)


def open_ipc(place: str, **options: Any) -> IpcLayer:
    """Open `ipc:///path/bus.sock`.

    Raises:
        ValueError: No socket can be there, or an option is unknown or has a value it cannot have.
    """
    return IpcLayer(unquote(place), **options)
