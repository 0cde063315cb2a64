"""A count and its rate."""

SPAN = 10.0  # seconds a rate covers at least, once that many have passed


class Meter:
    """Count events; tell how many there were, and how many a second of late.

    Counting is adding to `count`. Only who asks for the rate, now and then, moves the marks it is computed from.
    """

    __slots__ = ("_last", "_mark", "count")

    def __init__(self, now: float) -> None:
        self.count = 0
        self._mark = self._last = (now, 0)

    def rate(self, now: float) -> float:
        """Return events a second since a moment that is at least SPAN ago, or since the beginning."""
        if now - self._last[0] >= SPAN:
            self._mark, self._last = self._last, (now, self.count)
        began, count = self._mark
        return (self.count - count) / (now - began) if now > began else 0.0
