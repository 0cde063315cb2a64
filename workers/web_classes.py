"""Consumers of HTTP and WebSockets as classes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from .channels import Group
from .classes import BaseConsumer

if TYPE_CHECKING:
    from .message import Message

# `*args` stands in methods that are to be replaced, by others that name their captures: nothing else would be typed.
_HTTP_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_NO_JSON = 1007  # data that is not what the type of message says (RFC 6455, 7.4.1)


class HttpConsumer(BaseConsumer):
    """Requests, with a method for each HTTP method; what it has none for is answered 405::

        class Orders(HttpConsumer):
            def get(self, message, number):
                self.reply({"order": number})

            def delete(self, message, number): ...

        routing = [route_class(Orders, path=r"^/orders/(?P<number>\\d+)$")]

    The methods are `get`, which serves HEAD too, `head`, `post`, `put`, `patch`, `delete` and `options`.
    """

    method_mapping = {"http.request": "handle"}

    def handle(self, message: Message, **captures: Any) -> Any:
        """Consume a request of any method."""
        found = {name: getattr(self, name) for name in _HTTP_METHODS if hasattr(self, name)}
        if "get" in found:
            found.setdefault("head", found["get"])
        handler = found.get(message["method"].lower())
        if handler is not None:
            return handler(message, **captures)
        allowed = ", ".join(name.upper() for name in _HTTP_METHODS if name in found)
        self.reply("Method Not Allowed\n", status=405, headers=[("allow", allowed)])  # RFC 9110, 15.5.6
        return None

    def reply(self, *args: Any, **kwargs: Any) -> None:
        """Answer the request, as `message.reply` does."""
        self.message.reply(*args, **kwargs)


class WebsocketConsumer(BaseConsumer):
    """One kind of WebSocket::

        class Room(WebsocketConsumer):
            def connection_groups(self):
                return ["room-" + self.kwargs["name"]]

            def receive(self, message, name):
                self.group_send("room-" + name, message["text"])

        routing = [route_class(Room, path=r"^/rooms/(?P<name>\\w+)$")]

    The methods are `connect`, whose return accepts, `receive` and `disconnect`. A new object consumes each message:
    what is to be remembered of a socket is in its `@channel_session`.

    Attributes:
        groups: Groups that every socket is a member of; `connection_groups` tells those of one.
    """

    method_mapping = {
        "websocket.connect": "enter",
        "websocket.receive": "receive",
        "websocket.disconnect": "disconnect",
    }
    groups: ClassVar[Iterable[str]] = ()

    def connection_groups(self) -> Iterable[str]:
        """Return the groups that this socket becomes a member of before `connect`."""
        return self.groups

    def enter(self, message: Message, **captures: Any) -> Any:
        """Add the socket to its groups, then `connect`."""
        for name in self.connection_groups():
            Group(name).add(message.reply_channel)
        return self.connect(message, **captures)

    def connect(self, message: Message, *args: Any, **captures: Any) -> Any:
        """Consume the handshake: return to accept, raise DenyConnection to refuse."""

    def receive(self, message: Message, *args: Any, **captures: Any) -> Any:
        """Consume a frame: `message["text"]`, or `message["bytes"]` of a binary one."""

    def disconnect(self, message: Message, *args: Any, **captures: Any) -> Any:
        """Consume the end; the socket has left its groups already."""

    def send(self, data: str | bytes) -> None:
        """Send a frame to the socket."""
        self.message.reply_channel.send({"text" if isinstance(data, str) else "bytes": data})

    def group_send(self, group: str, data: str | bytes) -> None:
        """Send a frame to all members of a group."""
        Group(group).send({"text" if isinstance(data, str) else "bytes": data})

    def close(self, code: int = 1000) -> None:
        """Close the socket; what was sent before it arrives."""
        self.message.reply_channel.send({"close": code})


class JsonWebsocketConsumer(WebsocketConsumer):
    """WebSockets whose frames are JSON: `receive_json` takes what they say, `send_json` and `group_send_json` say it.

    A frame that is not JSON closes its socket with 1007.
    """

    def receive(self, message: Message, *args: Any, **captures: Any) -> Any:
        """Consume a frame by `receive_json`."""
        try:
            content = json.loads(message["text"] if message["text"] is not None else message["bytes"])
        except (ValueError, RecursionError):
            self.close(_NO_JSON)
            return None
        return self.receive_json(content, **captures)

    def receive_json(self, content: Any, *args: Any, **captures: Any) -> Any:
        """Consume what a frame says; the message is `self.message`."""

    def send_json(self, content: Any) -> None:
        """Send something to the socket."""
        self.send(json.dumps(content, allow_nan=False))

    def group_send_json(self, group: str, content: Any) -> None:
        """Send something to all members of a group."""
        self.group_send(group, json.dumps(content, allow_nan=False))
