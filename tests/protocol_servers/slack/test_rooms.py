"""The rooms that we are in: found page by page, told once somebody listens, and again where the layer refused."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerUnavailable
from trunkline.protocol_servers.slack import rooms as rooms_module
from trunkline.protocol_servers.slack.names import Names
from trunkline.protocol_servers.slack.rooms import Rooms
from trunkline.protocol_servers.slack.web_api import InDoubt, RateLimited, Refused


class Rig:
    """Rooms, with a Slack and a layer that do as the test says."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.listed: list[Any] = [{"id": "C0DEV", "name": "dev"}, {"id": "C0OPS", "name": "ops"}, 7, {"id": 7}]
        self.listens = True
        self.outcomes: list[Any] = []
        self.put: list[str] = []
        self.stats: Counter[str] = Counter()
        names = Names(self._ask, spawn=asyncio.ensure_future, clock=lambda: 0.0, stats=self.stats)
        self.rooms = Rooms(
            self._ask,
            names,
            ready=lambda room: {"room": room, "name": names.room(room)},
            wanted=lambda channel: self.listens,
            put=self._put,
            spawn=asyncio.ensure_future,
            network="acme",
            stats=self.stats,
            log=logging.getLogger("trunkline.slack"),
        )

    async def _ask(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        if method == "conversations.info":
            return {"channel": {"id": arguments["channel"], "name": "asked"}}
        return {"channels": self.listed}

    def _put(self, channel: str, message: dict[str, Any]) -> asyncio.Future[Any]:
        assert channel == "chat.ready"
        self.put.append(message["name"])
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        outcome.set_result(self.outcomes.pop(0) if self.outcomes else True)
        return outcome

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.001)


def run(test: Callable[[Rig], Awaitable[None]]) -> Rig:
    async def running() -> Rig:
        rig = Rig()
        await asyncio.wait_for(test(rig), 30)
        return rig

    return asyncio.run(running())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(rooms_module, "_FIRST_LOOK", 0.001)


def test_rooms_are_told_once() -> None:
    async def test(rig: Rig) -> None:
        rig.rooms.find()
        rig.rooms.find()
        await rig.until(lambda: rig.stats["rooms_told"] == 2)
        assert sorted(rig.put) == ["dev", "ops"]

    run(test)


def test_a_slack_that_cannot_be_asked_is_asked_again() -> None:
    async def test(rig: Rig) -> None:
        rig.failures = [RateLimited(0.001), InDoubt("away")]
        rig.rooms.find()
        await rig.until(lambda: rig.stats["rooms_told"] == 2)

    run(test)


def test_a_slack_that_does_not_tell_is_no_reason_to_be_silent_of_the_next_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(rig: Rig) -> None:
        rig.failures = [Refused("missing_scope")]
        rig.rooms.find()
        await rig.until(lambda: not rig.failures)
        rig.rooms.joined("C0NEW")
        await rig.until(lambda: rig.stats["rooms_told"] == 1)
        assert rig.put == ["asked"]

    run(test)
    assert "acme: the rooms cannot be listed: missing_scope" in caplog.text


def test_what_the_layer_refused_is_told_again_and_what_may_have_arrived_is_not() -> None:
    async def test(rig: Rig) -> None:
        rig.outcomes = [ChannelFull("full"), LayerUnavailable(uncertain=True), LayerUnavailable()]
        rig.rooms.find()
        await rig.until(lambda: rig.stats["rooms_told"] == 2)
        assert Counter(rig.put) == {"dev": 3, "ops": 1}

    run(test)


def test_a_room_that_was_left_before_anybody_listened_is_not_told() -> None:
    async def test(rig: Rig) -> None:
        rig.listens = False
        rig.rooms.find()
        await rig.until(lambda: len(rig.rooms._untold) == 2)
        rig.rooms.left("C0OPS")
        rig.rooms.left("C0NOWHERE")
        rig.listens = True
        await rig.until(lambda: rig.stats["rooms_told"] == 1)
        assert rig.put == ["dev"]

    run(test)
