"""What the operations port answers on each path."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ...layer import LayerError
from . import metrics, page
from .access import check
from .port import Answer, Port
from .readiness import DEADLINE, Probe, Trip, Verdict, judge
from .requests import Refused, Request
from .sharing import Shared
from .view import View, look

if TYPE_CHECKING:
    from ...layer import Layer
    from ..overview import Overview, Seen
    from ..settings import OperationsSettings

AGE = 1.0
"""Seconds for which numbers are good: whoever asks more often gets the same ones."""

_LOOKING = 2.0  # seconds for a look at the layer
_ALIVE = ("/healthz", "/readyz", "/metrics", "/status.json", "/")


class StatusPort:
    """Listens on the operations port until it is closed.

    Args:
        settings: The table `[operations]`, with a port.
        layer: What messages go through.
        overview: The command.
        command: What runs, for people.
        version: Trunkline's.
        show_content: Whether the page shows what messages hold.

    Attributes:
        address: Its URL.

    Raises:
        StartError: The port is taken, or cannot be listened on.
    """

    def __init__(
        self,
        settings: OperationsSettings,
        layer: Layer,
        overview: Overview,
        *,
        command: str,
        version: str,
        show_content: bool = False,
    ) -> None:
        assert settings.port is not None
        self._settings = settings
        self._layer = layer
        self._overview = overview
        self._command = command
        self._version = version
        self._show_content = show_content
        self._trip = Shared(Probe(layer))
        self._view = Shared(lambda: look(layer), AGE)
        self._seen = Shared(overview.look, AGE)
        self._turns = Shared(overview.turns)
        self._labels = metrics.Labels()
        self._requests: Counter[str] = Counter()
        self._port = Port(settings.host, settings.port, self._answer)
        self.address = f"http://{self._port.address}/"

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._port.close()

    async def _answer(self, request: Request) -> Answer:
        try:
            check(request, self._settings.host, self._settings.token)
            answer = await self._found(request)
        except Refused as refused:
            self._requests[str(refused.status.value)] += 1
            raise
        self._requests[str(answer.status.value)] += 1
        return answer

    async def _found(self, request: Request) -> Answer:
        match request.path:
            case "/healthz":
                return await self._health()
            case "/readyz":
                return await self._readiness()
            case "/metrics":
                seen, view, trip, verdict = await self._all()
                text = metrics.render(self._version, seen, view, trip, verdict, self._requests, self._labels)
                return Answer(text, type=metrics.TYPE)
            case "/status.json":
                return Answer(_json(self._version, self._command, *await self._all()), type="application/json")
            case "/":
                return await self._page(request.query.get("channel"))
        raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing; there are {', '.join(_ALIVE)}")

    async def _health(self) -> Answer:
        if await self._turns.ask():
            return Answer("alive\n")
        return Answer("the event loop is stuck\n", HTTPStatus.SERVICE_UNAVAILABLE)

    async def _readiness(self) -> Answer:
        seen, trip = await asyncio.gather(self._seen.ask(), self._trip_in_time())
        verdict = judge(seen._replace(state=self._overview.state), trip)
        status = HTTPStatus.OK if verdict.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer("".join(f"{line}\n" for line in (verdict.state, *verdict.problems)), status)

    async def _all(self) -> tuple[Seen, View, Trip, Verdict]:
        seen, view, trip = await asyncio.gather(self._seen.ask(), self._view_in_time(), self._trip_in_time())
        seen = seen._replace(state=self._overview.state)
        return seen, view, trip, judge(seen, trip)

    async def _trip_in_time(self) -> Trip:
        try:
            return await self._trip.ask(DEADLINE)
        except TimeoutError:
            return Trip(DEADLINE, failure=f"no message came through it within {DEADLINE:g} s")

    async def _view_in_time(self) -> View:
        try:
            return await self._view.ask(_LOOKING)
        except TimeoutError:
            return View(f"no answer within {_LOOKING:g} s")

    async def _page(self, channel: str | None) -> Answer:
        everything = await self._all()
        peeked = None if channel is None else await self._peek(channel)
        text = page.render(self._version, self._command, time.time(), *everything, peeked)
        return Answer(text, type=page.TYPE, headers=page.HEADERS)

    async def _peek(self, channel: str) -> page.Peeked:
        peeking = Shared(lambda: self._layer.peek(channel, page.PEEKED))
        try:
            messages = await peeking.ask(_LOOKING)
        except TypeError:
            raise Refused(HTTPStatus.BAD_REQUEST, "no channel can have this name") from None
        except (LayerError, TimeoutError) as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"the layer: {error or 'no answer'}") from None
        return page.Peeked(channel, messages, self._show_content)


def _json(version: str, command: str, seen: Seen, view: View, trip: Trip, verdict: Verdict) -> str:
    """Return everything for programs."""
    told: list[dict[str, Any]] = [
        {"name": each.name, "silent": each.silent, **(each.report or {"kind": None})} for each in seen.processes
    ]
    counts = [[*key, number] for key, number in sorted(seen.counts.items())]
    return json.dumps(
        {
            "version": version,
            "command": command,
            "state": verdict.state,
            "problems": list(verdict.problems),
            "life": seen.state,
            "processes": told,
            "crews": [crew._asdict() for crew in seen.crews],
            "counts": counts,
            "layer": {"failure": trip.failure or view.failure, "roundtrip": trip.seconds, **view.whole},
            "channels": {
                name: {**figures, "workers": view.listeners.get(name, 0)} for name, figures in view.channels.items()
            },
            "dead_letters": list(view.letters),
        },
        indent=1,
    )
