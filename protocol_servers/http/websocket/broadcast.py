"""Many sockets at once: a group's message to all its members here, and the end of all when the server stops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ...base import Message
from .connection import WebSocket
from .frames import Ambiguous, Outgoing, Unfit

SLICE = 100  # sockets that are sent away in one go
PACE = 0.05  # seconds from one slice to the next, where the grace allows it


def broadcast(sockets: Sequence[WebSocket], message: Message) -> None:
    """Send a group's message to its members, the frame built once.

    A socket whose handshake is not answered yet keeps it; one that is closing is passed over. Whatever happens to one
    socket is its own affair. A message that fits no WebSocket is counted and ignored.

    Args:
        sockets: sockets of one server.
        message: a WebSocket reply.
    """
    if not sockets:
        return
    server = sockets[0].server
    try:
        outgoing = Outgoing(message)
    except Ambiguous:
        server.stats["websocket_ambiguous"] += 1
        return
    except Unfit as unfit:
        server.unfit(sockets[0].connection, str(unfit))
        return
    for socket in sockets:
        try:
            socket.take(outgoing)
        except Exception:
            server.failed(socket.connection)


async def close_all(
    sockets: Iterable[WebSocket],
    grace: float,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Send every socket away because the server stops: 1012, or 503 where the handshake is not answered yet.

    They go in slices, in any order and with jitter, lest all of them come back at one moment. Half of the grace is for
    that, a quarter for the last client's answer.

    Args:
        sockets: the server's sockets.
        grace: seconds in which everything has to be over.
        sleep: waits for some seconds.
        jitter: returns a number from 0 to 1.
    """
    order = sorted(sockets, key=lambda _: jitter())
    slices = [order[start : start + SLICE] for start in range(0, len(order), SLICE)]
    pace = min(PACE, grace / 2 / max(len(slices), 1))
    for number, members in enumerate(slices):
        if number:
            await sleep(pace * (0.5 + jitter()))
        for socket in members:
            socket.restart(grace / 4)
