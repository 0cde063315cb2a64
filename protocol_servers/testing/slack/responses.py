"""What an app answers to commands and interactions: with the acknowledgement, or later by the response URL."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .arguments import Arguments, Failure
from .chat import compose
from .delivery import Delivery
from .interactions import new_view
from .shapes import Said, Shape
from .views import view_of
from .workspace import SlackWorkspace


def respond(workspace: SlackWorkspace, key: str, given: Any) -> tuple[int, str]:
    """Take what an app posts to a response URL, which is good for five times.

    Returns:
        The status and the text of the answer.
    """
    way = workspace.response_urls.get(key)
    if way is None:
        return 404, "expired_url"
    if way.left == 0:
        return 404, "used_url"
    if not isinstance(given, dict):
        return 400, "invalid_payload"
    way.left -= 1
    workspace.responses.append(given)
    arguments = Arguments(given)
    try:
        if way.said is not None and arguments.flag("delete_original"):
            workspace.delete(way.said)
            way.said = None
        elif way.said is not None and arguments.flag("replace_original"):
            blocks = arguments.structure("blocks")
            workspace.edit(way.said, arguments.text("text", ""), blocks=blocks)
        elif way.room is not None:
            way.said = _say(workspace, way.room, way.user, arguments)
    except Failure as failure:
        return 400, failure.error
    return 200, "ok"


def answered(workspace: SlackWorkspace, delivery: Delivery) -> None:
    """Do what an app's acknowledgement asks: say something, or change the view that was filled in."""
    answer = delivery.answer
    with suppress(Failure):  # what makes no sense is not done
        if delivery.kind == "slash_commands":
            given = answer if isinstance(answer, dict) else {"text": answer if isinstance(answer, str) else ""}
            _say(workspace, delivery.payload["channel_id"], delivery.payload["user_id"], Arguments(given))
        elif delivery.payload.get("type") == "view_submission":
            _change_view(workspace, delivery.payload["view"], Arguments(answer if isinstance(answer, dict) else {}))


def _say(workspace: SlackWorkspace, room: str, user: str, arguments: Arguments) -> Said:
    """Say something in a room, even in one that the bot is not in: to one person, unless told otherwise."""
    open_to_all = arguments.text("response_type", "ephemeral") == "in_channel"
    said, _ = compose(
        workspace, workspace.state.rooms[room], arguments, seen_by=None if open_to_all else user, anywhere=True
    )
    workspace.state.keep(said)
    if open_to_all:
        workspace.tell_of(said)
    return said


def _change_view(workspace: SlackWorkspace, view: Shape, answer: Arguments) -> None:
    match answer.text("response_action", ""):
        case "update":
            workspace.show(new_view(workspace.state, view_of(answer), workspace.bot.id, previous=view))
        case "push":
            workspace.show(new_view(workspace.state, view_of(answer), workspace.bot.id))
        case "clear":
            workspace.views.clear()
        case "":
            workspace.views.pop(view["id"], None)
