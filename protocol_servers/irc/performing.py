"""What consumers reply: said in a conversation, or done on the network.

What IRC cannot do degrades to text: a reaction is an action, a file its name, a correction one more line.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .conversations import Conversations
from .events import Kind, Overflow
from .message import parse
from .session import Session

_OVERFLOWS: dict[str, Overflow] = {"split": "split", "truncate": "truncate", "file": "multiline"}


class Performer:
    """Does what the messages in one network's inbox ask for.

    Args:
        session: The session.
        conversations: The reply channels.
        stats: Counts "replies_ignored".
        raw: Whether any line at all may be sent.
    """

    def __init__(
        self, session: Session, conversations: Conversations, stats: Counter[str], *, raw: bool = False
    ) -> None:
        self._session = session
        self._conversations = conversations
        self._stats = stats
        self._raw = raw

    def perform(self, name: str, message: Mapping[str, Any]) -> bool:
        """Do what a message asks for.

        Args:
            name: The part of the reply channel after the "!"; "" is the connection itself.
            message: A chat reply; for the connection one of `irc-client`. It may come from a group, unchecked.

        Returns:
            Whether it fits; what does not is ignored and counted.
        """
        try:
            fits = self._do(message) if name == "" else self._say(name, message)
        except ValueError:
            fits = False
        if not fits:
            self._stats["replies_ignored"] += 1
        return fits

    def _say(self, name: str, message: Mapping[str, Any]) -> bool:
        target, text = self._conversations.target(name), message.get("text")
        if target is None or not isinstance(text, str):
            return False
        kind: Kind = "action" if message.get("action") else "notice" if message.get("notice") else "message"
        if message.get("reaction") and not text:
            kind, text = "action", f"reacts with {message['reaction']}"
        for file in message.get("files") or ():
            text += f"\n[{file['name']}]" if isinstance(file, dict) and isinstance(file.get("name"), str) else ""
        only, expires, receipt = message.get("user"), message.get("expires"), message.get("receipt_channel")
        self._session.say(
            only if isinstance(only, str) else target,
            text,
            kind=kind,
            overflow=_OVERFLOWS.get(str(message.get("overflow")), "split"),
            expires=float(expires) if isinstance(expires, int | float) and math.isfinite(expires) else None,
            receipt=receipt if isinstance(receipt, str) else None,
        )
        return True

    def _do(self, message: Mapping[str, Any]) -> bool:
        values = [message.get(key) for key in ("type", "channel", "body", "user", "key")]
        kind, channel, body, user, key = (each if isinstance(each, str) else "" for each in values)
        session = self._session
        match kind:
            case "message" | "action" | "notice" if channel and body:
                session.say(channel, body, kind=kind)
            case "join" if channel:
                session.join(channel, key or None)
            case "part" if channel:
                session.part(channel, body)
            case "nick" if body:
                session.change_nick(body)
            case "topic" if channel:
                session.command("TOPIC", channel, body)
            case "mode" if channel and body:
                session.command("MODE", channel, *body.split())
            case "kick" if channel and user:
                session.command("KICK", channel, user, body)
            case "invite" if channel and user:
                session.command("INVITE", user, channel)
            case "quit":
                session.quit(body)
            case "raw" if self._raw and not any(each in body for each in "\r\n\0"):
                line = parse(body.encode("utf-8", "replace"))
                if line is None:
                    return False
                session.command(line.command, *line.params)
            case _:
                return False
        return True
