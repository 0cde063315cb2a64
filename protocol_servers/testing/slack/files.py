"""The methods of files: an address to upload to, the upload, and sharing what was uploaded."""

from __future__ import annotations

from .arguments import Arguments, Failure
from .chat import find_room
from .shapes import Said, Shape, Stored
from .workspace import SlackWorkspace


def _upload_url(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    name, length = arguments.text("filename"), arguments.number("length", 0)
    if length <= 0:
        raise Failure("invalid_arguments", response_metadata={"messages": ["[ERROR] length must be greater than 0"]})
    stored = workspace.file(workspace.bot.id, name, b"")
    workspace.uploads[stored.id] = length
    return {"upload_url": workspace.upload_url(stored.id), "file_id": stored.id}


def _complete(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    asked = arguments.structure("files")
    if not isinstance(asked, list) or not asked:
        raise Failure("invalid_arguments")
    files: list[Stored] = []
    for each in asked:
        stored = workspace.state.files.get(each.get("id", ""))
        if stored is None or workspace.uploads.get(stored.id) != len(stored.content):
            raise Failure("file_not_found")
        stored.title = each.get("title") or stored.name
        files.append(stored)
    where = arguments.text("channel_id", "") or arguments.text("channels", "")
    for place in filter(None, where.split(",")):
        _share(workspace, Arguments({**arguments.all(), "channel": place}), files)
    return {"files": [{"id": each.id, "title": each.title, **each.shape()} for each in files]}


def _share(workspace: SlackWorkspace, arguments: Arguments, files: list[Stored]) -> None:
    room = find_room(workspace, arguments)
    if workspace.bot.id not in room.members:
        raise Failure("not_in_channel")
    for each in files:
        each.shared.append(room.id)
    said = Said(
        workspace.state.new_ts(),
        room.id,
        workspace.bot.id,
        arguments.text("initial_comment", ""),
        thread=arguments.text("thread_ts", "") or None,
        subtype="file_share",
        blocks=arguments.structure("blocks"),
        files=files,
        bot_id=workspace.bot.bot_id,
        app_id=workspace.state.app_id,
        arguments=arguments.all(),
    )
    workspace.state.keep(said)
    workspace.tell_of(said)


def _info(workspace: SlackWorkspace, arguments: Arguments) -> Shape:
    stored = workspace.state.files.get(arguments.text("file"))
    if stored is None:
        raise Failure("file_not_found")
    return {"file": stored.shape(), "comments": [], "response_metadata": {"next_cursor": ""}}


METHODS = {
    "files.completeUploadExternal": _complete,
    "files.getUploadURLExternal": _upload_url,
    "files.info": _info,
}
