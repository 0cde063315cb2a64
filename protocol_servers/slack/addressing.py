"""Whom a reply means: ids are told from names, and names are looked up."""

from __future__ import annotations

import re
from typing import Protocol

from .conversations import split_message_id

_ROOM_ID = re.compile(r"[CDG][A-Z0-9]{2,20}")
_USER_ID = re.compile(r"[UW][A-Z0-9]{2,20}")
_STAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")


class Names(Protocol):
    """Whoever knows the ids of names in a workspace; None: there is no such name."""

    async def find_room(self, name: str) -> str | None:
        """Return the id of a room by its name without "#"."""

    async def find_user(self, name: str) -> str | None:
        """Return the id of a person by a name without "@"."""


def is_room_id(text: str) -> bool:
    """Say whether this is the id of a channel, a private chat or a group, and no name: those are in lower case."""
    return _ROOM_ID.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Say whether this is the id of a person."""
    return _USER_ID.fullmatch(text) is not None


def is_stamp(text: str) -> bool:
    """Say whether this is the time stamp of a message."""
    return _STAMP.fullmatch(text) is not None


def message_of(id: str, room: str) -> tuple[str, str] | None:
    """Return the room and time stamp of a message by its id, or by the bare stamp of one in ``room``."""
    where, stamp = split_message_id(id)
    where = where or room
    return (where, stamp) if is_room_id(where) and is_stamp(stamp) else None
