"""The payloads of slash commands, and of what people press and fill in (docs.slack.dev, "Interaction payloads")."""

from __future__ import annotations

from typing import Any

from .shapes import Person, Room, Said, Shape
from .state import SlackState


def command(
    state: SlackState, user: Person, room: Room, name: str, text: str, *, trigger_id: str, response_url: str, token: str
) -> Shape:
    """Return the payload of a slash command."""
    return {
        "token": token,
        "team_id": state.team_id,
        "team_domain": state.name,
        "channel_id": room.id,
        "channel_name": _room_name(room),
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": text,
        "api_app_id": state.app_id,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger_id,
    }


def _common(state: SlackState, kind: str, user: Person, token: str, **more: Any) -> Shape:
    return {
        "type": kind,
        "token": token,
        "api_app_id": state.app_id,
        "team": {"id": state.team_id, "domain": state.name},
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": state.team_id},
        "enterprise": None,
        "is_enterprise_install": False,
        **more,
    }


def action(
    state: SlackState,
    user: Person,
    said: Said | None,
    element: Shape,
    *,
    view: Shape | None = None,
    trigger_id: str,
    response_url: str,
    token: str,
) -> Shape:
    """Return the payload of an element of a message or view that somebody used."""
    payload = _common(state, "block_actions", user, token, trigger_id=trigger_id, actions=[element])
    if view is not None:
        return payload | {"container": {"type": "view", "view_id": view["id"]}, "view": view}
    assert said is not None
    room = state.rooms[said.room]
    return payload | {
        "container": {
            "type": "message",
            "message_ts": said.ts,
            "channel_id": room.id,
            "is_ephemeral": said.seen_by is not None,
        },
        "channel": {"id": room.id, "name": _room_name(room)},
        "message": state.shape_of(said),
        "state": {"values": {}},
        "response_url": response_url,
    }


def shortcut(
    state: SlackState,
    user: Person,
    callback_id: str,
    said: Said | None,
    *,
    trigger_id: str,
    response_url: str,
    token: str,
    action_ts: str,
) -> Shape:
    """Return the payload of a shortcut, of a message where one is given, else a global one."""
    common = {"callback_id": callback_id, "trigger_id": trigger_id, "action_ts": action_ts}
    if said is None:
        return _common(state, "shortcut", user, token, **common)
    room = state.rooms[said.room]
    return _common(
        state,
        "message_action",
        user,
        token,
        **common,
        response_url=response_url,
        message_ts=said.ts,
        channel={"id": room.id, "name": _room_name(room)},
        message=state.shape_of(said),
    )


def submission(state: SlackState, user: Person, view: Shape, *, trigger_id: str, token: str) -> Shape:
    """Return the payload of a view that somebody filled in."""
    return _common(state, "view_submission", user, token, trigger_id=trigger_id, view=view, response_urls=[])


def closing(state: SlackState, user: Person, view: Shape, *, cleared: bool, token: str) -> Shape:
    """Return the payload of a view that somebody closed."""
    return _common(state, "view_closed", user, token, view=view, is_cleared=cleared)


def suggestion(state: SlackState, user: Person, action_id: str, block_id: str, value: str, *, token: str) -> Shape:
    """Return the payload of a menu that asks the app for its options."""
    return _common(state, "block_suggestion", user, token, action_id=action_id, block_id=block_id, value=value)


def find_element(blocks: Any, action_id: str) -> Shape | None:
    """Return an interactive element of blocks, with the id of its block."""
    for block in blocks or ():
        for element in (*block.get("elements", ()), block.get("accessory"), block.get("element")):
            if isinstance(element, dict) and element.get("action_id") == action_id:
                return {"block_id": block.get("block_id", ""), **element}
    return None


def new_view(state: SlackState, content: Shape, user: str, *, previous: Shape | None = None) -> Shape:
    """Return a view as Slack keeps it."""
    view_id = previous["id"] if previous is not None else state.new_id("V")
    return {
        "id": view_id,
        "team_id": state.team_id,
        "type": "modal",
        "private_metadata": "",
        "callback_id": "",
        "blocks": [],
        "state": {"values": {}},
        "hash": f"{state.new_ts()}.{view_id[-4:]}",
        "title": None,
        "clear_on_close": False,
        "notify_on_close": False,
        "close": None,
        "submit": None,
        "previous_view_id": None,
        "root_view_id": view_id,
        "app_id": state.app_id,
        "external_id": "",
        "app_installed_team_id": state.team_id,
        "bot_id": state.bot.bot_id,
        "user": user,
        **content,
    }


def _room_name(room: Room) -> str:
    return {"im": "directmessage", "group": "privategroup"}.get(room.kind, room.name)
