"""One connection on an asyncio loop: commands out, and each reply back to who asked for it.

Nothing here is made per command: replies are parsed in one call for all that arrived, cut to the counts of those who
asked, in order, and handed over. What Redis does to all of its clients at once is dealt with here, too: it may have
forgotten our scripts, may not serve any more, or may not answer at all.
"""

import asyncio
import logging
from asyncio import AbstractEventLoop, BaseTransport, Transport
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, cast

from hiredis import ProtocolError

from ..errors import LayerUnavailable
from .address import Address
from .handshake import loading, lost, unreachable
from .replies import MAX_REPLY, Command, NotServing, Parser, executed, pack, refusal, unloaded
from .sockets import prepare

log = logging.getLogger("trunkline.layer")

MAX_IN_FLIGHT = 64 << 20
"""Bytes of commands that may wait for their replies. One `send` may be larger if nothing else waits."""

_GRACE = 0.05  # seconds

Done = Callable[[Any], None]
"""Told once: a list with a reply for each command, or a `LayerUnavailable`."""


class _Asked(NamedTuple):
    """What was asked for in one write."""

    wanted: int  # replies
    done: Done
    commands: Sequence[Command] | None  # None for what is sent again with the scripts: once, not a third time
    size: int  # bytes
    since: float


class Wire(asyncio.Protocol):
    """A connection that is made once and lost once.

    Args:
        loop: Where it runs.
        address: For people.
        scripts: Loaded again when Redis has forgotten them.
        patience: Seconds that a reply may take.
        lost: Called once when it was lost after `serve`, when all who wait have been told.

    Attributes:
        gone: Why it is of no use any more, or None.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        address: Address,
        scripts: Mapping[bytes, bytes],
        patience: float,
        lost: Callable[[str], None],
    ) -> None:
        self.gone: str | None = None
        self._loop = loop
        self._address = address
        self._scripts = scripts
        self._patience = patience
        self._lost = lost
        self._serving = False
        self._transport: Transport | None = None
        self._write: Callable[[bytes], None]
        self._parser = Parser()
        self._asked: deque[_Asked] = deque()
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._suspect: _Asked | None = None
        # While scripts are missing: what was answered but not executed, and what must not overtake it.
        self._spoiled: list[tuple[_Asked, list[Any]]] = []
        self._held: list[tuple[bytes, Sequence[Command], Done]] = []

    def serve(self) -> None:
        """Begin with the real work: the handshake is over."""
        self._serving = True
        self._parser.limit = MAX_REPLY
        self._parser.calm()

    def send(self, commands: Sequence[Command], done: Done) -> None:
        """Send commands in one write, now; `done` is called later."""
        data = pack(commands)
        size = len(data)
        if self.gone is not None:
            self._tell_soon(done, LayerUnavailable(self.gone))
        elif self._in_flight + size > MAX_IN_FLIGHT and self._in_flight:
            reason = f"{self._address.text} does not keep up: {self._in_flight} bytes wait for its answers"
            self._tell_soon(done, LayerUnavailable(reason))
        elif not commands:
            self._tell_soon(done, [])
        elif self._spoiled:
            self._in_flight += size
            self._held.append((data, commands, done))
        else:
            self._in_flight += size
            self._put(data, len(commands), done, commands)

    def drop(self, reason: object, *, quietly: bool = False) -> None:
        """End the connection, and tell all who wait: what they asked for may have been done.

        Args:
            reason: In words, or an exception.
            quietly: Tell them in the loop's next turn, and do not call `lost`.
        """
        if self.gone is not None:
            return
        error = lost(self._address, reason) if self._serving else unreachable(self._address, reason)
        self.gone = str(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        tell = self._tell_soon if quietly else self._tell
        spoiled, self._spoiled = self._spoiled, []
        held, self._held = self._held, []
        if spoiled:
            self._repaired(spoiled, 0, LayerUnavailable(self.gone), tell)
        while self._asked:
            tell(self._asked.popleft().done, error)
        for _, _, done in held:
            tell(done, LayerUnavailable(self.gone))
        if self._serving and not quietly:
            self._lost(self.gone)

    # asyncio.Protocol

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._write = self._transport.write
        if self.gone is not None:
            self._transport.abort()
        else:
            prepare(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self.gone is not None:
            return
        parser, asked = self._parser, self._asked
        end: object = None
        try:
            parser.feed(data)
        except ProtocolError as error:
            end = f"this is not how Redis speaks: {error}"
        replies = parser.replies
        start = 0
        try:
            while asked and (stop := start + asked[0].wanted) <= len(replies):
                each = asked.popleft()
                answer = replies[start:stop]
                start = stop
                self._in_flight -= each.size
                if self._serving and (self._spoiled or parser.alarmed()):
                    end = self._examine(each, answer) or end
                else:
                    self._tell(each.done, answer)
        finally:
            del replies[:start]
        if replies and not asked:
            end = end or "it sent more than it was asked for"
        if end is not None:
            self.drop(end)
        elif self._serving and (self._spoiled or parser.alarmed()):
            parser.calm()
            if not asked and self._spoiled:
                self._repair()

    def eof_received(self) -> None:
        self.drop("Redis closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(exc or "Redis closed the connection")

    # replies that take too long

    def _check(self) -> None:
        """Look after the oldest reply that is missing. There is no timer when none is."""
        self._timer = None
        if not self._asked:
            return
        oldest = self._asked[0]
        wait = oldest.since + self._patience - monotonic()
        if wait <= 0:
            if self._suspect is oldest:
                self.drop(f"no answer within {self._patience:g} s")
                return
            # If it was this process that stood still, the answer is there and only has to be read.
            self._suspect, wait = oldest, _GRACE
        self._timer = self._loop.call_later(wait, self._check)

    # replies that concern more than one command

    def _examine(self, asked: _Asked, answer: list[Any]) -> NotServing | None:
        """Tell what came of it, unless its scripts are missing; return why this connection is of no use any more."""
        refused = refusal(answer)
        if refused is not None and asked.commands is not None:
            self._tell(asked.done, lost(self._address, refused, uncertain=executed(answer)))
        elif asked.commands is not None and (self._spoiled or unloaded(answer)):
            self._spoiled.append((asked, answer))
        else:
            self._tell(asked.done, answer)
        return refused

    def _repair(self) -> None:
        """Load the scripts, and send again what failed for want of them; then what waited behind that."""
        spoiled, self._spoiled = self._spoiled, []
        held, self._held = self._held, []
        again = loading(self._scripts)
        loaded = len(again)
        for asked, answer in spoiled:
            again += [cast(Sequence[Command], asked.commands)[index] for index in unloaded(answer)]
        data = pack(again)
        self._in_flight += len(data)
        self._put(data, len(again), partial(self._repaired, spoiled, loaded), None)
        for data, commands, done in held:
            self._put(data, len(commands), done, commands)

    def _repaired(
        self,
        spoiled: list[tuple[_Asked, list[Any]]],
        loaded: int,
        result: list[Any] | LayerUnavailable,
        tell: Callable[[Done, Any], None] | None = None,
    ) -> None:
        tell = tell or self._tell
        fresh = [] if isinstance(result, LayerUnavailable) else result[loaded:]
        refused = refusal(fresh)
        if refused is not None:
            result = lost(self._address, refused, uncertain=executed(fresh))
        values = iter(fresh)
        for asked, answer in spoiled:
            missing = unloaded(answer)
            if missing and isinstance(result, LayerUnavailable):
                tell(asked.done, LayerUnavailable(str(result), uncertain=result.uncertain or executed(answer)))
                continue
            for index in missing:
                answer[index] = next(values)
            tell(asked.done, answer)

    # shared

    def _put(self, data: bytes, count: int, done: Done, commands: Sequence[Command] | None) -> None:
        self._asked.append(_Asked(count, done, commands, len(data), monotonic()))
        self._write(data)
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._check)

    def _tell_soon(self, done: Done, result: Any) -> None:
        self._loop.call_soon(self._tell, done, result)

    def _tell(self, done: Done, result: Any) -> None:
        """Call back; an error in there must not harm anybody else."""
        try:
            done(result)
        except Exception:
            log.exception("error in a callback")
