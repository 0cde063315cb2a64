"""What happens on a network, as messages: the chat formats, and IRC's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .conversations import Conversations
from .events import (
    Disconnected,
    Event,
    Heard,
    Invited,
    Joined,
    Kicked,
    ModeChanged,
    Numeric,
    Parted,
    Person,
    Quit,
    Receipt,
    Registered,
    Renamed,
    RoomJoined,
    TopicChanged,
)
from .formatting import plain
from .session import Session

Published = tuple[str, dict[str, Any]]
"""A channel, and the message for it."""


class Publisher:
    """Makes messages of one network's events.

    Args:
        network: The network's configured name.
        session: The session that the events are of.
        conversations: The reply channels.
        include_raw: Whether what was said comes as IRC has it, too.

    Attributes:
        server: Host and port of the connection.
    """

    def __init__(
        self, network: str, session: Session, conversations: Conversations, *, include_raw: bool = False
    ) -> None:
        self.server = ("", 0)
        self._network = network
        self._session = session
        self._conversations = conversations
        self._include_raw = include_raw

    def messages(self, event: Event) -> Iterator[Published]:
        """Yield what is to be published of an event: first the chat formats, then IRC's own."""
        if isinstance(event, Receipt):
            yield from self._receipt(event)
        elif isinstance(event, Heard):
            if event.kind != "notice":  # which no program may answer (RFC 2812, 3.3.2): so bots never talk in circles
                yield "chat.message", self._chat_message(event)
        elif isinstance(event, RoomJoined):
            yield "chat.ready", self._place(event.room) | {"capabilities": self._capabilities(event.room)}
        elif isinstance(event, Joined):
            yield "chat.join", self._somebody(event.room, event.person)
        elif isinstance(event, Parted | Kicked) and not event.own:
            person = event.target if isinstance(event, Kicked) else event.person
            yield "chat.leave", self._somebody(event.room, person) | _reason(event.reason)
        elif isinstance(event, Quit):
            for room in event.rooms:
                yield "chat.leave", self._somebody(room, event.person) | _reason(event.reason)
        for name, keys in _own_words(event):
            yield f"irc-client.{name}", self._connection() | keys

    # Chat

    def _place(self, target: str) -> dict[str, Any]:
        room = self._session.rooms.get(target)
        if room is not None:
            target = room.name  # one spelling, however it is written: routes and permissions compare it
        return {
            "reply_channel": self._conversations.channel(target),
            "service": "irc",
            "network": self._network,
            "channel": target,
        }

    def _somebody(self, target: str, person: Person) -> dict[str, Any]:
        return self._place(target) | {"user": person.nick, "user_id": person.id}

    def _capabilities(self, room: str) -> dict[str, Any]:
        unable = dict.fromkeys(("threads", "reactions", "edits", "files", "markup"), False)
        return unable | {"max_bytes": self._session.limit(room)}

    def _chat_message(self, heard: Heard) -> dict[str, Any]:
        text = plain(heard.text)
        message = self._somebody(heard.person.nick if heard.direct else heard.target, heard.person)
        addressed = _addressed(text, self._session.nick)
        message |= {"text": text if addressed is None else addressed, "id": heard.id, "time": heard.time}
        for key, value in (
            ("direct", heard.direct),
            ("mention", addressed is not None),
            ("replayed", heard.replayed),
        ):
            if value:
                message[key] = True
        if self._include_raw:
            message["raw"] = {
                "type": heard.kind,
                "user": heard.person.mask,
                "target": heard.target,
                "text": heard.text,
                "tags": dict(heard.tags),
            }
        return message

    def _receipt(self, receipt: Receipt) -> Iterator[Published]:
        if isinstance(receipt.receipt, str):
            message: dict[str, Any] = {"status": receipt.status}
            if receipt.ids:
                message["ids"] = list(receipt.ids)
            if receipt.error is not None:
                message["error"] = receipt.error
            if receipt.retry_after is not None:
                message["retry_after"] = receipt.retry_after
            yield receipt.receipt, message

    # IRC's own

    def _connection(self) -> dict[str, Any]:
        return {
            "reply_channel": f"irc.reply.{self._network}!",
            "network": self._network,
            "server": list(self.server),
        }


def _own_words(event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names and keys of the `irc-client` messages of an event."""
    match event:
        case Registered(nick):
            yield "connect", {"nick": nick}
        case Disconnected(reason):
            yield "disconnect", {"reason": reason}
        case RoomJoined(room):
            yield "join", {"channel": room}
        case Parted(room, person, reason):
            yield "part", {"user": person.mask, "channel": room, "reason": reason}
        case Quit(person, _, reason):
            yield "quit", {"user": person.mask, "reason": reason}
        case Renamed(person, nick):
            yield "nick", {"user": person.mask, "new_nick": nick}
        case Kicked(room, person, target, reason):
            yield "kick", {"user": person.mask, "channel": room, "target": target.nick, "reason": reason}
        case TopicChanged(room, person, topic):
            yield "topic", {"user": person.mask, "channel": room, "topic": topic}
        case ModeChanged(target, person, modes):
            yield "mode", {"user": person.mask, "target": target, "modes": modes}
        case Invited(room, person):
            yield "invite", {"user": person.mask, "channel": room}
        case Heard(person, target, text, kind):
            said: dict[str, Any] = {"user": person.mask, "type": kind, "channel": target}
            if event.tags:
                said["tags"] = dict(event.tags)
            for line in text.split("\n"):
                yield "receive", said | {"body": line}
        case Numeric(command, _, params):
            yield "numeric", {"command": command, "params": list(params)}


def _reason(text: str) -> dict[str, Any]:
    return {"reason": text} if text else {}


def _addressed(text: str, nick: str) -> str | None:
    """Return a text without our nick before it, as in "bot: hello"; None where it is not addressed to us."""
    found = re.match(rf"\s*(?:@{re.escape(nick)}(?:[:,]\s*|\s+|$)|{re.escape(nick)}[:,]\s*)", text, re.IGNORECASE)
    return text[found.end() :] if found is not None else None
