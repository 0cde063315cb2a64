"""An inbox of a layer with several places: it lives at one of them, and what it sends elsewhere goes over streams."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import names
from ..calls import Call
from ..inbox import Callbacks, Then
from .inbox import RedisInbox
from .routing import merge
from .scripts import SCRIPTS
from .stream import Stream

if TYPE_CHECKING:
    from .spread import Place, SpreadLayer

_Settle = Callable[[Sequence[Then | None], Sequence[Any]], None]


class SpreadInbox(RedisInbox):
    """One server instance's inbox. It is up when its own place is; sends to another that is away fail by themselves."""

    def __init__(
        self, layer: SpreadLayer, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool
    ) -> None:
        self._router = layer.router
        self._places = layer.places
        self._home = layer.router.place(name)
        self._roads: dict[int, Road] = {}
        super().__init__(layer.places[self._home], name, loop, callbacks, lasting)

    def new_channel(self, pattern: str) -> str:
        # Where it is at the place of the inbox, credit for it costs nothing.
        while self._router.place(name := names.unique(pattern)) != self._home:
            pass
        return name

    def _transmit(self, calls: list[Call], thens: list[Then | None]) -> None:
        parts = self._router.divide(calls)
        counts = [0] * len(calls)
        for numbers, _ in parts.values():
            for number in numbers:
                counts[number] += 1
        whole = [
            Gathering(self._settle, call, count, then).add if then is not None and count > 1 else then
            for call, count, then in zip(calls, counts, thens, strict=True)
        ]
        for place, (numbers, part) in parts.items():
            told = [whole[number] for number in numbers]
            if place == self._home:
                super()._transmit(part, told)
            else:
                self._road(place).send(part, told)

    def _road(self, place: int) -> Road:
        road = self._roads.get(place)
        if road is None:
            road = self._roads[place] = Road(self, self._places[place])
        return road

    def _drop(self) -> None:
        for road in self._roads.values():
            road.close()
        super()._drop()


class Road:
    """The way of an inbox to another place. It is opened when it is first needed, and what comes before it is waits.

    Args:
        inbox: Whose it is.
        place: Where it leads.
    """

    def __init__(self, inbox: SpreadInbox, place: Place) -> None:
        self._inbox = inbox
        self._commands = place._commands
        self._early: list[tuple[list[Call], list[Then | None]]] | None = []
        self._stream = Stream(
            inbox._loop, place._address, SCRIPTS, name=f"trunkline.{inbox.name}", up=self._known, down=self._away
        )
        self._stream.start()

    def send(self, calls: list[Call], thens: list[Then | None]) -> None:
        """Send what the inbox has for this place, once it is known whether it is there."""
        self._inbox._outstanding += 1
        if self._early is not None:
            self._early.append((calls, thens))
        else:
            self._write(calls, thens)

    def close(self) -> None:
        """End it, now."""
        self._stream.close()
        self._known()

    def _known(self) -> None:
        early, self._early = self._early or [], None
        for each in early:
            self._write(*each)

    def _away(self, reason: str) -> None:
        self._known()

    def _write(self, calls: list[Call], thens: list[Then | None]) -> None:
        plan = self._commands.plan(calls)
        self._stream.send(plan.commands, partial(self._inbox._sent, plan, thens))


class Gathering:
    """What came of a call that goes to several places.

    Args:
        settle: Tells an outcome.
        call: The call.
        count: To how many places it goes.
        then: Told when all of them have answered.
    """

    def __init__(self, settle: _Settle, call: Call, count: int, then: Then) -> None:
        self._settle = settle
        self._call = call
        self._left = count
        self._then = then
        self._outcomes: list[Any] = []

    def add(self, outcome: Any) -> None:
        """Take the outcome of one place."""
        self._outcomes.append(outcome)
        self._left -= 1
        if not self._left:
            self._settle([self._then], [merge(self._call, self._outcomes)])
