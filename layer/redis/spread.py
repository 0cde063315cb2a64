"""A layer on several places: servers that share the channels among them, or the slots of a cluster.

Each place is a layer of its own, with connections of its own and whole by itself; what is here divides and merges. When
a place is away, so are its channels, and nothing else.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..base import Layer
from ..blobs import BlobKey
from ..calls import Call, lost
from ..errors import ChannelFull, LayerError, LayerUnavailable
from ..inbox import Callbacks, Inbox
from ..reader import Reader
from ..store.queues import SENDS
from .address import Where
from .cluster import Slot
from .commands import Plan
from .layer import RedisLayer
from .routing import AWAY, READS, Router, merge, steps
from .spread_blobs import SpreadBlobs
from .spread_inbox import SpreadInbox
from .spread_reader import SpreadReader
from .topology import Topology

log = logging.getLogger("trunkline.layer")


class Place(RedisLayer):
    """One of the places of a layer.

    Args:
        whole: The layer, whose options, limits and memberships it shares.
        where: The server.
        prefix: What its keys begin with.
    """

    def __new__(cls, *args: Any) -> Place:
        """Return a place."""
        return Layer.__new__(cls)

    def __init__(self, whole: SpreadLayer, where: Where, prefix: str) -> None:
        Layer.__init__(self, whole.options)
        self.text = where.text
        self.clock = whole.clock
        self.closed = False
        self._calls = whole._calls
        self._memberships = whole._memberships
        self._holder = whole._holder
        self._open_readers = whole._open_readers
        self._inboxes = whole._inboxes
        self.agree = whole.agree  # type: ignore[method-assign]
        self.new_blob = whole.new_blob  # type: ignore[method-assign]
        self._tell = whole._call
        self._settle(where, prefix)

    def _once_more(self, plan: Plan, refused: LayerUnavailable) -> list[Any]:
        """Ask the node that has the slot now; another one has refused, so that nothing was done."""
        if not isinstance(self._address, Slot):
            return plan.lost(refused)
        self._address.doubt()
        try:
            return plan.outcomes(self._pool.run(plan.commands))
        except LayerUnavailable as error:
            return plan.lost(error)

    def credit(self, channel: str, count: int, creditor: tuple[str, float] | None) -> None:
        """Tell who gets credit for a single-reader channel of this place, if it is somebody at another one."""
        if creditor is None or not creditor[0].startswith(AWAY):
            return
        inbox, mark, local = creditor[0].removeprefix(AWAY).partition("!")
        try:
            self._tell(("credit", (inbox + mark, local, channel, count, creditor[1])))
        except LayerError as error:
            log.debug("no credit for %s: %s", channel, error)

    def start(self, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Send calls, and return what waits for their outcomes: it has to be called, once."""
        plan = self._commands.plan(calls)
        try:
            finish = self._pool.start(plan.commands)
        except LayerUnavailable as error:
            outcomes = plan.lost(error)
            return lambda: outcomes

        def finished() -> list[Any]:
            try:
                return plan.outcomes(finish())
            except LayerUnavailable as error:
                return plan.lost(error) if error.uncertain else self._once_more(plan, error)

        return finished


class SpreadLayer(RedisLayer):
    """A channel layer on several places; `RedisLayer` makes it where the URL names more than one server.

    Attributes:
        places: In the order of the URL.
        router: Which of them a call goes to.
    """

    def _found(self, topology: Topology) -> None:
        self.places = [Place(self, where, prefix) for where, prefix in topology.places]
        self.router = Router(len(self.places))
        self._blobs = SpreadBlobs(self.places, self.router, self.options.blob_capacity)

    def _end(self) -> None:
        for place in self.places:
            place.closed = True
            place._end()

    def new_blob(self, channel: str | None = None) -> BlobKey:
        """Return the key of a blob to be written, at the place of the channel it is for."""
        place = None if channel is None else self.router.place(self._calls.queue(channel))
        key = super().new_blob(channel)
        while place is not None and self.router.spot(key) != place:
            key = super().new_blob(channel)
        return key

    def reader(self) -> Reader:
        """Return a place for one thread to receive at."""
        reader = SpreadReader(self)
        self._open_readers.add(reader)
        return reader

    def problems(self) -> list[str]:
        """Return what is wrong with these Redis servers, a line each, after a real round trip to all of them."""
        with ThreadPoolExecutor(len(self.places)) as asking:  # a silent one takes its time, but only once
            found = asking.map(Place.problems, self.places)
            return list(dict.fromkeys(problem for problems in found for problem in problems))

    def _call(self, call: Call) -> Any:
        outcome = super()._call(call)
        return self._blobs.elsewhere(call) if outcome is None and call[0] in READS else outcome

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        if self.closed:
            return list(lost(calls, self.unavailable()))
        outcomes: list[Any] = []
        full: set[str] = set()  # queues that were full for a send: nothing overtakes it
        for step in steps(calls):
            away = next((outcome for outcome in outcomes if isinstance(outcome, LayerUnavailable)), None)
            if away is None:
                outcomes += self._together(step, full)
            else:  # as over one connection, where nothing arrives behind what was lost
                outcomes += [LayerUnavailable(str(away))] * len(step)
        return outcomes

    def _together(self, calls: Sequence[Call], full: set[str]) -> list[Any]:
        """Run calls at their places, at all of them at once, once the blobs are there that they name.

        Args:
            calls: Sends only, or others only.
            full: Queues to which nothing is sent; those are added that are full for a send.
        """
        refused: dict[int, LayerError] = {}
        for number, call in enumerate(calls):
            held_up = full and call[0] in SENDS and call[1][0] in full
            error = ChannelFull.behind(call[1][0]) if held_up else self._blobs.bring(call)
            if error is not None:
                refused[number] = error
                if isinstance(error, ChannelFull):
                    full.add(call[1][0])
        outcomes = [[refused[number]] if number in refused else [] for number in range(len(calls))]
        left = [number for number in range(len(calls)) if number not in refused]
        parts = self.router.divide([calls[number] for number in left] if refused else calls)
        under_way = [(numbers, self.places[place].start(part)) for place, (numbers, part) in parts.items()]
        for numbers, finish in under_way:
            for number, outcome in zip(numbers, finish(), strict=True):
                outcomes[left[number]].append(outcome)
        merged = [
            merge(call, several) if len(several) > 1 else several[0]
            for call, several in zip(calls, outcomes, strict=True)
        ]
        for (name, args), outcome in zip(calls, merged, strict=True):
            if isinstance(outcome, ChannelFull) and name in SENDS:
                full.add(args[0])
        return merged

    def _make_inbox(self, name: str, loop: AbstractEventLoop, callbacks: Callbacks, lasting: bool) -> Inbox:
        inbox = SpreadInbox(self, name, loop, callbacks, lasting)
        self._inboxes.add(inbox)
        return inbox
