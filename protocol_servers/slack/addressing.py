"""What is spoken to and spoken about: conversations, rooms, people and messages, by their names on the bus.

A message's id on the bus is `C024BE91L:1700000000.000100`, its channel's id and its timestamp: Slack's timestamps are
unique in one channel only (https://docs.slack.dev/messaging/retrieving-messages). A conversation's local name is a
room's or person's id or name and perhaps a thread's timestamp, escaped (`message_formats.conversation`).
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

_LOCAL = re.compile(r"((?:[A-Za-z0-9]|_[0-9a-f]{2})+)(?:\.((?:[A-Za-z0-9]|_[0-9a-f]{2})+))?")
_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_ROOM_ID = re.compile(r"[CDG][A-Z0-9]{2,20}")
_USER_ID = re.compile(r"[UW][A-Z0-9]{2,20}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")


class Place(NamedTuple):
    """Where something is said.

    Attributes:
        room: Id or name of a room or person.
        thread: The timestamp of the thread's first message; None: the room itself.
    """

    room: str
    thread: str | None


class Names(Protocol):
    """Whoever knows the ids of names in a workspace; None: there is no such name."""

    async def find_room(self, name: str) -> str | None:
        """Return the id of a room by its name without "#"."""

    async def find_user(self, name: str) -> str | None:
        """Return the id of a person by a name without "@"."""


def place_of(local: str) -> Place | None:
    """Read the part of a reply channel after the "!"; None: it means nothing that can be spoken to.

    A digest, which stands for a name of more than 60 characters escaped, cannot be read: ids are never that long.
    """
    found = _LOCAL.fullmatch(local)
    if found is None:
        return None
    thread = None if found[2] is None else _unescape(found[2])
    if thread is not None and not is_timestamp(thread):
        return None
    room = _unescape(found[1])
    return Place(room, thread) if room.isprintable() and room.strip("#@ ") else None


def message_id(room: str, timestamp: str) -> str:
    """Return what a message is called on the bus."""
    return f"{room}:{timestamp}"


def read_message_id(id: str, room: str) -> tuple[str, str] | None:
    """Return the room and timestamp of a message by its id, or by the bare timestamp of one in ``room``."""
    where, colon, timestamp = id.rpartition(":")
    if not colon:
        where = room
    return (where, timestamp) if is_room_id(where) and is_timestamp(timestamp) else None


def is_room_id(text: str) -> bool:
    """Say whether this is the id of a channel, a private chat or a group, and no name: those are in lower case."""
    return _ROOM_ID.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Say whether this is the id of a person."""
    return _USER_ID.fullmatch(text) is not None


def is_timestamp(text: str) -> bool:
    """Say whether this is the timestamp of a message."""
    return _TIMESTAMP.fullmatch(text) is not None


def _unescape(text: str) -> str:
    characters = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)  # a character a byte
    return characters.encode("latin-1").decode("utf-8", "replace")
