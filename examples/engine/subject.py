"""The shelf as a subject of the suite that every engine passes.

    python -m pytest -p trunkline.layer.testing.plugin --layer-subject subject:ShelfSubject \
        --pyargs trunkline.layer.testing.conformance
"""

from typing import Any

from shelf import Shelf, ShelfLayer

from trunkline.layer import Inbox, Layer
from trunkline.layer.testing import ManualClock, Subject


class ShelfSubject(Subject):
    moves_time = True

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.shelf = Shelf(self.clock)
        self.clock.subscribe(self.shelf.look_again)
        self.layers: list[Layer] = []

    def make(self, **options: Any) -> Layer:
        self.layers.append(ShelfLayer(self.shelf, **options))
        return self.layers[-1]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def lapse(self, inbox: Inbox) -> None:
        self.layers[0]._call(("renew", (inbox.name, inbox.holder, -1.0)))  # type: ignore[attr-defined]

    def close(self) -> None:
        for layer in self.layers:
            layer.close()
