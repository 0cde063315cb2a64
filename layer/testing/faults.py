"""A TCP proxy between a program and its server that breaks what passes through it, as told, while it runs.

    with FaultProxy("127.0.0.1", 6379) as proxy:
        layer = open_layer(f"redis://127.0.0.1:{proxy.port}")
        proxy.cut(reset=True)           # every connection ends at once, with RST; without reset, with FIN
        proxy.refuse(3)                 # so do the next three, before a byte has passed
        proxy.silence()                 # connections stay open, and nothing passes any more, in either direction ...
        proxy.silence(requests=False)   # ... or nothing comes back of what was asked for
        proxy.resume()                  # what was held goes on
        proxy.latency = 0.05            # seconds by which everything is late, in each direction
        proxy.slices = 7, 0.001         # at most so many bytes at a time, so many seconds apart
        proxy.half_close()              # clients are told the end, while what they still send arrives

It runs in a thread of its own and needs nothing but Python. Every method may be called from any thread, and has done
its work when it returns.
"""

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from typing import Self, TypeVar

_Result = TypeVar("_Result")

_CHUNK = 65536
_PATIENCE = 20.0  # seconds; a bound against hanging, never waited for
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what was not sent, and resets


class FaultProxy:
    """A proxy for one server, on a loopback port of its own.

    Args:
        host, port: The server.

    Attributes:
        target: Host and port of the server; another one is for the connections made from then on.
        port: Where the proxy listens, on 127.0.0.1.
        latency: Seconds by which what passes is late.
        slices: None, or (bytes, seconds): how much passes at a time, and the pause after it.
        accepted: How many connections were let through so far.
        refused: How many were not.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.latency = 0.0
        self.slices: tuple[int, float] | None = None
        self.accepted = 0
        self.refused = 0
        self._refusing = 0
        self._links: set[_Link] = set()
        self._passing: dict[bool, asyncio.Event] = {}  # by whether it is about requests
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_PATIENCE)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._call(lambda: len(self._links))

    def cut(self, *, reset: bool = False) -> int:
        """End all connections, at both ends.

        Args:
            reset: Throw away what is on its way and send RST, as a crash would; otherwise FIN.

        Returns:
            How many there were.
        """
        return self._call(lambda: self._cut(reset))

    def refuse(self, count: int) -> None:
        """Reset the next so many connections as they are made."""
        self._call(lambda: setattr(self, "_refusing", count))

    def silence(self, *, requests: bool = True, replies: bool = True) -> None:
        """Hold what passes until `resume`; connections are still made.

        Args:
            requests: Hold what goes to the server.
            replies: Hold what comes from it.
        """
        self._call(lambda: self._hold(requests, replies))

    def resume(self) -> None:
        """Let everything pass again, with what was held."""
        self._call(lambda: self._hold(False, False))

    def half_close(self) -> int:
        """Tell all clients that there is no more (FIN), and go on passing on what they send; return their number."""
        return self._call(lambda: sum(link.half_close() for link in self._links))

    def close(self) -> None:
        """End all connections and the proxy."""
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)
            self._loop.close()

    # on the loop's thread

    def _call(self, function: Callable[[], _Result]) -> _Result:
        async def called() -> _Result:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(_PATIENCE)

    async def _listen(self) -> asyncio.Server:
        self._passing = {True: asyncio.Event(), False: asyncio.Event()}
        self._hold(False, False)
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)

    async def _end(self) -> None:
        self._server.close()
        self._cut(True)
        self._hold(False, False)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _cut(self, reset: bool) -> int:
        links, self._links = self._links, set()
        for link in links:
            link.end(reset)
        return len(links)

    def _hold(self, requests: bool, replies: bool) -> None:
        for held, about_requests in ((requests, True), (replies, False)):
            if held:
                self._passing[about_requests].clear()
            else:
                self._passing[about_requests].set()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self._refusing > 0:
            self._refusing -= 1
            self.refused += 1
            _close(writer, reset=True)
            return
        self.accepted += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target, limit=_CHUNK)
        except OSError:
            _close(writer, reset=True)
            return
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, server_writer, link, True))
                both.create_task(self._pass(server_reader, writer, link, False))
        except* OSError:
            link.end(reset=True)
        except* asyncio.CancelledError:
            pass  # the proxy ends; a task of asyncio's server must not, by an exception
        finally:
            link.end(reset=False)
            self._links.discard(link)

    async def _pass(self, reader: StreamReader, writer: StreamWriter, link: "_Link", requests: bool) -> None:
        """Pass on what goes in one direction, until its end."""
        while data := await reader.read(_CHUNK):
            if self.latency:
                await asyncio.sleep(self.latency)
            while data:
                await self._passing[requests].wait()
                size, pause = self.slices or (len(data), 0.0)
                now, data = data[:size], data[size:]
                if link.ended or (link.half and not requests):
                    break
                writer.write(now)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
        await self._passing[requests].wait()
        if not link.ended and not (link.half and not requests):
            writer.write_eof()


class _Link:
    """A connection through the proxy: its end at the client, and that at the server."""

    def __init__(self, client: StreamWriter, server: StreamWriter) -> None:
        self.ended = False
        self.half = False  # whether the client was told that there is no more
        self._client = client
        self._server = server

    def half_close(self) -> bool:
        told = not self.half
        if told:
            self.half = True
            self._client.write_eof()
        return told

    def end(self, reset: bool) -> None:
        if not self.ended:
            self.ended = True
            _close(self._client, reset)
            _close(self._server, reset)


def _close(writer: StreamWriter, reset: bool) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        writer.transport.abort()
    else:
        writer.close()
