"""A connection to the broker on an asyncio loop, which comes back for as long as it is not closed."""

import asyncio
from asyncio import AbstractEventLoop, Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from ..backoff import Backoff
from ..calls import Call
from ..errors import LayerUnavailable
from . import frames
from .connection import TIMEOUT, Hello, read_hello, refusal
from .parcels import Parcel, parcels
from .place import is_trusted, peer_of

UNSENT = 64 * 1024 * 1024  # bytes that wait for a broker which does not keep up, before calls are refused

Done = Callable[[list[Any]], None]


class Stream(asyncio.Protocol):
    """One connection at a time. All methods are called, and all callbacks run, on the loop's thread.

    Args:
        loop: Where it runs.
        path: The broker's socket.
        up: Called with the broker's `Hello` after each connect.
        down: Called with the reason when the connection is lost or cannot be made, until it is up again each time.
        told: Called with the parts of each frame that is no answer to `run`.
        timeout: Seconds the broker may take to answer.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        path: str,
        *,
        up: Callable[[Hello], None],
        down: Callable[[str], None],
        told: Callable[[tuple[Any, ...]], None],
        timeout: float = TIMEOUT,
    ) -> None:
        self.connected = False
        self._loop = loop
        self._path = path
        self._up, self._down, self._told = up, down, told
        self._timeout = timeout
        self._frame = frames.Writer().frame
        self._backoff = Backoff()
        self._transport: asyncio.Transport | None = None
        self._splitter = frames.Splitter(0xFFFFFFFF)
        self._pending: deque[tuple[float, int, Parcel, _Run]] = deque()  # since when, id, what was sent, and for whom
        self._number = 0
        self._began = 0.0
        self._watch: TimerHandle | None = None
        self._again: Handle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._closed = False
        self._reason = ""
        self._goodbye = False  # whether the broker said that it ends: what it did not answer it has not done

    def start(self) -> None:
        """Connect, in the next turn of the loop."""
        self._again = self._loop.call_soon(self._begin)

    def close(self) -> None:
        """Close the connection, and do not come back; what was not answered is in doubt."""
        self._closed = True
        for timer in (self._watch, self._again):
            if timer is not None:
                timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._fail("it was closed")

    def number(self) -> int:
        """Return an id for a frame."""
        self._number += 1
        return self._number

    def tell(self, *parts: Any) -> None:
        """Send a frame that `told` is called with the answer to, or nobody; lost if there is no connection."""
        if self._transport is not None and self.connected:
            self._transport.write(self._frame(*parts))

    def run(self, calls: Sequence[Call], done: Done) -> None:
        """Run calls; `done` is called once with the value or the error of each."""
        transport = self._transport
        if transport is None or not self.connected:
            self._loop.call_soon(done, [LayerUnavailable(self._text(self._reason))] * len(calls))
            return
        if transport.get_write_buffer_size() > UNSENT:
            error = LayerUnavailable(f"the bus at {self._path} does not keep up: {UNSENT >> 20} MiB wait for it")
            self._loop.call_soon(done, [error] * len(calls))
            return
        written: list[bytes] = []
        run = _Run(len(calls), done)
        for parcel in parcels(calls):
            number = self.number()
            written.append(self._frame(frames.MORE if written else frames.CALLS, number, parcel.calls))
            self._pending.append((self._loop.time(), number, parcel, run))
            run.left += 1
        transport.write(written[0] if len(written) == 1 else b"".join(written))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)

    # the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._transport = transport
        self._splitter = frames.Splitter(0xFFFFFFFF)
        self._goodbye = False
        self._began = self._loop.time()
        self._reason = "the connection was closed"
        if not is_trusted(peer_of(transport.get_extra_info("socket"))):
            self._drop("it belongs to another user, and is not trusted")
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            for frame in self._splitter.feed(data):
                self._take(frames.unpack(frame, bounded=False))
        except (frames.FrameError, LayerUnavailable) as error:
            self._drop(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail(self._reason)

    def _take(self, parts: tuple[Any, ...]) -> None:
        kind = parts[0]
        if not self.connected:
            hello = read_hello(parts, self._path)
            self.connected = True
            self._backoff.reset()
            self._up(hello)
        elif kind == frames.CALLS:
            _, number, parcel, run = self._pending.popleft()
            assert number == parts[1], "answers come in order"
            parcel.open((parts[2], parts[3]), run.outcomes)
            run.settle()
        elif kind == frames.BYE:
            self._goodbye, self._reason = True, parts[1]
        else:
            self._told(parts)

    # its life

    def _begin(self) -> None:
        self._again = None
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await self._loop.create_unix_connection(lambda: self, self._path)
        except OSError as error:
            self._fail(str(refusal(self._path, error)))
        finally:
            self._dialling = None

    def _drop(self, reason: str) -> None:
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        """Tell everybody who waits, and come back later."""
        self.connected = False
        self._reason = reason
        pending, self._pending = self._pending, deque()
        error = LayerUnavailable(self._text(reason), uncertain=not self._goodbye)
        for _, _, parcel, run in pending:
            parcel.fail(error, run.outcomes)
            run.settle()
        if not self._closed:
            if self._again is None:
                self._again = self._loop.call_later(self._backoff.next(), self._begin)
            self._down(error.args[0])

    def _look(self) -> None:
        """Give a broker up that does not answer; this timer runs only while an answer is to come."""
        self._watch = None
        if self._transport is None or (self.connected and not self._pending):
            return
        left = (self._pending[0][0] if self.connected else self._began) + self._timeout - self._loop.time()
        if left <= 0:
            self._drop("it does not answer")
        else:
            self._watch = self._loop.call_later(left, self._look)

    def _text(self, reason: str) -> str:
        return reason if self._path in reason else f"the bus at {self._path} is away: {reason}"


class _Run:
    """Calls under way in one or several parcels.

    Args:
        count: How many they are.
        done: Who waits for all of them.
    """

    __slots__ = ("_done", "left", "outcomes")

    def __init__(self, count: int, done: Done) -> None:
        self.outcomes: list[Any] = [None] * count
        self.left = 0  # parcels
        self._done = done

    def settle(self) -> None:
        """Learn that the outcomes of one more parcel are written down."""
        self.left -= 1
        if not self.left:
            self._done(self.outcomes)
