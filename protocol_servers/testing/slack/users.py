"""The methods about people and the workspace itself: users.*, auth.test, team.info, bots.info, emoji.list."""

from __future__ import annotations

from .arguments import Arguments, Failure
from .conversations import of_types
from .shapes import Person, Shape
from .workspace import SlackWorkspace


def _auth_test(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return {
        "url": f"https://{workspace.state.name}.slack.com/",
        "team": workspace.state.name,
        "user": workspace.bot.name,
        "team_id": workspace.team_id,
        "user_id": workspace.bot.id,
        "bot_id": workspace.bot.bot_id,
        "is_enterprise_install": False,
    }


def _team_info(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    name = workspace.state.name
    team = {"id": workspace.team_id, "name": name, "domain": name, "email_domain": "", "icon": {}}
    return {"team": team}


def _bots_info(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    bot_id = arguments.text("bot")
    for person in workspace.state.people.values():
        if person.bot_id == bot_id:
            app_id = workspace.state.app_id if person is workspace.bot else ""
            icons = {"image_36": "", "image_48": "", "image_72": ""}
            bot = {"id": bot_id, "deleted": person.deleted, "name": person.name, "updated": 0, "app_id": app_id}
            return {"bot": bot | {"user_id": person.id, "icons": icons}}
    raise Failure("bot_not_found")


def _emoji_list(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return {"emoji": dict(workspace.state.emoji), "cache_ts": workspace.state.new_ts()}


def _list(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    page, more = arguments.page(list(workspace.state.people.values()), 1000)
    return {"members": [person.shape() for person in page], "cache_ts": 0, **more}


def _person(workspace: SlackWorkspace, user_id: str) -> Person:
    person = workspace.state.people.get(user_id)
    if person is None:
        raise Failure("user_not_found")
    return person


def _info(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return {"user": _person(workspace, arguments.text("user")).shape()}


def _by_email(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    email = arguments.text("email")
    for person in workspace.state.people.values():
        if person.shape()["profile"].get("email") == email:
            return {"user": person.shape()}
    raise Failure("users_not_found")


def _conversations(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    user = arguments.text("user", workspace.bot.id)
    theirs = [room for room in workspace.state.rooms.values() if user in room.members]
    page, more = arguments.page(of_types(theirs, arguments))
    return {"channels": [room.shape(workspace.bot.id) for room in page], **more}


METHODS = {
    "auth.test": _auth_test,
    "bots.info": _bots_info,
    "emoji.list": _emoji_list,
    "team.info": _team_info,
    "users.conversations": _conversations,
    "users.info": _info,
    "users.list": _list,
    "users.lookupByEmail": _by_email,
}
