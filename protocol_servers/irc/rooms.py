"""Who is where: the rooms we are in, and what is known of the people in them, within bounds.

A hostile server may invent rooms and people; over the bounds new ones are not remembered, and counted, while what
was said is still heard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from .events import Person
from .isupport import ISupport
from .message import Source
from .modes import ModeChange
from .names import MAX_NAME

MAX_ROOMS = 1000
MAX_PLACES = 50_000  # people, counted once for each room that they are in
_LONGEST_HOST = 256


@dataclass(slots=True)
class _Known:
    person: Person
    rooms: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Room:
    """A room that we are in.

    Attributes:
        name: As the server writes it.
        members: By folded nick the symbols of the modes that the member has there, such as "@+".
    """

    name: str
    members: dict[str, str] = field(default_factory=dict)


class Rooms:
    """The rooms we are in.

    Args:
        isupport: The server's features.
        stats: Counts what was over a bound.
    """

    def __init__(self, isupport: ISupport, stats: Counter[str]) -> None:
        self._isupport = isupport
        self._fold = isupport.fold
        self._stats = stats
        self._rooms: dict[str, Room] = {}
        self._people: dict[str, _Known] = {}
        self._places = 0

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, name: str) -> bool:
        return self._fold(name) in self._rooms

    def get(self, name: str) -> Room | None:
        """Return a room that we are in."""
        return self._rooms.get(self._fold(name))

    def members(self, name: str) -> list[Person]:
        """Return who is in a room, as far as it is known."""
        room = self.get(name)
        return [self._people[each].person for each in room.members] if room is not None else []

    # People

    def person(self, source: Source) -> Person:
        """Return what is known of whom a message is from, and remember what its source says of a member."""
        known = self._people.get(self._fold(source.nick))
        if known is None:
            return Person(source.nick, source.user[:MAX_NAME], source.host[:_LONGEST_HOST])
        if source.host and (source.user, source.host) != (known.person.user, known.person.host):
            old = known.person
            known.person = Person(old.nick, source.user[:MAX_NAME], source.host[:_LONGEST_HOST], old.account)
        return known.person

    def known(self, nick: str) -> Person:
        """Return what is known of somebody by nick."""
        return self.person(Source(nick))

    def rooms_of(self, nick: str) -> tuple[str, ...]:
        """Return the rooms of ours that somebody is in."""
        known = self._people.get(self._fold(nick))
        return tuple(sorted(self._rooms[each].name for each in known.rooms)) if known is not None else ()

    def set_account(self, nick: str, account: str | None) -> None:
        """Remember that somebody logged in to an account, or out of it."""
        known = self._people.get(self._fold(nick))
        if known is not None:
            old = known.person
            known.person = Person(old.nick, old.user, old.host, account)

    # Coming and going

    def enter(self, name: str) -> Room | None:
        """We are in a room; return it, or None where there are too many."""
        if not self._rooms:
            self._fold = self._isupport.fold  # from now on a change of the casemapping would lose people
        self.leave(name)
        key = self._fold(name)
        if len(name) > MAX_NAME or len(self._rooms) >= MAX_ROOMS:
            self._stats["rooms_over_limit"] += 1
            return None
        room = self._rooms[key] = Room(name)
        return room

    def leave(self, name: str) -> None:
        """We are not in a room any more."""
        key = self._fold(name)
        room = self._rooms.get(key)
        if room is not None:
            for nick in list(room.members):
                self._remove(room, key, nick)
            del self._rooms[key]

    def add(self, name: str, person: Person, symbols: str = "") -> None:
        """Somebody is in a room."""
        key, nick = self._fold(name), self._fold(person.nick)
        room = self._rooms.get(key)
        if room is None:
            return
        if nick not in room.members:
            if self._places >= MAX_PLACES or not 0 < len(nick) <= MAX_NAME:
                self._stats["members_over_limit"] += 1
                return
            self._places += 1
        room.members[nick] = symbols
        known = self._people.get(nick)
        if known is None:
            known = self._people[nick] = _Known(person)
        elif person.host:
            known.person = person
        known.rooms.add(key)

    def remove(self, name: str, nick: str) -> None:
        """Somebody left a room."""
        key = self._fold(name)
        room = self._rooms.get(key)
        if room is not None:
            self._remove(room, key, self._fold(nick))

    def remove_everywhere(self, nick: str) -> tuple[str, ...]:
        """Somebody left the network; return the rooms."""
        rooms = self.rooms_of(nick)
        for room in rooms:
            self.remove(room, nick)
        return rooms

    def rename(self, nick: str, new: str) -> tuple[str, ...]:
        """Somebody has a new nick; return the rooms."""
        old_key, new_key = self._fold(nick), self._fold(new)
        rooms = self.rooms_of(nick)
        known = self._people.get(old_key)
        if known is None or not new or len(new) > MAX_NAME:
            return rooms
        if new_key != old_key:
            self.remove_everywhere(new)  # the server says that nobody had it: what we knew was wrong
            del self._people[old_key]
            self._people[new_key] = known
            for key in known.rooms:
                members = self._rooms[key].members
                members[new_key] = members.pop(old_key)
        old = known.person
        known.person = Person(new, old.user, old.host, old.account)
        return rooms

    def names(self, name: str, entries: list[str]) -> None:
        """Take a line of NAMES (353): nicks, or masks, behind the symbols of what they are."""
        for entry in entries:
            bare = entry.lstrip("".join(self._isupport.prefixes))
            symbols = entry[: len(entry) - len(bare)]
            rest, _, host = bare.partition("@")
            nick, _, user = rest.partition("!")
            self.add(name, self.person(Source(nick, user, host)), symbols[:16])

    def change_modes(self, name: str, changes: list[ModeChange]) -> None:
        """Take the modes that members of a room were given or lost."""
        room = self.get(name)
        symbol_of = {mode: symbol for symbol, mode in self._isupport.prefixes.items()}
        for change in changes if room is not None else ():
            symbol = symbol_of.get(change.mode)
            nick = self._fold(change.parameter or "")
            if room is None or symbol is None or nick not in room.members:
                continue
            has = set(room.members[nick]) - {symbol} | ({symbol} if change.added else set())
            room.members[nick] = "".join(each for each in self._isupport.prefixes if each in has)

    def _remove(self, room: Room, key: str, nick: str) -> None:
        if room.members.pop(nick, None) is None:
            return
        self._places -= 1
        known = self._people[nick]
        known.rooms.discard(key)
        if not known.rooms:
            del self._people[nick]
