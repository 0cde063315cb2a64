"""What Slack tells, as messages: the chat formats, and Slack's own.

Nothing here asks Slack or the bus anything. A `Draft` says what is needed for its message, which is made when the
names are there, or will not come.

Source: https://docs.slack.dev/reference/events, https://docs.slack.dev/interactivity/implementing-slash-commands and
https://docs.slack.dev/reference/interaction-payloads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from ...message_formats.conversation import conversation_channel
from ...message_formats.slack import emoji_text, mentioned, text_of, to_plain
from .addressing import is_room_id, is_timestamp, is_user_id, message_id
from .names import Names, as_name

Message = dict[str, Any]

MAX_BYTES = 4000  # of a text that goes out in one piece; Slack counts characters
_LATE = 60.0  # seconds; what comes again after that comes after a gap
_SAID = frozenset(("", "thread_broadcast", "file_share", "me_message", "bot_message"))
_TOKENS = frozenset(("token", "bot_access_token", "access_token", "refresh_token"))
_MOST_ACTIONS = 100


class Unfit(Exception):
    """What Slack told is nothing that Slack tells; the text says why, and nothing of what it was."""


class Identity(NamedTuple):
    """Who we are.

    Attributes:
        team: The workspace's id.
        user: Our bot's id as a person; "" where it is not known.
        bot: Its id as a bot.
        name: Its name.
    """

    team: str = ""
    user: str = ""
    bot: str = ""
    name: str = ""


class Delivery(NamedTuple):
    """Something that Slack tells.

    Attributes:
        kind: What.
        payload: It.
        key: A name for it that a repetition has, too.
        retry: How often it was told before.
    """

    kind: Literal["events_api", "slash_commands", "interactive"]
    payload: Mapping[str, Any]
    key: str
    retry: int = 0


@dataclass(slots=True)
class Draft:
    """A message to be.

    Attributes:
        channel: Where it goes.
        once: Its name, the same for every repetition.
        room: What it keeps its order in.
        ids: Whose names it needs.
        make: Makes it.
        notification: It is published only where somebody listens.
    """

    channel: str
    once: str
    room: str
    ids: frozenset[str]
    make: Callable[[], Message]
    notification: bool = True


class Mapper:
    """Makes messages of what one workspace tells.

    Args:
        network: The workspace's configured name.
        names: Who and where.
        include_raw: Whether what was said comes as Slack has it, too.
        wall: Unix seconds.

    Attributes:
        identity: Who we are.
    """

    def __init__(
        self, network: str, names: Names, *, include_raw: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        self.identity = Identity()
        self._network = network
        self._names = names
        self._include_raw = include_raw
        self._wall = wall

    def drafts(self, delivery: Delivery) -> list[Draft]:
        """Return the messages of something that Slack tells.

        Raises:
            Unfit: It makes no sense.
        """
        make = {"events_api": self._event, "slash_commands": self._command, "interactive": self._interaction}
        return list(make[delivery.kind](delivery))

    def is_foreign(self, payload: Mapping[str, Any]) -> bool:
        """Say whether an event is another workspace's: its team is not ours, and no authorization names ours."""
        team = payload.get("team_id")
        authorizations = payload.get("authorizations")
        if not self.identity.team or team in (None, self.identity.team) or not isinstance(authorizations, list):
            return False
        teams = [each.get("team_id") for each in authorizations if isinstance(each, dict)]
        return bool(teams) and self.identity.team not in teams

    def is_own(self, event: Mapping[str, Any]) -> bool:
        """Say whether we said or did this ourselves."""
        me = self.identity
        return (bool(me.user) and event.get("user") == me.user) or (bool(me.bot) and event.get("bot_id") == me.bot)

    def ready(self, room: str) -> Message:
        """Return the `chat.ready` of a room that we are in."""
        unable = {"markup": True, "max_bytes": MAX_BYTES}
        able = dict.fromkeys(("threads", "reactions", "edits", "files"), True)
        return self._place(room, self._room_name(room)) | {"capabilities": able | unable}

    # Events

    def _event(self, delivery: Delivery) -> Iterator[Draft]:
        payload = delivery.payload
        event = payload.get("event")
        if not isinstance(event, dict) or not isinstance(kind := event.get("type"), str):
            raise Unfit("an event without a type")
        event_id = payload.get("event_id")
        team = _text(payload.get("team_id")) or self.identity.team
        once = f"{team} {event_id if isinstance(event_id, str) and event_id else delivery.key}"
        said = event.get("message")
        moved = kind in ("member_joined_channel", "member_left_channel")
        self._meet(payload.get("authorizations"))
        if not moved and (self.is_own(event) or (isinstance(said, dict) and self.is_own(said))):
            return
        late = bool(delivery.retry) and self._is_old(payload.get("event_time"))
        if kind in ("message", "app_mention"):
            yield from self._said(event, team, late)
        elif moved and event.get("user") != self.identity.user:
            yield from self._moved(event, once)
        elif kind in ("reaction_added", "reaction_removed"):
            yield from self._reaction(event, once)
        yield self._own_words(event, kind, team, once)

    def _meet(self, authorizations: Any) -> None:
        """Learn who we are from an event, where Slack did not say when it was asked."""
        if not self.identity.user and isinstance(authorizations, list):
            for each in authorizations:
                if isinstance(each, dict) and each.get("is_bot") is True and is_user_id(_text(each.get("user_id"))):
                    self.identity = self.identity._replace(user=each["user_id"])
                    return

    def _is_old(self, moment: Any) -> bool:
        return isinstance(moment, int | float) and self._wall() - moment > _LATE

    def _said(self, event: Mapping[str, Any], team: str, late: bool) -> Iterator[Draft]:
        """Yield the `chat.message` of what somebody said, or said instead."""
        room, message, edited = _text(event.get("channel")), event, False
        if event.get("subtype") == "message_changed":
            changed, before = event.get("message"), event.get("previous_message")
            if not isinstance(changed, dict):
                raise Unfit("a changed message that is none")
            if isinstance(before, dict) and before.get("text") == changed.get("text"):
                return  # a link was unfurled, or a thread begun
            message, edited = changed, True
        stamp = _text(message.get("ts"))
        user = _text(message.get("user")) or _text(message.get("bot_id"))
        if _text(message.get("subtype")) not in _SAID or not user:
            return
        if not is_room_id(room) or not is_timestamp(stamp):
            raise Unfit("a message without its place")
        text = text_of(message)
        # Two events may tell of one message: that it was said, and that we were mentioned. So it is named by itself.
        once = f"{team} {message_id(room, stamp)}"
        if edited:
            last = message.get("edited")
            once += f" {_text(last.get('ts')) if isinstance(last, dict) else _text(event.get('event_ts'))}"
        ids = frozenset((user, room, *mentioned(text)))
        make = partial(self._chat_message, event, message, room, user, text, edited, late)
        yield Draft("chat.message", once, room, self._needed(room, ids), make)

    def _chat_message(
        self,
        event: Mapping[str, Any],
        said: Mapping[str, Any],
        room: str,
        user: str,
        text: str,
        edited: bool,
        late: bool,
    ) -> Message:
        stamp, thread = said["ts"], _text(said.get("thread_ts"))
        direct = room.startswith("D")
        profile = said.get("bot_profile")
        names = (
            self._names.user(user),
            as_name(said.get("username")),
            as_name(profile.get("name")) if isinstance(profile, dict) else None,
            user,
        )
        name = next(name for name in names if name)
        plain, addressed = self._plain(text)
        message = self._place(room, name if direct else self._room_name(room), thread if is_timestamp(thread) else None)
        message |= {"user": name, "user_id": user, "text": plain, "id": message_id(room, stamp), "time": float(stamp)}
        if is_timestamp(thread):
            message["thread"] = thread
        for key, value in (("direct", direct), ("mention", addressed), ("edited", edited), ("replayed", late)):
            if value:
                message[key] = True
        files = list(_files(said.get("files")))
        if files:
            message["files"] = files
        if self._include_raw:
            message["raw"] = _without_tokens(event)
        return message

    def _plain(self, text: str) -> tuple[str, bool]:
        """Return a text without markup and without our name, and whether that was in it."""
        return to_plain(text, user=self._names.user, room=self._names.room, own=self.identity.user)

    def _moved(self, event: Mapping[str, Any], once: str) -> Iterator[Draft]:
        room, user = _text(event.get("channel")), _text(event.get("user"))
        if is_room_id(room) and user:
            channel = "chat.join" if event["type"] == "member_joined_channel" else "chat.leave"
            yield Draft(channel, once, room, frozenset((room, user)), partial(self._somebody, room, user))

    def _reaction(self, event: Mapping[str, Any], once: str) -> Iterator[Draft]:
        item, user, reaction = event.get("item"), _text(event.get("user")), as_name(event.get("reaction"))
        if not isinstance(item, dict) or item.get("type") != "message" or not user or reaction is None:
            return
        room, stamp = _text(item.get("channel")), _text(item.get("ts"))
        if is_room_id(room) and is_timestamp(stamp):
            added = event["type"] == "reaction_added"
            more = {"reaction": emoji_text(reaction), "id": message_id(room, stamp), "added": added}
            make = partial(self._somebody, room, user, more)
            yield Draft("chat.reaction", once, room, self._needed(room, frozenset((room, user))), make)

    def _own_words(self, event: Mapping[str, Any], kind: str, team: str, once: str) -> Draft:
        """Return the `slack.event` of anything."""
        item, said = event.get("item"), event.get("message")
        places = [each for each in (event, item, said) if isinstance(each, dict)]
        room = _first(places, "channel", "channel_id", is_id=is_room_id)
        user = _first(places, "user", "user_id", is_id=is_user_id)
        threads = (_text(each.get("thread_ts")) for each in places)
        thread = next((each for each in threads if is_timestamp(each)), None)
        message = self._addressed(room, user, team, once.partition(" ")[2], thread)
        message |= {"event_type": kind, "event": _without_tokens(event)}
        return Draft("slack.event", once, room or user, frozenset(), lambda: message)

    # Commands, actions, shortcuts, views

    def _command(self, delivery: Delivery) -> Iterator[Draft]:
        payload = delivery.payload
        command = _text(payload.get("command"))
        if not command:
            raise Unfit("a command without a name")
        key = _text(payload.get("trigger_id")) or delivery.key
        room, user = _text(payload.get("channel_id")), _text(payload.get("user_id"))
        team = _text(payload.get("team_id")) or self.identity.team
        self._learn(user, payload.get("user_name"))
        message = self._addressed(room, user, team, key, _text(payload.get("thread_ts")) or None)
        message |= {"command": command, "text": _text(payload.get("text"))}
        message |= {name: _text(payload.get(name)) for name in ("trigger_id", "response_url")}
        yield Draft("slack.command", f"{team} {key}", room or user, frozenset(), lambda: message, notification=False)

    def _interaction(self, delivery: Delivery) -> Iterator[Draft]:
        payload = delivery.payload
        kind = payload.get("type")
        if not isinstance(kind, str):
            raise Unfit("an interaction without a type")
        channel = {
            "block_actions": "slack.action",
            "interactive_message": "slack.action",
            "shortcut": "slack.shortcut",
            "message_action": "slack.shortcut",
            "view_submission": "slack.view",
            "view_closed": "slack.view",
        }.get(kind)
        if channel is None:
            return  # asks for an answer at once, which no worker is waited for
        key = _text(payload.get("trigger_id")) or delivery.key
        container, said = _dict(payload.get("container")), _dict(payload.get("message"))
        room = _first([payload, container], "channel", "channel_id", is_id=is_room_id)
        user = _first([payload], "user", "user_id", is_id=is_user_id)
        team = _text(_dict(payload.get("team")).get("id")) or self.identity.team
        threads = (_text(said.get("thread_ts")), _text(container.get("thread_ts")))
        thread = next((each for each in threads if is_timestamp(each)), None)
        common = self._addressed(room, user, team, key, thread)
        clean = _without_tokens(payload)
        draft = partial(Draft, channel, room=room or user, ids=frozenset(), notification=False)
        once = f"{team} {key}"
        if channel != "slack.action":
            message = common | {"payload": clean, **_called(kind, payload)}
            yield draft(once=once, make=lambda: message)
            return
        actions = payload.get("actions")
        for number, action in enumerate(actions[:_MOST_ACTIONS] if isinstance(actions, list) else ()):
            if isinstance(action, dict):
                made = common | _action(action) | {"payload": clean}
                yield draft(once=f"{once} {number}" if number else once, make=made.copy)

    def _learn(self, user: str, name: Any) -> None:
        """Take a name that Slack gives along, unless there is a better one."""
        if is_user_id(user) and self._names.user(user) is None:
            self._names.learn_user({"id": user, "name": name})

    # Places

    def _conversation(self, room: str, thread: str | None = None) -> str:
        return conversation_channel("slack", self._network, room, thread)

    def _place(self, room: str, name: str, thread: str | None = None) -> Message:
        return {
            "reply_channel": self._conversation(room, thread),
            "service": "slack",
            "network": self._network,
            "channel": name,
        }

    def _somebody(self, room: str, user: str, more: Mapping[str, Any] | None = None) -> Message:
        name = self._names.user(user) or user
        return self._place(room, name if room.startswith("D") else self._room_name(room)) | {
            "user": name,
            "user_id": user,
            **(more or {}),
        }

    def _addressed(self, room: str, user: str, team: str, id: str, thread: str | None) -> Message:
        """Return what all of Slack's own messages have; what belongs to no room is answered to its person."""
        where = room or user
        channel = self._conversation(where, thread if room else None) if where else f"slack.reply.{self._network}!"
        return {
            "reply_channel": channel,
            "network": self._network,
            "team": team,
            "channel": room,
            "user": user,
            "id": id,
        }

    def _room_name(self, room: str) -> str:
        return self._names.room(room) or room

    def _needed(self, room: str, ids: frozenset[str]) -> frozenset[str]:
        """Leave out a private chat: it is called after whoever speaks there."""
        return ids - {room} if room.startswith("D") else ids


