"""How long to wait before something is tried again."""

import random

FIRST = 0.05
LONGEST = 2.0


class Backoff:
    """Full jitter: anything between nothing and a bound that doubles from 50 ms to 2 s.

    Args:
        rng: Where chance comes from.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._uniform = (rng or random.Random()).uniform
        self._bound = FIRST

    def next(self) -> float:
        """Return the seconds to wait now."""
        bound, self._bound = self._bound, min(self._bound * 2, LONGEST)
        return self._uniform(0, bound)

    def reset(self) -> None:
        """Begin again with the shortest: it worked."""
        self._bound = FIRST
