"""Which members an inbox' holder has, and what becomes of what it takes: notes are applied, group messages spread."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .delivery import Delivery
from .store.element import ADD, CREDIT, DISCARD, GROUP, MESSAGE, PART, RELOAD, Element

Snapshot = tuple[int, Iterable[tuple[str, str, int, int, Any]]]


class Taken(NamedTuple):
    """What was in a run of elements.

    Attributes:
        messages: (group or None, local parts it is for, element).
        credits: (single-reader channel, local part, chunks that were taken).
        added: The ADD notes that were applied.
        rest: What came after a RELOAD note, to be followed once a snapshot is loaded; None if there was no such note.
    """

    messages: list[tuple[str | None, tuple[str, ...], Element]]
    credits: list[tuple[str, str, int]]
    added: list[Element]
    rest: list[Element] | None


class Membership:
    """Which local parts of one inbox are in which groups.

    It follows the notes that stand in the inbox' queue, from the beginning or from a snapshot. Not safe from several
    threads.

    Attributes:
        groups_of: Local part → its groups, of those that are in any.
    """

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, int]] = {}
        # Of members that were added again before they were loaded: since when they are members.
        self._since: dict[tuple[str, str], int] = {}
        self.groups_of: dict[str, set[str]] = {}
        self._infos: dict[tuple[str, str], Any] = {}  # packed, of those members that have one
        self._upto = 0  # notes up to this sequence number are contained in what was loaded
        self._newest = 0  # no member was added later than this

    def load(self, snapshot: Snapshot) -> None:
        """Begin again from the members the store has; notes that it already contains will be ignored."""
        self._groups.clear()
        self._since.clear()
        self.groups_of.clear()
        self._infos.clear()
        self._upto, members = snapshot
        self._newest = self._upto
        for group, local, sequence, since, info in members:
            self._add(group, local, sequence, info)
            if since < sequence:
                self._since[group, local] = since

    def members(self) -> list[tuple[str, str, Any]]:
        """Return each group, member and packed info (or None)."""
        infos = self._infos
        return [
            (group, local, infos.get((group, local))) for group, members in self._groups.items() for local in members
        ]

    def sizes(self) -> tuple[int, int]:
        """Return how many groups there are, and how many members of any."""
        return len(self._groups), len(self.groups_of)

    def known(self, locals_: Iterable[str]) -> list[str]:
        """Return those of these local parts that are in any group."""
        return list(self.groups_of.keys() & locals_)

    def remove(self, local: str) -> list[tuple[str, int]]:
        """Take a local part out of all its groups; return each group with the sequence number it was added under."""
        left = [(group, self._groups[group][local]) for group in self.groups_of.get(local, ())]
        for group, _ in left:
            self.discard(group, local)
        return left

    def discard(self, group: str, local: str) -> int | None:
        """Take a local part out of one group; return the sequence number it was added under, None if it was not in."""
        members = self._groups.get(group)
        sequence = None if members is None else members.pop(local, None)
        if members is None or sequence is None:
            return None
        self._infos.pop((group, local), None)
        self._since.pop((group, local), None)
        if not members:
            del self._groups[group]
        groups = self.groups_of[local]
        groups.discard(group)
        if not groups:
            del self.groups_of[local]
        return sequence

    def apply(self, elements: Iterable[Element], reload: Callable[[], Snapshot]) -> Taken:
        """Go through elements in the order in which they were taken.

        Args:
            reload: Asks the store for a snapshot.
        """
        taken = self.follow(elements)
        if taken.rest is None:
            return taken
        self.load(reload())
        further = self.follow(taken.rest)
        return Taken(
            taken.messages + further.messages, taken.credits + further.credits, taken.added + further.added, None
        )

    def follow(self, elements: Iterable[Element]) -> Taken:
        """Go through elements in the order in which they were taken, up to a RELOAD note.

        One snapshot, asked for from then on, serves all RELOAD notes among the elements.
        """
        messages: list[tuple[str | None, tuple[str, ...], Element]] = []
        credits: list[tuple[str, str, int]] = []
        added: list[Element] = []
        elements = iter(elements)
        for element in elements:
            kind = element[2]
            if kind == MESSAGE:
                messages.append((None, (element[3],), element))
                continue
            name, extra = element[3], element[5]
            if kind == GROUP:
                members = self._members(name, *extra)
                if members:
                    messages.append((name, members, element))
            elif kind == PART:
                messages.append((name, extra, element))
            elif kind == CREDIT:
                credits.append((extra[0], name, extra[1]))
            elif kind == RELOAD:
                rest = [element for element in elements if element[2] != RELOAD]
                return Taken(messages, credits, added, rest)
            elif extra[1] > self._upto:
                if kind == ADD:
                    self._newest = extra[1]
                    self._add(extra[0], name, extra[1], element[4])
                    added.append(element)
                elif kind == DISCARD:
                    self.discard(extra[0], name)
        return Taken(messages, credits, added, None)

    def _members(self, group: str, sequence: int, excluded: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return who gets a message that was sent to a group after the change `sequence`."""
        members = self._groups.get(group, {})
        if sequence < self._newest:
            since = self._since
            members = {local: added for local, added in members.items() if since.get((group, local), added) <= sequence}
        if excluded:
            members = members.copy()
            for local in excluded:
                members.pop(local, None)
        return tuple(members)

    def _add(self, group: str, local: str, sequence: int, info: Any) -> None:
        self._groups.setdefault(group, {})[local] = sequence
        self.groups_of.setdefault(local, set()).add(group)
        if info is None:
            self._infos.pop((group, local), None)
        else:
            self._infos[group, local] = info


def spread(inbox: str, taken: Taken, limit: int, now: float) -> tuple[list[Delivery], list[Element]]:
    """Make deliveries for a plain reader of an inbox: one for each member of a group message.

    Returns:
        At most `limit` deliveries, and the elements to put back for the rest.
    """
    deliveries: list[Delivery] = []
    rest: list[Element] = []
    for group, locals_, element in taken.messages:
        room = limit - len(deliveries)
        deadline, queued, _, _, body, _ = element
        for local in locals_[:room]:
            deliveries.append(Delivery(inbox, inbox + local, (deadline, queued, MESSAGE, local, body, None), now))
        if len(locals_) > room:
            rest.append((deadline, queued, PART, group or "", body, locals_[room:]))
    return deliveries, rest
