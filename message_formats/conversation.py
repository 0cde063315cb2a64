"""The names of conversations: reply channels that stay the same across restarts.

    irc.reply.libera!_23dev               the room #dev
    slack.reply.acme!C024BE91L.1700._2e5  a thread in a channel

Everything but ASCII letters and digits is escaped as `_` and two hexadecimal digits a byte of UTF-8, room and thread
are joined by a dot, and what would be over 60 characters is a digest behind a dash.
"""

from __future__ import annotations

import hashlib
import re

_LONGEST = 60
_ESCAPED = re.compile(rb"[^A-Za-z0-9]")
_THREAD = re.compile(r"([A-Za-z0-9_-]+\.reply\.[A-Za-z0-9_-]+![A-Za-z0-9_]+)\.[A-Za-z0-9_]+")


def conversation_channel(service: str, network: str, room: str, thread: str | None = None) -> str:
    """Return the channel that speaks in a conversation.

    Args:
        service: "irc", "slack" or another service's name.
        network: The configured network or workspace.
        room: Id of the room or person, as the service knows it.
        thread: Id of the thread in it.
    """
    name = _escape(room) if thread is None else f"{_escape(room)}.{_escape(thread)}"
    if len(name) > _LONGEST:
        name = "-" + hashlib.sha256(name.encode()).hexdigest()[:40]
    return f"{service}.reply.{network}!{name}"


def room_of(channel: str) -> str | None:
    """Return the conversation of the room that a thread is in; None: the channel speaks in no thread.

    One whose name became a digest is not known for a thread.
    """
    found = _THREAD.fullmatch(channel)
    return None if found is None else found[1]


def _escape(text: str) -> str:
    return _ESCAPED.sub(_hex, text.encode("utf-8", "surrogatepass")).decode("ascii")


def _hex(found: re.Match[bytes]) -> bytes:
    return f"_{found[0].hex()}".encode("ascii")
