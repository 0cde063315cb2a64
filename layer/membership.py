"""The members an inbox' holder keeps, and what becomes of the elements it takes: notes are applied, group messages spread."""

from collections.abc import Callable, Iterable
from typing import Any

from .store.element import ADD, CREDIT, DISCARD, GROUP, MESSAGE, PART, RELOAD, Element

Snapshot = tuple[int, Iterable[tuple[str, str, int, Any]]]
Items = list[tuple[str | None, tuple[str, ...], Element]]
Credits = list[tuple[str, str, int]]


class Membership:
    """Which local parts of one inbox are in which groups.

    It follows the notes that stand in the inbox' queue, from the beginning or from a snapshot. Not safe from several threads.
    """

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, int]] = {}
        self._of: dict[str, set[str]] = {}
        self._upto = 0

    def __len__(self) -> int:
        return len(self._of)

    def load(self, snapshot: Snapshot) -> None:
        """Begin again from the members the store has; notes that it already contains will be ignored."""
        self._groups.clear()
        self._of.clear()
        self._upto, members = snapshot
        for group, local, sequence, _ in members:
            self._add(group, local, sequence)

    def groups_of(self, local: str) -> list[tuple[str, int]]:
        """Return (group, sequence) of each group a local part is in."""
        return [(group, self._groups[group][local]) for group in self._of.get(local, ())]

    def remove(self, local: str) -> list[tuple[str, int]]:
        """Take a local part out of all its groups; return what `groups_of` would have."""
        left = self.groups_of(local)
        for group, _ in left:
            self._discard(group, local)
        return left

    def apply(
        self, elements: Iterable[Element], reload: Callable[[], Snapshot]
    ) -> tuple[Items, Credits, list[Element]]:
        """Go through elements in the order in which they were taken.

        Args:
            reload: Asks the store for a snapshot.

        Returns:
            Messages as (group or None, local parts, element); credits as (channel, local part, chunks); and the ADD notes that were
            applied.
        """
        items: Items = []
        credits: Credits = []
        added: list[Element] = []
        for element in elements:
            kind, name, extra = element[2], element[3], element[5]
            if kind == MESSAGE:
                items.append((None, (name,), element))
            elif kind == GROUP:
                sequence, excluded = extra
                members = self._groups.get(name, {})
                locals_ = tuple(
                    local
                    for local, since in members.items()
                    if since <= sequence and not (excluded and local in excluded)
                )
                if locals_:
                    items.append((name, locals_, element))
            elif kind == PART:
                items.append((name, extra, element))
            elif kind == CREDIT:
                credits.append((extra[0], name, extra[1]))
            elif kind == RELOAD:
                self.load(reload())
            elif extra[1] > self._upto:
                if kind == ADD:
                    self._add(extra[0], name, extra[1])
                    added.append(element)
                elif kind == DISCARD:
                    self._discard(extra[0], name)
        return items, credits, added

    def _add(self, group: str, local: str, sequence: int) -> None:
        self._groups.setdefault(group, {})[local] = sequence
        self._of.setdefault(local, set()).add(group)

    def _discard(self, group: str, local: str) -> None:
        members = self._groups.get(group)
        if members is None or members.pop(local, None) is None:
            return
        if not members:
            del self._groups[group]
        groups = self._of[local]
        groups.discard(group)
        if not groups:
            del self._of[local]
