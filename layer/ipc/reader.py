"""One thread's place to receive at, with a connection of its own on which it waits."""

import os
import select
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import finalize

from ..calls import Call
from ..delivery import Delivery, deliveries
from ..errors import LayerUnavailable
from ..reader import Reader, Wanted
from . import frames
from .connection import Connection, refusal
from .parcels import Answer, Parcel, parcels

if TYPE_CHECKING:
    from .layer import IpcLayer


_LONGEST = 3600.0  # seconds that poll(2) is asked to wait, as its argument is bounded


class Alarm:
    """Ends a wait for a socket from another thread or a signal handler; takes no lock."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._close = finalize(self, _close, self._read, self._write)

    def fileno(self) -> int:
        """Return what becomes readable."""
        return self._read

    def ring(self) -> None:
        """End the present wait, or the next one."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            pass  # it rings already

    def quiet(self) -> None:
        """Forget that it rang."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass


def _close(*numbers: int) -> None:
    for number in numbers:
        os.close(number)


class IpcReader(Reader):
    """Gives the broker a credit for as many messages as are wanted, and waits for them.

    What is flushed with a receive leaves in the same write.
    """

    _layer: "IpcLayer"

    def __init__(self, layer: "IpcLayer") -> None:
        super().__init__()
        self._layer = layer
        self.alarm = Alarm()
        self._woken = False
        self._process = 0
        self._connection: Connection | None = None
        self._poll = select.poll()
        self._poll.register(self.alarm, select.POLLIN)

    def wake(self) -> None:
        self._woken = True
        self.alarm.ring()

    def _take(self, wanted: Wanted, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        return self._exchange(None, None, wanted, start, limit, timeout)

    def _flush_and_take(
        self,
        calls: Sequence[Call],
        settle: Callable[[Sequence[Any]], None],
        wanted: Wanted,
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        whole = list(parcels(calls))
        if self._woken or len(whole) > 1:
            return super()._flush_and_take(calls, settle, wanted, start, limit, timeout)
        outcomes: list[Any] = [None] * len(calls)

        def opened(answer: Answer) -> None:
            whole[0].open(answer, outcomes)
            settle(outcomes)

        return self._exchange(whole[0], opened, wanted, start, limit, timeout)

    def _exchange(
        self,
        parcel: Parcel | None,
        settle: Callable[[Answer], None] | None,
        wanted: Wanted,
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        if self._woken:
            self._quiet()
            return []
        checked, holder = self._layer._calls, self._layer._holder
        attaches = tuple(checked.attach(inbox, holder)[1] for inbox in wanted.inboxes)
        waits = timeout is None or timeout > 0
        until = time.monotonic() + timeout if timeout else None
        connection, number = self._ask(parcel, (wanted.queues, start, limit, waits, attaches, None))
        try:
            if settle is not None:
                settle(connection.answer(number - 1))
            if not waits or self._arrives(connection, until):
                return self._deliveries(connection, number)
            late = self._withdraw(connection, number)
            if self._layer.closed:
                self._put_back(connection, late)
                connection.close()
                raise LayerUnavailable(f"ipc://{self._layer.path} is closed")
            if self._woken:
                self._quiet()
                self._put_back(connection, late)
                return []
            return late
        except BrokenPipeError as error:
            connection.close()
            raise refusal(self._layer.path, error) from None
        except BaseException:
            connection.close()  # an interrupt, too: an answer would come that nobody waits for
            raise

    def _ask(self, parcel: Parcel | None, take: tuple[Any, ...]) -> tuple[Connection, int]:
        """Send calls and a TAKE in one write; return the connection and the TAKE's id."""
        for _ in range(2):
            connection, fresh = self._connected()
            number = connection.number()
            data = b""
            if parcel is not None:
                data = connection.frame(frames.CALLS, number, parcel.calls)
                number = connection.number()
            try:
                connection.send(data + connection.frame(frames.TAKE, number, *take))
                return connection, number
            except BrokenPipeError as error:
                connection.close()
                broken = refusal(self._layer.path, error)
                if fresh:
                    break
        raise broken

    def _connected(self) -> tuple[Connection, bool]:
        """Return the connection, and whether it is new."""
        connection = self._connection
        usable = connection is not None and not connection.closed and not self._layer.closed
        if connection is not None and usable and self._process == os.getpid():
            return connection, False
        self._process = os.getpid()  # a fork's parent goes on with its own
        connection = self._connection = self._layer.connect()
        self._poll = select.poll()
        self._poll.register(self.alarm, select.POLLIN)
        self._poll.register(connection, select.POLLIN)
        return connection, True

    def _arrives(self, connection: Connection, until: float | None) -> bool:
        """Wait for the answer; False after the time, after `wake` or when the layer is closed."""
        while not connection.unread:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            found = self._poll.poll(None if left is None else min(left, _LONGEST) * 1000)
            ready = {number for number, _ in found}
            if connection.fileno() in ready:
                return True
            if self._woken or self._layer.closed:
                return False
            if ready:
                self.alarm.quiet()
        return True

    def _withdraw(self, connection: Connection, number: int) -> list[Delivery]:
        """Withdraw what waits; return what was on its way all the same."""
        connection.send(connection.frame(frames.CANCEL, number))
        return self._deliveries(connection, number)

    def _deliveries(self, connection: Connection, number: int) -> list[Delivery]:
        _, answered, queue, now, elements = connection.receive()
        assert answered == number, "one answer for each TAKE"
        if queue.endswith("!"):
            return [Delivery(queue, queue + element[3], element, now) for element in elements]
        return deliveries(self._layer, queue, elements, now)

    def _put_back(self, connection: Connection, late: list[Delivery]) -> None:
        if late and late[0].id is not None:
            taken = tuple((delivery.id, delivery.tries) for delivery in late)
            connection.run([("put_back_durable", (late[0]._queue, taken))])
        elif late:
            connection.run([("put_back", (late[0]._queue, tuple(delivery._element for delivery in late)))])

    def _quiet(self) -> None:
        self._woken = False
        self.alarm.quiet()
