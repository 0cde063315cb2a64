"""A workspace of the Slack in memory: what a test lets people do, and what it sees of the app."""

from __future__ import annotations

import mimetypes
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import interactions
from .app import Host, SlackApp
from .delivery import Delivery
from .shapes import Person, Room, Said, Shape, Stored
from .state import SlackState


@dataclass
class WayBack:
    """Where a response URL leads.

    Attributes:
        user: The id of who used something.
        room: The id of the room; None where there is none.
        said: The message that is replaced or deleted by it.
        left: How many times it may still be used.
    """

    user: str
    room: str | None
    said: Said | None
    left: int = 5


class SlackWorkspace(SlackApp):
    """A workspace with one app installed in it, the app's bot among its people.

    People and rooms are named by their names or ids; who or what is not there yet comes to be. `service.workspace`
    is a service's first, `service.add_workspace` makes more.

    Attributes:
        views: The views that are open, by id.
        published: The home tabs, by user id.
        uploads: The bytes that an upload is to have, by the file's id.
        responses: What the app posted to response URLs.
    """

    def __init__(self, state: SlackState, host: Host, answered: Callable[[SlackWorkspace, Delivery], None]) -> None:
        super().__init__(state, host, lambda delivery: answered(self, delivery))
        self.views: dict[str, Shape] = {}
        self.published: dict[str, Shape] = {}
        self.uploads: dict[str, int] = {}
        self.response_urls: dict[str, WayBack] = {}
        self.responses: list[Any] = []

    # Who and where

    def person(self, name: str, *, real_name: str = "", display_name: str = "") -> Person:
        """Return somebody; who is not there yet comes to be."""
        with self._changed:
            person = self.state.person(name)
            person.real_name = real_name or person.real_name
            person.display_name = display_name or person.display_name
            return person

    def room(self, name: str, *members: str, private: bool = False, bot: bool = True) -> Room:
        """Return a room; one that is not there yet comes to be, with the bot in it unless told otherwise."""
        with self._changed:
            found = self.state.room(name) if name.startswith("@") else self.state.find_room(name)
            return found or self.state.add_room(
                name.removeprefix("#"), kind="group" if private else "channel", members=members, bot=bot
            )

    def mention(self, name: str) -> str:
        """Return the mention of somebody, as it stands in a text."""
        return f"<@{self.person(name).id}>"

    def typed(self, text: str) -> str:
        """Return a text as Slack carries what somebody types: with mentions, rooms, links and entities.

        Only people and rooms that there are become mentions; `@here`, `@channel` and `@everyone` do.
        """
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"https?://[^\s<>]+|(?<![\w@#])([@#])([\w.-]*\w)", self._linked, text)

    def _linked(self, found: re.Match[str]) -> str:
        sign, name = found[1], found[2]
        if sign == "#" and (room := self.state.find_room(name)) is not None:
            return f"<#{room.id}|{room.name}>"
        if sign == "@" and name in ("here", "channel", "everyone"):
            return f"<!{name}>"
        if sign == "@" and (person := self.state.find_person(name)) is not None:
            return f"<@{person.id}>"
        return found[0] if sign else f"<{found[0]}>"

    # What people do

    def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        thread: str | Said | None = None,
        broadcast: bool = False,
        subtype: str | None = None,
        blocks: list[Any] | None = None,
        files: Iterable[Stored] = (),
    ) -> Said:
        """Let somebody say something, and the app be told.

        Args:
            user: Who says it; comes into the room if need be.
            channel: Where; "@ann" is Ann's private chat with the bot.
            text: The text as Slack carries it; `typed` makes it of what a person types.
            thread: The message (or its `ts`) in whose thread it is said.
            broadcast: Show it in the room as well.
            subtype: Slack's word for another kind of message, such as "me_message".
            blocks: Its blocks.
            files: Files that come with it.

        Returns:
            What was said, with its `ts` and the `event_ids` that the app is told it by.
        """
        with self._changed:
            person, room = self.state.person(user), self.state.room(channel)
            if person.id not in room.members:
                room.members.append(person.id)
            kept = list(files)
            for each in kept:
                each.shared.append(room.id)
            said = self.state.keep(
                Said(
                    self.state.new_ts(),
                    room.id,
                    person.id,
                    text,
                    thread=thread.ts if isinstance(thread, Said) else thread,
                    subtype=subtype or ("file_share" if kept else "thread_broadcast" if broadcast else None),
                    blocks=blocks,
                    files=kept,
                    broadcast=broadcast,
                )
            )
            self.tell_of(said)
            return said

    def tell_of(self, said: Said) -> None:
        """Tell the app of what was said."""
        room = self.state.rooms[said.room]
        event = self.state.shape_of(said) | {"channel": room.id, "channel_type": room.kind, "event_ts": said.ts}
        if said.bot_id is None and said.subtype is None:
            event["client_msg_id"] = secrets.token_hex(16)
        said.event_ids += self.event(event, room)
        mentioned = f"<@{self.bot.id}" in said.text and said.subtype not in ("channel_join", "channel_leave")
        if mentioned and said.user != self.bot.id and room.kind != "im":
            del event["channel_type"]
            said.event_ids += self.event(event | {"type": "app_mention"}, room)

    def edit(self, said: Said, text: str, **changes: Any) -> Said:
        """Let something that was said be replaced."""
        with self._changed:
            before = self.state.shape_of(said)
            said.text = text
            said.edited = self.state.new_ts()
            for key, value in changes.items():
                setattr(said, key, value)
            self._changed_message(said, "message_changed", message=self.state.shape_of(said), previous_message=before)
            return said

    def delete(self, said: Said) -> None:
        """Let something that was said be deleted."""
        with self._changed:
            room = self.state.rooms[said.room]
            room.log.remove(said)
            room.deleted.append(said.ts)
            shape = self.state.shape_of(said)
            self._changed_message(said, "message_deleted", deleted_ts=said.ts, previous_message=shape)

    def _changed_message(self, said: Said, subtype: str, **more: Any) -> None:
        room, ts = self.state.rooms[said.room], self.state.new_ts()
        event = {"type": "message", "subtype": subtype, "hidden": True, "channel": room.id, "ts": ts, "event_ts": ts}
        said.event_ids += self.event(event | {"channel_type": room.kind} | more, room)

    def react(self, user: str, said: Said, reaction: str, *, added: bool = True) -> bool:
        """Let somebody react to what was said, or take that back; say whether anything changed."""
        with self._changed:
            person = self.state.person(user)
            users = said.reactions.setdefault(reaction, [])
            if (person.id in users) == added:
                return False
            (users.append if added else users.remove)(person.id)
            if not users:
                del said.reactions[reaction]
            event = {
                "type": "reaction_added" if added else "reaction_removed",
                "user": person.id,
                "reaction": reaction,
                "item": {"type": "message", "channel": said.room, "ts": said.ts},
                "item_user": said.user,
                "event_ts": self.state.new_ts(),
            }
            said.event_ids += self.event(event, self.state.rooms[said.room])
            return True

    def join(self, user: str, channel: str, *, inviter: str | None = None) -> None:
        """Let somebody come into a room."""
        with self._changed:
            person, room = self.state.person(user), self.state.room(channel)
            if person.id not in room.members:
                room.members.append(person.id)
                self._moved("member_joined_channel", person, room, inviter)

    def leave(self, user: str, channel: str) -> None:
        """Let somebody leave a room; the bot's own leaving is told, too."""
        with self._changed:
            person, room = self.state.person(user), self.state.room(channel)
            if person.id in room.members:
                self._moved("member_left_channel", person, room)
                room.members.remove(person.id)
                if person is self.bot:
                    self.event({"type": "channel_left", "channel": room.id, "event_ts": self.state.new_ts()})

    def _moved(self, kind: str, person: Person, room: Room, inviter: str | None = None) -> None:
        event = {"type": kind, "user": person.id, "channel": room.id, "channel_type": room.id[0], "team": self.team_id}
        if inviter is not None:
            event["inviter"] = self.state.person(inviter).id
        self.event(event | {"event_ts": self.state.new_ts()}, room)
        verb, subtype = ("joined", "channel_join") if kind == "member_joined_channel" else ("left", "channel_leave")
        text = f"<@{person.id}> has {verb} the channel"
        self.tell_of(self.state.keep(Said(self.state.new_ts(), room.id, person.id, text, subtype=subtype)))

    def rename(self, what: str, name: str) -> None:
        """Give a room ("#dev") or a person ("ann") another name."""
        with self._changed:
            ts = self.state.new_ts()
            room = self.state.find_room(what)
            if room is not None:
                room.name = name
                shape = {"id": room.id, "name": name, "created": room.created}
                self.event({"type": "channel_rename", "channel": shape, "event_ts": ts})
            else:
                person = self.state.person(what)
                person.name = person.display_name = name
                self.event({"type": "user_change", "user": person.shape(), "event_ts": ts})

    def file(self, user: str, name: str, content: bytes, mimetype: str | None = None) -> Stored:
        """Let there be a file, for `say`; its media type is guessed from its name unless given."""
        mimetype = mimetype or mimetypes.guess_type(name)[0] or "application/octet-stream"
        with self._changed:
            file_id = self.state.new_id("F")
            url = f"{self._host.address}/files-pri/{self.team_id}-{file_id}/{name}"
            stored = Stored(file_id, name, mimetype, content, self.state.person(user).id, url, created=int(time.time()))
            self.state.files[file_id] = stored
            return stored

    def upload(self, user: str, channel: str, name: str, content: bytes, *, text: str = "", **more: Any) -> Said:
        """Let somebody share a file, with what they say about it."""
        return self.say(user, channel, text, files=[self.file(user, name, content, **more)])

    # What people press

    def command(self, user: str, channel: str, name: str, text: str = "") -> Delivery:
        """Let somebody use a slash command, such as "/deploy"."""
        with self._changed:
            person, room = self.state.person(user), self.state.room(channel)
            payload = interactions.command(self.state, person, room, name, text, **self._ways_back(room, person))
            return self._ask("slash_commands", payload, room)

    def click(self, user: str, where: Said | Shape, action_id: str, value: Any = None, **more: Any) -> Delivery:
        """Let somebody use an element of a message, or of a view.

        Args:
            user: Who.
            where: The message or the view.
            action_id: The element's.
            value: What is chosen: the value of a button.
            **more: Other keys of the action, such as `selected_option`.
        """
        with self._changed:
            person = self.state.person(user)
            said = where if isinstance(where, Said) else None
            blocks = said.blocks if said is not None else where["blocks"]  # type: ignore[index]
            element = interactions.find_element(blocks, action_id) or {"type": "button", "block_id": ""}
            element |= {"action_id": action_id, "action_ts": self.state.new_ts(), **more}
            if value is not None:
                element["value"] = value
            room = self.state.rooms[said.room] if said is not None else None
            view = where if isinstance(where, dict) else None
            payload = interactions.action(
                self.state, person, said, element, view=view, **self._ways_back(room, person, said)
            )
            return self._ask("interactive", payload, room)

    def shortcut(self, user: str, callback_id: str, said: Said | None = None) -> Delivery:
        """Let somebody use a shortcut, of a message or a global one."""
        with self._changed:
            person = self.state.person(user)
            room = self.state.rooms[said.room] if said is not None else None
            ways = self._ways_back(room, person, said)
            ts = self.state.new_ts()
            payload = interactions.shortcut(self.state, person, callback_id, said, action_ts=ts, **ways)
            return self._ask("interactive", payload, room)

    def submit(self, user: str, view: Shape, values: Mapping[str, Any] | None = None) -> Delivery:
        """Let somebody fill in a view: values by block id and action id."""
        with self._changed:
            filled = view | {"state": {"values": values or {}}}
            person = self.state.person(user)
            payload = interactions.submission(
                self.state, person, filled, trigger_id=self.new_trigger(), token=self.verification_token
            )
            return self._ask("interactive", payload)

    def close_view(self, user: str, view: Shape, *, cleared: bool = False) -> Delivery:
        """Let somebody close a view."""
        with self._changed:
            self.views.pop(view["id"], None)
            token = self.verification_token
            payload = interactions.closing(self.state, self.state.person(user), view, cleared=cleared, token=token)
            return self._ask("interactive", payload)

    def suggest(self, user: str, action_id: str, value: str, block_id: str = "") -> Delivery:
        """Let a menu ask the app for the options that fit what somebody types."""
        with self._changed:
            person, token = self.state.person(user), self.verification_token
            payload = interactions.suggestion(self.state, person, action_id, block_id, value, token=token)
            return self._ask("interactive", payload)

    def upload_url(self, file_id: str) -> str:
        """Return where the content of a file goes."""
        return f"{self._host.address}/upload/{self.team_id}/{file_id}"

    def show(self, view: Shape) -> Shape:
        """Let there be a view."""
        self.views[view["id"]] = view
        return view

    def new_trigger(self) -> str:
        """Return a new trigger id."""
        trigger_id = f"{len(self.triggers) + 1}.{self.team_id}.{secrets.token_hex(16)}"
        self.triggers[trigger_id] = time.monotonic() + self.trigger_lifetime
        return trigger_id

    def _ways_back(self, room: Room | None, person: Person, said: Said | None = None) -> dict[str, str]:
        key = secrets.token_urlsafe(18)
        self.response_urls[key] = WayBack(person.id, room.id if room is not None else None, said)
        return {
            "trigger_id": self.new_trigger(),
            "response_url": f"{self._host.address}/response/{self.team_id}/{key}",
            "token": self.verification_token,
        }

    def _ask(
        self, kind: Literal["slash_commands", "interactive"], payload: Shape, room: Room | None = None
    ) -> Delivery:
        delivery = Delivery(kind, payload.get("trigger_id", ""), payload, room.id if room is not None else None)
        return self.post(delivery)

    # What became of it

    def messages(self, channel: str) -> list[Said]:
        """Return what the app's bot said in a room, oldest first; what only one person sees is among it."""
        with self._changed:
            return [said for said in self.state.room(channel).log if said.bot_id == self.bot.bot_id]

    def texts(self, channel: str) -> list[str]:
        """Return the texts of `messages`."""
        return [said.text for said in self.messages(channel)]

    def log(self, channel: str) -> list[Said]:
        """Return all that was said in a room, by whomever."""
        with self._changed:
            return list(self.state.room(channel).log)
