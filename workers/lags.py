"""How long messages waited in their channels before they were taken, by channel, for who operates the workers."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from ..operations.buckets import BUCKETS

if TYPE_CHECKING:
    from ..layer import Delivery

_WIDTH = len(BUCKETS) + 2  # one for what waited longer, one for the seconds in all


class Lags:
    """The waits of the messages that a thread took. A batch counts as a whole, with its first message's wait.

    That is the longest in it, or nearly so, and costs next to nothing for each message.

    Attributes:
        rows: By channel, how many messages waited up to each of `BUCKETS`, how many longer, and seconds in all.
    """

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    def taken(self, first: Delivery, count: int) -> None:
        """Count a batch, whose first message this is."""
        waited = first.queued
        if waited is None:
            return
        row = self.rows.get(first.channel)
        if row is None:
            if "!" in first.channel:
                return  # a name of one receiver, of which there is no end
            row = self.rows[first.channel] = [0] * _WIDTH
        waited = max(waited, 0.0)
        row[bisect_left(BUCKETS, waited)] += count
        row[-1] += waited * count
