"""One thread's place to receive at."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import names
from .batch import Batch
from .calls import Call, lost
from .delivery import Delivery
from .errors import LayerUnavailable

if TYPE_CHECKING:
    from .base import Layer

_REMEMBERED = 64


class Wanted(NamedTuple):
    """Channels to receive from, checked; `inboxes` are those among them that end in `!`."""

    queues: tuple[str, ...]
    inboxes: tuple[str, ...]


class Reader(ABC):
    """Receives for one thread, and remembers where the rotation over its channels stands.

    A reader belongs to one thread; only `wake` may be called from others. An engine sets `_layer`, writes `_take` and
    `wake`, and `_flush_and_take` where one round trip does for both.
    """

    _layer: "Layer"

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, ...], Wanted] = {}
        self._turns: dict[tuple[str, ...], int] = {}

    @abstractmethod
    def wake(self) -> None:
        """Make a blocked `receive_batch`, or else the next one, return nothing at once.

        Safe from any thread and from a signal handler.
        """

    @abstractmethod
    def _take(self, wanted: Wanted, start: int, limit: int, timeout: float | None) -> list[Delivery]:
        """Receive from the first queue, from the one at `start` on and around, that has something.

        Before it takes from an inbox it attaches to it; what it took goes through the layer's `Membership` of the
        inbox, in the order in which it was taken.
        """

    def _flush_and_take(
        self,
        calls: Sequence[Call],
        settle: Callable[[Sequence[Any]], None],
        wanted: Wanted,
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        """Run calls, hand their outcomes to `settle`, once, and only then wait, as `_take` does.

        What is raised before `settle` was called is the outcome of all of them; of a LayerUnavailable that is
        uncertain, what may safely be repeated is told as certain.
        """
        outcomes = self._layer._run(calls)
        settle(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, LayerUnavailable):  # who cannot send should take nothing more
                raise outcome
        return self._take(wanted, start, limit, timeout)

    def receive_batch(
        self,
        channels: Iterable[str],
        limit: int = 1,
        timeout: float | None = 0,
        *,
        flush: Batch | None = None,
        flushed: Callable[[list[Any]], None] | None = None,
    ) -> list[Delivery]:
        """Take up to `limit` messages from the first channel that has any.

        Each call begins one channel further: with n busy channels each is served within n calls.

        Args:
            channels: What to receive from; an inbox by its name up to and with the `!`.
            limit: How many messages at most.
            timeout: Seconds to wait for the first one; None: for ever.
            flush: What is to be sent before: it is run first, in the same round trip where the engine can, and empty
                afterwards. Also after `wake()`.
            flushed: Called with what `flush.run()` would have returned, once, before anything is waited for, and also
                where the layer is away. It must not raise.

        Returns:
            The deliveries; none after the timeout, or after `wake()`.

        Raises:
            TypeError: `channels` is empty or holds a name that cannot be received from; `flush` was not run.
            LayerUnavailable: The layer is closed or out of reach.
        """
        key = channels if type(channels) is tuple else _list(channels)
        wanted = self._wanted.get(key)
        if wanted is None:
            wanted = self._check(key)
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit!r}")
        turn = self._turns[key]
        self._turns[key] = turn + 1 if turn + 1 < len(key) else 0
        if flush is None:
            taken = self._take(wanted, turn, limit, timeout)
        else:
            taken = self._flushing(flush, flushed, wanted, turn, limit, timeout)
        return taken if self._layer._calls.cipher is None else self._layer._opened(taken)

    def _flushing(
        self,
        flush: Batch,
        flushed: Callable[[list[Any]], None] | None,
        wanted: Wanted,
        start: int,
        limit: int,
        timeout: float | None,
    ) -> list[Delivery]:
        calls, outcomes = flush.hand_over()
        settled = False

        def settle(results: Sequence[Any]) -> None:
            nonlocal settled
            settled = True
            if flushed is not None:
                flushed(outcomes(results))

        if not calls:
            settle(calls)
            return self._take(wanted, start, limit, timeout)
        try:
            return self._flush_and_take(calls, settle, wanted, start, limit, timeout)
        except Exception as error:
            if not settled:
                settle(lost(calls, error) if isinstance(error, LayerUnavailable) else [error] * len(calls))
            raise

    def _check(self, channels: tuple[str, ...]) -> Wanted:
        if not channels:
            raise TypeError("receive takes at least one channel")
        for channel in channels:
            names.check_receivable(channel)
        if len(self._wanted) >= _REMEMBERED:
            self._wanted.clear()
            self._turns.clear()
        wanted = Wanted(channels, tuple(channel for channel in channels if channel.endswith("!")))
        self._wanted[channels] = wanted
        self._turns[channels] = 0
        return wanted


def _list(channels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(channels, str):
        raise TypeError(f"receive takes a list of channels, not the str {channels[:120]!r}")
    return tuple(channels)
