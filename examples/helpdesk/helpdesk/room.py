"""The room: everybody in it sees each new line, and newcomers see the latest ones."""

import json
import secrets

from trunkline import Group, Message

MEMBERS = Group("helpdesk")
HISTORY = "helpdesk-history"
KEPT_LINES = 50
KEPT_SECONDS = 86_400


def enter(message: Message) -> None:
    """Let a browser in and show it the latest lines."""
    MEMBERS.add(message.reply_channel)
    lines, _ = message.layer.get_state(HISTORY)
    message.reply(json.dumps({"history": lines or []}))


def post(message: Message, line: dict[str, str]) -> None:
    """Show a line to everybody, and keep it for newcomers.

    Its id lets a browser that enters just now, and gets the line from the history and from the group, show it once.
    Another worker may add a line at the same moment: `if_version` lets only one of them write, the other reads again.
    """
    line = {**line, "id": secrets.token_hex(8)}
    while True:
        lines, version = message.layer.get_state(HISTORY)
        kept = [*(lines or []), line][-KEPT_LINES:]
        if message.layer.put_state(HISTORY, kept, KEPT_SECONDS, if_version=version):
            break
    MEMBERS.send({"text": json.dumps(line)})
