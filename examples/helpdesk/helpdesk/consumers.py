"""What happens: plain functions, one per kind of message. None of them sees a socket."""

import json
from pathlib import Path

from trunkline import Message

from . import room

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
LONGEST_NAME = 40
LONGEST_TEXT = 2_000


def page(message: Message) -> None:
    """Answer a browser with the page."""
    message.reply(PAGE, headers=[(b"content-type", b"text/html; charset=utf-8")])


def enter(message: Message) -> None:
    """Accept a WebSocket: the history is its first line, and sending data accepts."""
    room.enter(message)


def say(message: Message) -> None:
    """Show what one browser said to all of them. A line that is not ours is ignored."""
    try:
        said = json.loads(message["text"] or "")
        name, text = str(said["name"]).strip(), str(said["text"]).strip()
    except (ValueError, KeyError, TypeError):
        return
    if text:
        room.post(message, {"from": name[:LONGEST_NAME] or "someone", "text": text[:LONGEST_TEXT], "kind": "chat"})


def ticket_mail(message: Message, ticket: str) -> None:
    """Show a mail to support+<ticket>@example.com in the room.

    When this returns the sender gets its 250; should it raise, the sender gets 451 and tries again later.
    """
    room.post(
        message,
        {
            "from": message["from"] or "a mail system",
            "subject": f"#{ticket} {message['subject']}",
            "text": message["reply_to_text"].strip()[:LONGEST_TEXT],
            "kind": "mail",
        },
    )


def broken(message: Message) -> None:
    """Fail, to show that a failing consumer costs nobody their mail: the sender is told 451 and keeps it."""
    raise RuntimeError("the ticket database is away")
