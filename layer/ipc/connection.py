"""A blocking connection to the broker, for one thread at a time, and a pool of them for calls from any thread."""

import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..calls import Call
from ..errors import LayerUnavailable, MessageTooLarge
from . import frames
from .parcels import Answer, Parcel, parcels
from .place import is_trusted, peer_of

TIMEOUT = 5.0  # seconds a broker may take to answer
_READ = 64 * 1024  # more at once would cost an mmap each time
_AHEAD = 4  # frames of calls that are sent before the first one's answer is read
_IDLE = 32  # connections kept for the next calls
_timeval = struct.Struct("@ll")


class Hello(NamedTuple):
    """What a broker says first.

    Attributes:
        epoch: Another one after the broker ended.
        limit: Bytes that a frame may have.
        lost: How many messages, at most, were lost there with all brokers before.
    """

    epoch: str
    limit: int
    lost: int


def read_hello(parts: tuple[Any, ...], path: str) -> Hello:
    """Return what a broker's first frame says.

    Raises:
        LayerUnavailable: This is no broker of ours.
    """
    if parts[0] != frames.HELLO or len(parts) != 5:
        raise LayerUnavailable(f"what listens at {path} is no Trunkline bus")
    if parts[1] != frames.VERSION:
        raise LayerUnavailable(f"the bus at {path} speaks version {parts[1]!r:.20}, this program {frames.VERSION}")
    return Hello(*parts[2:])


