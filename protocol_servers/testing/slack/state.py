"""What a Slack workspace holds: who there is, which rooms, what was said. Nobody is told of anything here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .shapes import Kind, Person, Room, Said, Stored


class SlackState:
    """The people, rooms and files of a workspace, and the app's bot among them.

    Args:
        name: What the workspace is called, and its domain.
        number: Makes its ids differ from those of other workspaces.
        bot: The handle of the app's bot.
        wall: Unix seconds.

    Attributes:
        team_id: "T…".
        app_id: "A…".
        bot: The app's bot.
        people: Everybody, by id.
        rooms: All rooms, by id.
        files: All files, by id.
        emoji: Addresses, or "alias:…", of the workspace's own emoji.
        usergroups: Members' ids of user groups, by the group's id.
    """

    def __init__(self, name: str, number: int, bot: str, wall: Callable[[], float]) -> None:
        self.name = name
        self._number = number
        self._wall = wall
        self._ids = itertools.count(1)
        self._last = (0, 0)
        self.team_id = self.new_id("T")
        self.app_id = self.new_id("A")
        self.people: dict[str, Person] = {}
        self.rooms: dict[str, Room] = {}
        self.files: dict[str, Stored] = {}
        self.emoji: dict[str, str] = {}
        self.usergroups: dict[str, list[str]] = {}
        self.bot = self.add_person(bot, bot=True)

    def new_id(self, letter: str) -> str:
        """Return a new id of a kind, such as "U"."""
        return f"{letter}{self._number:02d}{next(self._ids):07d}"

    def new_ts(self) -> str:
        """Return a timestamp later than all others: Unix seconds and a count."""
        second = int(self._wall())
        last, count = self._last
        self._last = (second, 100) if second > last else (last, count + 100)
        return f"{self._last[0]}.{self._last[1]:06d}"

    # People

    def add_person(self, name: str, *, real_name: str = "", display_name: str = "", bot: bool = False) -> Person:
        """Let there be somebody."""
        bot_id = self.new_id("B") if bot else None
        person = Person(self.new_id("U"), name, self.team_id, real_name, display_name, bot_id)
        self.people[person.id] = person
        return person

    def person(self, who: str | Person) -> Person:
        """Return somebody, by id or by handle; a handle that nobody has makes somebody new."""
        if isinstance(who, Person):
            return who
        found = self.find_person(who)
        return found if found is not None else self.add_person(who.removeprefix("@"))

    def find_person(self, who: str) -> Person | None:
        """Return who has an id or handle."""
        name = who.removeprefix("@")
        return self.people.get(who) or next((each for each in self.people.values() if each.name == name), None)

    # Rooms

    def add_room(self, name: str, *, kind: Kind = "channel", members: Iterable[str] = (), bot: bool = True) -> Room:
        """Let there be a room, with the app's bot in it unless told otherwise."""
        people = [self.person(each).id for each in members]
        creator = people[0] if people else self.bot.id
        if bot and self.bot.id not in people:
            people.append(self.bot.id)
        letter = {"channel": "C", "group": "G", "im": "D", "mpim": "G"}[kind]
        room = Room(self.new_id(letter), name, kind, self.team_id, creator, people, created=int(self._wall()))
        self.rooms[room.id] = room
        return room

    def room(self, where: str | Room) -> Room:
        """Return a room, by id, by name with or without "#", or by "@name" for that person's private chat with the bot.

        A name that no room has makes a new one with the bot in it.
        """
        if isinstance(where, Room):
            return where
        if where.startswith("@"):
            return self.private_chat(self.person(where).id)
        found = self.find_room(where)
        return found if found is not None else self.add_room(where.removeprefix("#"))

    def find_room(self, where: str) -> Room | None:
        """Return the room that has an id or name."""
        name = where.removeprefix("#")
        named = (each for each in self.rooms.values() if each.name and each.name == name)
        return self.rooms.get(where) or next(named, None)

    def private_chat(self, *people: str) -> Room:
        """Return the bot's private chat with somebody, or with several."""
        wanted = {self.bot.id, *people}
        for room in self.rooms.values():
            if room.kind in ("im", "mpim") and set(room.members) == wanted:
                return room
        kind: Kind = "im" if len(wanted) <= 2 else "mpim"
        name = "" if kind == "im" else f"mpdm-{'--'.join(sorted(self.people[each].name for each in wanted))}-1"
        return self.add_room(name, kind=kind, members=people)

    def keep(self, said: Said) -> Said:
        """Keep what was said."""
        self.rooms[said.room].log.append(said)
        return said

    def thread(self, room: Room, ts: str) -> list[Said]:
        """Return a message and what was said in its thread."""
        return [said for said in room.log if said.seen_by is None and ts in (said.ts, said.thread)]

    def shape_of(self, said: Said) -> dict[str, Any]:
        """Return the message object, with what a thread adds to its first message."""
        replies = self.thread(self.rooms[said.room], said.ts)[1:] if said.thread in (None, said.ts) else []
        shape = said.shape() | {"team": self.team_id}
        if replies:
            users = list(dict.fromkeys(each.user for each in replies))
            shape |= {
                "thread_ts": said.ts,
                "reply_count": len(replies),
                "reply_users": users,
                "reply_users_count": len(users),
                "latest_reply": replies[-1].ts,
            }
        elif said.thread not in (None, said.ts):
            parent = self.rooms[said.room].find(said.thread or "")
            shape["parent_user_id"] = parent.user if parent is not None else ""
        return shape
