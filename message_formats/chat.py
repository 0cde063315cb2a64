"""Chat: one format for IRC, Slack and whatever comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from .format import Composed, Format
from .kinds import Range
from .rules import OnlyWith, exactly_one
from .typed import Default, record_of
from .vocabulary import Line


class _Place(TypedDict):
    reply_channel: Annotated[str, "The conversation: a room, a private chat or a thread; stable across restarts."]
    service: Annotated[Line, 'Which service: "irc", "slack" and so on.']
    network: Annotated[Line, "Which configured network or workspace."]
    channel: Annotated[
        Line, 'The room as people know it, such as "#dev" or "general"; for a private chat the other person\'s name.'
    ]


class _Somebody(_Place):
    user: Annotated[Line, "The name that people know."]
    user_id: Annotated[
        Line,
        'The stable id: Slack "U…", an IRC account; an unidentified IRC user is nick!user@host. Permissions '
        "compare only this.",
    ]


class Capabilities(TypedDict):
    """What a room's service can do."""

    threads: Annotated[bool, "Whether there are threads."]
    reactions: Annotated[bool, "Whether there are reactions."]
    edits: Annotated[bool, "Whether what was said can be replaced."]
    files: Annotated[bool, "Whether files can be sent."]
    markup: Annotated[bool, "Whether there is markup."]
    max_bytes: Annotated[int, Range(1), "The longest text that goes out in one piece, in bytes."]


class ChatReady(_Place):
    """The bot is in a room: when it joins, and for every room when the server starts. Groups and bridges begin here."""

    capabilities: Annotated[Capabilities, "What the service can do there."]


class ReceivedFile(TypedDict):
    """A file that somebody sent."""

    name: Annotated[Line, "The file's name."]
    mimetype: Annotated[Line, "The media type."]
    size: Annotated[int, Range(0), "The bytes of its content."]
    url: Annotated[str, "Where it can be fetched."]


class ChatMessage(_Somebody):
    """Something a person said."""

    text: Annotated[str, "Plain Unicode; mentions resolved to `@name`, no markup of the service."]
    direct: NotRequired[Annotated[bool, Default(False), "Whether it was said in a private chat."]]
    mention: NotRequired[
        Annotated[bool, Default(False), "Whether the bot was addressed; its name is then stripped from `text`."]
    ]
    thread: NotRequired[Annotated[Line, "The thread that it was said in."]]
    id: Annotated[Line, "Names what was said; unique in the service, and the same when it is delivered again."]
    time: Annotated[float, "When it was said, in Unix seconds."]
    edited: NotRequired[Annotated[bool, Default(False), "Whether it replaces something said before."]]
    replayed: NotRequired[Annotated[bool, Default(False), "Whether it was fetched after a gap."]]
    files: NotRequired[Annotated[list[ReceivedFile], Default([]), "Files that came with it."]]
    raw: NotRequired[Annotated[dict[str, Any], "The service's own event, where the server is set to include it."]]


class ChatJoin(_Somebody):
    """Somebody came into a room."""


class ChatLeave(_Somebody):
    """Somebody left a room."""

    reason: NotRequired[Annotated[Line, "The reason that was given."]]


class ChatReaction(_Somebody):
    """Somebody reacted to something that was said."""

    reaction: Annotated[Line, "The reaction."]
    id: Annotated[Line, "The `id` of what was said."]
    added: Annotated[bool, "Whether the reaction was added; else it was taken back."]


class ChatReceipt(TypedDict):
    """What became of a reply that named a `receipt_channel`, where this goes."""

    status: Annotated[Literal["sent", "split", "dropped", "failed"], "What became of it."]
    ids: NotRequired[Annotated[list[Line], Default([]), "The ids of what was said, as many as it took."]]
    error: NotRequired[Annotated[str, "What went wrong."]]
    retry_after: NotRequired[Annotated[float, "After how many seconds it may be tried again."]]


class SentFile(TypedDict):
    """A file to send."""

    name: Annotated[Line, "The file's name."]
    mimetype: Annotated[Line, "The media type."]
    content: NotRequired[Annotated[bytes, "The content."]]
    body_key: NotRequired[Annotated[str, "The stored content."]]


class _Words(TypedDict):
    text: Annotated[str, "What to say, plain Unicode."]


class Manner(TypedDict):
    """How something is said, and what with it."""

    thread: NotRequired[
        Annotated[
            Literal["same", "new", "channel"],
            Default("same"),
            "Where: in the thread of the message, in a new one under it, or in the room itself.",
        ]
    ]
    action: NotRequired[Annotated[bool, Default(False), "Say it as an action (/me)."]]
    notice: NotRequired[Annotated[bool, Default(False), "Say it as a notice."]]
    reaction: NotRequired[Annotated[Line, "React to the message `id` instead of speaking, where the service can."]]
    id: NotRequired[Annotated[Line, "The message to react to, or to begin a new thread under."]]
    edit: NotRequired[Annotated[Line, "The id of an own message to replace."]]
    files: NotRequired[
        Annotated[list[Annotated[SentFile, exactly_one("content", "body_key")]], Default([]), "Files to send."]
    ]
    blocks: NotRequired[Annotated[list[Any], "Slack blocks; `text` is what others see."]]
    user: NotRequired[Annotated[Line, "Only that person sees it, where the service can."]]
    notify: NotRequired[Annotated[bool, Default(False), "May mention people and rooms."]]
    overflow: NotRequired[
        Annotated[Literal["split", "truncate", "file"], Default("split"), "What happens to a text that is too long."]
    ]
    expires: NotRequired[Annotated[float, "Dropped if not said by then, in Unix seconds."]]
    receipt_channel: NotRequired[Annotated[str, "Where a `chat.receipt` goes when it was said, or was not."]]


class ChatReply(_Words, Manner):
    """Something to say. `{"text": …}` alone is always enough, and is a valid WebSocket reply too.

    What a service cannot do degrades to text; a consumer never needs to ask which service it talks to.
    """


REPLY = Format("chat reply", record_of(ChatReply, OnlyWith("reaction", "id")))


def compose(message: Mapping[str, Any], text: str, **keys: Any) -> Composed:
    """Make what `message.reply(...)` says.

    Args:
        message: the message to answer.
        text: what to say.
        **keys: other keys of the reply. A `reaction` or a new thread without an `id` is about the message itself.

    Raises:
        TypeError: text is not str, or there is no such key.
    """
    if not isinstance(text, str):
        raise TypeError(f"text: allowed is str, not {type(text).__name__}")
    allowed = [field.name for field in REPLY.fields if field.name != "text"]
    for key in keys:
        if key not in allowed:
            raise TypeError(f"{key}: no such key of a reply; allowed are {', '.join(allowed)}")
    is_about = keys.get("reaction") is not None or keys.get("thread") == "new"
    if is_about and keys.get("id") is None and message.get("id") is not None:
        keys["id"] = message["id"]
    return Composed(message["reply_channel"], [{"text": text, **keys}])


FORMATS = (
    Format("chat.ready", record_of(ChatReady), reply=REPLY, notification=True, compose=compose),
    Format("chat.message", record_of(ChatMessage), reply=REPLY, notification=True, compose=compose),
    Format("chat.join", record_of(ChatJoin), reply=REPLY, notification=True, compose=compose),
    Format("chat.leave", record_of(ChatLeave), reply=REPLY, notification=True, compose=compose),
    Format("chat.reaction", record_of(ChatReaction), reply=REPLY, notification=True, compose=compose),
    Format("chat.receipt", record_of(ChatReceipt), notification=True),
)
