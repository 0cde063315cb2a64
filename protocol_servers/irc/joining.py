"""The rooms we want to be in, and how we come back into them.

After a kick, a refusal or no answer at all a room is tried again, ever more slowly (`Backoff`), until we are in or
nobody wants us to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from .backoff import Backoff
from .message import encode

_A_LINE = 10  # rooms; some servers take no more in one command
_ANSWER = 60.0  # seconds for the answer to a JOIN
_STAYED = 600.0  # seconds in a room, after which a kick is the first one again
FINAL = frozenset({"403", "405", "476", "479"})
"""Refusals that stay: there can be no such room, or no more of them."""
REFUSALS = FINAL | {"437", "470", "471", "473", "474", "475", "477", "480", "489", "520"}


@dataclass(slots=True)
class _Wanted:
    name: str
    key: str | None
    backoff: Backoff
    due: float | None = None  # when it is tried again
    asked: bool = False  # and not answered yet
    since: float | None = None  # when we came in


class Joining:
    """The rooms we want to be in, through all connections.

    Args:
        clock: Monotonic seconds.
        random: The source of jitter.
        rejoin: Whether a room that threw us out is tried again.
    """

    def __init__(self, clock: Callable[[], float], random: Random, *, rejoin: bool = True) -> None:
        self.fold: Callable[[str], str] = str.lower
        self._clock = clock
        self._random = random
        self._rejoin = rejoin
        self._wanted: dict[str, _Wanted] = {}
        self._connected = False

    def want(self, name: str, key: str | None = None) -> None:
        """Be in a room from now on."""
        wanted = _Wanted(name, key, Backoff(self._random, first=4.0, longest=600.0))
        wanted.due = self._clock()
        self._wanted[self.fold(name)] = wanted

    def unwant(self, name: str) -> None:
        """Do not come back into a room."""
        self._wanted.pop(self.fold(name), None)

    def is_coming(self, name: str) -> bool:
        """Say whether we want to be in a room and are not."""
        wanted = self._wanted.get(self.fold(name))
        return wanted is not None and wanted.since is None

    def names(self) -> list[str]:
        """Return the rooms we want to be in."""
        return [each.name for each in self._wanted.values()]

    def connected(self, fold: Callable[[str], str]) -> None:
        """Every room is to be joined now."""
        self.fold = fold
        self._wanted = {fold(each.name): each for each in self._wanted.values()}
        self._connected = True
        for wanted in self._wanted.values():
            wanted.since, wanted.due = None, self._clock()

    def disconnected(self) -> None:
        """There is nothing to join at."""
        self._connected = False
        for wanted in self._wanted.values():
            wanted.since, wanted.asked = None, False

    def joined(self, name: str) -> None:
        """We are in a room."""
        wanted = self._wanted.get(self.fold(name))
        if wanted is not None:
            wanted.since, wanted.due, wanted.asked = self._clock(), None, False

    def refused(self, name: str, numeric: str) -> bool | None:
        """We may not come into a room; say whether for good, None where it is none that we were to join."""
        wanted = self._wanted.get(self.fold(name))
        if wanted is None or not wanted.asked:
            return None
        wanted.asked = False
        if numeric in FINAL:
            self.unwant(name)
            return True
        wanted.due = self._clock() + wanted.backoff.next(5.0)
        return False

    def kicked(self, name: str) -> None:
        """We were thrown out of a room."""
        wanted = self._wanted.get(self.fold(name))
        if wanted is None or not self._rejoin:
            self.unwant(name)
            return
        if wanted.since is not None and self._clock() - wanted.since >= _STAYED:
            wanted.backoff.reset()
        wanted.since = None
        wanted.due = self._clock() + wanted.backoff.next(2.0)

    @property
    def deadline(self) -> float | None:
        """When `due` has something, by the clock."""
        if not self._connected:
            return None
        return min((each.due for each in self._wanted.values() if each.due is not None), default=None)

    def due(self) -> list[bytes]:
        """Return the lines that join what is to be joined now."""
        if not self._connected:
            return []
        now = self._clock()
        rooms = [each for each in self._wanted.values() if each.due is not None and each.due <= now]
        for each in rooms:
            each.due, each.asked = now + _ANSWER, True
        rooms.sort(key=lambda each: each.key is None)  # keys belong to the first rooms of a line
        return [_join(rooms[start : start + _A_LINE]) for start in range(0, len(rooms), _A_LINE)]


def _join(rooms: Iterable[_Wanted]) -> bytes:
    rooms = list(rooms)
    names = ",".join(each.name for each in rooms)
    keys = ",".join(each.key for each in rooms if each.key is not None)
    return encode("JOIN", names, keys) if keys else encode("JOIN", names)
