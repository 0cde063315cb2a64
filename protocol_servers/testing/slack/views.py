"""The methods of modals and home tabs: views.*."""

from __future__ import annotations

import time

from .arguments import Arguments, Failure
from .interactions import new_view
from .shapes import Shape
from .workspace import SlackWorkspace


def view_of(arguments: Arguments) -> Shape:
    """Return the view that a call or an answer gives.

    Raises:
        Failure: It is none.
    """
    content = arguments.structure("view")
    if not isinstance(content, dict):
        raise Failure("invalid_arguments")
    return content


def _taken_trigger(workspace: SlackWorkspace, arguments: Arguments) -> None:
    """Take a trigger, which is good for one view, for a short time."""
    trigger_id = arguments.text("trigger_id")
    if trigger_id not in workspace.triggers:
        raise Failure("invalid_trigger_id")
    until, workspace.triggers[trigger_id] = workspace.triggers[trigger_id], float("inf")
    if until == float("inf"):
        raise Failure("exchanged_trigger_id")
    if until < time.monotonic():
        raise Failure("expired_trigger_id")


def _open(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    _taken_trigger(workspace, arguments)
    return {"view": workspace.show(new_view(workspace.state, view_of(arguments), workspace.bot.id))}


def _push(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return _open(workspace, arguments)


def _update(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    view_id, external_id = arguments.text("view_id", ""), arguments.text("external_id", "")
    found = [
        view for view in workspace.views.values() if view_id == view["id"] or external_id == view["external_id"] != ""
    ]
    if not found:
        raise Failure("not_found")
    expected = arguments.text("hash", "")
    if expected and expected != found[0]["hash"]:
        raise Failure("hash_conflict")
    view = new_view(workspace.state, view_of(arguments), workspace.bot.id, previous=found[0])
    return {"view": workspace.show(view)}


def _publish(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    user = arguments.text("user_id")
    if user not in workspace.state.people:
        raise Failure("user_not_found")
    content = {"type": "home", **view_of(arguments)}
    view = new_view(workspace.state, content, workspace.bot.id, previous=workspace.published.get(user))
    workspace.published[user] = view
    return {"view": workspace.show(view)}


METHODS = {
    "views.open": _open,
    "views.publish": _publish,
    "views.push": _push,
    "views.update": _update,
}
