"""python-socketio with Redis between its processes: every client is in one room."""

# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator"

import os
from typing import Any

import socketio
from hello import asgi

server = socketio.AsyncServer(
    async_mode="asgi", client_manager=socketio.AsyncRedisManager(os.environ["BENCHMARK_REDIS"])
)
application = socketio.ASGIApp(server, other_asgi_app=asgi)


@server.event
async def connect(client: str, environ: dict[str, Any]) -> None:
    await server.enter_room(client, "room")