def _called(kind: str, payload: Mapping[str, Any]) -> Message:
    """Return how a shortcut or a view is called."""
    called = _text(payload.get("callback_id")) or _text(_dict(payload.get("view")).get("callback_id"))
    return {"type": kind, "callback_id": called, "trigger_id": _text(payload.get("trigger_id"))}


def _action(action: Mapping[str, Any]) -> Message:
    """Return what an element was used for."""
    value: Any = action.get("value")
    for key in ("selected_option", "selected_options"):
        chosen = action.get(key)
        if isinstance(chosen, dict):
            value = chosen.get("value")
        elif isinstance(chosen, list):
            value = [_text(_dict(each).get("value")) for each in chosen]
    if value is None:
        value = next((chosen for key, chosen in action.items() if key.startswith("selected_")), None)
    action_id = _text(action.get("action_id")) or _text(action.get("name"))
    made = {"action_id": action_id, "block_id": _text(action.get("block_id"))}
    return made if value is None else made | {"value": value}


def _files(files: Any) -> Iterator[Message]:
    for each in files if isinstance(files, list) else ():
        name = as_name(_dict(each).get("name")) or as_name(_dict(each).get("title"))
        if name is None:
            continue  # deleted, or not for us to see
        size = each.get("size")
        yield {
            "name": name,
            "mimetype": as_name(each.get("mimetype")) or "application/octet-stream",
            "size": size if isinstance(size, int) and size >= 0 else 0,
            "url": _text(each.get("url_private")) or _text(each.get("permalink")),
        }


def _without_tokens(shape: Mapping[str, Any]) -> Message:
    """Return an event or a payload without what nobody on the layer may have."""
    return {key: value for key, value in shape.items() if key not in _TOKENS}


def _first(places: list[Any], *keys: str, is_id: Callable[[str], bool]) -> str:
    """Return the first id that stands at one of the keys, by itself or as the `id` of an object."""
    for place in places:
        for key in keys:
            found = place.get(key)
            found = found.get("id") if isinstance(found, dict) else found
            if isinstance(found, str) and is_id(found):
                return found
    return ""


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
