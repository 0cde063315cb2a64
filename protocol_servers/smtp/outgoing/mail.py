"""One mail on its way out: what became of it so far, and what is still to be done."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....layer import Delivery
from ....message_formats.email.compose import CompositionError, envelope
from .dialogue import Answer, Transfer

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MOST_TEXT = 300  # characters of an answer that are kept
_MOST_ANSWERS = 100  # that are kept for people to see


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a mail is tried again; times in seconds (RFC 5321 section 4.5.4.1).

    Args:
        first: After the first try; each further wait is twice as long.
        longest: The longest wait.
        give_up: After so long it has failed.
    """

    first: float = MINUTE
    longest: float = 4 * HOUR
    give_up: float = 5 * DAY

    def wait(self, tries: int, chance: Callable[[], float] = random.random) -> float:
        """Return the seconds until the next try after so many; a little chance keeps mails from coming all at once."""
        return min(self.longest, self.first * 2.0 ** min(tries - 1, 40)) * (0.9 + 0.2 * chance())


class OutgoingMail:
    """An `email.send` in hand.

    Args:
        delivery: Where it came from.
        progress: What was written down of earlier tries; None: nothing.

    Attributes:
        delivery: The delivery that settles it.
        id: What it is called in results.
        key: Where its progress is written down.
        sent: When it was sent, in Unix seconds.
        sender: The envelope sender; None: the null sender.
        waiting: Recipients who may be tried now.
        delayed: Recipients who have to be tried again, and why.
        accepted: Recipients whom the relay took it for now, and what it said.
        failed: Recipients for whom it failed now, and why.
        tries: How often it was tried before.
        held_until: Until when nobody else gets it, on the system's monotonic clock.
        is_written_down: Whether there is anything behind `key`.
    """

    def __init__(self, delivery: Delivery, progress: Mapping[str, Any] | None) -> None:
        assert delivery.id is not None, "email.send is durable here"
        self.delivery = delivery
        self.message = delivery.message
        self.key = state_key(delivery.id)
        self.id = str(self.message.get("id") or delivery.id)
        self.sent = int(delivery.id) / 1e6  # ids are microseconds of Unix time
        self.held_until = 0.0
        self.is_written_down = progress is not None
        told = progress or {}
        self.tries: int = told.get("tries", 0)
        self._done: dict[str, None] = dict.fromkeys(told.get("done", ()))
        self.sender: str | None = None
        self.waiting: list[str] = []
        self.delayed: dict[str, Answer] = {}
        self.accepted: dict[str, Answer] = {}
        self.failed: dict[str, Answer] = {}
        self._numbers: dict[str, int] = {}

    def address(self) -> None:
        """Find out whom it is from and whom it goes to.

        Raises:
            CompositionError: It has no sender or no recipient.
        """
        self.sender, found, wrong = envelope(self.message)
        self._numbers = {address: number for number, address in enumerate([*found, *wrong])}
        if not self._numbers:
            raise CompositionError("it has no recipient")
        self.waiting = [address for address in found if address not in self._done]
        for text in wrong:
            if text not in self._done:
                self._done[text] = None
                self.failed[text] = Answer(501, ("5.1.3 This is no address",))

    def number(self, address: str) -> int:
        """Return a number for a recipient that stays the same."""
        return self._numbers.get(address, -1)

    @property
    def left(self) -> list[str]:
        """The recipients of whom nothing final is known."""
        return [*self.waiting, *self.delayed]

    def take(self, transfer: Transfer) -> None:
        """Take note of what the relay answered."""
        for address, answer in transfer.answers.items():
            if answer.is_good or answer.is_permanent:
                self._done[address] = None
                (self.accepted if answer.is_good else self.failed)[address] = answer
            else:
                self.delayed[address] = answer
        self.waiting = list(transfer.left)

    def delay(self, answer: Answer) -> None:
        """Have all who are left tried again later."""
        self.delayed |= dict.fromkeys(self.waiting, answer)
        self.waiting = []

    def fail(self, answer: Answer | None = None) -> None:
        """Have it failed for all who are left, for a reason of its own or what was said last."""
        for address in self.left or ([] if self._numbers else _named(self.message)):
            self._done[address] = None
            self.failed[address] = answer or self.delayed[address]
        self.waiting, self.delayed = [], {}

    def progress(self) -> dict[str, Any]:
        """Return what has to be written down, so that nobody gets it twice."""
        answers = list(self.delayed.items())[:_MOST_ANSWERS]
        return {
            "tries": self.tries,
            "done": list(self._done),
            "answers": {address: str(answer)[:MOST_TEXT] for address, answer in answers},
        }

    def rest(self, addresses: Sequence[str]) -> dict[str, Any]:
        """Return the message for these recipients alone, as it is kept where it failed."""
        rest = dict(self.message)
        for name in ("to", "cc", "bcc"):
            if name in rest:
                rest[name] = [text for text in rest[name] if _plain(text) in addresses]
        return rest


def state_key(id: str) -> str:
    """Return where the progress of a mail stands in the layer's state."""
    return f"email.send:{id}"


def _named(message: Mapping[str, Any]) -> list[str]:
    """Return the recipients of a message that breaks its format."""
    lists = [message[key] for key in ("to", "cc", "bcc") if isinstance(message.get(key), list)]
    return [text for each in lists for text in each if isinstance(text, str) and text.isprintable()]


def _plain(text: str) -> str:
    _, found, wrong = envelope({"from": "", "to": [text]})
    return (found or wrong)[0]
