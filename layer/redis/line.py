"""What leads a reader to one of its places: a connection on which at most one BLMPOP waits, and what it brought."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backoff import Backoff
from ..calls import Call
from ..delivery import Delivery
from ..errors import LayerError, LayerUnavailable
from ..reader import Wanted
from .commands import pull_keys
from .connection import Connection
from .outcomes import Taken, answer
from .reader import GRACE, SHORTEST, UNTAKEN, RedisReader

if TYPE_CHECKING:
    from .spread import Place

log = logging.getLogger("trunkline.layer")

_ENDING = 0.01  # seconds after which Redis is told once more: it may have been told before it began to wait


class Signal:
    """Ends a wait, from any thread or a signal handler."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)

    def __del__(self) -> None:
        os.close(self._out)
        os.close(self._in)

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._out

    def set(self) -> None:
        """End the present wait, or the next."""
        try:
            os.write(self._in, b"\0")
        except BlockingIOError:
            pass  # nobody reads, and the pipe says so already

    def clear(self) -> None:
        """Forget that it was set."""
        try:
            os.read(self._out, 65536)
        except BlockingIOError:
            pass


class PlaceReader(RedisReader):
    """A reader that also tells those who get credit at another place."""

    _layer: Place

    def _script(self, connection: Connection, places: Sequence[tuple[str, Any, Any]], limit: int) -> Taken:
        bodies = [queue for queue, _, _ in places if "?" in queue]
        if not bodies:
            return super()._script(connection, places, limit)
        layer = self._layer
        calls: list[Call] = [("take", (places, limit, layer.group_expiry, layer._holder))]
        plan = self._commands.plan([*calls, *(("creditor", (queue,)) for queue in bodies)])
        taken, *creditors = plan.outcomes(connection.run(plan.commands))
        if isinstance(taken, Exception):
            raise taken
        found: Taken = taken
        if found.place is not None and (queue := places[found.place][0]) in bodies:
            layer.credit(queue, len(found.elements), creditors[bodies.index(queue)])
        return found


