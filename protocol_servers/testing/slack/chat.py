"""The methods that speak: chat.* and reactions.*."""

from __future__ import annotations

from .arguments import Arguments, Failure
from .shapes import Room, Said, Shape
from .workspace import SlackWorkspace

LONGEST = 40_000
"""Characters of a message's text; what is over is cut off (docs.slack.dev, "Truncating really long messages")."""

LONGEST_UPDATE = 4_000
"""Characters of an edited message's text; more is refused (chat.update)."""

_MOST_BLOCKS = 50


def find_room(workspace: SlackWorkspace, arguments: Arguments, name: str = "channel") -> Room:
    """Return the room that a call names.

    Raises:
        Failure: There is none.
    """
    where = arguments.text(name)
    room = workspace.state.find_room(where)
    if room is None and where in workspace.state.people:
        room = workspace.state.private_chat(where)
    if room is None:
        raise Failure("channel_not_found")
    return room


def find_said(room: Room, ts: str) -> Said:
    """Return what was said in a room.

    Raises:
        Failure: There is no such message.
    """
    said = room.find(ts)
    if said is None:
        raise Failure("message_not_found")
    return said


def compose(
    workspace: SlackWorkspace, room: Room, arguments: Arguments, *, seen_by: str | None = None, anywhere: bool = False
) -> tuple[Said, Shape]:
    """Return what a call says, and what of the answer warns.

    Args:
        workspace: The workspace.
        room: Where it is said.
        arguments: The call's.
        seen_by: The only person who sees it.
        anywhere: The bot need not be in the room.

    Raises:
        Failure: It cannot be said.
    """
    if room.archived:
        raise Failure("is_archived")
    if not anywhere and workspace.bot.id not in room.members:
        raise Failure("not_in_channel")
    text, blocks = arguments.text("text", ""), arguments.structure("blocks")
    attachments = arguments.structure("attachments")
    if not (text or blocks or attachments):
        raise Failure("no_text")
    if blocks is not None and (not isinstance(blocks, list) or len(blocks) > _MOST_BLOCKS):
        raise Failure("invalid_blocks")
    thread = arguments.text("thread_ts", "") or None
    if thread is not None and room.find(thread) is None:
        raise Failure("thread_not_found")
    warning: Shape = {}
    if len(text) > LONGEST:
        text = text[:LONGEST]
        warning = {"response_metadata": {"warnings": ["message_truncated"], "messages": ["[WARN] truncated"]}}
    broadcast = arguments.flag("reply_broadcast") and thread is not None
    said = Said(
        workspace.state.new_ts(),
        room.id,
        workspace.bot.id,
        text,
        thread=thread,
        subtype="thread_broadcast" if broadcast else None,
        blocks=blocks,
        attachments=attachments,
        bot_id=workspace.bot.bot_id,
        app_id=workspace.state.app_id,
        broadcast=broadcast,
        metadata=arguments.structure("metadata"),
        arguments=arguments.all(),
        seen_by=seen_by,
    )
    return said, warning


def _post_message(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said, warning = compose(workspace, room, arguments)
    workspace.state.keep(said)
    workspace.tell_of(said)
    return {"channel": room.id, "ts": said.ts, "message": workspace.state.shape_of(said), **warning}


def _me_message(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said, _ = compose(workspace, room, arguments)
    said.subtype = "me_message"
    workspace.state.keep(said)
    workspace.tell_of(said)
    return {"channel": room.id, "ts": said.ts}


def _post_ephemeral(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room, user = find_room(workspace, arguments), arguments.text("user")
    if user not in room.members:
        raise Failure("user_not_in_channel")
    said, warning = compose(workspace, room, arguments, seen_by=user)
    workspace.state.keep(said)
    return {"message_ts": said.ts, **warning}


def _update(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said = find_said(room, arguments.text("ts"))
    if said.user != workspace.bot.id or said.seen_by is not None:
        raise Failure("cant_update_message")
    text, blocks = arguments.text("text", ""), arguments.structure("blocks")
    attachments = arguments.structure("attachments")
    if not (text or blocks or attachments):
        raise Failure("no_text")
    if len(text) > LONGEST_UPDATE:
        raise Failure("msg_too_long")
    # A text alone takes the blocks away (chat.update, "Ephemeral messages and blocks").
    changes = {"blocks": blocks, "attachments": attachments if attachments is not None else said.attachments}
    workspace.edit(said, text, arguments=arguments.all(), **changes)
    return {"channel": room.id, "ts": said.ts, "text": text, "message": workspace.state.shape_of(said)}


def _delete(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said = find_said(room, arguments.text("ts"))
    if said.user != workspace.bot.id or said.seen_by is not None:
        raise Failure("cant_delete_message")
    workspace.delete(said)
    return {"channel": room.id, "ts": said.ts}


def _permalink(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said = find_said(room, arguments.text("message_ts"))
    link = f"https://{workspace.state.name}.slack.com/archives/{room.id}/p{said.ts.replace('.', '')}"
    return {"channel": room.id, "permalink": link}


def _add_reaction(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    said, name = _reacted(workspace, arguments)
    if not workspace.react(workspace.bot.id, said, name):
        raise Failure("already_reacted")
    return {}


def _remove_reaction(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    said, name = _reacted(workspace, arguments)
    if not workspace.react(workspace.bot.id, said, name, added=False):
        raise Failure("no_reaction")
    return {}


def _get_reactions(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    said = find_said(room, arguments.text("timestamp"))
    return {"type": "message", "channel": room.id, "message": workspace.state.shape_of(said)}


def _reacted(workspace: SlackWorkspace, arguments: Arguments) -> tuple[Said, str]:
    room, name = find_room(workspace, arguments), arguments.text("name")
    if workspace.bot.id not in room.members:
        raise Failure("not_in_channel")
    if not name.replace("::", "").replace("-", "").replace("_", "").replace("+", "").isalnum():
        raise Failure("invalid_name")
    return find_said(room, arguments.text("timestamp")), name


METHODS = {
    "chat.delete": _delete,
    "chat.getPermalink": _permalink,
    "chat.meMessage": _me_message,
    "chat.postEphemeral": _post_ephemeral,
    "chat.postMessage": _post_message,
    "chat.update": _update,
    "reactions.add": _add_reaction,
    "reactions.get": _get_reactions,
    "reactions.remove": _remove_reaction,
}
