"""A connection for one asyncio loop that comes back whenever it was lost, for ever."""

import asyncio
import contextlib
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from ..backoff import Backoff
from ..errors import LayerUnavailable
from .address import Address, Where
from .handshake import Hello, handshake, unreachable
from .replies import Command
from .wire import Done, Wire

log = logging.getLogger("trunkline.layer")


class Stream:
    """Commands from one loop, plain asyncio's or uvloop's. All methods and callbacks run on its thread.

    Args:
        loop: Where; it need not run yet.
        where: Where Redis is; asked before each attempt to connect.
        scripts: What Redis has to know, by SHA-1; loaded when it connects, and again when Redis forgets them.
        name: How its connections are called in `CLIENT LIST`.
        up: Called after each handshake.
        down: Told why, once after each `up` when the connection is lost, and once if the first cannot be made. So the
            two always alternate. Those who wait for replies are told before.
        timeout: Seconds for connecting with the handshake, and for each reply.
        patience: Seconds more that a reply may take, because a command blocks so long.
        backoff: How long to wait between attempts. It begins again after a connection that lived as long as the
            longest wait, so that a server which accepts and drops is not asked all the time.

    Attributes:
        hello: Who answers, or did last; known from the first `up` on.
    """

    hello: Hello

    def __init__(
        self,
        loop: AbstractEventLoop,
        where: Where,
        scripts: Mapping[bytes, bytes],
        *,
        name: str,
        up: Callable[[], None],
        down: Callable[[str], None],
        timeout: float = 5.0,
        patience: float = 0.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._where = self._address = where
        self._loop = loop
        self._scripts = scripts
        self._name = name
        self._up = up
        self._down = down
        self._timeout = timeout
        self._patience = patience
        self._backoff = backoff or Backoff()
        self._wire: Wire | None = None
        self._since = 0.0
        self._dialling: asyncio.Handle | asyncio.Task[None] | None = None
        self._reason = f"not connected to {where.text} yet"
        self._told_down = False
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether commands can be sent."""
        return self._wire is not None and self._wire.gone is None

    def start(self) -> None:
        """Begin to connect."""
        self._where.follow(self)
        if self._dialling is None and self._wire is None and not self._closed:
            # A loop that is closed before it runs leaves no coroutine behind that was never awaited.
            self._dialling = self._loop.call_soon(self._redial, 0.0)

    def send(self, commands: Sequence[Command], done: Done) -> None:
        """Send commands in one write, now, if there is a connection.

        Args:
            commands: They are looked at again if Redis has forgotten a script: do not change them.
            done: Called once, never before this returns: with a list that has a reply for each command (a
                `hiredis.ReplyError` instance where one failed by itself), or with a `LayerUnavailable`, `uncertain` if
                any may have been executed. An error in it is logged.

        Raises:
            TypeError: A command cannot travel; nothing was sent.
        """
        if self._wire is not None:
            self._wire.send(commands, done)
        else:
            self._loop.call_soon(_call, done, LayerUnavailable(self._reason))

    def moved(self, host: str, port: int) -> None:
        """Leave a connection that does not lead there: Redis is to be found at another place now; any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._leave, (host, port))

    def close(self) -> None:
        """End it, now. Neither `up` nor `down` is called any more; those who still wait are told in the next turn."""
        self._closed = True
        self._reason = f"the connection to {self._where.text} is closed"
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        if self._wire is not None:
            self._wire.drop("it was closed here", quietly=True)
            self._wire = None

    def _redial(self, wait: float) -> None:
        self._dialling = self._loop.create_task(self._dial(wait))

    async def _dial(self, wait: float) -> None:
        """Connect, at last."""
        while True:
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(self._timeout):
                    self._wire, self.hello = await self._connect()
            except TimeoutError:
                self._away(str(unreachable(self._address, f"no answer within {self._timeout:g} s")))
            except OSError as error:
                self._away(str(unreachable(self._address, error)))
            except LayerUnavailable as error:
                self._away(str(error))
            except Exception as error:
                # Whatever it is, a server must come back when Redis does.
                log.exception("connecting to %s failed", self._address.text)
                self._away(str(unreachable(self._address, error)))
            else:
                break
            wait = self._backoff.next()
        self._dialling = None
        self._since = self._loop.time()
        self._told_down = False
        self._wire.serve()
        _call(self._up)

    async def _connect(self) -> tuple[Wire, Hello]:
        loop = self._loop
        address = self._where if isinstance(self._where, Address) else await self._resolve()
        wire = Wire(loop, address, self._scripts, self._timeout + self._patience, self._lost)
        try:
            if address.path is not None:
                await loop.create_unix_connection(lambda: wire, address.path)
            elif address.tls is not None:
                # Reading the files that name who is trusted takes some milliseconds.
                context = await loop.run_in_executor(None, address.tls.context)
                await loop.create_connection(
                    lambda: wire, address.host, address.port, ssl=context, server_hostname=address.host
                )
            else:
                await loop.create_connection(lambda: wire, address.host, address.port)
            dialogue = handshake(address, self._scripts, self._name)
            commands = next(dialogue)
            while True:
                commands = dialogue.send(await self._ask(wire, commands))
        except StopIteration as end:
            if wire.gone is not None:
                raise LayerUnavailable(wire.gone) from None
            hello: Hello = end.value
            return wire, hello
        except BaseException:
            wire.drop("it was given up", quietly=True)
            raise

    async def _resolve(self) -> Address:
        """Find out where Redis is now, in a thread, since that may take a while."""
        self._address = self._where
        address = await self._loop.run_in_executor(None, self._where.resolve, monotonic() + self._timeout)
        self._address = address
        return address

    async def _ask(self, wire: Wire, commands: Sequence[Command]) -> list[Any]:
        answer: asyncio.Future[Any] = self._loop.create_future()
        wire.send(commands, lambda result: None if answer.done() else answer.set_result(result))
        result: list[Any] | LayerUnavailable = await answer
        if isinstance(result, LayerUnavailable):
            raise result
        return result

    def _leave(self, place: tuple[str, int]) -> None:
        address = self._address
        if self._wire is not None and isinstance(address, Address) and (address.host, address.port) != place:
            self._wire.drop("it is not the master any more")

    def _lost(self, reason: str) -> None:
        self._wire = None
        if self._closed:
            return
        if self._loop.time() - self._since >= self._backoff.longest:
            self._backoff.reset()
        self._redial(self._backoff.next())
        self._away(reason)

    def _away(self, reason: str) -> None:
        self._reason = reason
        if not self._told_down:
            self._told_down = True
            _call(self._down, reason)


def _call(callback: Callable[..., None], *args: Any) -> None:
    """Call back; an error in there must not end the stream."""
    try:
        callback(*args)
    except Exception:
        log.exception("error in a callback")
