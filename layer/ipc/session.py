"""One client as the broker sees it: its frames, the calls at work, what waits to be told."""

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ChannelFull, LayerError
from ..store.queues import SENDS
from . import frames
from .checks import STORING, Take, check
from .frames import FrameError

if TYPE_CHECKING:
    from .broker import Broker

log = logging.getLogger("trunkline.bus")

_BEHIND = 256 * 1024  # bytes of frames that a session may be behind with
_TAKES = 16  # that one client may have waiting
_MANY = 1024  # calls done at once where no turn is kept
_FULL = 65_536  # queues that one run may find full
_AS_QUICK = 8  # parts of a put_many, two a message, that take the time of one call


class Peer(Protocol):
    """The socket behind a session."""

    def write(self, data: bytes) -> None:
        """Take the bytes of one turn."""

    def worked(self) -> None:
        """Learn that the session is less behind."""

    def cut(self, reason: str) -> None:
        """Cut the client off; its session is closed."""


class Session:
    """One client of the broker.

    Args:
        broker: Whose.
        peer: Its socket.

    Attributes:
        stalled: Whether what was written waits for the client to read it; its calls wait meanwhile, too.
    """

    def __init__(self, broker: "Broker", peer: Peer) -> None:
        self.stalled = False
        self.takes: dict[int, Take] = {}
        self.hears = False
        self._broker = broker
        self.peer = peer
        self._out: list[bytes] = []
        self._splitter = frames.Splitter(broker.frame_limit)
        self._frames: deque[bytes] = deque()
        self._behind = 0  # bytes of them
        self._calls: tuple[Any, ...] = ()  # of the frame at work
        self._done: list[Any] = []
        self._errors: list[tuple[int, str, str]] = []
        self._full: set[str] = set()  # queues that were full for a send of the run at work
        self._id = 0
        self._room = 1.0  # bytes that were left to the store when the frame at work began

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._splitter.partial

    @property
    def behind(self) -> bool:
        """Whether so much waits to be done that no more should be read."""
        return self._behind > _BEHIND

    @property
    def busy(self) -> bool:
        """Whether there is something to be done, and may be done."""
        return not self.stalled and bool(self._frames or self._calls)

    def feed(self, data: bytes) -> None:
        """Take what the client sent.

        Raises:
            FrameError: It is nothing of ours: the client is to be cut off.
        """
        for frame in self._splitter.feed(data):
            self._frames.append(frame)
            self._behind += len(frame)
        self._broker.ready(self)

    def work(self, most: int) -> int:
        """Do up to `most` calls; return how many were done.

        Raises:
            FrameError: The client is to be cut off.
        """
        done = 0
        while done < most and self.busy:
            if self._calls:
                done += self._call(most - done)
            else:
                self._begin()
                done += 1
        return done

    def tell(self, *parts: Any) -> None:
        """Send a frame at the end of the turn."""
        self._out.append(self._broker.frame(*parts))
        self._broker.told(self)

    def flush(self) -> None:
        """Write what this turn told."""
        out, self._out = self._out, []
        if out:
            self.peer.write(out[0] if len(out) == 1 else b"".join(out))

    def finish(self) -> None:
        """Do the rest of the frame at work, if there is one."""
        while self._calls:
            self._call(_MANY)

    def _begin(self) -> None:
        frame = self._frames.popleft()
        self._behind -= len(frame)
        parts = frames.unpack(frame)
        kind = parts[0]
        if kind == frames.CALLS or kind == frames.MORE:
            if len(parts) != 3 or type(parts[1]) is not int or type(parts[2]) is not tuple:
                raise FrameError("CALLS: wrong parts")
            _, self._id, self._calls = parts
            if self._full and kind == frames.CALLS:
                self._full = set()
            self._room = self._broker.room(len(frame))
            if not self._calls:
                self.tell(frames.CALLS, self._id, (), ())
        elif kind == frames.TAKE:
            take = Take(self, parts)
            if take.id in self.takes or len(self.takes) >= _TAKES:
                raise FrameError(f"TAKE: {take.id} of {len(self.takes)} that wait")
            self._broker.take(take)
        elif kind == frames.CANCEL and len(parts) == 2:
            self._broker.cancel(self, parts[1])
        else:
            raise FrameError(f"a frame of kind {kind!r:.60}")

    def _call(self, most: int) -> int:
        """Do up to `most` of the calls of the frame at work."""
        calls, done, known, full = self._calls, self._done, self._broker.calls, self._full
        worth = 0
        for index in range(len(done), len(calls)):
            if worth >= most:
                return worth
            worth += 1
            try:
                name, arguments = calls[index]
            except (TypeError, ValueError):
                raise FrameError("CALLS: something that is no call") from None
            check(name, arguments)
            try:
                if full and name in SENDS and arguments[0] in full:
                    raise self._broker.store.queues.refuse(name, arguments)
                if self._room <= 0 and name in STORING and self._broker.refuses(name, self._room):
                    done.append(None)
                else:
                    done.append(known[name](*arguments))
            except (LayerError, TypeError) as error:
                done.append(None)
                self._errors.append((index, type(error).__name__, str(error)))
                if isinstance(error, ChannelFull) and name in SENDS:
                    self._found_full(arguments[0])
            except Exception:
                log.exception("error in the call %s of a client", name)
                done.append(None)
                self._errors.append((index, LayerError.__name__, f"the bus failed in {name}; its log says how"))
            if name == "put_many":
                worth += len(arguments[4]) // _AS_QUICK
                if done[index] is not None:
                    self._found_full(arguments[0])
            elif name == "heard":
                self.hears = True
        self.tell(frames.CALLS, self._id, done, self._errors)
        self._calls, self._done, self._errors = (), [], []
        return worth

    def _found_full(self, queue: str) -> None:
        """Let nothing of this run overtake a send that found no room."""
        self._full.add(queue)
        if len(self._full) > _FULL:
            raise FrameError(f"MORE: a run in which {_FULL} queues are full")
