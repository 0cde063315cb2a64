"""The IRC client: what happens on a network, in IRC's own words. For talking, the chat formats are the simpler ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from .format import Composed, Format
from .typed import Default, record_of
from .vocabulary import Address, Line


class _Network(TypedDict):
    reply_channel: Annotated[str, "The connection to the network; stable across restarts."]
    network: Annotated[Line, "Which configured network."]
    server: Annotated[Address, "The server's host and port."]


class _Person(_Network):
    user: Annotated[Line, "Who did it, nick!user@host."]


class Connect(_Network):
    """The network knows us."""

    nick: Annotated[Line, "Our nick."]


class Disconnect(_Network):
    """The connection is gone; the next one is being tried."""

    reason: Annotated[Line, "Why."]


class Join(_Network):
    """We came into a room."""

    channel: Annotated[Line, "The room."]


class Part(_Person):
    """Somebody left a room."""

    channel: Annotated[Line, "The room."]
    reason: Annotated[Line, 'The reason that was given, or "".']


class Quit(_Person):
    """Somebody left the network."""

    reason: Annotated[Line, 'The reason that was given, or "".']


class Nick(_Person):
    """Somebody has a new nick."""

    new_nick: Annotated[Line, "The new nick."]


class Kick(_Person):
    """Somebody was thrown out of a room."""

    channel: Annotated[Line, "The room."]
    target: Annotated[Line, "The nick of who was thrown out."]
    reason: Annotated[Line, 'The reason that was given, or "".']


class Topic(_Person):
    """A room has a new topic."""

    channel: Annotated[Line, "The room."]
    topic: Annotated[Line, 'The topic; "" for none.']


class Mode(_Person):
    """Modes of a room, or ours, changed."""

    target: Annotated[Line, "The room, or our nick."]
    modes: Annotated[Line, 'What changed, such as "+o ada".']


class Invite(_Person):
    """Somebody invited us into a room."""

    channel: Annotated[Line, "The room."]


class Receive(_Person):
    """Something was said."""

    type: Annotated[Literal["message", "action", "notice"], "How it was said."]
    channel: Annotated[Line, "The room, or our nick where it was said to us alone."]
    body: Annotated[Line, "What was said, with its formatting; a message of several lines comes as several."]
    tags: NotRequired[Annotated[dict[str, str], Default({}), "The message tags."]]


class Numeric(_Network):
    """A numeric reply of the server; only where the server is set to pass them on."""

    command: Annotated[Line, "Its three digits."]
    params: Annotated[list[Line], "Its parameters, our nick first."]


class IrcReply(TypedDict):
    """Something to do on the network."""

    type: Annotated[
        Literal[
            "join", "part", "message", "action", "notice", "nick", "topic", "mode", "kick", "invite", "quit", "raw"
        ],
        "What to do; raw only where the server is set to allow it.",
    ]
    channel: NotRequired[Annotated[Line, "The room; for what is said and for modes also a nick."]]
    body: NotRequired[Annotated[Line, "The text, reason, nick, topic, modes, or the whole line of raw."]]
    key: NotRequired[Annotated[Line, "The key of the room to join."]]
    user: NotRequired[Annotated[Line, "The nick to kick or invite."]]


REPLY = Format("irc-client reply", record_of(IrcReply))


def compose(message: Mapping[str, Any], body: str, *, type: str = "message", **keys: Any) -> Composed:
    """Make what `message.reply(...)` does: say ``body`` where the message was said, unless told otherwise.

    Args:
        message: the message to answer.
        body: what to say.
        type: what to do with it.
        **keys: other keys of the reply; `channel` is the message's, or who wrote it to us alone.

    Raises:
        TypeError: body is not str, or there is no such key.
    """
    if not isinstance(body, str):
        raise TypeError(f"body: allowed is str, not {body.__class__.__name__}")
    for key in keys:
        if key not in ("channel", "key", "user"):
            raise TypeError(f"{key}: no such key of a reply; allowed are channel, key, user")
    channel = message.get("channel")
    if channel is not None and channel[:1] not in ("#", "&", "+", "!") and message.get("user") is not None:
        channel = message["user"].partition("!")[0]
    reply = {"type": type, "body": body, **({} if channel is None else {"channel": channel}), **keys}
    return Composed(message["reply_channel"], [reply])


_DEFINITIONS: dict[str, Any] = {
    "connect": Connect,
    "disconnect": Disconnect,
    "join": Join,
    "part": Part,
    "quit": Quit,
    "nick": Nick,
    "kick": Kick,
    "topic": Topic,
    "mode": Mode,
    "invite": Invite,
    "receive": Receive,
    "numeric": Numeric,
}

FORMATS = tuple(
    Format(f"irc-client.{name}", record_of(definition), reply=REPLY, notification=True, compose=compose)
    for name, definition in _DEFINITIONS.items()
)
