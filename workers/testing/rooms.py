"""A room, or a private chat, of a chat service, as its server would publish it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...message_formats.conversation import conversation_channel

if TYPE_CHECKING:
    from .client import Client

_CAPABILITIES = dict.fromkeys(("threads", "reactions", "edits", "files", "markup"), False) | {"max_bytes": 400}


class Room:
    """A room; made by `Client.room`.

    Attributes:
        replies: What was said there by consumers, as they sent it; of all that, `said` and `told` return the texts.
    """

    def __init__(self, client: Client, service: str, network: str, channel: str, direct: bool) -> None:
        self.replies: list[dict[str, Any]] = []
        self._client = client
        self._place = {"service": service, "network": network, "channel": channel}
        self._direct = direct
        self._unread: list[dict[str, Any]] = []

    @property
    def reply_channel(self) -> str:
        """The conversation's name on the bus."""
        return self._channel(None)

    def say(self, text: str, user: str | None = None, **keys: Any) -> list[str]:
        """Let somebody say something, and return what everybody there was told since the last call.

        Args:
            text: What is said.
            user: Who says it; "ann", or in a private chat the other person.
            **keys: Further keys of `chat.message`, such as `mention=True`, `thread="7"` or `user_id="U1"`.
        """
        user = user or (self._place["channel"] if self._direct else "ann")
        direct = {"direct": True} if self._direct else {}
        said = {"user": user, "user_id": user, "text": text, **direct, **keys}
        self._publish("chat.message", {"id": self._client.new_id(), "time": self._client.clock(), **said})
        return self.said()

    def ready(self, **capabilities: Any) -> list[str]:
        """Let the bot be in the room; return what everybody there was told since the last call.

        Args:
            **capabilities: What the service can do there, such as `threads=True`.
        """
        self._publish("chat.ready", {"capabilities": {**_CAPABILITIES, **capabilities}})
        return self.said()

    def join(self, user: str, **keys: Any) -> list[str]:
        """Let somebody come in, likewise."""
        self._publish("chat.join", {"user": user, "user_id": user, **keys})
        return self.said()

    def leave(self, user: str, **keys: Any) -> list[str]:
        """Let somebody leave, likewise."""
        self._publish("chat.leave", {"user": user, "user_id": user, **keys})
        return self.said()

    def react(self, user: str, reaction: str, id: str, **keys: Any) -> list[str]:
        """Let somebody react to what was said under an id, likewise."""
        what = {"user": user, "user_id": user, "reaction": reaction, "id": id, "added": True}
        self._publish("chat.reaction", {**what, **keys})
        return self.said()

    def said(self) -> list[str]:
        """Return the texts that everybody there was told since the last call."""
        return self._take(None)

    def told(self, user: str) -> list[str]:
        """Return the texts that one person alone was told there since the last call."""
        return self._take(user)

    def deliver(self, message: dict[str, Any]) -> None:
        """Take a message from the bus: of a consumer, or of a group."""
        if isinstance(message.get("text"), str):
            self.replies.append(message)
            self._unread.append(message)

    def _take(self, user: str | None) -> list[str]:
        self._client.settle()
        found = [one for one in self._unread if one.get("user") == user]
        self._unread = [one for one in self._unread if one.get("user") != user]
        return [one["text"] for one in found]

    def _publish(self, channel: str, content: dict[str, Any]) -> None:
        name = self._channel(content.get("thread"))
        self._client.converse(name, self)
        self._client.publish(channel, {"reply_channel": name, **self._place, **content})
        self._client.settle()

    def _channel(self, thread: str | None) -> str:
        return conversation_channel(self._place["service"], self._place["network"], self._place["channel"], thread)
