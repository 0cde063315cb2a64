"""The way out of one worker thread: what its consumers sent leaves in batches, in order, and waits for full channels.

    put ──► pending ──► one batch of the layer ──┬─► taken
                 ▲                               ├─► layer away: back to the head of pending
                 └───────────────────────────────┤
                                                 ├─► in doubt: counted, never sent again; a response it was part of
                                                 │   ends as an error
                                                 └─► channel full: waits, tried again for 2 s, and everything that
                                                     is sent there later waits behind it; then a dead letter

`put` and `receive` are called by the worker's thread, `flush` by it or by the helper thread. That nothing overtakes
what waits begins in the layer: of a batch it takes nothing for a queue behind a send that found no room (`Batch.run`).
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ..layer import Batch, ChannelFull, LayerError, LayerUnavailable
from .full_channels import Call, FullChannel, Waiting

if TYPE_CHECKING:
    from ..layer import Delivery, Layer, Reader

log = logging.getLogger("trunkline.workers")

HOLD = 0.001
"""Seconds something may wait for the consumers after it before the helper thread takes it."""

_AWAY_PAUSE = 0.1
_TRACEBACK = 16 * 1024
_MOST_LETTERS = 10_000

Endings = dict[str, Mapping[str, Any]]
"""Reply channel → what ends the response there as an error, should a part of it be dropped."""


class Letter(NamedTuple):
    """A dead letter to be."""

    channel: str
    message: Mapping[str, Any]
    reason: str
    traceback: str = ""
    tries: int = 1


class Flusher:
    """What one worker thread has to send.

    Args:
        layer: Where to.
        pause: Waits some seconds; a test moves its clock instead.
        expect: Has `flush` called at a time on the layer's clock.
        outage: Waits a little while the layer is away, so many seconds at the most; False where nobody is to wait.

    Attributes:
        stats: Counts of what happened to sends: `dropped_full`, `in_doubt` (it may have arrived, and is not repeated),
            `flush_errors`, `dead_letters`, `letters_lost`.
        since: When the oldest of what is pending was put, on the layer's clock; None where nothing is.
        away: Whether the layer was out of reach at the last flush.
    """

    def __init__(
        self,
        layer: Layer,
        pause: Callable[[float], object],
        expect: Callable[[float], object],
        outage: Callable[[float], bool],
    ) -> None:
        self._layer = layer
        self.expect = expect
        self.outage = outage
        self._clock = layer.clock
        self.pause = pause
        self.stats: Counter[str] = Counter()
        self.since: float | None = None
        self.away = False
        self._pending: list[Call] = []
        self._letters: deque[Letter] = deque()
        self._endings: Endings = {}
        self._full: dict[str, FullChannel] = {}
        self._mutex = threading.Lock()  # of what `put` touches
        self._turn = threading.Lock()  # one flush at a time, so that order is kept

    def put(self, calls: list[Call], reply_name: str | None = None, ending: Mapping[str, Any] | None = None) -> None:
        """Add operations behind what is pending.

        Args:
            calls: The operations of a batch.
            reply_name: The reply channel of the message they belong to.
            ending: What ends the response there as an error, should a part of it be dropped.
        """
        if not calls:
            return
        with self._mutex:
            self._pending += calls
            if ending is not None and reply_name is not None:
                self._endings[reply_name] = ending
            self._touch()

    def bury(self, letter: Letter) -> None:
        """Add a dead letter; it is written with the next flush."""
        with self._mutex:
            if len(self._letters) >= _MOST_LETTERS:
                self._letters.popleft()
                self.stats["letters_lost"] += 1
            self._letters.append(letter)
            self._touch()

    def due(self) -> float:
        """Return when `flush` has something to do next; infinity where nothing waits."""
        due = float("inf") if self.since is None else self.since + (_AWAY_PAUSE if self.away else HOLD)
        return min([due, *(full.next for full in list(self._full.values()))])

    def busy(self) -> bool:
        """Say whether anything has not left yet."""
        return self.since is not None or bool(self._full)

    def flush(self) -> bool:
        """Send what is pending, and try again what waits for room and is due.

        Returns:
            False where the layer is away: what is pending is kept.
        """
        with self._turn:
            return self._flush()

    def try_flush(self) -> bool:
        """Do what `flush` does, unless another thread is at it: then return False."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._flush()
        finally:
            self._turn.release()
        return True

    def run(self, batch: Batch) -> list[Any]:
        """Run a batch behind what is pending, in one round trip.

        Returns:
            What came of the batch: what each operation returns, or the error it raises.
        """
        with self._turn:
            calls, endings = self._take()
            outcomes = self.outcomes([*calls, *batch.calls])
            self._settle(calls, outcomes[: len(calls)], endings)
            return outcomes[len(calls) :]

    def receive(self, reader: Reader, channels: Iterable[str], limit: int, timeout: float | None) -> list[Delivery]:
        """Send what is pending and receive what comes next, in one round trip where the engine can.

        The turn is over as soon as the outcomes are known: nobody waits until a message comes.

        Args:
            reader: Where to receive.
            channels: What from.
            limit: How many messages at most.
            timeout: Seconds to wait for the first one; None: for ever.

        Raises:
            LayerUnavailable: the layer is away; what is pending is kept.
        """
        if self._letters or self._full:
            self.flush()
        if self.since is None:
            return reader.receive_batch(channels, limit, timeout)
        turn = ExitStack()
        with turn:
            turn.enter_context(self._turn)
            calls, endings = self._take()
            batch = self._layer.batch()
            batch.calls += calls

            def flushed(outcomes: list[Any]) -> None:
                self.away = False
                self._settle(calls, outcomes, endings)
                turn.close()

            return reader.receive_batch(channels, limit, timeout, flush=batch, flushed=flushed)

    def _flush(self) -> bool:
        self.away = False
        if self.since is not None:
            calls, endings = self._take()
            if calls:
                self._settle(calls, self.outcomes(calls), endings)
            if self._letters:
                self._write()
        if self._full:
            self._retry()
        return not self.away

    def _take(self) -> tuple[list[Call], Endings]:
        """Take what is pending, without the dead letters and what has to wait for room behind others."""
        with self._mutex:
            calls, self._pending = self._pending, []
            endings, self._endings = self._endings, {}
            self.since = None
            if self._letters:
                self._touch()
        return (self._behind(calls, endings) if self._full else calls), endings

    def _settle(self, calls: list[Call], outcomes: list[Any], endings: Endings) -> None:
        if not any(isinstance(outcome, Exception) for outcome in outcomes):
            return
        kept: list[Call] = []
        doubts = 0
        doubtful = False  # whether what was sent for the message whose acknowledgement comes next may not have arrived
        ended: Endings = {}
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, LayerUnavailable):
                self.away = True
                if not outcome.uncertain:
                    if not (doubtful and Batch.settles(call)):  # else it is delivered again, and all is sent anew
                        kept.append(call)
                    doubtful = doubtful and not Batch.settles(call)
                    continue
                doubts += 1
                doubtful = True
                channel = Batch.channel_of(call)
                if channel is not None and channel in endings:
                    ended[channel] = endings.pop(channel)
            elif isinstance(outcome, ChannelFull):
                self._wait(call, endings)
            elif isinstance(outcome, Exception):
                self.lose(call, outcome)
        if ended:
            # Nothing follows a part that may be missing, or overtakes one, but the end.
            whole = [call for call in kept if Batch.channel_of(call) not in ended]
            doubts += len(kept) - len(whole)
            kept = whole + [self._make(channel, ending) for channel, ending in ended.items()]
        if doubts:
            self.doubt(doubts)
        if kept:
            with self._mutex:
                self._pending[:0] = kept
                self._endings = {**endings, **self._endings}
                self._touch()
        if self.since is not None:
            self.expect(self.due())

    def doubt(self, count: int) -> None:
        """Count operations that may or may not have reached the layer, and say so: nobody repeats them."""
        self.stats["in_doubt"] += count
        log.warning("the layer was lost under a flush: %d operations may not have arrived, and are not repeated", count)

    def outcomes(self, calls: list[Call]) -> list[Any]:
        """Run operations; return what each returns, or the error it raises."""
        batch = self._layer.batch()
        batch.calls += calls
        try:
            return batch.run()
        except LayerUnavailable as error:
            return [error] * len(calls)
        except Exception as error:  # an engine that breaks must not stop a worker; what arrived is not known
            log.exception("a flush of %d operations failed", len(calls))
            return [error] * len(calls)

    def _touch(self) -> None:
        if self.since is None:
            self.since = self._clock()

    # full channels

    def waits(self, channel: str) -> bool:
        """Say whether a send to a channel would overtake others that wait for room."""
        return _queue_of(channel) in self._full

    def _behind(self, calls: list[Call], endings: Endings) -> list[Call]:
        """Put what goes to a queue that others wait for behind them; return the rest."""
        rest = []
        for call in calls:
            channel = Batch.channel_of(call)
            if channel is not None and self.waits(channel):
                self._wait(call, endings)
            else:
                rest.append(call)
        return rest

    def _wait(self, call: Call, endings: Endings) -> None:
        channel = Batch.channel_of(call)
        assert channel is not None, "only sends find a channel full"
        now = self._clock()
        full = self._full.get(_queue_of(channel))
        if full is None:
            full = self._full[_queue_of(channel)] = FullChannel(self, self._make, now)
            self.expect(full.next)
        full.add(call, channel, endings.get(channel), now)

    def _make(self, channel: str, message: Mapping[str, Any]) -> Call:
        batch = self._layer.batch()
        batch.send(channel, dict(message))
        return batch.calls[0]

    def _retry(self) -> None:
        for queue, full in list(self._full.items()):
            if full.next <= self._clock():
                full.retry(self._clock)
            if not full:
                del self._full[queue]

    def drop(self, send: Waiting, *, keep: bool) -> None:
        """Count a send that found no room in time.

        Args:
            send: The send.
            keep: Whether it becomes a dead letter; of a response only the first part does.
        """
        self.stats["dropped_full"] += 1
        if keep:
            self.bury(
                Letter(
                    send.channel, self._layer.batch().message_of(send.call), f"{_queue_of(send.channel)} stayed full"
                )
            )

    # what can never leave

    def lose(self, call: Call, error: Exception) -> None:
        """Count and keep what can never be taken."""
        self.stats["flush_errors"] += 1
        channel = Batch.channel_of(call)
        log.error("a send to %s was refused: %s", channel or "the layer", error)
        if channel is not None:
            self.bury(Letter(channel, self._layer.batch().message_of(call), f"refused: {error}"))

    def _write(self) -> None:
        with self._mutex:
            letters, self._letters = self._letters, deque()
            self.since = None
            if self._pending:
                self._touch()
        doubts = 0
        while letters:
            letter = letters.popleft()
            try:
                self._layer.dead_letter(
                    letter.channel,
                    dict(letter.message),
                    reason=letter.reason,
                    traceback=letter.traceback,
                    tries=letter.tries,
                )
                self.stats["dead_letters"] += 1
            except LayerUnavailable as error:
                self.away = True
                if error.uncertain:
                    doubts += 1
                    continue
                with self._mutex:
                    letters.appendleft(letter)
                    letters.extend(self._letters)
                    self._letters = letters
                    self._touch()
                break
            except (LayerError, TypeError, ValueError) as error:
                self.stats["letters_lost"] += 1
                log.error("a dead letter of %s could not be kept: %s", letter.channel, error)
        if doubts:
            self.doubt(doubts)


def traceback_of(error: BaseException) -> str:
    """Return the end of an error's traceback, at most 16 KiB, whatever the error holds."""
    try:
        return "".join(traceback.format_exception(error))[-_TRACEBACK:]
    except BaseException as worse:
        return f"{type(error).__name__}, and its traceback cannot be shown: {type(worse).__name__}"


def _queue_of(channel: str) -> str:
    return channel[: channel.index("!") + 1] if "!" in channel else channel
