"""How fast a request body must come: neither a pause too long, nor bytes too few for the time it took."""

from __future__ import annotations

from .limits import HttpLimits


class BodyPace:
    """Judges the pace of one body. Time during which we did not read on ourselves does not count.

    Args:
        limits: `body_timeout` and `min_body_rate`.
        now: the time at which the body begins, in seconds of a monotonic clock.

    Attributes:
        paused: whether reading is paused by us.
    """

    __slots__ = ("_began", "_last", "_limits", "_paused_at", "_size", "paused")

    def __init__(self, limits: HttpLimits, now: float) -> None:
        self._limits = limits
        self._began = now
        self._last = now
        self._size = 0
        self._paused_at = now
        self.paused = False

    def received(self, size: int, now: float) -> None:
        """Take note of bytes that came."""
        self._size += size
        self._last = now

    def pause(self, now: float) -> None:
        """Stop counting time."""
        if not self.paused:
            self.paused = True
            self._paused_at = now

    def resume(self, now: float) -> None:
        """Count time again."""
        if self.paused:
            self.paused = False
            self._began += now - self._paused_at
            self._last += now - self._paused_at

    def left(self, now: float) -> float:
        """Tell how many seconds the client still has if nothing more comes; none left: not above 0."""
        timeout = self._limits.body_timeout
        if self.paused:
            return timeout
        due = self._last + timeout
        if self._limits.min_body_rate:
            due = min(due, self._began + timeout + self._size / self._limits.min_body_rate)
        return due - now
