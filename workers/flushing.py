"""The way out of one worker thread: what its consumers sent leaves in batches, in order, and waits for full channels.

    put ──► pending ──► one batch of the layer ──┬─► taken
                 ▲                               ├─► layer away: back to the head of pending
                 └───────────────────────────────┤
                                                 └─► channel full: waits, tried again for 2 s, and everything that
                                                     is sent there later waits behind it; then a dead letter

`put` is called by the worker's thread, `flush` by it or by the helper thread.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..layer import Batch, ChannelFull, LayerError, LayerUnavailable

if TYPE_CHECKING:
    from ..layer import Layer

log = logging.getLogger("trunkline.workers")

HOLD = 0.001
"""Seconds something may wait for the consumers after it before the helper thread takes it."""

PATIENCE = 2.0
"""Seconds a send into a full channel is tried."""

_ENDING_PATIENCE = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
_TRACEBACK = 16 * 1024
_MOST_LETTERS = 1000
_MOST_WAITING = 64 * 1024 * 1024  # bytes that wait for one queue; what waits longest is given up first

Call = Any
"""One operation of a batch, opaque to us."""


class Letter(NamedTuple):
    """A dead letter to be."""

    channel: str
    message: Mapping[str, Any]
    reason: str
    traceback: str = ""
    tries: int = 1


class _Wait(NamedTuple):
    """A send that found no room."""

    call: Call
    channel: str
    until: float
    ending: Mapping[str, Any] | None


class _Waiting:
    """Sends that wait for room in one queue, in order."""

    __slots__ = ("next", "pause", "sends", "size")

    def __init__(self, now: float) -> None:
        self.sends: deque[_Wait] = deque()
        self.size = 0
        self.pause = _FIRST_PAUSE
        self.next = now + self.pause


class Flusher:
    """What one worker thread has to send.

    Args:
        layer: Where to.
        pause: Waits some seconds; a test moves its clock instead.
        expect: Has `flush` called at a time on the layer's clock.

    Attributes:
        stats: Counts of what happened to sends: `dropped_full`, `flush_errors`, `dead_letters`, `letters_lost`.
        since: When the oldest of what is pending was put, on the layer's clock; None where nothing is.
        away: Whether the layer was out of reach at the last flush.
    """

    def __init__(self, layer: Layer, pause: Callable[[float], object], expect: Callable[[float], object]) -> None:
        self._layer = layer
        self._expect = expect
        self._clock = layer.clock
        self.pause = pause
        self.stats: Counter[str] = Counter()
        self.since: float | None = None
        self.away = False
        self._pending: list[Call] = []
        self._letters: deque[Letter] = deque()
        self._endings: dict[str, Mapping[str, Any]] = {}
        self._waiting: dict[str, _Waiting] = {}
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
        due = float("inf") if self.since is None else self.since + HOLD
        for waiting in list(self._waiting.values()):
            due = min(due, waiting.next)
        return due

    def busy(self) -> bool:
        """Say whether anything has not left yet."""
        return self.since is not None or bool(self._waiting)

    def flush(self) -> bool:
        """Send what is pending, and try again what waits for room and is due.

        Returns:
            False where the layer is away: what is pending is kept.
        """
        with self._turn:
            self.away = False
            if self.since is not None:
                with self._mutex:
                    calls, self._pending = self._pending, []
                    letters, self._letters = self._letters, deque()
                    endings, self._endings = self._endings, {}
                    self.since = None
                if self._waiting:
                    calls = self._behind(calls, endings)
                if calls:
                    self._run(calls, endings)
                if letters:
                    self._write(letters)
            if self._waiting:
                self._retry()
            return not self.away

    def _run(self, calls: list[Call], endings: dict[str, Mapping[str, Any]]) -> None:
        outcomes = self._outcomes(calls)
        if not any(isinstance(outcome, Exception) for outcome in outcomes):
            return
        kept = []
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, LayerUnavailable):
                kept.append(call)
            elif isinstance(outcome, ChannelFull):
                self._wait(call, endings)
            elif isinstance(outcome, Exception):
                self._lose(call, outcome)
        if kept:
            self.away = True
            with self._mutex:
                self._pending[:0] = kept
                self._endings = {**endings, **self._endings}
                self._touch()

    def _outcomes(self, calls: list[Call]) -> list[Any]:
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

    def _behind(self, calls: list[Call], endings: dict[str, Mapping[str, Any]]) -> list[Call]:
        """Put what goes to a queue that others wait for behind them; return the rest."""
        rest = []
        for call in calls:
            channel = Batch.channel_of(call)
            if channel is not None and _queue_of(channel) in self._waiting:
                self._wait(call, endings)
            else:
                rest.append(call)
        return rest

    def _wait(self, call: Call, endings: dict[str, Mapping[str, Any]]) -> None:
        channel = Batch.channel_of(call)
        assert channel is not None, "only sends find a channel full"
        now = self._clock()
        waiting = self._waiting.get(_queue_of(channel))
        if waiting is None:
            waiting = self._waiting[_queue_of(channel)] = _Waiting(now)
            self._expect(waiting.next)
        waiting.sends.append(_Wait(call, channel, now + PATIENCE, endings.get(channel)))
        waiting.size += Batch.size_of(call)
        while waiting.size > _MOST_WAITING:
            self._give_up(waiting, waiting.sends.popleft(), now)

    def _retry(self) -> None:
        for queue, waiting in list(self._waiting.items()):
            if waiting.next > self._clock():
                continue
            sends = list(waiting.sends)
            outcomes = self._outcomes([send.call for send in sends])
            now = self._clock()
            waiting.sends.clear()
            for send, outcome in zip(sends, outcomes, strict=True):
                if isinstance(outcome, ChannelFull | LayerUnavailable):
                    self.away = self.away or isinstance(outcome, LayerUnavailable)
                    waiting.sends.append(send)
                    continue
                waiting.size -= Batch.size_of(send.call)
                if isinstance(outcome, Exception):
                    self._lose(send.call, outcome)
            waiting.pause = _FIRST_PAUSE if len(waiting.sends) < len(sends) else min(waiting.pause * 2, _LONGEST_PAUSE)
            waiting.next = now + waiting.pause
            if not self.away:
                for send in [send for send in waiting.sends if send.until <= now]:
                    if send in waiting.sends:
                        waiting.sends.remove(send)
                        self._give_up(waiting, send, now)
            if not waiting.sends:
                del self._waiting[queue]

    def _give_up(self, waiting: _Waiting, send: _Wait, now: float) -> None:
        """Drop a send; a part of a response takes the rest of that response with it."""
        self._drop(waiting, send)
        self.bury(Letter(send.channel, Batch.message_of(send.call), f"{_queue_of(send.channel)} stayed full"))
        if send.ending is None:
            return
        for other in [other for other in waiting.sends if other.channel == send.channel]:
            waiting.sends.remove(other)
            self._drop(waiting, other)
        last = self._layer.batch()
        last.send(send.channel, dict(send.ending))
        waiting.sends.append(_Wait(last.calls[0], send.channel, now + _ENDING_PATIENCE, None))
        waiting.size += Batch.size_of(last.calls[0])

    def _drop(self, waiting: _Waiting, send: _Wait) -> None:
        self.stats["dropped_full"] += 1
        waiting.size -= Batch.size_of(send.call)

    # what can never leave

    def _lose(self, call: Call, error: Exception) -> None:
        self.stats["flush_errors"] += 1
        channel = Batch.channel_of(call)
        log.error("a send to %s was refused: %s", channel or "the layer", error)
        if channel is not None:
            self.bury(Letter(channel, Batch.message_of(call), f"refused: {error}"))

    def _write(self, letters: deque[Letter]) -> None:
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
            except LayerUnavailable:
                self.away = True
                with self._mutex:
                    letters.appendleft(letter)
                    letters.extend(self._letters)
                    self._letters = letters
                    self._touch()
                return
            except (LayerError, TypeError, ValueError) as error:
                self.stats["letters_lost"] += 1
                log.error("a dead letter of %s could not be kept: %s", letter.channel, error)


def traceback_of(error: BaseException) -> str:
    """Return the end of an error's traceback, at most 16 KiB, whatever the error holds."""
    try:
        return "".join(traceback.format_exception(error))[-_TRACEBACK:]
    except BaseException as worse:
        return f"{type(error).__name__}, and its traceback cannot be shown: {type(worse).__name__}"


def _queue_of(channel: str) -> str:
    return channel[: channel.index("!") + 1] if "!" in channel else channel
