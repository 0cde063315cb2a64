"""The methods about rooms: conversations.*."""

from __future__ import annotations

from .arguments import Arguments, Failure
from .chat import find_room, find_said
from .shapes import Room, Said, Shape
from .workspace import SlackWorkspace

_KINDS = {"public_channel": "channel", "private_channel": "group", "im": "im", "mpim": "mpim"}


def of_types(rooms: list[Room], arguments: Arguments) -> list[Room]:
    """Return the rooms of the types that a call asks for.

    Raises:
        Failure: There is no such type.
    """
    wanted = arguments.text("types", "public_channel").replace(" ", "").split(",")
    if not set(wanted) <= _KINDS.keys():
        raise Failure("invalid_types")
    kinds = {_KINDS[each] for each in wanted}
    archived = not arguments.flag("exclude_archived")
    return [room for room in rooms if room.kind in kinds and (archived or not room.archived)]


def _list(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    # A private room is only seen by its members.
    bot = workspace.bot.id
    seen = [room for room in workspace.state.rooms.values() if room.kind == "channel" or bot in room.members]
    page, more = arguments.page(of_types(seen, arguments))
    return {"channels": [room.shape(bot) for room in page], **more}


def _seen_room(workspace: SlackWorkspace, arguments: Arguments) -> Room:
    room = find_room(workspace, arguments)
    if room.kind != "channel" and workspace.bot.id not in room.members:
        raise Failure("channel_not_found")
    return room


def _info(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return {"channel": _seen_room(workspace, arguments).shape(workspace.bot.id)}


def _members(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    page, more = arguments.page(_seen_room(workspace, arguments).members)
    return {"members": page, **more}


def _open(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    if arguments.text("channel", ""):
        room = find_room(workspace, arguments)
    else:
        people = arguments.text("users").split(",")
        if not set(people) <= workspace.state.people.keys():
            raise Failure("user_not_found")
        if len(people) > 8:
            raise Failure("too_many_users")
        room = workspace.state.private_chat(*people)
    shape = room.shape(workspace.bot.id) if arguments.flag("return_im") else {"id": room.id}
    return {"channel": shape, "no_op": True, "already_open": True}


def _join(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    if room.kind != "channel":
        raise Failure("method_not_supported_for_channel_type")
    if room.archived:
        raise Failure("is_archived")
    workspace.join(workspace.bot.id, room.id)
    return {"channel": room.shape(workspace.bot.id)}


def _leave(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = find_room(workspace, arguments)
    if workspace.bot.id not in room.members:
        return {"not_in_channel": True}
    workspace.leave(workspace.bot.id, room.id)
    return {}


def _create(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    name = arguments.text("name")
    if workspace.state.find_room(name) is not None:
        raise Failure("name_taken")
    room = workspace.room(name, private=arguments.flag("is_private"))
    return {"channel": room.shape(workspace.bot.id)}


def _invite(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room, people = find_room(workspace, arguments), arguments.text("users").split(",")
    if not set(people) <= workspace.state.people.keys():
        raise Failure("user_not_found")
    for each in people:
        workspace.join(each, room.id, inviter=workspace.bot.id)
    return {"channel": room.shape(workspace.bot.id)}


def _history(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = _readable(workspace, arguments)
    shown = [said for said in room.log if said.thread in (None, said.ts) or said.broadcast]
    return _page(workspace, list(reversed(_between(shown, arguments))), arguments)


def _replies(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    room = _readable(workspace, arguments)
    first = find_said(room, arguments.text("ts"))
    said = workspace.state.thread(room, first.thread or first.ts)
    # The first message of a thread is always there, whatever the times.
    return _page(workspace, [*said[:1], *_between(said[1:], arguments)], arguments)


def _readable(workspace: SlackWorkspace, arguments: Arguments) -> Room:
    room = find_room(workspace, arguments)
    if workspace.bot.id not in room.members:
        raise Failure("not_in_channel" if room.kind == "channel" else "channel_not_found")
    return room


def _between(log: list[Said], arguments: Arguments) -> list[Said]:
    """Return what was said in the times that a call asks for."""
    oldest, latest = arguments.text("oldest", "0"), arguments.text("latest", "9999999999")
    inclusive = arguments.flag("inclusive")
    try:
        bounds = (float(oldest), float(latest))
    except ValueError:
        raise Failure("invalid_ts_oldest") from None
    found = []
    for said in log:
        time = float(said.ts)
        within = bounds[0] < time < bounds[1] or (inclusive and time in bounds)
        if within and said.seen_by is None:
            found.append(said)
    return found


def _page(workspace: SlackWorkspace, said: list[Said], arguments: Arguments) -> Shape:
    page, more = arguments.page(said)
    has_more = bool(more["response_metadata"]["next_cursor"])
    if not has_more:
        more = {}
    shapes = [workspace.state.shape_of(each) for each in page]
    if not arguments.flag("include_all_metadata"):
        for shape in shapes:
            shape.pop("metadata", None)
    return {"messages": shapes, "has_more": has_more, **more}


METHODS = {
    "conversations.create": _create,
    "conversations.history": _history,
    "conversations.info": _info,
    "conversations.invite": _invite,
    "conversations.join": _join,
    "conversations.leave": _leave,
    "conversations.list": _list,
    "conversations.members": _members,
    "conversations.open": _open,
    "conversations.replies": _replies,
}
