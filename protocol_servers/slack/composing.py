"""What a reply asks for, as steps: things that Slack can do, one after the other.

Slack has no notices, so one is said as anything else. An action is said in italics: `chat.meMessage` knows no threads.
A file that only one person may see goes to the private chat with that person, since Slack's ephemeral messages carry
none.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...message_formats import FormatError
from ...message_formats.slack import REPLY
from .addressing import Place, read_message_id
from .splitting import LIMIT, split, truncate

MOST_PIECES = 25  # of a text that is split; a longer one is uploaded
_PREVIEW = 300  # characters of a text that is uploaded, said beside it
_METHOD = re.compile(r"[a-zA-Z][a-zA-Z0-9]*(?:\.[a-zA-Z0-9]+){1,5}")
# Methods that give out or take back what opens the workspace.
_CLOSED = re.compile(r"(?:oauth|openid|tooling|rtm|apps\.(?:connections|manifest|uninstall)|auth\.revoke)\b.*")


class Unfit(Exception):
    """A reply asks for nothing that can be done; its text says why."""


@dataclass(slots=True)
class Post:
    """Say something.

    Attributes:
        text: Plain text; of one with blocks it is the whole, else a piece that fits.
        blocks: What is shown in its place.
        action: Say it as an action.
        only: The name or id of the only person who sees it.
    """

    text: str
    blocks: list[Any] | None = None
    action: bool = False
    only: str | None = None


@dataclass(slots=True)
class Update:
    """Replace something that we said."""

    stamp: str
    room: str
    text: str
    blocks: list[Any] | None = None
    action: bool = False


@dataclass(slots=True)
class React:
    """React to something; where that is impossible, say ``instead``."""

    stamp: str
    room: str
    reaction: str
    instead: str


@dataclass(slots=True)
class Upload:
    """A file: its content, or the key under which the layer keeps it."""

    name: str
    content: bytes | None
    key: str | None = None


@dataclass(slots=True)
class Share:
    """Send files, with words beside them.

    Attributes:
        files: The files.
        comment: The words.
        action: Say them as an action.
        only: The name or id of the only person who gets them.
        long: A text that is a file because of its length, the first one.
    """

    files: list[Upload]
    comment: str = ""
    action: bool = False
    only: str | None = None
    long: str | None = None


@dataclass(slots=True)
class Call:
    """Call a method of the Web API."""

    method: str
    arguments: dict[str, Any]


Step = Post | Update | React | Share | Call


@dataclass(eq=False, slots=True)
class Utterance:
    """A reply on its way.

    Attributes:
        local: The conversation, as the part of its reply channel after the "!".
        message: The reply.
        size: About how many bytes it takes.
        place: Where it is said; None: nowhere, it calls a method.
        steps: What is left to be done.
        thread: The time stamp of the thread that it is said in.
        opens_thread: The rest goes into the thread that its first message begins.
        done: The steps that were done.
        ids: The ids of what was said.
        missing: Why a part of it could not be done.
        calling: A call for it is under way, or in doubt.
    """

    local: str
    message: Mapping[str, Any]
    size: int
    place: Place | None = None
    steps: deque[Step] = field(default_factory=deque)
    thread: str | None = None
    opens_thread: bool = False
    done: int = 0
    ids: list[str] = field(default_factory=list)
    missing: str | None = None
    calling: bool = False

    @property
    def expires(self) -> float | None:
        """When it is stale, in Unix seconds."""
        expires = self.message.get("expires")
        return float(expires) if isinstance(expires, int | float) else None

    @property
    def notify(self) -> bool:
        """Whether it may mention people and rooms."""
        return self.message.get("notify") is True

    def rest(self) -> dict[str, Any] | None:
        """Return a reply that asks for what is left; None: it cannot be asked for."""
        if self.calling:
            return None
        if not self.done:
            return dict(self.message)
        texts: list[str] = []
        done = {"edit", "blocks", "files"}
        for step in self.steps:
            match step:
                case Post():
                    texts.append(step.text)
                case Share(long=None):
                    texts.append(step.comment)
                    done.discard("files")
                case _:
                    return None
        kept = {key: value for key, value in self.message.items() if key not in done}
        return {**kept, "text": "\n".join(filter(None, texts))}


def compose(utterance: Utterance, room: str | None) -> None:
    """Fill in the steps of a reply, and its thread.

    Args:
        utterance: The reply, after `check`.
        room: The id of the room that its place is in.

    Raises:
        Unfit: It asks for nothing that can be done.
    """
    message = utterance.message
    if message.get("method") is not None:
        utterance.steps.append(_call(message))
        return
    if room is None or utterance.place is None:
        raise Unfit("channel_not_found: there is no such room or person")
    _set_thread(utterance, message, room)
    reaction = message.get("reaction")
    if reaction is not None:
        instead = message["text"] or f"reacts with {reaction}"
        if message.get("id") is None:  # as a group's message may be
            utterance.steps.append(Post(truncate(instead), action=True))
        else:
            utterance.steps.append(React(*_target(message["id"], room), reaction, instead))
        return
    utterance.steps.extend(_said(message, room))
    if not utterance.steps:
        raise Unfit("there is nothing to say in it")


def check(message: Mapping[str, Any]) -> None:
    """Check a reply, which may come from a group.

    Raises:
        Unfit: It breaks it, or has a method that cannot be called.
    """
    try:
        REPLY.validate(dict(message), unknown="ignore")
    except FormatError as error:
        raise Unfit(str(error)) from None
    if message.get("method") is not None:
        _call(message)


def _said(message: Mapping[str, Any], room: str) -> list[Step]:
    text, blocks, only = message["text"], message.get("blocks") or None, message.get("user")
    action = message.get("action") is True
    steps: list[Step] = []
    files = [Upload(each["name"], each.get("content"), each.get("body_key")) for each in message.get("files") or ()]
    pieces = [] if blocks else _pieces(text, message.get("overflow"), action)
    long = text if pieces is None else None
    if pieces is None:
        files.insert(0, Upload("message.txt", text.encode("utf-8", "replace")))
        pieces = [truncate(text, _PREVIEW)]
    if message.get("edit") is not None:
        stamp, where = _target(message["edit"], room)
        if pieces or blocks:
            first = pieces.pop(0) if pieces else text
            steps.append(Update(stamp, where, first, blocks, action))
            blocks = None
    elif blocks:
        steps.append(Post(text, blocks, action, only))
    beside = pieces.pop() if files and len(pieces) == 1 else ""
    steps.extend(Post(piece, None, action, only) for piece in pieces)
    if files:
        steps.append(Share(files, beside, action, only, long))
    return steps


def _pieces(text: str, overflow: str | None, action: bool) -> list[str] | None:
    """Return a text in pieces that fit; None: it has to be uploaded."""
    limit = LIMIT - 400 if action else LIMIT  # italics take two characters a line
    if overflow == "truncate":
        cut = truncate(text, limit)
        return [cut] if cut else []
    pieces = split(text, limit, most=MOST_PIECES + 1)
    too_long = len(pieces) > (1 if overflow == "file" else MOST_PIECES)
    return None if too_long else pieces


def _set_thread(utterance: Utterance, message: Mapping[str, Any], room: str) -> None:
    thread = utterance.place.thread if utterance.place is not None else None
    match message.get("thread"):
        case "channel":
            return
        case "new" if thread is None:
            named = read_message_id(message["id"], room) if message.get("id") is not None else None
            if named is not None and named[0] == room:
                utterance.thread = named[1]
            else:
                utterance.opens_thread = True
        case _:
            utterance.thread = thread


def _target(id: str, room: str) -> tuple[str, str]:
    """Return the time stamp and the room of a message."""
    found = read_message_id(id, room)
    if found is None:
        raise Unfit("message_not_found: this is not the id of a message")
    return found[1], found[0]


def _call(message: Mapping[str, Any]) -> Call:
    method, arguments = message["method"], message.get("arguments") or {}
    if not _METHOD.fullmatch(method):
        raise Unfit("unknown_method: expected a name such as chat.postMessage")
    if _CLOSED.fullmatch(method):
        raise Unfit(f"not_allowed: {method[:100]} deals with tokens, which never travel on the layer")
    if "token" in arguments:
        raise Unfit("not_allowed: no token travels on the layer; the workspace's own is used")
    return Call(method, arguments)
