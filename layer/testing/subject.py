"""An engine under test, and one server instance on it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count
from typing import Any

from ..base import Layer
from ..inbox import Inbox, InboxItem

PATIENCE = 20.0  # seconds after which a test that waits has failed


class Subject(ABC):
    """One place where messages are kept, and the layers on it. Made anew for each test."""

    moves_time = False
    """Whether `advance` takes no time of its own; tests of long leases run only then."""

    @abstractmethod
    def make(self, **options: Any) -> Layer:
        """Return a layer with these options; all layers of one subject share what they hold, at first nothing."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Let time pass on the layers' clock: move it, or sleep."""

    @abstractmethod
    def lapse(self, inbox: Inbox) -> None:
        """Let an inbox look as if its process had died: its lease is over, and nothing was given back."""

    @abstractmethod
    def close(self) -> None:
        """Close what was made."""


class Instance:
    """A server instance with its own event loop, which runs only while the test waits for it.

    Args:
        layer: Where its inbox is opened.
        name: The inbox.
        lasting: As for `Layer.open_inbox`.
    """

    def __init__(self, layer: Layer, name: str, lasting: bool = False) -> None:
        self.items: list[InboxItem] = []
        self.credits: list[tuple[str, str, int]] = []
        self.loop = asyncio.new_event_loop()
        self._layer = layer
        self._markers = count()
        self._marker: str | None = None
        self._open = True
        self.inbox = layer.open_inbox(
            name,
            loop=self.loop,
            receive=self._receive,
            credit=lambda *credit: self.credits.append(credit),
            lasting=lasting,
        )

    def got(self) -> list[tuple[str | None, list[str], dict[str, Any]]]:
        """Wait until all that was sent has arrived; return it, once, as (group, sorted local parts, message)."""
        marker = f"marker.{next(self._markers)}"
        self._layer.send(self.inbox.name + marker, {})
        self.wait(lambda: self._marker == marker)
        items, self.items = self.items, []
        return [(item.group, sorted(item.names), item.message) for item in items]

    def wait(self, done: Callable[[], bool]) -> None:
        """Run the loop until `done()`."""

        async def until() -> None:
            while not done():
                await asyncio.sleep(0.001)

        self.loop.run_until_complete(asyncio.wait_for(until(), PATIENCE))

    def turn(self) -> None:
        """Run the loop until what was sent from it is sent."""
        sent: list[Any] = []
        self.inbox.send(self.inbox.name + "turn", {}, then=sent.append)
        # An engine with several places has an answer from each.
        self.wait(lambda: bool(sent) and not getattr(self.inbox, "_outstanding", 0))

    def close(self) -> None:
        """Close the inbox and the loop."""
        if self._open:
            self._open = False
            self.loop.run_until_complete(self.inbox.close())
            self.kill()

    def kill(self) -> None:
        """Stop without giving anything back."""
        self._open = False
        self.loop.close()

    def _credited(self, channel: str, local: str, count: int) -> None:
        self.credits.append((channel, local, count))

    def _receive(self, items: list[InboxItem]) -> None:
        for item in items:
            if item.group is None and item.names[0].startswith("marker."):
                self._marker = item.names[0]
            elif item.names != ("turn",):
                self.items.append(item)
