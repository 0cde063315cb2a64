"""Every method of the Web API that there is, by its name, and the scopes that they need."""

from __future__ import annotations

from . import chat, conversations, files, users, views
from .arguments import Arguments
from .shapes import Shape
from .workspace import SlackWorkspace


def _open_connection(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    return {"url": workspace.sockets.new_address()}


METHODS = {
    "apps.connections.open": _open_connection,
    **chat.METHODS,
    **conversations.METHODS,
    **files.METHODS,
    **users.METHODS,
    **views.METHODS,
}

SCOPES = {
    "bots.info": "users:read",
    "chat.delete": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.create": "channels:manage",
    "conversations.history": "channels:history",
    "conversations.info": "channels:read",
    "conversations.invite": "channels:manage",
    "conversations.join": "channels:join",
    "conversations.leave": "channels:manage",
    "conversations.list": "channels:read",
    "conversations.members": "channels:read",
    "conversations.open": "im:write",
    "conversations.replies": "channels:history",
    "emoji.list": "emoji:read",
    "files.completeUploadExternal": "files:write",
    "files.getUploadURLExternal": "files:write",
    "files.info": "files:read",
    "reactions.add": "reactions:write",
    "reactions.get": "reactions:read",
    "reactions.remove": "reactions:write",
    "team.info": "team:read",
    "users.conversations": "channels:read",
    "users.info": "users:read",
    "users.list": "users:read",
}
