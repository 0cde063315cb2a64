"""The mail that answers a mail: threaded, marked as automatic, and not sent where an answer would do harm."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..format import Composed, Message

_log = logging.getLogger("trunkline.email")

_MESSAGE_ID = re.compile(r"<[^<>\s]{1,250}>")
_MOST_REFERENCES = 20


def compose(
    message: Mapping[str, Any],
    text: str,
    html: str | None = None,
    attachments: Iterable[dict[str, Any]] = (),
) -> Composed:
    """Make the mail of `message.reply(...)`.

    It goes to the envelope sender, as RFC 3834 (section 4) asks of automatic answers; headers of the mail can name
    somebody who never wrote.

    Args:
        message: the `email.receive`.
        text: the plain text.
        html: the HTML, if any.
        attachments: dicts as in the `attachments` of `email.send`.

    Returns:
        The `email.send`; no message where the mail was sent by a machine or has no sender, for then an answer could
        answer itself for ever.

    Raises:
        TypeError: an argument of another type.
    """
    if not isinstance(text, str):
        raise TypeError(f"text: allowed is str, not {type(text).__name__}")
    if html is not None and not isinstance(html, str):
        raise TypeError(f"html: allowed is str or None, not {type(html).__name__}")
    if isinstance(attachments, Mapping) or not isinstance(attachments, Iterable):
        raise TypeError(f"attachments: allowed is a list of dicts, not {type(attachments).__name__}")
    files = list(attachments)
    for file in files:
        if not isinstance(file, dict):
            raise TypeError(f"attachments: each must be a dict, not {type(file).__name__}")
    sender = message.get("from")
    if not sender or message.get("auto_submitted") or message.get("bounce"):
        _log.info("no reply to mail %s: a bounce, or sent by a machine", message.get("id"))
        return Composed("email.send", [])
    mail: Message = {
        "to": [sender],
        "from": message["address"],
        "subject": _answering(message.get("subject") or ""),
        "text": text,
        "headers": {"Auto-Submitted": "auto-replied"},
    }
    if html is not None:
        mail["html"] = html
    if files:
        mail["attachments"] = files
    answered = _MESSAGE_ID.search(message.get("message_id") or "")
    if answered is not None:
        mail["in_reply_to"] = answered[0]
        mail["headers"]["References"] = " ".join([*_references(message.get("headers") or {}), answered[0]])
    return Composed("email.send", [mail])


def _answering(subject: str) -> str:
    return subject if subject[:3].lower() == "re:" else f"Re: {subject}".rstrip()


def _references(headers: Mapping[str, str]) -> list[str]:
    """Return the Message-IDs of the thread so far (RFC 5322, 3.6.4): of a long one the first and the latest."""
    found: list[str] = _MESSAGE_ID.findall(headers.get("references", "")[-8192:])
    if not found:
        parents: list[str] = _MESSAGE_ID.findall(headers.get("in-reply-to", ""))
        found = parents if len(parents) == 1 else []
    return found if len(found) <= _MOST_REFERENCES else found[:1] + found[1 - _MOST_REFERENCES :]
