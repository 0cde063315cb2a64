"""WebSockets that are opened and left alone, without a bus, for uvicorn; and its HTTP hello."""

from collections.abc import Awaitable, Callable
from typing import Any

import hello


async def asgi(
    scope: Any, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    if scope["type"] != "websocket":
        await hello.asgi(scope, receive, send)
        return
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
