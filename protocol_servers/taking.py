"""Taking from a durable channel for an event loop: one thread that waits at the layer, whatever is under way.

A server that works on what others sent cannot wait for it on its loop. So one thread takes as much as the loop has
room for, and does at the layer what the loop asks for: acknowledging, giving back, state. That goes before the next
wait, in the same round trip where the engine can, and is repeated while the layer is away, for all of it is the same a
second time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..layer import Batch, Delivery, Layer, LayerError, LayerUnavailable

T = TypeVar("T")

_WAIT = 5.0  # seconds of one wait at the layer
_PAUSE = 0.5  # seconds before the layer is asked again that was away

_log = logging.getLogger("trunkline.taking")

Outcomes = list[Any]


class DurableTaker:
    """Take from one durable channel. Its methods are called, and its callbacks run, on the loop's thread.

    Args:
        layer: The layer.
        channel: The channel.
        loop: The event loop.
        taken: Called with each delivery, what `look` made of it, and when it was taken, by `time.monotonic`.
        look: Called in the thread with each delivery, before `taken`; may ask the layer, and is called again where the
            layer was away.
    """

    def __init__(
        self,
        layer: Layer,
        channel: str,
        *,
        loop: asyncio.AbstractEventLoop,
        taken: Callable[[Delivery, T, float], None],
        look: Callable[[Delivery], T],
    ) -> None:
        self._layer = layer
        self._channel = channel
        self._loop = loop
        self._taken = taken
        self._look = look
        self._reader = layer.reader()
        self._changed = threading.Condition()
        self._wanted = 0
        self._work: list[tuple[Batch, asyncio.Future[Outcomes]]] = []
        self._ending = False  # nothing more is taken
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name=f"{channel} taker", daemon=True)

    def start(self) -> None:
        """Begin to take; at first nothing is wanted."""
        self._thread.start()

    def want(self, count: int) -> None:
        """Take up to so many, in place of what was wanted before and was not taken yet."""
        with self._changed:
            if count == self._wanted:
                return
            self._wanted = count
            self._changed.notify()
        self._reader.wake()

    def run(self, batch: Batch) -> asyncio.Future[Outcomes]:
        """Run operations, all of which may be repeated, in order with all others.

        Returns:
            Their outcomes, as `Batch.run` returns them. It waits while the layer is away, and is cancelled where that
            lasts to the end.
        """
        future: asyncio.Future[Outcomes] = self._loop.create_future()
        with self._changed:
            self._work.append((batch, future))
            self._changed.notify()
        self._reader.wake()
        return future

    async def stop(self, grace: float) -> bool:
        """Take nothing more, and do what was asked for; after `grace` seconds give up, and return False."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._reader.wake()
        if not self._thread.is_alive():
            return True
        ended = await self._loop.run_in_executor(None, self._join, grace)
        if not ended:
            with self._changed:
                self._given_up = True
                self._changed.notify()
        return ended

    def _join(self, grace: float) -> bool:
        self._thread.join(max(grace, 0.001))
        return not self._thread.is_alive()

    # In the thread

    def _run(self) -> None:
        away = False
        while True:
            with self._changed:
                if away:
                    self._changed.wait_for(lambda: self._given_up, _PAUSE)
                self._changed.wait_for(lambda: self._work or self._wanted or self._ending)
                if self._given_up or (self._ending and not self._work):
                    break
                work = list(self._work)
                wanted = 0 if self._ending else self._wanted
            try:
                away = not self._once(work, wanted)
            except LayerUnavailable:
                away = True
            except Exception:
                _log.exception("taking from %s failed", self._channel)
                away = True
        with self._changed:
            left, self._work = self._work, []
        for _, future in left:
            self._tell(_cancel, future)

    def _once(self, work: list[tuple[Batch, asyncio.Future[Outcomes]]], wanted: int) -> bool:
        """Do the work that is there, then take up to `wanted`; return False if some of the work is to be done again."""
        flush = self._layer.batch()
        for batch, _ in work:
            flush.calls.extend(batch.calls)
        done = True

        def flushed(outcomes: Outcomes) -> None:
            nonlocal done
            done = self._settle(len(work), outcomes)

        if wanted:
            self._hand_over(self._reader.receive_batch((self._channel,), wanted, _WAIT, flush=flush, flushed=flushed))
        else:
            flushed(flush.run())
        return done

    def _settle(self, count: int, outcomes: Outcomes) -> bool:
        """Tell what became of the first work; what the layer was away for stays, with all that stands behind it."""
        finished = []
        with self._changed:
            for batch, future in self._work[:count]:
                told, outcomes = outcomes[: len(batch.calls)], outcomes[len(batch.calls) :]
                if any(isinstance(each, LayerUnavailable) for each in told):
                    break
                finished.append((future, told))
            del self._work[: len(finished)]
        for future, told in finished:
            self._tell(_answer, future, told)
        return len(finished) == count

    def _hand_over(self, deliveries: list[Delivery]) -> None:
        when = time.monotonic()
        with self._changed:
            self._wanted = max(0, self._wanted - len(deliveries))
        while deliveries and not self._given_up:
            try:
                seen = self._look(deliveries[0])
            except LayerError:
                with self._changed:
                    self._changed.wait_for(lambda: self._given_up, _PAUSE)
                continue
            self._tell(self._taken, deliveries.pop(0), seen, when)

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # the loop is closed: nobody is there to hear it


def _answer(future: asyncio.Future[Outcomes], outcomes: Outcomes) -> None:
    if not future.done():
        future.set_result(outcomes)


def _cancel(future: asyncio.Future[Outcomes]) -> None:
    future.cancel()