class Line:
    """The way to one place, for one reader.

    Args:
        place: Where it leads.
        signal: Set when the place is back.

    Attributes:
        alone: Whether there is no other place to be read meanwhile, so that it may be dialled here and now.
        again: When it is worth while to look at a place that is away, of `time.monotonic()`.
    """

    def __init__(self, place: Place, signal: Signal) -> None:
        self.alone = False
        self.again = 0.0
        self._place = place
        self._signal = signal
        self._reader = PlaceReader(place)
        self._kept: dict[str, deque[Delivery]] = {}
        self._asked = 0  # how many elements the BLMPOP that waits may bring; 0: none waits
        self._simple = True  # whether these are deliveries; else they only tell that there is something
        self._until = 0.0  # when its answer is late
        self._offset = 0.0  # Redis' clock minus ours
        self._control: Connection | None = None  # on which it is ended
        self._backoff = Backoff()
        self._since = 0.0  # when it was connected
        self._failure: str | None = None  # why it is not, so that it is dialled in another thread
        self._dialling = False
        self._dialled: Connection | LayerUnavailable | None = None

    def fileno(self) -> int:
        """Return what to wait for while a BLMPOP is out."""
        return self._open().fileno()

    def look(self, queues: tuple[str, ...], limit: int, thorough: bool) -> list[Delivery]:
        """Take what is there, from the first of some queues that has any.

        Args:
            thorough: Also what is due and was not moved yet, and what a BLMPOP is about to bring.

        Raises:
            LayerUnavailable: The place is away.
        """
        try:
            if self._asked and (thorough or self.is_ready()):
                self._settle(GRACE if thorough else 0.0)
            kept = next((queue for queue in queues if queue in self._kept), None)
            before = queues if kept is None else queues[: queues.index(kept)]
            found = self._look(before, limit, thorough) if before and not self._asked else []
        except LayerUnavailable as error:
            self._drop(error)
            raise
        return found if found or kept is None else self._taken(kept, limit)

    def _look(self, queues: tuple[str, ...], limit: int, thorough: bool) -> list[Delivery]:
        connection, reader = self._open(), self._reader
        keys = reader._keys_of(Wanted(queues, ()))
        if keys is None or thorough:
            return reader._look(connection, queues, limit, any(queue.endswith("!") for queue in queues))
        [reply] = connection.run([("LMPOP", len(keys), *keys, "LEFT", "COUNT", limit)])
        return reader._pulled(answer(reply), connection, limit)

    def _taken(self, queue: str, limit: int) -> list[Delivery]:
        """Return what was kept of a queue, unless it has expired."""
        kept = self._kept[queue]
        taken = [kept.popleft() for _ in range(min(limit, len(kept)))]
        if not kept:
            del self._kept[queue]
        now = time.monotonic() + self._offset
        return [delivery for delivery in taken if delivery.id is not None or delivery._element[0] > now]

    # waiting

    def wait(self, queues: tuple[str, ...], limit: int, seconds: float) -> bool:
        """Have a BLMPOP wait, unless one does already; False if the place is away."""
        self._place.mover.start()
        try:
            connection = self._open()
            if self._asked and time.monotonic() > self._until:
                raise LayerUnavailable(f"lost {self._place.text}: no answer in time")
            if not self._asked:
                keys = self._reader._keys_of(Wanted(queues, ()))
                self._simple = keys is not None
                count = limit if self._simple else 1
                names = keys or tuple(map(self._place._commands.keys.list, queues))
                connection.write([pull_keys(names, max(seconds, SHORTEST), count)])
                self._asked, self._until = count, time.monotonic() + seconds + GRACE
        except LayerUnavailable as error:
            self._drop(error)
            return False
        return True

    def is_ready(self) -> bool:
        """Tell whether the BLMPOP that waits has an answer, or its connection an end."""
        return self._open().wait(0)

    def end_wait(self) -> None:
        """Have Redis end the BLMPOP that waits, if one does, and do not wait for that."""
        connection = self._reader._connection
        if not self._asked or connection is None or connection.wait(0):
            return
        try:
            control = self._control
            if control is None or control.closed:
                control = self._control = self._place.dial("unblock")
            elif control.wait(0):
                control.read(1)
            else:
                return  # it was told already
            control.write([("CLIENT", "UNBLOCK", connection.hello.client_id)])
        except LayerUnavailable as error:
            self._drop(error)

    def put_back(self) -> None:
        """Put back what is kept, and what the BLMPOP that waits is about to bring."""
        try:
            self._settle(GRACE)
        except LayerError as error:
            log.warning("what was on its way from %s may be lost: %s", self._place.text, error)
        kept = [delivery for queue in list(self._kept) for delivery in self._taken(queue, len(self._kept[queue]))]
        if not kept:
            return
        plan = self._place._commands.plan(self._place._calls.put_back(kept, unopened=True))
        connection = self._reader._connection
        try:
            if connection is None or connection.closed:
                connection = self._place.dial("reader")
            failed = [each for each in plan.outcomes(connection.run(plan.commands)) if isinstance(each, Exception)]
        except LayerUnavailable as error:
            failed = [error]
        if failed:
            log.warning("%d messages from %s are lost: %s", len(kept), self._place.text, failed[0])

    def _settle(self, patience: float) -> None:
        """Take what the BLMPOP has brought that waits, or waited; have it ended where it has brought nothing yet."""
        connection, count = self._reader._connection, self._asked
        if not count or connection is None:
            return
        until = time.monotonic() + patience
        while not connection.wait(_ENDING):
            if time.monotonic() > until:
                raise LayerUnavailable(f"lost {self._place.text}: no answer in time")
            self.end_wait()
        reply = answer(self._read(connection))
        if reply is None:
            return
        if self._simple:
            self._offset = connection.hello.offset
            found = self._reader._pulled(reply, connection, count)
            for delivery in found:
                self._kept.setdefault(delivery._queue, deque()).append(delivery)
        else:
            # It goes back to where it was, to be taken by the script.
            back = ("LPUSH", reply[0], *reply[1]), ("PEXPIRE", reply[0], UNTAKEN, "NX")
            answer(connection.run(back)[0])

    def _read(self, connection: Connection) -> Any:
        self._asked = 0
        return connection.read(1)[0]

    # connecting

    def _open(self) -> Connection:
        """Return the connection, if there is one.

        Raises:
            LayerUnavailable: There is none; `again` says when to ask.
        """
        connection = self._reader._connection
        if connection is not None and not connection.closed:
            return connection
        if self._place.closed:
            raise self._place.unavailable()
        dialled, self._dialled = self._dialled, None
        if isinstance(dialled, Connection):
            return self._opened(dialled)
        if dialled is not None:
            self._failed(dialled)
        elif self.alone or self._failure is None:
            try:
                return self._opened(self._place.dial("reader"))
            except LayerUnavailable as error:
                self._failed(error)
        elif not self._dialling and time.monotonic() >= self.again:
            self._dialling, self.again = True, math.inf
            threading.Thread(target=self._dial, name="trunkline-reader", daemon=True).start()
        raise LayerUnavailable(self._failure or "")

    def _dial(self) -> None:
        """Connect, in a thread of its own: it may take seconds, in which the other places are to be read."""
        try:
            self._dialled = self._place.dial("reader")
        except LayerUnavailable as error:
            self._dialled = error
        except Exception as error:
            log.exception("connecting to %s failed", self._place.text)
            self._dialled = LayerUnavailable(f"cannot reach {self._place.text}: {error}")
        self._dialling = False
        self.again = 0.0
        self._signal.set()

    def _opened(self, connection: Connection) -> Connection:
        if self._failure is not None:
            log.warning("receiving from %s again", self._place.text)
        self._reader._connection = connection
        self._failure, self._since = None, time.monotonic()
        return connection

    def _failed(self, error: LayerUnavailable) -> None:
        if self._failure is None:
            log.warning("not receiving from %s: %s", self._place.text, error)
        self._failure = str(error)
        self.again = time.monotonic() + self._backoff.next()

    def _drop(self, error: LayerUnavailable) -> None:
        """Give a connection up that is of no use any more; it is dialled again, at once if it lived for long."""
        if self._reader._connection is None:
            return
        self._reader._drop()
        self._asked = 0
        if time.monotonic() - self._since >= self._backoff.longest:
            self._backoff.reset()
        self._failed(error)
