"""How Slack tells an app: envelopes, attempts, acknowledgements and retries, whatever carries them.

Slack repeats an event that was not acknowledged in time, three times, and says so; commands and interactions it does
not repeat. Events of one room leave in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["events_api", "slash_commands", "interactive"]


@dataclass
class Attempt:
    """One try at telling the app.

    Attributes:
        time: When, by the service's clock.
        envelope_id: The id that a socket's acknowledgement names.
        reason: Why Slack tries again: what became of the attempt before; "" for the first.
        outcome: "" while it is open, "acknowledged", or why it failed.
        ended: When that was known.
    """

    time: float
    envelope_id: str
    reason: str
    outcome: str = ""
    ended: float | None = None


@dataclass(eq=False)
class Delivery:
    """Something that the app is to be told.

    Attributes:
        kind: "events_api", "slash_commands" or "interactive".
        id: The event id, or the trigger id.
        payload: What it is told.
        room: The room that it is about; within it order is kept.
        attempts: What was tried.
        answer: What came with the acknowledgement.
        given_up: Slack does not try again by itself.
    """

    kind: Kind
    id: str
    payload: dict[str, Any]
    room: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    answer: Any = None
    given_up: bool = False

    @property
    def acknowledged(self) -> bool:
        """Whether the app took it."""
        return any(attempt.outcome == "acknowledged" for attempt in self.attempts)

    @property
    def failure(self) -> str:
        """Why the last attempt failed; "" where it did not."""
        outcome = self.attempts[-1].outcome if self.attempts else ""
        return "" if outcome == "acknowledged" else outcome


class Carrier(Protocol):
    """What carries an attempt to the app; it reports to the `Courier`."""

    def carry(self, delivery: Delivery, attempt: Attempt) -> None:
        """Start an attempt, on the loop."""


class Courier:
    """Sees to it that what the app is to be told is told.

    All methods run on the service's loop, with the workspace's lock held.

    Args:
        loop: The service's loop.
        clock: Seconds.
        make_id: Makes an envelope id.
        retries: Seconds from each failure to the next attempt; as many retries as there are numbers.
        patience: Seconds that the app has for its acknowledgement.
        locked: Calls a function with the lock held, and wakes who waits for what changed.
        answered: Told of the first acknowledgement of each.

    Attributes:
        carrier: What carries the attempts.
        deliveries: Everything that the app was to be told.
        acknowledgements: How many acknowledgements came, repeated ones too.
        strays: How many acknowledgements were of what was never sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float],
        make_id: Callable[[], str],
        retries: Sequence[float],
        patience: float,
        locked: Callable[[Callable[[], None]], None],
        answered: Callable[[Delivery], None],
    ) -> None:
        self.carrier: Carrier
        self.deliveries: list[Delivery] = []
        self.acknowledgements = 0
        self.strays = 0
        self._loop = loop
        self._clock = clock
        self._make_id = make_id
        self._retries = tuple(retries)
        self._patience = patience
        self._locked = locked
        self._answered = answered
        self._open: dict[str, tuple[Delivery, Attempt]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._due: dict[Delivery, asyncio.TimerHandle] = {}
        self._closed = False

    def attempt(self, delivery: Delivery) -> None:
        """Try once to tell the app."""
        if self._closed:
            return
        due = self._due.pop(delivery, None)
        if due is not None:
            due.cancel()
        reason = delivery.failure
        same = delivery.kind != "events_api" and delivery.attempts
        envelope_id = delivery.attempts[0].envelope_id if same else self._make_id()
        attempt = Attempt(self._clock(), envelope_id, reason)
        delivery.attempts.append(attempt)
        self._open[envelope_id] = (delivery, attempt)
        self.carrier.carry(delivery, attempt)

    def sent(self, attempt: Attempt) -> None:
        """An attempt left: the time for its acknowledgement runs."""
        self._timers[attempt.envelope_id] = self._loop.call_later(
            self._patience, self._locked, lambda: self.failed(attempt.envelope_id, "timeout")
        )

    def acknowledge(self, envelope_id: Any, answer: Any = None) -> None:
        """The app acknowledged an attempt; a late acknowledgement counts like one in time."""
        self.acknowledgements += 1
        found = self._open.pop(envelope_id, None) if isinstance(envelope_id, str) else None
        if found is None:
            found = self._past(envelope_id)
        if found is None:
            self.strays += 1
            return
        delivery, attempt = found
        self._clear(attempt.envelope_id)
        first = not delivery.acknowledged
        attempt.outcome = "acknowledged"
        attempt.ended = self._clock()
        if first:
            delivery.answer = answer
            self._answered(delivery)
        due = self._due.pop(delivery, None)
        if due is not None:
            due.cancel()

    def failed(self, envelope_id: str, reason: str, *, again: bool = True) -> None:
        """An attempt failed: another follows in its time, or none."""
        delivery, attempt = self._open.pop(envelope_id, (None, None))
        if delivery is None or attempt is None:
            return
        self._clear(envelope_id)
        attempt.outcome = reason
        attempt.ended = self._clock()
        retry = len(delivery.attempts) - 1
        if delivery.acknowledged:
            return
        if delivery.kind != "events_api" or not again or retry >= len(self._retries):
            delivery.given_up = True
            return
        self._due[delivery] = self._loop.call_later(self._retries[retry], self._locked, lambda: self.attempt(delivery))

    def retry_now(self) -> int:
        """Try all again that was not acknowledged and is not under way, what was given up, too.

        Returns:
            How many.
        """
        under_way = {delivery for delivery, _ in self._open.values()}
        waiting = [each for each in self.deliveries if not each.acknowledged and each not in under_way]
        for delivery in waiting:
            self.attempt(delivery)
        return len(waiting)

    def close(self) -> None:
        """Try nothing more."""
        self._closed = True
        for timer in (*self._timers.values(), *self._due.values()):
            timer.cancel()

    def _past(self, envelope_id: Any) -> tuple[Delivery, Attempt] | None:
        for delivery in reversed(self.deliveries):
            for attempt in delivery.attempts:
                if attempt.envelope_id == envelope_id:
                    return delivery, attempt
        return None

    def _clear(self, envelope_id: str) -> None:
        timer = self._timers.pop(envelope_id, None)
        if timer is not None:
            timer.cancel()
