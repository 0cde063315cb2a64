"""How fast Slack lets us call, in one process and in several."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.protocol_servers.slack import limiter
from trunkline.protocol_servers.slack.limiter import LayerState, Limiter, rules_for

from .speaking_rig import EPOCH, State, Time


class Callers:
    """Processes that share a state and a clock."""

    def __init__(self, count: int = 1, speed: float = 1.0) -> None:
        self.time = Time()
        self.state = State()
        self.stats: Counter[str] = Counter()
        self.limiters = [
            Limiter(self.state, "acme", clock=self.time.clock, sleep=self.time.sleep, speed=speed, stats=self.stats)
            for _ in range(count)
        ]
        self.called: list[float] = []

    async def call(self, method: str, room: str | None = None, times: int = 1, by: int = 0) -> None:
        for _ in range(times):
            await self.limiters[by].wait(method, room)
            self.called.append(self.time.now - EPOCH)
            self.limiters[by].finished(method, room)

    async def play(self, *calls: object) -> list[float]:
        tasks = [asyncio.ensure_future(each) for each in calls]  # type: ignore[call-overload]
        await self.time.until(lambda: all(task.done() for task in tasks))
        for task in tasks:
            task.result()
        return self.called


def times(callers: Callers, *calls: object) -> list[float]:
    async def play() -> list[float]:
        return await callers.play(*calls)

    return asyncio.run(play())


def most_within(called: list[float], seconds: float) -> int:
    return max(sum(start <= each < start + seconds for each in called) for start in called)


def test_a_channel_has_a_message_a_second() -> None:
    callers = Callers()
    assert times(callers, callers.call("chat.postMessage", "C1", 5)) == [0, 1, 2, 3, 4]


def test_channels_do_not_wait_for_each_other() -> None:
    callers = Callers()
    called = times(callers, *(callers.call("chat.postMessage", f"C{number}", 2) for number in range(3)))
    assert called == [0, 0, 0, 1, 1, 1]


def test_a_workspace_has_some_hundred_messages_a_minute() -> None:
    callers = Callers()
    called = times(callers, *(callers.call("chat.postMessage", f"C{number}", 20) for number in range(50)))
    assert len(called) == 1000
    assert most_within(called, 60) <= 300


@pytest.mark.parametrize(
    ("method", "most"),
    [
        ("admin.unknown", 20),
        ("conversations.list", 20),
        ("chat.update", 50),
        ("reactions.add", 50),
        ("users.info", 100),
        ("views.open", 100),
    ],
)
def test_a_method_has_what_its_tier_has(method: str, most: int) -> None:
    callers = Callers()
    called = times(callers, callers.call(method, None, 3 * most))
    assert most_within(called, 60) <= most
    assert most_within(called, 60) >= 0.9 * most, "it could be faster"


def test_files_and_messages_share_a_channel() -> None:
    callers = Callers()
    called = times(
        callers,
        callers.call("chat.postMessage", "C1", 2),
        callers.call("files.completeUploadExternal", "C1", 2),
    )
    assert called == [0, 1, 2, 3]


def test_processes_share_the_limits() -> None:
    callers = Callers(3)
    called = times(callers, *(callers.call("chat.postMessage", "C1", 4, by=number) for number in range(3)))
    assert sorted(called) == list(range(12))
    assert not callers.stats["limits_not_shared"]


def test_a_process_that_follows_another_keeps_its_distance() -> None:
    callers = Callers(2)
    called = times(callers, callers.call("chat.postMessage", "C1", 3))
    assert called == [0, 1, 2]
    assert times(callers, callers.call("chat.postMessage", "C1", 1, by=1))[-1] == 3


def test_a_call_that_was_long_on_its_way_delays_the_next() -> None:
    callers = Callers()

    async def play() -> None:
        first, time = callers.limiters[0], callers.time
        await first.wait("chat.postMessage", "C1")
        await time.advance(0.9)  # it is answered now, and may have arrived only now
        first.finished("chat.postMessage", "C1")
        await callers.play(callers.call("chat.postMessage", "C1"))

    asyncio.run(play())
    assert callers.called == [pytest.approx(1.9)]


def test_retry_after_holds_a_channel_in_all_processes() -> None:
    callers = Callers(2)

    async def play() -> None:
        waiting = asyncio.ensure_future(callers.call("chat.postMessage", "C1", 2))
        await callers.time.settle()  # one was called, the other has its place a second later
        await callers.limiters[0].hold("chat.postMessage", 30, "C1")
        await callers.play(
            waiting,
            callers.call("chat.postMessage", "C1", 1, by=1),
            callers.call("chat.postMessage", "C2", 1, by=1),
        )

    asyncio.run(play())
    assert sorted(callers.called) == [0, 0, 30, pytest.approx(30, abs=1.01)]
    assert callers.stats["rate_limited"] == 1


def test_retry_after_of_a_method_is_followed_by_no_burst() -> None:
    callers = Callers()

    async def play() -> None:
        await callers.limiters[0].hold("reactions.add", 10)
        await callers.play(callers.call("reactions.add", None, 3))

    asyncio.run(play())
    assert callers.called == [10, pytest.approx(11.5), pytest.approx(13)]


def test_without_a_layer_each_process_keeps_to_its_own() -> None:
    callers = Callers()
    callers.state.away = LayerUnavailable()
    assert times(callers, callers.call("chat.postMessage", "C1", 3)) == [0, 1, 2]
    assert callers.stats["limits_not_shared"]


def test_a_layer_that_is_away_is_not_asked_all_the_time() -> None:
    callers = Callers()

    async def play() -> None:
        callers.state.away = LayerUnavailable()
        await callers.play(callers.call("chat.postMessage", "C1", 10))
        assert callers.state.calls <= 5
        callers.state.away = None
        await callers.time.advance(10)
        before = callers.state.calls
        await callers.play(callers.call("chat.postMessage", "C1", 2))
        assert callers.state.calls > before

    asyncio.run(play())


def test_a_layer_that_does_not_answer_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "_PATIENCE", 0.05)
    ends = threading.Event()

    class Stuck:
        def put_state(self, *_: object) -> int:
            ends.wait(30)
            return 0

    async def play() -> None:
        stats: Counter[str] = Counter()
        state = LayerState(Stuck(), asyncio.get_running_loop())  # type: ignore[arg-type]
        await Limiter(state, "acme", stats=stats).wait("chat.postMessage", "C1")
        assert stats["limits_not_shared"]
        ends.set()

    asyncio.run(play())


@pytest.mark.parametrize("value", ["soon", 1e12, float("nan")])
def test_nonsense_in_the_layer_holds_nobody_for_ever(value: float) -> None:
    callers = Callers()
    callers.state.values["slack.limits.acme.post.C1"] = value, 7
    assert times(callers, callers.call("chat.postMessage", "C1"))[0] <= 3601


def test_faster_for_a_server_that_is_not_slack() -> None:
    callers = Callers(speed=10)
    assert times(callers, callers.call("chat.postMessage", "C1", 3)) == pytest.approx([0, 0.1, 0.2])


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "_MOST_KNOWN", 50)
    callers = Callers()
    times(callers, *(callers.call("chat.postMessage", f"C{number}") for number in range(70)))
    assert len(callers.limiters[0]._known) == 50


def test_names_of_limits_can_stand_in_a_key() -> None:
    for rule in rules_for("x" * 300, "é" * 300) + rules_for("chat.postMessage", "../" * 100):
        assert rule.name.isascii()
        assert len(rule.name) < 100
