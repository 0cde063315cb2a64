"""Hooks: paths where another service posts what happened there, each request taken whole and answered once.

A `Hook` is a function of a whole request. It says what is answered, now or later, and never sees a connection. What
it is for, this module does not know.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..traces import places_of
from .factory import HttpFactory
from .handler import Exchange, ResponseStream
from .limits import HttpLimits
from .request import Header, Request
from .response import BadResponse, plain

if TYPE_CHECKING:
    from ..base import ProtocolServer
    from ..listening import ListeningSettings

MAX_BODY = 1024 * 1024
MAX_HELD = 64 * 1024 * 1024
_METHOD = "POST"


class HookRequest(NamedTuple):
    """A whole request.

    Attributes:
        method: "POST".
        path: percent- and UTF-8-decoded path.
        query_string: raw bytes after the first `?`.
        headers: (lower-case name, value) in order; not to be altered, since other requests may have the same list.
        body: all of it.
        client: address and port of the other end, None on sockets without.
    """

    method: str
    path: str
    query_string: bytes
    headers: list[Header]
    body: bytes
    client: list[str | int] | None

    def header(self, name: bytes) -> bytes | None:
        """Find the value of the first header of a lower-case name; None where there is none."""
        return next((value for key, value in self.headers if key == name), None)


class HookAnswer(NamedTuple):
    """What is answered.

    Attributes:
        status: 200 to 599.
        headers: pairs of bytes; the length is added.
        body: the content.
    """

    status: int
    headers: Iterable[Header] = ()
    body: bytes = b""

    @classmethod
    def text(cls, status: int, text: str) -> HookAnswer:
        """Answer with one line for people; a 503 says when to try again."""
        return cls(*plain(status, text))


Hook = Callable[[HookRequest], HookAnswer | Awaitable[HookAnswer]]


class HookFactory(HttpFactory):
    """Makes the connections of a server's hooks.

    A path that has none is answered 404, another method than POST 405, a body that is too large 413, and when the
    bodies under way are too many 503. A hook that raises is answered 500, and its traceback logged without any value.
    One whose client leaves while it waits is cancelled.

    Args:
        hooks: by their paths.
        server: whose they are; lends its loop, wheel of timers, clock, counters and log.
        limits: what a connection may ask.
        max_body: bytes of a body, in place of that of `limits`.
        max_held: bytes of all bodies that are under way at one time.
        listening: whose proxies are trusted; None: those of the server's own settings.

    Attributes:
        held: bytes of bodies under way.
    """

    def __init__(
        self,
        hooks: Mapping[str, Hook],
        server: ProtocolServer,
        *,
        limits: HttpLimits | None = None,
        max_body: int = MAX_BODY,
        max_held: int = MAX_HELD,
        listening: ListeningSettings | None = None,
    ) -> None:
        self.hooks = hooks
        self.limits = dataclasses.replace(limits or HttpLimits(), max_body=max_body)
        self.max_held = max_held
        self.held = 0
        self.loop = server.loop
        self.call_soon = server.loop.call_soon
        self.timers = server.timers
        self.clock = server.clock
        self.stats = server.stats
        self.log = server.log
        super().__init__(self, proxies=(listening or server.listening).proxies)

    # What the HTTP core asks

    def begin(self, request: Request, stream: ResponseStream) -> Exchange:
        """Take a request."""
        return _Call(self, request, stream)

    def upgrade(self, request: Request, transport: object) -> None:
        """See a WebSocket's handshake as any other request."""

    def answered(self, request: Request | None, client: str, status: int, size: int, began: float) -> None:
        """Count a response by its status."""
        self.stats[f"hooks_{status}"] += 1


class _Call:
    """One request for a hook."""

    __slots__ = ("_body", "_factory", "_held", "_hook", "_refusal", "_request", "_stream", "_task")

    def __init__(self, factory: HookFactory, request: Request, stream: ResponseStream) -> None:
        self._factory = factory
        self._request = request
        self._stream: ResponseStream | None = stream
        self._body = bytearray()  # one object, lest a body that comes byte by byte takes many times its size
        self._held = 0
        self._task: asyncio.Task[None] | None = None
        self._refusal: HookAnswer | None = None
        self._hook = factory.hooks.get(request.path)
        if self._hook is None:
            self._refusal = HookAnswer.text(404, "there is nothing here")
        elif request.method != _METHOD:
            status, headers, body = plain(405, f"this takes {_METHOD}")
            self._refusal = HookAnswer(status, [*headers, (b"allow", _METHOD.encode())], body)

    # What the connection calls

    def body(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        factory = self._factory
        if self._refusal is None and factory.held + len(data) > factory.max_held:
            factory.stats["hooks_held_back"] += 1
            self._refusal = HookAnswer.text(503, "too much at once")
        if self._refusal is not None:
            self._answer(self._refusal)
            return
        self._body += data
        self._held += len(data)
        factory.held += len(data)

    def end(self) -> None:
        """Call the hook."""
        if self._hook is None or self._refusal is not None:
            assert self._refusal is not None
            self._answer(self._refusal)
            return
        request = self._request
        body = bytes(self._body)
        self._body.clear()
        whole = HookRequest(request.method, request.path, request.query_string, request.headers, body, request.client)
        try:
            answer = self._hook(whole)
        except Exception as error:
            self._failed(error)
            return
        if isinstance(answer, HookAnswer):
            self._answer(answer)
        else:
            self._task = self._factory.loop.create_task(self._wait(answer))

    def lost(self) -> None:
        """Forget the request: nothing can be answered."""
        self._stream = None
        self._release()
        if self._task is not None:
            self._task.cancel()

    # Answering

    async def _wait(self, answer: Awaitable[HookAnswer]) -> None:
        try:
            self._answer(await answer)
        except Exception as error:
            self._failed(error)

    def _answer(self, answer: HookAnswer) -> None:
        stream, self._stream = self._stream, None
        self._release()
        if stream is None:
            return
        try:
            stream.start(*answer)
        except (BadResponse, TypeError) as error:
            self._stream = stream
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """Answer that this went wrong; of the error only the places are logged, as its text may hold what was sent."""
        self._factory.stats["failures"] += 1
        self._factory.log.error("the hook %s failed: %s", self._request.path, places_of(error))
        self._answer(HookAnswer.text(500, "this went wrong here"))

    def _release(self) -> None:
        self._body.clear()
        self._factory.held -= self._held
        self._held = 0
