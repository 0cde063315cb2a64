"""Slack's own words, beside the chat formats: events of any type, commands, and what people press and fill in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from ..chat import Manner
from ..format import Composed, Format
from ..rules import Instead, OnlyWith, exactly_one
from ..typed import Default, record_of
from ..vocabulary import Line


class _Place(TypedDict):
    reply_channel: Annotated[
        str,
        "The conversation: the room, its thread, or the private chat with the person where there is no room.",
    ]
    network: Annotated[Line, "Which configured workspace."]
    team: Annotated[Line, 'The workspace\'s id, "T…".']
    channel: Annotated[Line, 'The room\'s id, "C…", "G…" or "D…"; "" where it belongs to none.']
    user: Annotated[Line, 'The id of who did it, "U…"; "" where it was nobody.']
    id: Annotated[Line, "Names it: unique in the workspace, and the same when it is delivered again."]


class SlackEvent(_Place):
    """An event of the Events API, as Slack tells it. What somebody said is a `chat.message` as well."""

    event_type: Annotated[Line, 'The type of the event, such as "app_home_opened".']
    event: Annotated[dict[str, Any], "The event, without tokens."]


class SlackCommand(_Place):
    """Somebody used a slash command."""

    command: Annotated[Line, 'The command, such as "/deploy".']
    text: Annotated[str, "What stands behind it, as Slack carries it."]
    trigger_id: Annotated[Line, "With it a view can be opened, within three seconds."]
    response_url: Annotated[str, "Where answers can be posted to for half an hour, five at most."]


class SlackAction(_Place):
    """Somebody used an element of a message or a view: pressed a button, chose from a menu."""

    action_id: Annotated[Line, "The element's `action_id`."]
    block_id: Annotated[Line, "The `block_id` of its block."]
    value: NotRequired[
        Annotated[Any, "What was chosen: the value of a button or an option, a list where several may be chosen."]
    ]
    payload: Annotated[dict[str, Any], "All that Slack tells of it, without tokens."]


class _Called(_Place):
    callback_id: Annotated[Line, "The `callback_id` that the app gave it."]
    trigger_id: Annotated[Line, 'With it a view can be opened, within three seconds; "" where it cannot.']
    payload: Annotated[dict[str, Any], "All that Slack tells of it, without tokens."]


class SlackShortcut(_Called):
    """Somebody used a shortcut."""

    type: Annotated[Literal["shortcut", "message_action"], "A global shortcut, or one of a message."]


class SlackView(_Called):
    """Somebody filled in a view, or closed it."""

    type: Annotated[Literal["view_submission", "view_closed"], "What became of the view."]


class _MaybeWords(TypedDict):
    text: NotRequired[Annotated[str, "What to say, plain Unicode."]]


class SlackReply(_MaybeWords, Manner):
    """Something to say, as in the chat reply, or a method of the Web API to call.

    No token travels: the workspace's own is used. Methods that deal with tokens are refused.
    """

    method: NotRequired[Annotated[Line, 'A method to call instead of speaking, such as "views.open".']]
    arguments: NotRequired[Annotated[dict[str, Any], Default({}), "Its arguments, without a token."]]
    result_channel: NotRequired[Annotated[str, "Where Slack's answer goes, as Slack gives it."]]


_MANNERS = ("thread", "action", "notice", "reaction", "edit", "files", "blocks", "user", "notify", "overflow")

REPLY = Format(
    "slack reply",
    record_of(
        SlackReply,
        exactly_one("text", "method"),
        Instead("method", _MANNERS),
        OnlyWith("arguments", "method"),
        OnlyWith("result_channel", "method"),
        OnlyWith("reaction", "id"),
    ),
)


def compose(message: Mapping[str, Any], text: str | None = None, **keys: Any) -> Composed:
    """Make what `message.reply(...)` says or calls.

    Args:
        message: the message to answer.
        text: what to say; None where a `method` is called.
        **keys: other keys of the reply.

    Raises:
        TypeError: text is not str, there is no such key, or there is neither a text nor a method.
    """
    allowed = [field.name for field in REPLY.fields if field.name != "text"]
    for key in keys:
        if key not in allowed:
            raise TypeError(f"{key}: no such key of a reply; allowed are {', '.join(allowed)}")
    if text is None and keys.get("method") is not None:
        return Composed(message["reply_channel"], [keys])
    if not isinstance(text, str):
        raise TypeError(f"text: allowed is str, not {type(text).__name__}")
    return Composed(message["reply_channel"], [{"text": text, **keys}])


_DEFINITIONS: dict[str, Any] = {
    "event": SlackEvent,
    "command": SlackCommand,
    "action": SlackAction,
    "shortcut": SlackShortcut,
    "view": SlackView,
}

FORMATS = tuple(
    Format(f"slack.{name}", record_of(definition), reply=REPLY, notification=name == "event", compose=compose)
    for name, definition in _DEFINITIONS.items()
)
