"""The memory engine as a subject of the suites that every engine passes."""

import secrets
from typing import Any

from ..base import Layer
from ..inbox import Inbox
from ..memory import MemoryLayer
from .clock import ManualClock
from .subject import Subject


class MemorySubject(Subject):
    """The memory engine under a clock that the test moves."""

    moves_time = True

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._name = f"test.{secrets.token_hex(8)}"
        self._layers: list[Layer] = []

    def make(self, **options: Any) -> Layer:
        self._layers.append(MemoryLayer(self._name, clock=self.clock, **options))
        return self._layers[-1]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lapse(self, inbox: Inbox) -> None:
        self._layers[0]._call(("renew", (inbox.name, inbox._holder, -1.0)))  # type: ignore[attr-defined]

    def close(self) -> None:
        for layer in self._layers:
            layer.close()
