"""What the processes of one kind told of themselves, those that have ended included."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from .reports import PATIENCE, Counted, Report, counted

if TYPE_CHECKING:
    from .child import Child


class Told(NamedTuple):
    """A process, and what it told last.

    Attributes:
        name: For people: "worker 2 (pid 4711)".
        report: What it told; None: nothing yet.
        silent: Seconds for which it has not answered; 0: it answers.
    """

    name: str
    report: Report | None
    silent: float


class Census:
    """Asks the processes that a parent keeps; everything on the loop's thread.

    Args:
        kind: What people call one of them.
        wanted: How many there should be.
        crew: Returns those that are kept now.
        clock: The loop's, in seconds.

    Attributes:
        restarts: How many were started in the place of one that had ended.
        totals: What those that have ended had counted, as far as they told.
    """

    def __init__(
        self, kind: str, wanted: int, crew: Callable[[], Collection[Child]], clock: Callable[[], float]
    ) -> None:
        self.kind = kind
        self.wanted = wanted
        self.restarts = 0
        self.totals: Counter[Counted] = Counter()
        self._crew = crew
        self._clock = clock
        self._reports: dict[Child, Report] = {}
        self._asked: dict[Child, float] = {}  # since when an answer is waited for
        self._answered = asyncio.Event()

    @property
    def running(self) -> int:
        """How many of them are ready."""
        return sum(child.ready_at is not None for child in self._crew())

    async def ask(self) -> list[Told]:
        """Ask all of them, and return what they told when all have answered, or after a second."""
        now = self._clock()
        for child in self._crew():
            if child not in self._asked and child.ask():
                self._asked[child] = now
        try:
            async with asyncio.timeout(PATIENCE):
                while any(child in self._asked for child in self._crew()):
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            pass
        now = self._clock()
        return [
            Told(f"{self.kind} {child}", self._reports.get(child), now - self._asked.get(child, now))
            for child in self._crew()
        ]

    def counts(self) -> Counter[Counted]:
        """Return what was counted by all that ever were, as far as they told."""
        counts = Counter(self.totals)
        for report in self._reports.values():
            counts.update(counted(report))
        counts["restarts", self.kind] = self.restarts
        return counts

    def heard(self, child: Child, report: Report) -> None:
        """Take a report."""
        self._reports[child] = report
        self._asked.pop(child, None)
        self._answered.set()

    def ended(self, child: Child) -> None:
        """Keep the counts of one that has ended."""
        self._asked.pop(child, None)
        report = self._reports.pop(child, None)
        if report is not None:
            self.totals.update(counted(report))
        self._answered.set()
