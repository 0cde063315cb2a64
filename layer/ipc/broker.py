"""The broker without its socket: the store, and who is to be given what out of it.

Bytes come in by `Session.feed`, and go out to its peer, once a turn. `turn` does a bounded amount of
work, some calls of each session in rotation, so that a client that floods waits for itself only; and who waits for
messages is served once the calls of the turn are done, in batches. Nothing here knows a socket or a loop.
"""

import heapq
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import ChannelFull, LayerError
from ..membership import Membership, spread
from ..options import MAX_SIZE
from ..store import Store
from ..store.element import RELOAD, Element
from . import frames
from .checks import Take
from .frames import FrameError
from .session import Peer, Session

MEMORY = 1024 * 1024 * 1024  # bytes the store may take

_QUANTUM = 64  # calls of one session before it is the next one's turn
_TURN = 1024  # calls before the loop looks at the sockets again
_BATCH = 256 * 1024  # bytes of messages in one answer to a TAKE
_AGAIN = 0.1  # seconds after which a full store is counted again
_READERS = 1024  # inboxes read plainly whose members are remembered


class Broker:
    """A store and its sessions.

    Args:
        clock: Seconds, never going back.
        wake: Called when there is a turn to be done: at most once until `turn` was called.
        max_size: Bytes the largest message may have that any client sends.
        memory: Bytes the store may take.
        lost: How many messages, at most, were lost with all brokers before this one.
        before_telling: Called in each turn before anybody is told what was done.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wake: Callable[[], None],
        *,
        max_size: int = MAX_SIZE,
        memory: int = MEMORY,
        lost: int = 0,
        before_telling: Callable[[], None] = lambda: None,
    ) -> None:
        self.epoch = secrets.token_hex(8)
        self.frame_limit = max_size + frames.OVERHEAD
        self.frame = frames.Writer().frame
        self.sessions: dict[Session, None] = {}
        self.stopping = False
        self._clock = clock
        self._wake = wake
        self._before_telling = before_telling
        self._awake = False
        self._lost = lost
        self._memory = memory
        self._left = float(memory)
        self._count_at = 0.0
        self._waiting: dict[str, dict[Take, None]] = {}  # queue → who waits for it, the first one first
        self._filled: dict[str, None] = {}  # queues among those that got something
        self._dues: list[tuple[float, str]] = []  # when a delayed message of one of those is due
        self._due: dict[str, float] = {}
        self._readers: dict[str, Membership] = {}  # of inboxes that are read plainly
        self._reader = self.epoch  # as whom
        self._told: dict[Session, None] = {}
        self._busy: deque[Session] = deque()
        self._queued: set[Session] = set()  # those in _busy
        self._heard: dict[str, bool] = {}
        self.wall = time.time if clock is time.monotonic else clock
        self.store = Store(clock, self._waiting, self._notify, self.wall)
        self.calls: dict[str, Callable[..., Any]] = self.store.calls | {
            "announce": self._announce,
            "heard": self.store.listeners.heard,
            "statistics": self._statistics,
        }

    # for the sockets

    def open(self, peer: Peer) -> Session:
        """Begin with a client that has connected."""
        session = Session(self, peer)
        self.sessions[session] = None
        session.tell(frames.HELLO, frames.VERSION, self.epoch, self.frame_limit, self._lost)
        return session

    def close(self, session: Session) -> None:
        """Forget a client that is gone."""
        if self.sessions.pop(session, self) is self:
            return
        for take in session.takes.values():
            self._forget(take)
        session.takes = {}
        self._told.pop(session, None)

    def cut(self, session: Session, reason: str) -> None:
        """Have a client cut off."""
        self.close(session)
        session.peer.cut(reason)

    def ready(self, session: Session) -> None:
        """Have a session worked for in its turn."""
        if session.busy and session not in self._queued and not self.stopping:
            self._queued.add(session)
            self._busy.append(session)
            self._rouse()

    def told(self, session: Session) -> None:
        """Have a session flushed at the end of the turn."""
        self._told[session] = None
        if not self._awake:
            self._rouse()

    def turn(self) -> None:
        """Do a bounded amount of work; `wake` is called if some is left."""
        self._awake = True
        left = _TURN
        while self._busy and left > 0:
            session = self._busy.popleft()
            self._queued.discard(session)
            if session not in self.sessions:
                continue
            try:
                left -= session.work(min(_QUANTUM, left))
            except FrameError as error:
                self.cut(session, str(error))
            else:
                session.peer.worked()
                if session.busy:
                    self.ready(session)
        called = bool(self._told)
        if called:
            self._tell()  # who called goes on while others are given what it sent
        self._serve()
        if self._told or not called:
            self._tell()
        self._awake = False
        if self._busy:
            self._rouse()

    def due(self) -> float | None:
        """Return the seconds until a delayed message is due that somebody waits for; None if there is none."""
        now = self._clock()
        while self._dues:
            when, queue = self._dues[0]
            if self._due.get(queue) == when and queue in self._waiting:
                if when > now:
                    return when - now
                self._filled[queue] = None
                self._rouse()
            heapq.heappop(self._dues)
            if self._due.get(queue) == when:
                del self._due[queue]
        return None

    def moved(self) -> None:
        """Look again at all that somebody waits for: the clock was moved by hand."""
        self._filled.update(dict.fromkeys(self._waiting))
        self._rouse()

    def fail(self, reason: str) -> None:
        """Cut all clients off, before any is told what was done: it is not kept."""
        self.stopping = True
        self._told.clear()
        for session in list(self.sessions):
            self.cut(session, reason)
        self._busy.clear()

    def stop(self, reason: str) -> int:
        """Take no more calls, answer who waits, and say goodbye; return how many messages are lost."""
        self.stopping = True
        for session in list(self.sessions):
            try:
                session.finish()  # what has begun, so that nobody has to be in doubt about it
            except FrameError:
                pass
            for take in list(session.takes.values()):
                self._answer(take, "", 0.0, ())
            session.tell(frames.BYE, reason)
        self._busy.clear()
        self.turn()
        return int(self.store.queues.held()[0])

    # for sessions

    def take(self, take: Take) -> None:
        """Give what there is, or remember who waits."""
        if self._filled:
            self._serve()  # to those that came before
        self._settle(take)

    def cancel(self, session: Session, id: Any) -> None:
        """Withdraw a take; one that was answered meanwhile needs nothing."""
        take = session.takes.get(id)
        if take is not None:
            self._answer(take, "", 0.0, ())

    def room(self, size: int) -> float:
        """Return the bytes left to the store after a frame that may make it hold `size` more; 0 or less: it is full."""
        self._left -= size
        if self._left <= 0:
            now = self._clock()
            if now >= self._count_at:
                self._count_at = now + _AGAIN
                self._left = float(self._memory - self.store.size() - size)
        return self._left

    def refuses(self, name: str, room: float) -> bool:
        """Tell whether a call is left out that would make a full store hold more.

        What is put back had room before, and finds as much again; a group's messages are dropped and counted.

        Raises:
            LayerError: For any other call.
        """
        if name == "put_back" and room > -self._memory:
            return False
        if name == "send_group":
            self.store.groups.dropped += 1
            return True
        kind = ChannelFull if name in ("put", "put_many", "put_durable") else LayerError
        raise kind(f"the bus is full: it holds {self._memory >> 20} MiB, its limit")

    # what the above is made of

    def _announce(self, listener: str, info: bytes | None, channels: dict[str, bool]) -> None:
        """Tell who wants to know it which channels are listened to now, if others are."""
        self.store.listeners.announce(listener, info, channels)
        listening = dict(self.store.listeners.listening())
        if listening != self._heard:
            self._heard = listening
            heard = self.store.listeners.heard()
            for session in self.sessions:
                if session.hears:
                    session.tell(frames.HEARD, heard)

    def _tell(self) -> None:
        self._before_telling()
        while self._told:
            session, _ = self._told.popitem()
            session.flush()

    def _rouse(self) -> None:
        if not self._awake:
            self._awake = True
            self._wake()

    def _notify(self, queue: str) -> None:
        self._filled[queue] = None
        if not self._awake:
            self._rouse()

    def _serve(self) -> None:
        """Give what was put into queues to those that wait for them, longest first."""
        while self._filled:
            queue, _ = self._filled.popitem()
            while queue in self._waiting and self._has(queue):
                take = next(iter(self._waiting[queue]))
                self._forget(take)
                self._settle(take)
                if take.id in take.session.takes:
                    break  # there were only notes, or what had expired
            if queue in self._waiting:
                self._schedule(queue)

    def _has(self, queue: str) -> bool:
        """Tell whether something can be taken, what is due by now included."""
        return self.store.queues.ready(queue) or self.store.queues.next_due((queue,)) == 0.0

    def _settle(self, take: Take) -> None:
        """Answer a take, or have it wait."""
        if take.holder is not None and not self.store.groups.holds(take.queues[0], take.holder):
            self._answer(take, None, 0.0, ())
            return
        while True:
            for attach in take.attaches:
                self._attach(*attach)
            found = self.store.queues.take(take.queues, take.start, take.limit, _BATCH)
            if found is None:
                break
            queue, now, elements = found
            if take.holder is not None:
                elements = self._with_snapshots(queue, elements)
            elif queue.endswith("!"):
                elements = self._spread(queue, now, elements, take.limit)
                if not elements:
                    continue  # there were only notes
            self._answer(take, queue, now, elements)
            return
        if not take.wait:
            self._answer(take, "", 0.0, ())
            return
        take.session.takes[take.id] = take
        for queue in take.queues:
            self._waiting.setdefault(queue, {})[take] = None
            self._schedule(queue)

    def _answer(self, take: Take, queue: str | None, now: float, elements: Any) -> None:
        if take.session.takes.pop(take.id, None) is not None:
            self._forget(take)
        take.session.tell(frames.TAKE, take.id, queue, now, elements)

    def _forget(self, take: Take) -> None:
        for queue in take.queues:
            waiting = self._waiting.get(queue)
            if waiting is not None:
                waiting.pop(take, None)
                if not waiting:
                    del self._waiting[queue]

    def _schedule(self, queue: str) -> None:
        """Remember when the next delayed message is due."""
        seconds = self.store.queues.next_due((queue,))
        if seconds is not None:
            when = self._clock() + seconds
            if when < self._due.get(queue, float("inf")):
                self._due[queue] = when
                heapq.heappush(self._dues, (when, queue))

    # inboxes

    def _with_snapshots(self, inbox: str, elements: list[Element]) -> list[Element]:
        """Give who has to load its memberships anew what to load."""
        if any(element[2] == RELOAD for element in elements):
            snapshot = self.store.groups.snapshot(inbox)
            return [(*element[:5], snapshot) if element[2] == RELOAD else element for element in elements]
        return elements

    def _attach(self, inbox: str, _: str, life: float, capacity: int, max_bytes: int | None) -> None:
        # All plain readers of an inbox are one here: its notes are applied where they were taken, in their order.
        if len(self._readers) > _READERS:
            self._readers.clear()
            self._reader = secrets.token_hex(8)  # as another, it is given them anew
        snapshot = self.store.groups.attach(inbox, self._reader, life, capacity, max_bytes)
        if snapshot is not None:
            self._readers.setdefault(inbox, Membership()).load(snapshot)

    def _spread(self, inbox: str, now: float, elements: list[Element], limit: int) -> list[Element]:
        """Open what was taken from an inbox for a plain reader; what is too much for it goes back."""
        taken = self._readers[inbox].apply(elements, lambda: self.store.groups.snapshot(inbox))
        deliveries, rest = spread(inbox, taken, limit, now)
        if rest:
            self.store.queues.put_back(inbox, rest)
        return [delivery._element for delivery in deliveries]

    def _statistics(self) -> dict[str, Any]:
        return self.store.statistics() | {"messages_lost_count": self._lost}
