"""A bot in the kit: `drive(bot)` gives the client that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline import Bot
from trunkline.workers.testing import Client

Drive = Callable[..., Client]


@pytest.fixture
def drive() -> Iterator[Drive]:
    """Runs a bot, and what stands behind it in the routing."""
    made: list[Client] = []

    def run(bot: Bot, *routes: Any, **options: Any) -> Client:
        made.append(Client([*bot.routes(), *routes], **options))
        return made[-1]

    yield run
    for client in made:
        client.close()
