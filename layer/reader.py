"""One thread's place to receive at."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from .delivery import Delivery

if TYPE_CHECKING:
    from .base import Layer

_REMEMBERED = 64


class Waker(Protocol):
    """What an engine's blocking wait listens to beside its queues."""

    def wake(self) -> None:
        """End the present wait, or the next one; safe from any thread and any signal handler."""

    def take(self) -> bool:
        """Tell whether it was woken, and forget it."""


class Reader:
    """Receives for one thread, and remembers where the rotation over its channels stands.

    A reader belongs to one thread; only `wake` may be called from others.
    """

    def __init__(self, layer: "Layer", waker: Waker) -> None:
        self._layer = layer
        self._waker = waker
        self._turns: dict[tuple[str, ...], int] = {}

    def receive_batch(self, channels: Iterable[str], limit: int = 1, timeout: float | None = 0) -> list[Delivery]:
        """Take up to `limit` messages from the first channel that has any.

        Each call begins one channel further: with n busy channels each is served within n calls.

        Args:
            channels: What to receive from; an inbox by its name up to and with the `!`.
            limit: How many messages at most.
            timeout: Seconds to wait for the first one; None: for ever.

        Returns:
            The deliveries; none after the timeout, or after `wake()`.

        Raises:
            TypeError: `channels` is empty or holds a name that cannot be received from.
            LayerUnavailable: The layer is closed or out of reach.
        """
        names = self._layer._receivable(channels)
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit!r}")
        turn = self._turns.get(names, 0)
        if len(self._turns) >= _REMEMBERED:
            self._turns.clear()
        self._turns[names] = (turn + 1) % len(names)
        return self._layer._take(names, turn % len(names), limit, timeout, self._waker)

    def wake(self) -> None:
        """Make a blocked `receive_batch`, or else the next one, return nothing at once; safe from any thread and signal handler."""
        self._waker.wake()
