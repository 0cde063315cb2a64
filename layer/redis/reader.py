"""Receiving in one thread: BLMPOP on a connection of its own, behind what is to be sent before it.

Channels whose elements anybody may take come straight out of their lists. Inboxes and single-reader channels need more
(notes are applied, credit is given), so a script takes from them, and BLMPOP only tells that there is something.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..delivery import Delivery, deliveries
from ..errors import LayerUnavailable
from ..membership import Membership, spread
from ..reader import Reader, Wanted
from .commands import pull_keys
from .connection import Connection
from .outcomes import Taken, answer

if TYPE_CHECKING:
    from ..calls import Call
    from .commands import Command
    from .layer import RedisLayer

BLOCK = 5.0  # seconds of one wait within Redis
GRACE = 3.0  # seconds by which its end may be late
SHORTEST = 0.001  # seconds: to Redis, none at all would be for ever
_TOKEN = b""  # in the list of a durable channel: there is something
REMEMBERED = 64
UNTAKEN = 86_400_000  # milliseconds that a list lives in which nothing but this was, if nobody comes to take it

Settle = Callable[[Sequence[Any]], None]


class RedisReader(Reader):
    """A reader with a connection of its own, made when it is first used, and anew after it was lost."""

    def __init__(self, layer: RedisLayer) -> None:
        super().__init__()
        self._layer: RedisLayer = layer
        self._commands = layer._commands
        self._connection: Connection | None = None
        self._keys: dict[tuple[str, ...], tuple[bytes, ...] | None] = {}
        self._connected_before = False
        self._woken = False
        self._signal, self._signalled = os.pipe()
        os.set_blocking(self._signal, False)
        os.set_blocking(self._signalled, False)

    def __del__(self) -> None:
        os.close(self._signal)
        os.close(self._signalled)

    def wake(self) -> None:
        self._woken = True
        try:
            os.write(self._signalled, b"\0")
        except BlockingIOError:
            pass  # nobody reads, and the pipe says so already

    def _take(self, wanted: Wanted, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        return self._flush_and_take((), _nothing, wanted, start, limit, timeout)

    def _flush_and_take(
        self,
        calls: Sequence[Call],
        settle: Settle,
        wanted: Wanted,
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        plan = self._commands.plan(calls)
        settled = not calls

        def sent(replies: list[Any]) -> None:
            nonlocal settled
            settled = True
            settle(plan.outcomes(replies))

        try:
            connection = self._connected()
            keys = self._keys_of(wanted)
            if keys is None or timeout == 0 or self._woken:
                if calls:
                    sent(connection.run(plan.commands))
                return [] if self._was_woken() else self._by_script(connection, wanted, start, limit, timeout)
            return self._by_pull(connection, plan.commands, sent, wanted, keys, start, limit, timeout)
        except LayerUnavailable as error:
            self._drop()
            if not settled:
                settle(plan.lost(error))
            raise

    def _connected(self) -> Connection:
        connection = self._connection
        if connection is None or connection.closed or self._layer.closed:
            connection = self._connection = self._layer.connect("reader")
            durable = self._layer._calls.limits.durable
            if self._connected_before and durable:
                # This may be a Redis that came back empty: who comes new to it has to hear of them.
                connection.run(self._commands.plan([("agree", (durable,))]).commands)
            self._connected_before = True
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _was_woken(self) -> bool:
        if self._layer.closed:
            raise self._layer.unavailable()
        if not self._woken:
            return False
        self._woken = False
        try:
            os.read(self._signal, 65536)
        except BlockingIOError:
            pass
        return True

    def _keys_of(self, wanted: Wanted) -> tuple[bytes, ...] | None:
        """Return the keys to take from without a script; None where one is needed."""
        queues = wanted.queues
        if queues not in self._keys:
            if len(self._keys) >= REMEMBERED:
                self._keys.clear()
            simple = not any(mark in queue for queue in queues for mark in "!?")
            self._keys[queues] = tuple(map(self._commands.keys.list, queues)) if simple else None
        return self._keys[queues]

    # by BLMPOP

    def _by_pull(
        self,
        connection: Connection,
        commands: list[Command],
        sent: Callable[[list[Any]], None],
        wanted: Wanted,
        keys: tuple[bytes, ...],
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        self._layer.mover.start()
        until = None if timeout is None else time.monotonic() + timeout
        rotated = keys[start:] + keys[:start]
        while True:
            left = BLOCK if until is None else min(BLOCK, until - time.monotonic())
            if left <= 0:
                return self._by_script(connection, wanted, start, limit, 0)
            connection.write([*commands, pull_keys(rotated, max(left, SHORTEST), limit)])
            if commands:
                sent(connection.read(len(commands)))
                commands = []
            found = self._pulled(self._wait(connection, left), connection, limit)
            if found or self._was_woken():
                return found

    def _wait(self, connection: Connection, seconds: float) -> Any:
        """Return what a BLMPOP brings that is under way. When woken, have Redis end it; what it took still comes."""
        if not connection.wait(seconds + GRACE, self._signal) and (self._woken or self._layer.closed):
            self._layer.unblock(connection.hello.client_id)
        return answer(connection.read(1)[0])

    def _pulled(self, reply: Any, connection: Connection, limit: int) -> list[Delivery]:
        pulled = self._commands.pulled(reply)
        if pulled is None:
            return []
        queue, raw = pulled
        now = time.monotonic() + connection.hello.offset
        if _TOKEN in raw:
            rest = [each for each in raw if each != _TOKEN]
            return self._pulled((reply[0], rest), connection, limit) + self._redeemed(connection, queue, limit)
        return [Delivery(queue, queue, element, now) for element in self._layer.decode(queue, raw) if element[0] > now]

    def _redeemed(self, connection: Connection, queue: str, limit: int) -> list[Delivery]:
        """Return what there is in a durable channel, whose token was taken."""
        layer = self._layer
        place = (queue, "", layer.visibility(queue) or layer.learn(queue))
        return self._opened((queue,), self._script(connection, [place], limit), limit, connection)

    # by script

    def _by_script(
        self, connection: Connection, wanted: Wanted, start: int, limit: int, timeout: float | None
    ) -> list[Delivery]:
        until = None if timeout is None else time.monotonic() + timeout
        queues = wanted.queues[start:] + wanted.queues[:start]
        while True:
            found = self._look(connection, queues, limit, bool(wanted.inboxes))
            left = BLOCK if until is None else min(BLOCK, until - time.monotonic())
            if found or left <= 0 or self._was_woken():
                return found
            self._layer.mover.start()
            keys = tuple(map(self._commands.keys.list, queues))
            connection.write([pull_keys(keys, max(left, SHORTEST), 1)])
            reply = self._wait(connection, left)
            if reply is not None:
                # It goes back to where it was, to be taken by the script.
                back = ("LPUSH", reply[0], *reply[1]), ("PEXPIRE", reply[0], UNTAKEN, "NX")
                answer(connection.run(back)[0])

    def _look(self, connection: Connection, queues: tuple[str, ...], limit: int, inboxes: bool) -> list[Delivery]:
        """Take what is there; notes of an inbox are no deliveries, and what stands behind them may be."""
        while True:
            if inboxes:
                # With several threads at one inbox, its notes must be applied in the order in which they were taken.
                with self._layer.opening:
                    taken = self._script(connection, self._places(queues), limit)
                    found = self._opened(queues, taken, limit, connection)
            else:
                taken = self._script(connection, self._places(queues), limit)
                found = self._opened(queues, taken, limit, connection)
            if found or taken.place is None:
                return found

    def _places(self, queues: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
        return [(queue, *self._layer.room_of(queue)) for queue in queues]

    def _script(self, connection: Connection, places: Sequence[tuple[str, Any, Any]], limit: int) -> Taken:
        layer = self._layer
        plan = self._commands.plan([("take", (places, limit, layer.group_expiry, layer._holder))])
        taken = plan.outcomes(connection.run(plan.commands))[0]
        if isinstance(taken, Exception):
            raise taken
        return cast(Taken, taken)

    def _opened(self, queues: tuple[str, ...], taken: Taken, limit: int, connection: Connection) -> list[Delivery]:
        layer = self._layer
        for index, snapshot in taken.snapshots.items():
            layer._memberships.setdefault(queues[index], Membership()).load(snapshot)
        if taken.place is None:
            return []
        queue = queues[taken.place]
        now = time.monotonic() + connection.hello.offset
        if taken.marks is not None:
            marked = zip(taken.elements, taken.marks, strict=True)
            elements = [(*each[:5], mark) for raw, mark in marked for each in layer.decode(queue, (raw,))]
            return deliveries(layer, queue, elements, now)
        elements = layer.decode(queue, taken.elements)
        if not queue.endswith("!"):
            return deliveries(layer, queue, elements, now)
        membership = layer._memberships[queue]
        opened = membership.apply(elements, lambda: layer._call(("snapshot", (queue,))))
        spread_out, rest = spread(queue, opened, limit, now)
        if rest:
            layer._call(("put_back", (queue, rest)))
        return spread_out


def _nothing(outcomes: Sequence[Any]) -> None:
    pass
