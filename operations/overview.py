"""A command as a whole: this process and those it started, for whoever asks how it is doing."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from .census import Census, Told
from .reports import PATIENCE, Counted, Report, Reporter, counted

if TYPE_CHECKING:
    from .supervision import Supervisor

State = Literal["starting", "running", "stopping"]

_SLACK = 1.0  # seconds beyond the patience of who is asked


class Crew(NamedTuple):
    """Processes of one kind: how many run, how many should, how often one had to be replaced."""

    kind: str
    running: int
    wanted: int
    restarts: int


class Seen(NamedTuple):
    """A command at one moment.

    Attributes:
        state: Of its life.
        turns: Whether its event loop turns; a command without one counts as if it did.
        processes: Its processes, this one first.
        crews: Those that it started.
        counts: What all of them have counted, those that have ended included.
    """

    state: State
    turns: bool
    processes: Sequence[Told]
    crews: Sequence[Crew]
    counts: Counter[Counted]

    @property
    def reports(self) -> list[Report]:
        """What the processes told."""
        return [told.report for told in self.processes if told.report is not None]


_NOTHING = Seen("starting", True, [], [], Counter())


class Overview:
    """What a command is made of.

    Attributes:
        state: Of its life; to be kept up to date by whoever leads it.
    """

    def __init__(self) -> None:
        self.state: State = "starting"
        self._reporter: Reporter | None = None
        self._last = _NOTHING
        self._censuses: Sequence[Census] = ()
        self._loop: asyncio.AbstractEventLoop | None = None

    def has(
        self,
        reporter: Reporter,
        *,
        crews: Sequence[Supervisor] = (),
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Say what there is to ask.

        Args:
            reporter: Tells of this process.
            crews: Those it started.
            loop: Where they are kept; None: there are none, and no event loop.
        """
        self._reporter, self._loop = reporter, loop
        self._censuses = [crew.census for crew in crews]

    def look(self) -> Seen:
        """Ask all processes; takes up to about two seconds, and not in the event loop's thread."""
        if self._reporter is None:
            return _NOTHING
        if self._loop is None:
            self._last = self._seen(self._reporter, [])
            return self._last
        made: concurrent.futures.Future[Seen] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, made)
            self._last = made.result(PATIENCE + _SLACK)
        except (TimeoutError, RuntimeError):  # the loop is stuck, or closed
            return self._last._replace(state=self.state, turns=False)
        return self._last

    def turns(self) -> bool:
        """Tell whether the event loop turns, within a second."""
        if self._loop is None:
            return True
        turned: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(turned.set_result, None)
            turned.result(PATIENCE)
        except (TimeoutError, RuntimeError):
            return False
        return True

    def _begin(self, made: concurrent.futures.Future[Seen]) -> None:
        assert self._loop is not None
        asking = self._loop.create_task(self._ask())
        asking.add_done_callback(lambda task: _pass_on(task, made))

    async def _ask(self) -> Seen:
        assert self._reporter is not None
        told = await asyncio.gather(*(census.ask() for census in self._censuses))
        return self._seen(self._reporter, [each for crew in told for each in crew])

    def _seen(self, reporter: Reporter, others: Sequence[Told]) -> Seen:
        own = reporter.make()
        counts = counted(own)
        for census in self._censuses:
            counts.update(census.counts())
        crews = [Crew(each.kind, each.running, each.wanted, each.restarts) for each in self._censuses]
        return Seen(self.state, True, [Told(f"{own['kind']} (pid {own['pid']})", own, 0.0), *others], crews, counts)


def _pass_on(task: asyncio.Task[Seen], made: concurrent.futures.Future[Seen]) -> None:
    """Have a future end as a task did; what was cancelled tells nothing, as its loop ends."""
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        made.set_result(task.result())
    else:
        made.set_exception(error)
