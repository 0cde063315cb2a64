"""The timer wheel: nothing early, nothing lost, nothing woken for nothing."""

from __future__ import annotations

import logging
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.timers import Timer, TimerWheel


@pytest.fixture
def wheel(manual: Any) -> TimerWheel:
    return TimerWheel(manual.call_later, manual.clock)


def test_a_call_comes_at_its_time_and_at_most_a_tick_late(wheel: TimerWheel, manual: Any) -> None:
    called: list[float] = []
    wheel.call_later(1.0, lambda: called.append(manual.now))
    manual.advance(0.999)
    assert called == []
    manual.advance(1)
    assert len(called) == 1
    assert 1001.0 <= called[0] <= 1001.06


def test_a_cancelled_call_never_comes_and_cancelling_twice_is_harmless(wheel: TimerWheel, manual: Any) -> None:
    called: list[int] = []
    call = wheel.call_later(1, lambda: called.append(1))
    call.cancel()
    call.cancel()
    manual.advance(5)
    assert called == []


def test_a_postponed_call_comes_once_at_the_later_time(wheel: TimerWheel, manual: Any) -> None:
    called: list[float] = []
    call = wheel.call_later(1, lambda: called.append(manual.now))
    manual.advance(0.5)
    call.postpone(2)
    manual.advance(1.9)
    assert called == []
    manual.advance(0.2)
    assert len(called) == 1
    call.postpone(1)
    manual.advance(2)
    assert len(called) == 2


def test_a_deadline_moved_to_earlier_fires_earlier_and_only_once(wheel: TimerWheel, manual: Any) -> None:
    called: list[float] = []
    call = wheel.call_later(60, lambda: called.append(manual.now))
    call.postpone(1)
    manual.advance(1.1)
    assert len(called) == 1
    manual.advance(100)
    assert len(called) == 1


def test_a_timer_that_always_sets_itself_to_the_past_lets_the_loop_turn(wheel: TimerWheel, manual: Any) -> None:
    class Eager(Timer):
        fired = 0

        def fire(self) -> None:
            self.fired += 1
            wheel.set(self, -60)

    timer = Eager()
    wheel.set(timer, -60)
    manual.advance(1)
    assert 10 <= timer.fired <= 21


def test_a_time_beyond_all_others_waits(wheel: TimerWheel, manual: Any) -> None:
    called: list[int] = []
    wheel.call_later(1e300, lambda: called.append(1))
    manual.advance(1e12)
    assert called == []


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.nan])
def test_what_is_no_time_is_refused_and_the_old_deadline_stands(wheel: TimerWheel, manual: Any, seconds: float) -> None:
    called: list[float] = []
    call = wheel.call_later(5, lambda: called.append(manual.now))
    with pytest.raises((ValueError, OverflowError)):
        call.postpone(seconds)
    manual.advance(4.9)
    assert called == []
    manual.advance(0.2)
    assert len(called) == 1


def test_nothing_is_scheduled_when_nothing_is_due(wheel: TimerWheel, manual: Any) -> None:
    assert manual.scheduled() == 0
    for seconds in (5, 1, 30):
        wheel.call_later(seconds, lambda: None)
        assert manual.scheduled() == 1
    manual.advance(31)
    assert (manual.wakes, manual.scheduled()) == (3, 0)


def test_moving_a_deadline_again_and_again_costs_one_wake_a_period(wheel: TimerWheel, manual: Any) -> None:
    fired: list[float] = []
    idle = wheel.call_later(10, lambda: fired.append(manual.now))
    for _ in range(1000):
        manual.advance(0.1)
        idle.postpone(10)
    assert fired == []
    assert manual.wakes <= 11
    manual.advance(10.1)
    assert len(fired) == 1


def test_slots_of_cancelled_calls_are_given_up_in_one_wake(wheel: TimerWheel, manual: Any) -> None:
    for step in range(100):
        wheel.call_later(1 + step, lambda: None).cancel()
    manual.advance(2)
    assert (manual.wakes, manual.scheduled()) == (1, 0)


def test_cancelled_calls_leave_no_memory_behind_until_their_time(wheel: TimerWheel) -> None:
    tracemalloc.start()
    try:
        for second in range(20):
            for call in [wheel.call_later(60 + second, list) for _ in range(1000)]:
                call.cancel()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_a_failing_timer_is_logged_and_hurts_no_other(
    wheel: TimerWheel, manual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[int] = []
    wheel.call_later(1, lambda: 1 / 0)
    wheel.call_later(1, lambda: called.append(1))
    wheel.call_later(2, lambda: called.append(2))
    with caplog.at_level(logging.ERROR, "trunkline.timers"):
        manual.advance(3)
    assert called == [1, 2]
    assert "ZeroDivisionError" in caplog.text


def test_a_timer_may_set_and_clear_others_of_its_own_slot(wheel: TimerWheel, manual: Any) -> None:
    called: list[str] = []
    calls: dict[str, Any] = {}

    def first(name: str, other: str) -> None:
        called.append(name)
        calls[other].postpone(5)

    calls["a"] = wheel.call_later(1, lambda: first("a", "b"))
    calls["b"] = wheel.call_later(1, lambda: first("b", "a"))
    manual.advance(1.1)
    assert len(called) == 1  # whichever came first postponed the other
    manual.advance(5.1)
    assert len(called) == 2


def test_a_closed_wheel_forgets_everything(wheel: TimerWheel, manual: Any) -> None:
    called: list[int] = []
    call = wheel.call_later(1, lambda: called.append(1))
    wheel.close()
    wheel.close()
    assert manual.scheduled() == 0
    manual.advance(2)
    assert called == []
    call.postpone(1)
    manual.advance(2)
    assert called == [1]


def test_a_timer_that_does_not_say_what_is_due_is_an_error(wheel: TimerWheel) -> None:
    with pytest.raises(TypeError, match="does not say what is due"):
        Timer().fire()


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.integers(0, 3), st.floats(0, 20)),
            st.tuples(st.just("clear"), st.integers(0, 3), st.just(0.0)),
            st.tuples(st.just("pass"), st.just(0), st.floats(0, 5)),
        ),
        max_size=60,
    )
)
def test_every_timer_fires_within_a_tick_of_its_last_deadline(
    make_manual: Callable[[], Any], steps: list[tuple[str, int, float]]
) -> None:
    """Against a model: the deadline set last, and nothing else, decides when a timer fires."""
    manual = make_manual()
    wheel = TimerWheel(manual.call_later, manual.clock)
    expected: dict[int, float] = {}

    class Model(Timer):
        __slots__ = ("number",)

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def fire(self) -> None:
            deadline = expected.pop(self.number)
            assert deadline <= manual.now <= deadline + 0.06

    timers = [Model(number) for number in range(4)]
    for what, number, seconds in steps:
        if what == "set":
            wheel.set(timers[number], seconds)
            expected[number] = manual.now + seconds
        elif what == "clear":
            wheel.clear(timers[number])
            expected.pop(number, None)
        else:
            manual.advance(seconds)
    manual.advance(30)
    assert expected == {}
    assert manual.scheduled() == 0
