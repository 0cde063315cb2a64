"""An inbox at the broker: one connection, on which it sends, holds its lease, and has a credit for what arrives.

Whenever the connection came up, and whenever the lease was lost, it claims its inbox anew: it asks whether the lease
still held, takes it, and learns which members the broker has.

    the lease held, or the inbox is lasting          the broker knows better: load what it has
    otherwise, or it is another broker now           replay: join the members that we hold once more, with their infos

A member that joins again comes back as a note, between the messages, as any other that joins.
"""

import asyncio
import logging
import secrets
from asyncio import AbstractEventLoop, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from ..calls import Call
from ..errors import LayerError, LayerUnavailable
from ..inbox import Callbacks, Inbox, Then
from ..membership import Snapshot
from ..store.element import RELOAD, Element
from ..store.listeners import Heard
from . import frames
from .connection import Hello
from .stream import Stream

if TYPE_CHECKING:
    from .layer import IpcLayer

log = logging.getLogger("trunkline.layer")

LEASE = 15.0
RENEW = 5.0
_SLICE = 256  # elements in one credit
_CLOSING = 5.0  # seconds that closing may take


class IpcInbox(Inbox):
    """One server instance's inbox at the broker.

    Raises:
        LayerError: Another process has leased it.
        LayerUnavailable: There is no broker.
    """

    _layer: "IpcLayer"

    def __init__(
        self, layer: "IpcLayer", name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool
    ) -> None:
        super().__init__(layer, name, loop, callbacks, lasting)
        self._holder = secrets.token_hex(8)
        self._lease = self._checked.lease(name, self._holder, LEASE, lasting)
        self._renewal: Call = ("renew", (name, self._holder, LEASE))
        self.heard = Heard(layer.clock)
        self._up: bool | None = None  # whether the lease is held; None: not yet known
        self._early: list[tuple[list[Call], list[Then | None]]] = []  # what was sent before that was known
        self._epoch = ""
        self._replaces = False  # whether the broker has nothing of what the one before had
        self._outstanding = 0  # turns that were not answered
        self._owed: list[Call] = []  # members that left, and the broker could not be told
        self._parted: set[tuple[str, str]] = set()  # those that left since the connection was lost
        self._asked = False  # whether a credit is out
        self._settled: Future[None] | None = None
        self._membership.load(layer._call(self._lease))
        self._stream = Stream(
            loop, layer.path, up=self._connected, down=self._lost, told=self._told, timeout=layer._timeout
        )
        self._timer = loop.call_later(RENEW, self._renew)
        self._stream.start()

    # sending

    def _transmit(self, calls: list[Call], thens: list[Then | None]) -> None:
        if self._up is None:
            self._early.append((calls, thens))
            return
        self._outstanding += 1
        self._stream.run(calls, partial(self._sent, thens))

    def _sent(self, thens: list[Then | None], outcomes: list[Any]) -> None:
        self._outstanding -= 1
        self.stats["in_doubt"] += sum(
            isinstance(outcome, LayerUnavailable) and outcome.uncertain for outcome in outcomes
        )
        self._settle(thens, outcomes)
        if self._settled is not None and not self._outstanding and not self._settled.done():
            self._settled.set_result(None)

    def _leave(self, group: str, local: str, sequence: int) -> None:
        call: Call = ("group_leave", (group, self.name, local, sequence))
        if not self._up:
            self._parted.add((group, local))
        self._enqueue(call, partial(self._left, call))

    def _left(self, call: Call, outcome: Any) -> None:
        if isinstance(outcome, LayerUnavailable):
            self._owed.append(call)

    # receiving

    def _ask(self) -> None:
        """Give the broker a credit, one at a time."""
        if self._asked or self._closed:
            return
        self._asked = True
        self._stream.tell(frames.TAKE, self._stream.number(), (self.name,), 0, _SLICE, True, (), self._holder)

    def _told(self, parts: tuple[Any, ...]) -> None:
        if parts[0] == frames.HEARD:
            self.heard.hear(parts[1])
        elif parts[0] == frames.TAKE:
            _, _, queue, _, elements = parts
            self._asked = False
            if queue is None:
                self._claim()  # the lease lapsed: this process stood still
            elif not self._closed:
                self._ask()
                self._took(elements)

    def _took(self, elements: list[Element]) -> None:
        snapshots = [element[5] for element in elements if element[2] == RELOAD]
        rest = self._arrived(elements)
        if rest is not None:
            self._load(snapshots[0])
            self._arrived(rest)

    # the lease and the members

    def _renew(self) -> None:
        self._timer = self._loop.call_later(RENEW, self._renew)
        if self._up is False and self._stream.connected:
            self._claim()  # somebody else had the lease
        elif self._up:
            self._stream.run([self._renewal, ("heard", ())], self._renewed)

    def _renewed(self, outcomes: list[Any]) -> None:
        held, heard = outcomes
        if isinstance(held, LayerError):
            return
        self.heard.hear(heard)
        if not held:
            self._claim()

    def _connected(self, hello: Hello) -> None:
        self._replaces = self._replaces or self._epoch not in ("", hello.epoch)
        self._epoch = hello.epoch
        self._layer._met(hello)
        self._claim()

    def _claim(self) -> None:
        calls = [*self._owed, self._renewal, self._lease, ("heard", ())]
        self._stream.run(calls, partial(self._claimed, len(self._owed)))

    def _claimed(self, owed: int, outcomes: list[Any]) -> None:
        held, snapshot, heard = outcomes[owed:]
        if isinstance(snapshot, LayerUnavailable):
            return  # `_lost` is called, too
        if isinstance(snapshot, LayerError):
            self._fall(str(snapshot))
            return
        del self._owed[:owed]
        self.heard.hear(heard)
        members = self._membership.members()
        self._load(snapshot)
        if self._replaces or not (held or self._lasting):
            self._replay(members)
        self._replaces = False
        self._ask()
        self._stand()

    def _load(self, snapshot: Snapshot) -> None:
        super()._load(snapshot)
        parted, self._parted = self._parted, set()
        for group, local in parted:
            sequence = self._membership.discard(group, local)
            if sequence is not None:
                self._leave(group, local, sequence)

    def _replay(self, members: list[tuple[str, str, Any]]) -> None:
        """Join members once more."""
        self.stats["replays"] += 1
        _, (_, _, _, _, *life) = self._lease
        present = {(group, local) for group, local, _ in self._membership.members()}
        for group, local, info in members:
            if (group, local) not in present:
                self._enqueue(("group_add", (group, self.name, local, info, *life)), None)

    # up and down

    def _stand(self) -> None:
        was, self._up = self._up, True
        self._send_early()
        if was is False:
            log.info("%s: the bus is back", self.name)
            if self._callbacks.up is not None and not self._closed:
                self._run(self._callbacks.up)

    def _lost(self, reason: str) -> None:
        self._asked = False
        self._fall(reason)

    def _fall(self, reason: str) -> None:
        was, self._up = self._up, False
        self._send_early()
        if was is not False and not self._closed:
            log.warning("%s: %s", self.name, reason)
            self.stats["outages"] += 1
            if self._callbacks.down is not None:
                self._run(self._callbacks.down, reason)

    def _send_early(self) -> None:
        early, self._early = self._early, []
        for calls, thens in early:
            self._transmit(calls, thens)

    # the end

    async def _shut(self) -> None:
        self._timer.cancel()
        try:
            async with asyncio.timeout(_CLOSING):
                while self._up is None:
                    await asyncio.sleep(0.001)
                while self._outstanding:
                    self._settled = self._loop.create_future()
                    await self._settled
                released: Future[Any] = self._loop.create_future()
                release: Call = ("release", (self.name, self._holder))
                self._stream.run([*self._owed, release], partial(_unless_done, released))
                await released
        except TimeoutError:
            log.warning("%s: the bus did not answer within %g s of closing", self.name, _CLOSING)
        finally:
            self._drop()
        await asyncio.sleep(0)  # the connection ends in the next turn of the loop

    def _drop(self) -> None:
        """Close the connection, now."""
        self._closed = True
        self._timer.cancel()
        self._up = False
        self._stream.close()

    def _stop(self) -> None:
        """End without a word to the broker, from whatever thread: the layer is closed, and the lease will lapse."""
        try:
            self._loop.call_soon_threadsafe(self._drop)
        except RuntimeError:  # the loop was closed under an open inbox
            pass


def _unless_done(future: Future[Any], outcomes: list[Any]) -> None:
    if not future.done():
        future.set_result(outcomes)
