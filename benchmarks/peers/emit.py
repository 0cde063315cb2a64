"""Send a line to the room for each line on standard input: python emit.py channels|socketio TEXT.

Prints the time on the monotonic clock, in seconds, right before each is sent.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

import uvloop


def channels() -> Callable[[str], Awaitable[object]]:
    from channels.layers import get_channel_layer

    layer = get_channel_layer()
    return lambda text: layer.group_send("room", {"type": "room.line", "text": text})


def python_socketio() -> Callable[[str], Awaitable[object]]:
    import socketio

    manager = socketio.AsyncRedisManager(os.environ["BENCHMARK_REDIS"], write_only=True)
    return lambda text: manager.emit("line", text, room="room")


async def main(name: str, text: str) -> None:
    emit = channels() if name == "channels" else python_socketio()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(time.monotonic(), flush=True)
        await emit(text)


uvloop.run(main(sys.argv[1], sys.argv[2]))
