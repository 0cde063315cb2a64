"""Groups in two levels: which inboxes have members, and beside it the members themselves (design: architecture.md).

A send costs one element per inbox. Each inbox' holder keeps the members it holds, and learns of changes by notes that
stand in its queue between the messages, so that what was sent after an add is seen after it. Every change has a
sequence number; a GROUP element carries the number of the last change before it, so that a holder that loaded its
members instead of following the notes still tells which of them a message was meant for.

What becomes of an inbox that nobody reads:

    leased, process-named   when the lease lapses its memberships go, and later adds to it are ignored
    leased, lasting         keeps its members for `life` after the lease; messages queue; an add writes no note
    never leased            a plain reader: lives for `life` after the last add, with notes
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, NamedTuple

from ..errors import LayerError
from .agenda import Agenda
from .element import ADD, DISCARD, GROUP, MESSAGE, RELOAD
from .queues import Queues

SWEEP = 300.0  # how often groups and inboxes are looked at, and forgotten if nobody is left
MAX_NOTES = 100_000  # above this the notes of an inbox are dropped, and its holder loads its members
_FOREVER = float("inf")

Member = tuple[int, int, Any]  # sequence of the last add, sequence since which it is a member, packed info or None
Snapshot = tuple[int, list[tuple[str, str, int, int, Any]]]  # sequence so far, (group, local part, *member) each


class _Plain(NamedTuple):
    """A plain channel as a member."""

    info: Any
    until: float
    capacity: int
    max_bytes: int | None


class _Inbox:
    __slots__ = ("capacity", "followed", "groups", "holder", "lasting", "lease", "life", "max_bytes", "name", "until")

    def __init__(self, name: str, life: float, until: float, capacity: int, max_bytes: int | None) -> None:
        self.name = name
        self.groups: set[str] = set()
        self.holder: str | None = None  # who leased it, or read it last
        self.followed = False  # whether a plain reader took notes, or some were dropped: those in the queue are not all
        self.lasting = False
        self.lease: float | None = None  # until when; None: never leased
        self.life = life
        self.until = until  # how long the memberships live while nobody leased it
        self.capacity = capacity
        self.max_bytes = max_bytes

    def noted(self, now: float) -> bool:
        """Tell whether somebody reads, or may yet read, the notes."""
        return self.until > now if self.lease is None else self.lease > now

    def alive(self, now: float) -> bool:
        """Tell whether its memberships still hold."""
        if self.lease is None:
            return self.until > now
        return self.lease + (self.life if self.lasting else 0.0) > now


class _Group:
    __slots__ = ("inboxes", "plain")

    def __init__(self) -> None:
        self.inboxes: dict[str, dict[str, Member]] = {}
        self.plain: dict[str, _Plain] = {}


class Groups:
    """All groups of a store, and the leases of inboxes."""

    def __init__(self, clock: Callable[[], float], agenda: Agenda, queues: Queues) -> None:
        self._clock = clock
        self._agenda = agenda
        self._queues = queues
        self._groups: dict[str, _Group] = {}
        self._inboxes: dict[str, _Inbox] = {}
        self._sequence = count(1)
        self._last = 0
        self.dropped = 0  # copies of group messages that found a full channel

    def __len__(self) -> int:
        return len(self._groups)

    # members

    def add(
        self, group: str, queue: str, local: str, info: Any, life: float, capacity: int, max_bytes: int | None
    ) -> None:
        """Add a channel to a group, or renew it.

        Args:
            queue: The channel, or the inbox it belongs to.
            local: The local part of an inbox' channel.
            info: Packed info, or None.
            life: `group_expiry` in seconds.
            capacity: How many messages may wait in the queue.
            max_bytes: How many bytes of messages may wait in the queue.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        if not queue.endswith("!"):
            self._open(group, now).plain[queue] = _Plain(info, now + life, capacity, max_bytes)
            return
        inbox = self._met(queue, now) or self._know(queue, life, now, capacity, max_bytes)
        if inbox.lease is None:
            inbox.until = now + life
        elif not inbox.alive(now):
            return
        sequence = self._next()
        members = self._open(group, now).inboxes.setdefault(queue, {})
        since = members[local][1] if local in members else sequence
        members[local] = (sequence, since, info)
        inbox.groups.add(group)
        self._note(inbox, ADD, local, info, (group, sequence), now)

    def discard(self, group: str, queue: str, local: str) -> bool:
        """Remove a channel from a group; False if it was no member."""
        now = self._clock()
        found = self._groups.get(group)
        if found is None:
            return False
        if not queue.endswith("!"):
            return found.plain.pop(queue, None) is not None
        if not self._remove(group, queue, local):
            return False
        self._note(self._inboxes[queue], DISCARD, local, None, (group, self._next()), now)
        return True

    def leave(self, group: str, queue: str, local: str, sequence: int) -> bool:
        """Remove a member for its inbox' holder, unless it joined again after `sequence`."""
        members = self._groups[group].inboxes.get(queue) if group in self._groups else None
        if not members or local not in members or members[local][0] != sequence:
            return False
        return self._remove(group, queue, local)

    def members(self, group: str) -> dict[str, Any]:
        """Return the members: channel → packed info or None."""
        now = self._clock()
        found = self._groups.get(group)
        result: dict[str, Any] = {}
        if found is None:
            return result
        for channel, plain in list(found.plain.items()):
            if plain.until > now:
                result[channel] = plain.info
        for name in list(found.inboxes):
            if self._met(name, now):
                result.update({name + local: info for local, (_, _, info) in found.inboxes[name].items()})
        return result

    def send(self, group: str, body: bytes, expiry: float, exclude: Mapping[str, Iterable[str]] | None = None) -> None:
        """Send to all members; what finds no room is dropped and counted.

        Args:
            exclude: Queue → local parts that get nothing.
        """
        now = self._clock()
        found = self._groups.get(group)
        if found is None:
            return
        deadline = now + expiry
        exclude = exclude or {}
        for channel, plain in list(found.plain.items()):
            if plain.until > now and channel not in exclude:
                element = (deadline, now, MESSAGE, "", body, None)
                self.dropped += not self._queues.offer(channel, element, plain.capacity, plain.max_bytes, now)
        for name in list(found.inboxes):
            inbox = self._met(name, now)
            if inbox is None:
                continue
            excluded = tuple(exclude.get(name, ())) or None
            if excluded is None or not found.inboxes[name].keys() <= set(excluded):
                grouped = (deadline, now, GROUP, group, body, (self._last, excluded))
                self.dropped += not self._queues.offer(name, grouped, inbox.capacity, inbox.max_bytes, now)

    # inboxes

    def lease(
        self, name: str, holder: str, ttl: float, lasting: bool, life: float, capacity: int, max_bytes: int | None
    ) -> Snapshot:
        """Take an inbox for `ttl` seconds.

        Args:
            holder: A name of its own for whoever holds it.
            lasting: The inbox outlives its holder: a network's, not a process'.
            life: `group_expiry` in seconds.

        Returns:
            What the holder has to know to begin.

        Raises:
            LayerError: Somebody else holds it.
        """
        now = self._clock()
        inbox = self._inboxes.get(name)
        if inbox is not None and inbox.lease is not None and inbox.lease > now and inbox.holder != holder:
            raise LayerError(f"{name} is leased by another process")
        inbox = self._met(name, now) or self._know(name, life, now, capacity, max_bytes)
        inbox.holder, inbox.lasting, inbox.life = holder, lasting, life
        inbox.capacity, inbox.max_bytes = capacity, max_bytes
        inbox.lease = now + ttl
        self._queues.drop_notes(name)
        return self.snapshot(name)

    def renew(self, name: str, holder: str, ttl: float) -> bool:
        """Hold an inbox for another `ttl` seconds; False if the lease was lost meanwhile."""
        now = self._clock()
        inbox = self._inboxes.get(name)
        if inbox is None or inbox.holder != holder or inbox.lease is None or inbox.lease <= now:
            return False
        inbox.lease = now + ttl
        return True

    def release(self, name: str, holder: str) -> None:
        """Give an inbox back: a process-named one goes with its memberships, a lasting one keeps them."""
        inbox = self._inboxes.get(name)
        if inbox is None or inbox.holder != holder or inbox.lease is None:
            return
        inbox.lease = self._clock()
        inbox.holder = None
        if not inbox.lasting:
            self._forget_members(inbox)
            self._queues.drop(name)

    def attach(self, name: str, holder: str, life: float, capacity: int, max_bytes: int | None) -> Snapshot | None:
        """Read an inbox plainly, without a lease, following its notes. Asked before each take.

        Returns:
            None if this reader took from it last, and has only to follow the notes; else what to begin from.
        """
        now = self._clock()
        inbox = self._met(name, now) or self._know(name, life, now, capacity, max_bytes)
        if inbox.lease is not None and inbox.lease > now:
            return self.snapshot(name)
        if inbox.holder == holder:
            return None
        from_the_beginning = inbox.lease is None and not inbox.followed
        inbox.holder, inbox.followed = holder, True
        if from_the_beginning:
            return 0, []
        self._queues.drop_notes(name)
        return self.snapshot(name)

    def snapshot(self, name: str) -> Snapshot:
        """Return the members an inbox has now, and the sequence number they are from."""
        inbox = self._inboxes.get(name)
        return self._last, [
            (group, local, *member)
            for group in (sorted(inbox.groups) if inbox else ())
            for local, member in self._groups[group].inboxes[name].items()
        ]

    def holds(self, name: str, holder: str) -> bool:
        """Tell whether somebody has the lease of an inbox."""
        inbox = self._inboxes.get(name)
        return inbox is not None and inbox.holder == holder and inbox.lease is not None and inbox.lease > self._clock()

    def held(self) -> tuple[int, int]:
        """Return how many members and inboxes there are, and how many bytes the members' infos have."""
        infos: list[Any] = []
        for group in self._groups.values():
            infos += (plain.info for plain in group.plain.values())
            for members in group.inboxes.values():
                infos += (info for _, _, info in members.values())
        return len(infos) + len(self._inboxes), sum(len(info) for info in infos if info is not None)

    def flush(self) -> None:
        """Drop all groups; leases stay, and whoever has one is told."""
        now = self._clock()
        self._groups.clear()
        self.dropped = 0
        for name, inbox in self._inboxes.items():
            self._agenda.add(now + SWEEP, self._sweep_inbox, name)
            inbox.groups.clear()
            if inbox.lease is None:
                inbox.holder, inbox.followed = None, False
            elif inbox.lease > now:
                self._queues.note(name, (_FOREVER, now, RELOAD, "", None, None), now)

    # what the above is made of

    def _next(self) -> int:
        self._last = next(self._sequence)
        return self._last

    def _open(self, group: str, now: float) -> _Group:
        found = self._groups.get(group)
        if found is None:
            found = self._groups[group] = _Group()
            self._agenda.add(now + SWEEP, self._sweep_group, group)
        return found

    def _know(self, name: str, life: float, now: float, capacity: int, max_bytes: int | None) -> _Inbox:
        inbox = self._inboxes.get(name)
        if inbox is None:
            inbox = self._inboxes[name] = _Inbox(name, life, now + life, capacity, max_bytes)
            self._agenda.add(now + SWEEP, self._sweep_inbox, name)
        return inbox

    def _met(self, name: str, now: float) -> _Inbox | None:
        """Return an inbox whose memberships hold; remove those of one that is gone."""
        inbox = self._inboxes.get(name)
        if inbox is not None and not inbox.alive(now):
            self._forget_members(inbox)
            return None
        return inbox

    def _note(self, inbox: _Inbox, kind: int, local: str, info: Any, extra: tuple[str, int], now: float) -> None:
        if not inbox.noted(now):
            return
        if self._queues.notes(inbox.name) < MAX_NOTES:
            self._queues.note(inbox.name, (_FOREVER, now, kind, local, info, extra), now)
            return
        self._queues.drop_notes(inbox.name)
        if inbox.lease is None:
            inbox.holder, inbox.followed = None, True
        else:
            self._queues.note(inbox.name, (_FOREVER, now, RELOAD, "", None, None), now)

    def _remove(self, group: str, queue: str, local: str) -> bool:
        found = self._groups[group]
        members = found.inboxes.get(queue)
        if not members or members.pop(local, None) is None:
            return False
        if not members:
            del found.inboxes[queue]
            self._inboxes[queue].groups.discard(group)
        return True

    def _forget_members(self, inbox: _Inbox) -> None:
        for group in inbox.groups:
            del self._groups[group].inboxes[inbox.name]
        inbox.groups.clear()
        self._queues.drop_notes(inbox.name)
        if inbox.lease is None:
            inbox.holder, inbox.followed = None, False

    def _sweep_group(self, group: str, now: float) -> float | None:
        """Drop a group in which nobody is left.

        Only here, so that joining and leaving all day long costs one entry in the agenda.
        """
        found = self._groups[group]
        found.plain = {channel: plain for channel, plain in found.plain.items() if plain.until > now}
        if found.plain or found.inboxes:
            return now + SWEEP
        del self._groups[group]
        return None

    def _sweep_inbox(self, name: str, now: float) -> float | None:
        """Drop the memberships of an inbox that is gone, and after `life` the memory that it was there."""
        inbox = self._inboxes[name]
        if inbox.alive(now):
            return now + SWEEP
        self._forget_members(inbox)
        if inbox.lease is not None and inbox.lease + inbox.life > now:
            return inbox.lease + inbox.life
        del self._inboxes[name]
        return None
