"""Waiting for a layer that is away, with a clock that the test moves."""

from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, MemoryLayer, open_layer
from trunkline.layer.testing import ManualClock
from trunkline.operations.errors import StartError
from trunkline.operations.reaching import PATIENCE, reach


class Away:
    """A layer that comes up after so many calls."""

    def __init__(self, calls: float) -> None:
        self.calls = calls
        self.asked = 0

    def listeners(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked <= self.calls:
            raise LayerUnavailable("cannot reach redis://x:6379/0: Connection refused")
        return {}

    def agree(self) -> None:
        pass


def test_a_layer_that_is_there() -> None:
    layer = open_layer("memory://")
    assert isinstance(layer, MemoryLayer)
    reach(layer)
    layer.close()


@pytest.mark.parametrize("calls", [1, 20])
def test_a_layer_that_comes_up_in_time(calls: int) -> None:
    clock, layer = ManualClock(), Away(calls)
    reach(layer, pause=clock.advance, clock=clock)  # type: ignore[arg-type]
    assert layer.asked == calls + 1


def test_a_layer_that_stays_away_is_no_start() -> None:
    clock, layer = ManualClock(), Away(float("inf"))
    before = clock()
    with pytest.raises(StartError, match=r"^the layer is away: cannot reach redis://x:6379/0: Connection refused$"):
        reach(layer, pause=clock.advance, clock=clock)  # type: ignore[arg-type]
    assert PATIENCE - 1 < clock() - before <= PATIENCE


def test_a_layer_where_others_say_otherwise_is_no_start() -> None:
    with MemoryLayer("disagreed", durable=["jobs.*"]) as one, MemoryLayer("disagreed", durable={"jobs.*": 5}) as other:
        reach(one)
        with pytest.raises(StartError, match="all processes have to say the same of a channel"):
            reach(other)
