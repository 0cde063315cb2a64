"""What there is in a workspace: people, rooms, what was said, files; each in the shape that Slack's API gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

Shape = dict[str, Any]
Kind = Literal["channel", "group", "im", "mpim"]

_PING = re.compile(r"<(?:@[UW][A-Z0-9]+|![a-z^]+)[^<>]*>")


@dataclass(eq=False)
class Person:
    """Somebody, or an app's bot.

    Attributes:
        id: "U…".
        name: The handle.
        team: The workspace's id.
        real_name: The full name.
        display_name: The name that people see; "" for the full name.
        bot_id: "B…" of a bot.
        deleted: The account is deactivated.
    """

    id: str
    name: str
    team: str
    real_name: str = ""
    display_name: str = ""
    bot_id: str | None = None
    deleted: bool = False

    def shape(self) -> Shape:
        """Return the user object."""
        real_name = self.real_name or self.name
        profile: Shape = {
            "real_name": real_name,
            "real_name_normalized": real_name,
            "display_name": self.display_name,
            "display_name_normalized": self.display_name,
            "email": f"{self.name}@example.com",
            "status_text": "",
            "status_emoji": "",
            "avatar_hash": "0",
            "team": self.team,
        }
        if self.bot_id is not None:
            del profile["email"]
            profile |= {"bot_id": self.bot_id, "api_app_id": ""}
        return {
            "id": self.id,
            "team_id": self.team,
            "name": self.name,
            "deleted": self.deleted,
            "real_name": real_name,
            "tz": "Etc/UTC",
            "tz_label": "Coordinated Universal Time",
            "tz_offset": 0,
            "profile": profile,
            "is_admin": False,
            "is_owner": False,
            "is_primary_owner": False,
            "is_restricted": False,
            "is_ultra_restricted": False,
            "is_bot": self.bot_id is not None,
            "is_app_user": False,
            "updated": 0,
        }


@dataclass(eq=False)
class Stored:
    """A file.

    Attributes:
        id: "F…".
        name: Its name.
        mimetype: Its media type.
        content: Its bytes.
        user: Who sent it.
        url: Where it is fetched from, with a token.
        title: What it is called in the room.
        created: When, in Unix seconds.
        shared: The rooms that it was shared in.
    """

    id: str
    name: str
    mimetype: str
    content: bytes
    user: str
    url: str
    title: str = ""
    created: int = 0
    shared: list[str] = field(default_factory=list)

    def shape(self) -> Shape:
        """Return the file object."""
        return {
            "id": self.id,
            "created": self.created,
            "timestamp": self.created,
            "name": self.name,
            "title": self.title or self.name,
            "mimetype": self.mimetype,
            "filetype": self.name.rpartition(".")[2] if "." in self.name else "binary",
            "user": self.user,
            "size": len(self.content),
            "mode": "hosted",
            "is_external": False,
            "is_public": True,
            "channels": list(self.shared),
            "groups": [],
            "ims": [],
            "url_private": self.url,
            "url_private_download": f"{self.url}?download=1",
        }


@dataclass(eq=False)
class Said:
    """Something that was said.

    Attributes:
        ts: Its timestamp, which names it within its room.
        room: The id of the room.
        user: The id of who said it.
        text: The text as Slack carries it, in mrkdwn.
        thread: The `ts` of the message that its thread begins with.
        subtype: Slack's word for what is no plain message, such as "me_message".
        blocks: Its blocks.
        attachments: Its attachments.
        files: Its files.
        bot_id: "B…" of the bot that said it.
        app_id: "A…" of its app.
        edited: The `ts` of the last edit.
        reactions: Who reacted, by reaction.
        seen_by: The only person who sees it.
        broadcast: Said in a thread, and shown in the room as well.
        arguments: The arguments it was posted with, where the app posted it.
        event_ids: The ids of the events that told the app of it.
    """

    ts: str
    room: str
    user: str
    text: str
    thread: str | None = None
    subtype: str | None = None
    blocks: list[Any] | None = None
    attachments: list[Any] | None = None
    files: list[Stored] = field(default_factory=list)
    bot_id: str | None = None
    app_id: str | None = None
    edited: str | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    seen_by: str | None = None
    broadcast: bool = False
    metadata: Shape | None = None
    arguments: Shape = field(default_factory=dict)
    event_ids: list[str] = field(default_factory=list)

    @property
    def pings(self) -> list[str]:
        """Whom it calls: every mention of people, groups or everybody in its text, blocks or attachments, as written.

        A date is a `<!…>` too, but calls nobody.
        """
        found: list[str] = []
        _search((self.text, self.blocks, self.attachments), found)
        if self.arguments.get("link_names") in (1, True, "1", "true") or self.arguments.get("parse") == "full":
            found += re.findall(r"(?<![\w@])@[\w.-]+", self.text)
        return found

    def shape(self) -> Shape:
        """Return the message object."""
        shape: Shape = {"type": "message", "user": self.user, "text": self.text, "ts": self.ts}
        optional = {
            "subtype": self.subtype,
            "thread_ts": self.thread,
            "bot_id": self.bot_id,
            "app_id": self.app_id,
            "blocks": self.blocks,
            "attachments": self.attachments,
            "metadata": self.metadata,
            "edited": self.edited and {"user": self.user, "ts": self.edited},
            "files": [each.shape() for each in self.files],
            "reactions": [
                {"name": name, "users": list(users), "count": len(users)} for name, users in self.reactions.items()
            ],
        }
        return shape | {key: value for key, value in optional.items() if value}


@dataclass(eq=False)
class Room:
    """A channel, a private one, or a private chat.

    Attributes:
        id: "C…", "G…" or "D…".
        name: What it is called; a private chat has no name.
        kind: "channel" (public), "group" (private), "im" or "mpim" (private chats).
        team: The workspace's id.
        creator: Who made it.
        members: The ids of who is in it.
        archived: Nobody speaks there any more.
        topic: Its topic.
        log: What was said there, oldest first.
        deleted: The `ts` of what was deleted.
    """

    id: str
    name: str
    kind: Kind
    team: str
    creator: str
    members: list[str] = field(default_factory=list)
    archived: bool = False
    topic: str = ""
    created: int = 0
    log: list[Said] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def shape(self, viewer: str) -> Shape:
        """Return the conversation object as one of its people sees it."""
        shape: Shape = {
            "id": self.id,
            "created": self.created,
            "creator": self.creator,
            "is_channel": self.kind == "channel",
            "is_group": self.kind == "group",
            "is_im": self.kind == "im",
            "is_mpim": self.kind == "mpim",
            "is_private": self.kind != "channel",
            "is_archived": self.archived,
            "is_general": self.name == "general",
            "is_shared": False,
            "is_ext_shared": False,
            "is_org_shared": False,
            "context_team_id": self.team,
            "updated": self.created * 1000,
        }
        if self.kind == "im":
            others = [each for each in self.members if each != viewer]
            return shape | {"user": others[0] if others else viewer, "is_user_deleted": False, "is_open": True}
        return shape | {
            "name": self.name,
            "name_normalized": self.name,
            "previous_names": [],
            "is_member": viewer in self.members,
            "num_members": len(self.members),
            "topic": {"value": self.topic, "creator": self.creator, "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
        }

    def find(self, ts: str) -> Said | None:
        """Return what was said there and then."""
        return next((said for said in reversed(self.log) if said.ts == ts), None)


def _search(value: Any, found: list[str]) -> None:
    """Collect the mentions in any depth of texts and rich text."""
    if isinstance(value, str):
        found += [each for each in _PING.findall(value) if not each.startswith("<!date")]
    elif isinstance(value, dict):
        named = {"user": "@", "usergroup": "!subteam^", "broadcast": "!"}.get(value.get("type", ""))
        if named is not None:
            found.append(f"<{named}{value.get('user_id') or value.get('usergroup_id') or value.get('range')}>")
        for each in value.values():
            _search(each, found)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _search(each, found)
