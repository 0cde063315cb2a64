"""Fixtures for pytest, by the entry point `trunkline`: importing this costs nothing until one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ...layer import MemoryLayer
    from ...layer.testing import ManualClock
    from .client import Client


@pytest.fixture
def trunkline_clock() -> ManualClock:
    """Time that the test moves."""
    from ...layer.testing import ManualClock

    return ManualClock()


@pytest.fixture
def trunkline_layer(trunkline_clock: ManualClock) -> Iterator[MemoryLayer]:
    """A layer in memory on that time, which everything outside a consumer sends to."""
    from ...layer import MemoryLayer
    from ..context import set_layer

    with MemoryLayer(clock=trunkline_clock) as layer:
        set_layer(layer)
        yield layer
        set_layer(None)


@pytest.fixture
def trunkline_client() -> Iterator[Callable[..., Client]]:
    """Make a `Client` of a routing: `client = trunkline_client(routing)`; the test itself sends to its layer too."""
    from ..context import set_layer
    from .client import Client

    made: list[Client] = []

    def make(routing: Any, **options: Any) -> Client:
        client = Client(routing, **options)
        made.append(client)
        set_layer(client.layer)
        return client

    yield make
    set_layer(None)
    for client in made:
        client.close()
