"""How long to wait between attempts to connect.

Full jitter, so that those who lost Redis, or a broker, together come back one by one: see "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015.
"""

import random
from collections.abc import Callable


class Backoff:
    """Waits that are drawn from 0 up to a ceiling, which doubles with each.

    Args:
        shortest: The first ceiling, in seconds.
        longest: The last ceiling, in seconds.
        draw: Returns a number from 0 up to 1.
    """

    def __init__(
        self, shortest: float = 0.05, longest: float = 2.0, *, draw: Callable[[], float] = random.random
    ) -> None:
        self.longest = longest
        self._shortest = shortest
        self._draw = draw
        self._ceiling = shortest

    def next(self) -> float:
        """Return how long to wait before the next attempt, in seconds."""
        wait = self._draw() * self._ceiling
        self._ceiling = min(self._ceiling * 2, self.longest)
        return wait

    def reset(self) -> None:
        """Begin again with the shortest ceiling: an attempt succeeded."""
        self._ceiling = self._shortest
