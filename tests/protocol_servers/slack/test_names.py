"""Names for ids: bounded, following events, asked for a few at a time, never waited for long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from trunkline.protocol_servers.slack.names import Names, as_name, user_name
from trunkline.protocol_servers.slack.web_api import NotSent, RateLimited, Refused

PEOPLE = {f"U{number:04d}": f"user {number}" for number in range(100)}


class Slack:
    """Answers, fails or keeps silent, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.under_way = self.most_under_way = 0
        self.lists: dict[str, list[dict[str, Any]]] = {}

    async def ask(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((method, arguments))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            await asyncio.sleep(0)
            return self._answer(method, arguments)
        finally:
            self.under_way -= 1

    def _answer(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if method == "users.info":
            id = arguments["user"]
            if id not in PEOPLE:
                raise Refused("user_not_found")
            return {"ok": True, "user": {"id": id, "name": PEOPLE[id]}}
        if method == "conversations.info":
            return {"ok": True, "channel": {"id": arguments["channel"], "name": arguments["channel"].lower()}}
        items = self.lists[method]
        start = int(arguments.get("cursor") or 0)
        end = start + arguments["limit"]
        key = "members" if method == "users.list" else "channels"
        return {key: items[start:end], "response_metadata": {"next_cursor": str(end) if end < len(items) else ""}}


class Rig:
    def __init__(self, **options: Any) -> None:
        self.slack = Slack()
        self.now = 1000.0
        self.stats: Counter[str] = Counter()
        self.names = Names(
            self.slack.ask, spawn=asyncio.ensure_future, clock=lambda: self.now, stats=self.stats, **options
        )

    async def wait(self, *ids: str, seconds: float = 30.0) -> None:
        await self.names.wait(ids, self.now + seconds)


def run(test: Callable[[Rig], Awaitable[None]], **options: Any) -> Rig:
    async def running() -> Rig:
        rig = Rig(**options)
        await asyncio.wait_for(test(rig), 30)
        return rig

    return asyncio.run(running())


def test_names_are_asked_for_once() -> None:
    async def test(rig: Rig) -> None:
        assert rig.names.user("U0001") is None
        await asyncio.gather(*(rig.wait("U0001", "C0DEV", "nobody", "") for _ in range(5)))
        assert (rig.names.user("U0001"), rig.names.room("C0DEV")) == ("user 1", "c0dev")
        await rig.wait("U0001", "C0DEV")
        assert [method for method, _ in rig.slack.asked] == ["users.info", "conversations.info"]
        assert rig.names.user_id("USER 1") == "U0001"
        assert rig.names.room_id("c0dev") == "C0DEV"
        assert rig.names.room_id("c0ops") is None

    run(test)


def test_an_old_name_is_asked_for_anew_and_nobody_waits_for_it() -> None:
    async def test(rig: Rig) -> None:
        await rig.wait("U0001")
        rig.now += 3601
        rig.slack.gate = asyncio.Event()
        await rig.wait("U0001")
        assert rig.names.user("U0001") == "user 1"
        await asyncio.sleep(0)
        assert len(rig.slack.asked) == 2

    run(test)


def test_what_slack_does_not_know_is_not_asked_for_again_soon() -> None:
    async def test(rig: Rig) -> None:
        await rig.wait("U9999")
        await rig.wait("U9999")
        assert (rig.names.user("U9999"), len(rig.slack.asked)) == (None, 1)
        rig.now += 601
        await rig.wait("U9999")
        await asyncio.sleep(0)
        assert len(rig.slack.asked) == 2

    run(test)


def test_nobody_waits_longer_than_said_and_after_that_not_at_all() -> None:
    async def test(rig: Rig) -> None:
        rig.slack.gate = asyncio.Event()
        await rig.wait("U0001", seconds=0.01)
        assert rig.stats["names_late"] == 1
        await rig.wait("U0002")  # would wait for ever
        rig.slack.gate.set()
        while rig.names.user("U0002") is None:
            await asyncio.sleep(0)
        rig.slack.gate = None
        await rig.wait("U0003")
        assert rig.names.user("U0003") == "user 3"
        await rig.wait("U0004", seconds=0.0)
        assert rig.names.user("U0004") is None

    run(test)


def test_only_a_few_are_asked_for_at_a_time_and_not_endlessly_many_wait() -> None:
    async def test(rig: Rig) -> None:
        rig.slack.gate = asyncio.Event()
        for number in range(2000):
            await rig.wait(f"U{number:04d}", seconds=0.0)
        await asyncio.sleep(0)
        assert rig.slack.most_under_way == 4
        rig.slack.gate.set()
        while rig.slack.under_way or len(rig.slack.asked) < 500:
            await asyncio.sleep(0)
        assert len(rig.slack.asked) == 500

    run(test)


@pytest.mark.parametrize(("failure", "pause"), [(RateLimited(30.0), 30.0), (NotSent("away"), 5.0)])
def test_a_slack_that_cannot_be_asked_is_left_alone_for_a_while(failure: Exception, pause: float) -> None:
    async def test(rig: Rig) -> None:
        rig.slack.failure = failure
        await rig.wait("U0001")
        rig.slack.failure = None
        await rig.wait("U0001")
        assert len(rig.slack.asked) == 1
        rig.now += pause + 0.1
        await rig.wait("U0001")
        assert rig.names.user("U0001") == "user 1"

    run(test)


def test_those_that_were_not_used_for_longest_are_forgotten() -> None:
    async def test(rig: Rig) -> None:
        for number in range(4):
            await rig.wait(f"U{number:04d}", f"C{number:04d}")
            await rig.wait("U0000")
        assert rig.names.user("U0000") == "user 0"
        assert rig.names.user("U0001") is None
        assert rig.names.user_id("user 1") is None
        assert rig.names.user("U0003") == "user 3"
        assert rig.names.room("C0003") == "c0003"
        assert rig.names.room("C0001") is None

    run(test, most_users=2, most_rooms=1)


def test_events_tell_names() -> None:
    async def test(rig: Rig) -> None:
        rig.names.follow({"type": "user_change", "user": {"id": "U0001", "profile": {"display_name": "Ann"}}})
        rig.names.follow({"type": "channel_rename", "channel": {"id": "C0DEV", "name": "ops"}})
        rig.names.follow({"type": "channel_created", "channel": {"id": "C0NEW", "name": "new"}})
        rig.names.follow({"type": "group_rename", "channel": {"id": "G0OLD", "name": "old"}})
        rig.names.follow({"type": "team_join", "user": {"id": "U0002", "real_name": "Ben"}})
        assert rig.names.user("U0001") == "Ann"
        assert rig.names.user("U0002") == "Ben"
        assert [rig.names.room(id) for id in ("C0DEV", "C0NEW", "G0OLD")] == ["ops", "new", "old"]
        for shape in (None, 7, {}, {"id": 7, "name": "x"}, {"id": "U0003"}, {"id": "U0003", "name": 7}):
            rig.names.follow({"type": "user_change", "user": shape})
            rig.names.follow({"type": "channel_rename", "channel": shape})
        rig.names.follow({})
        assert rig.names.user("U0003") is None

    run(test)


def test_an_answer_about_somebody_else_is_none() -> None:
    async def test(rig: Rig) -> None:
        assert not rig.names.learn_user({"id": "U0002", "name": "x"}, "U0001")
        assert not rig.names.learn_room({"id": "C0002", "name": "x"}, "C0001")

    run(test)


def test_a_name_that_is_not_known_is_looked_for_in_the_whole_list_once() -> None:
    async def test(rig: Rig) -> None:
        rig.slack.lists["users.list"] = [{"id": f"U{n:04d}", "name": f"user {n}"} for n in range(450)]
        rig.slack.lists["conversations.list"] = [{"id": "C0DEV", "name": "dev"}]
        found = await asyncio.gather(*(rig.names.find_user(f"user {n}") for n in (3, 449, 5000)))
        assert found == ["U0003", "U0449", None]
        assert await rig.names.find_room("dev") == "C0DEV"
        assert await rig.names.find_room("ops") is None
        assert Counter(method for method, _ in rig.slack.asked) == {"users.list": 3, "conversations.list": 1}
        rig.now += 301
        assert await rig.names.find_room("ops") is None
        assert len(rig.slack.asked) == 5

    run(test)


def test_whoever_looks_for_a_name_is_told_that_slack_is_away() -> None:
    async def test(rig: Rig) -> None:
        rig.slack.failure = NotSent("away")
        with pytest.raises(NotSent):
            await rig.names.find_user("user 1")
        rig.slack.failure = None
        rig.slack.lists["users.list"] = [{"id": "U0001", "name": "user 1"}]
        assert await rig.names.find_user("user 1") == "U0001"

    run(test)


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ({"name": "ann", "real_name": "Ann Doe", "profile": {"display_name": "Annie", "real_name": "Ann D."}}, "Annie"),
        ({"name": "ann", "real_name": "Ann Doe", "profile": {"display_name": "", "real_name": "Ann D."}}, "Ann D."),
        ({"name": "ann", "real_name": "Ann Doe"}, "Ann Doe"),
        ({"name": "ann", "profile": []}, "ann"),
        ({"name": " "}, None),
        ({}, None),
    ],
)
def test_what_people_call_somebody(shape: dict[str, Any], name: str | None) -> None:
    assert user_name(shape) == name


@pytest.mark.parametrize(("value", "name"), [("a\r\nb\0\x1b", "ab"), ("x" * 300, "x" * 255), (7, None), ("\n", None)])
def test_a_name_stands_in_a_line(value: Any, name: str | None) -> None:
    assert as_name(value) == name