def refusal(path: str, error: OSError) -> LayerUnavailable:
    """Return what to tell where nobody could be reached."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return LayerUnavailable(f"no bus is at {path}; `trunkline bus unix:{path}` starts one")
    return LayerUnavailable(f"the bus at {path} cannot be reached: {error.strerror or error}")


class Connection:
    """One socket. What breaks it closes it.

    Args:
        path: The broker's socket.
        met: Called with the broker's `Hello`.
        timeout: Seconds the broker may take to answer.

    Attributes:
        hello: What the broker said first.

    Raises:
        LayerUnavailable: There is no broker.
    """

    def __init__(self, path: str, met: Callable[[Hello], None], timeout: float = TIMEOUT) -> None:
        self._path = path
        self._writer = frames.Writer()
        self._splitter = frames.Splitter(0xFFFFFFFF)
        self._read: deque[tuple[Any, ...]] = deque()
        self._next = 0
        self.closed = False
        self.socket = socket.socket(socket.AF_UNIX)
        # The kernel's own timeouts: one system call for each read, where settimeout() makes two.
        patience = _timeval.pack(int(timeout), int(timeout % 1 * 1e6))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        try:
            try:
                self.socket.connect(path)
            except OSError as error:
                raise refusal(path, error) from None
            if not is_trusted(peer_of(self.socket)):
                raise LayerUnavailable(f"the bus at {path} belongs to another user: it is not trusted")
            try:
                self.hello = read_hello(self.receive(), path)
            except LayerUnavailable as error:
                raise LayerUnavailable(str(error)) from None  # nothing is in doubt: nothing was asked for
        except BaseException:
            self.close()
            raise
        met(self.hello)

    def fileno(self) -> int:
        """Return the socket's number."""
        return self.socket.fileno()

    def close(self) -> None:
        """Close it."""
        self.closed = True
        self.socket.close()

    def number(self) -> int:
        """Return an id for a frame."""
        self._next += 1
        return self._next

    def frame(self, *parts: Any) -> bytes:
        """Pack a frame."""
        return self._writer.frame(*parts)

    def send(self, data: bytes) -> None:
        """Write frames.

        Raises:
            BrokenPipeError: The broker is gone, and has the last of the frames at most in part: it was not done.
        """
        try:
            sent = self.socket.send(data)
            if sent < len(data):
                self.socket.sendall(memoryview(data)[sent:])
        except OSError as error:
            raise BrokenPipeError(error.strerror or str(error)) from None

    def receive(self) -> tuple[Any, ...]:
        """Read the next frame.

        Raises:
            LayerUnavailable: The connection broke, or the broker took too long, or has said that it ends.
        """
        while not self._read:
            try:
                data = self.socket.recv(_READ)
            except BlockingIOError:
                raise self._lost("it does not answer") from None
            except OSError as error:
                raise self._lost(error.strerror or str(error)) from None
            if not data:
                raise self._lost("the connection was closed")
            try:
                self._read.extend(frames.unpack(frame, bounded=False) for frame in self._splitter.feed(data))
            except frames.FrameError as error:
                raise self._lost(str(error)) from None
        parts = self._read.popleft()
        if parts[0] == frames.BYE:
            self.close()
            raise LayerUnavailable(f"the bus at {self._path} is away: {parts[1]}")
        return parts

    @property
    def unread(self) -> bool:
        """Whether a frame was read from the socket and not yet received."""
        return bool(self._read)

    def answer(self, number: int) -> Answer:
        """Read the answer to a frame of calls."""
        kind, answered, values, errors = self.receive()
        assert (kind, answered) == (frames.CALLS, number), "answers come in order"
        return values, errors

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls; return the value or the error of each. Where the connection broke it is closed.

        Raises:
            BrokenPipeError: The broker was gone, and nothing was done.
        """
        outcomes: list[Any] = [None] * len(calls)
        asked: deque[tuple[int, Parcel]] = deque()
        left = parcels(calls)
        begun = sent = False
        broken: LayerUnavailable | None = None
        try:
            for parcel in left:
                if len(asked) == _AHEAD:
                    self._open(asked, outcomes)
                number = self.number()
                frame = self.frame(frames.MORE if sent else frames.CALLS, number, parcel.calls)
                if len(frame) - 4 > self.hello.limit:  # of a layer that did not know its broker when it was checked
                    parcel.fail(MessageTooLarge(f"the bus takes frames of {self.hello.limit} bytes"), outcomes)
                    begun = True
                    continue
                try:
                    self.send(frame)
                except BrokenPipeError as error:
                    if not begun:
                        self.close()
                        raise
                    broken = LayerUnavailable(self._text(str(error)))
                    parcel.fail(broken, outcomes)
                    break
                begun = sent = True
                asked.append((number, parcel))
            while asked:
                self._open(asked, outcomes)
        except LayerUnavailable as lost:
            for _, parcel in asked:
                parcel.fail(lost, outcomes)
            broken = LayerUnavailable(str(lost))
        if broken is not None:
            self.close()
            for parcel in left:
                parcel.fail(broken, outcomes)
        return outcomes

    def _open(self, asked: deque[tuple[int, Parcel]], outcomes: list[Any]) -> None:
        """Read the answer to the first of the parcels that were sent."""
        number, parcel = asked[0]
        parcel.open(self.answer(number), outcomes)
        asked.popleft()

    def _text(self, reason: str) -> str:
        return f"the bus at {self._path} is away: {reason}"

    def _lost(self, reason: str) -> LayerUnavailable:
        self.close()
        return LayerUnavailable(self._text(reason), uncertain=True)


class Pool:
    """Connections for calls from any thread.

    Args:
        path: The broker's socket.
        met: Called with each broker's `Hello`.
        timeout: Seconds the broker may take to answer.
    """

    def __init__(self, path: str, met: Callable[[Hello], None], timeout: float = TIMEOUT) -> None:
        self._path = path
        self._met = met
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._process = os.getpid()
        self.closed = False

    def connect(self) -> Connection:
        """Return a new connection.

        Raises:
            LayerUnavailable: There is no broker, or the layer is closed.
        """
        if self.closed:
            raise LayerUnavailable(f"ipc://{self._path} is closed")
        return Connection(self._path, self._met, self._timeout)

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls; return the value or the error of each.

        Raises:
            LayerUnavailable: There is no broker, or the layer is closed.
        """
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), []  # a fork's parent goes on with its own
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.connect()
        try:
            outcomes = connection.run(calls)
        except BrokenPipeError:
            # The broker that an idle connection led to has ended; whether there is another one, a new one tells.
            connection = self.connect()
            try:
                outcomes = connection.run(calls)
            except BrokenPipeError as error:
                raise refusal(self._path, error) from None
        if not connection.closed:
            if self.closed or len(self._idle) >= _IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        return outcomes

    def close(self) -> None:
        """Close what is idle; later calls raise LayerUnavailable."""
        self.closed = True
        while self._idle:
            self._idle.pop().close()
