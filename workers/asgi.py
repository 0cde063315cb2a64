"""Any ASGI 3 application behind the bus, as far as it speaks HTTP (https://asgi.readthedocs.io, HTTP version 2.3).

There is no `lifespan`: a worker begins and ends without telling. WebSockets are consumers' own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .message import Message

_CHUNK = 65536  # bytes of content in one message
Event = dict[str, Any]


class AsgiConsumer:
    """Consumes `http.request` with an ASGI 3 application::

        from shop.asgi import application

        routing = [route("http.request", AsgiConsumer(application))]

    What it sends leaves as it sends it; an answer in one piece leaves as one message. `scope["trunkline.message"]` is
    the message, `scope["path_params"]` what the route captured.

    Args:
        application: The application.
    """

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self._application = application
        self.__qualname__ = f"AsgiConsumer({getattr(application, '__qualname__', type(application).__name__)})"

    async def __call__(self, message: Message, **captures: Any) -> None:
        """Consume a request."""
        exchange = _Exchange(message)
        await self._application({**scope_of(message), "path_params": captures}, exchange.receive, exchange.send)
        if not exchange.ended.is_set():
            raise RuntimeError("the application returned without having sent a whole response")


class _Exchange:
    """What an application receives and sends."""

    def __init__(self, message: Message) -> None:
        self.ended = asyncio.Event()
        self._body = message.stream()
        self._whole = False  # the body was received to its end
        self._send = message.reply_channel.send
        self._head: dict[str, Any] | None = None
        self._begun = False

    async def receive(self) -> Event:
        """Return the next piece of the body; after its end wait until the response is over."""
        if self._whole:
            await self.ended.wait()
            return {"type": "http.disconnect"}
        try:
            # In a thread: whoever waits for a slow client must not keep the application's other tasks.
            piece = await asyncio.to_thread(self._body.read1, _CHUNK)
        except ConnectionError:
            self._whole = True
            self.ended.set()
            return {"type": "http.disconnect"}
        self._whole = not piece
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(self, event: Mapping[str, Any]) -> None:
        """Send a part of the response."""
        kind = event["type"]
        if kind == "http.response.start" and self._head is None:
            headers = [[bytes(name), bytes(value)] for name, value in event.get("headers") or ()]
            self._head = {"status": event["status"], "headers": headers}
        elif kind == "http.response.body" and self._head is not None and not self.ended.is_set():
            self._content(bytes(event.get("body") or b""), bool(event.get("more_body")))
        elif not (kind == "http.response.body" and self.ended.is_set()):  # a client that left hears no more
            raise RuntimeError(f"{kind} makes no sense here")

    def _content(self, content: bytes, more: bool) -> None:
        if not self._begun and not more and len(content) <= _CHUNK:
            self._send({**self._first(), "content": content})
        else:
            for at in range(0, len(content), _CHUNK):
                part = {**self._first(), "content": content[at : at + _CHUNK], "more_content": True}
                self._send(part, immediately=True)
            if not more:
                self._send({**self._first(), "content": b""}, immediately=True)
            elif not self._begun:  # whoever waits for events waits for the head first
                self._send({**self._first(), "content": b"", "more_content": True}, immediately=True)
        if not more:
            self.ended.set()

    def _first(self) -> dict[str, Any]:
        """Return the head once, before anything else."""
        if self._begun or self._head is None:
            return {}
        self._begun = True
        return self._head


def scope_of(message: Message) -> dict[str, Any]:
    """Make an ASGI scope of an `http.request`."""
    client, server = message.get("client"), message.get("server")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": message["http_version"],
        "method": message["method"],
        "scheme": message["scheme"],
        "path": message["path"],
        "query_string": message["query_string"],
        "root_path": message["root_path"],
        "headers": [(bytes(name), bytes(value)) for name, value in message["headers"]],
        "client": None if client is None else tuple(client),
        "server": None if server is None else tuple(server),
        "trunkline.message": message,
    }
