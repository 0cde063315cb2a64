"""Messages that are put together, and taken together, come to what they would come to one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.layer import ChannelFull
from trunkline.layer.store import Store
from trunkline.layer.testing import ManualClock

NAMES = st.sampled_from(["plain", "inbox!", "body?1", "durable"])
SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12)
EXPIRY = st.sampled_from([5.0, 20.0, 60.0])
CAPACITY = st.sampled_from([1, 5, 20])
BYTES = st.sampled_from([None, 60, 300])

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, SIZES, EXPIRY, CAPACITY, BYTES),
        st.tuples(st.just("delay"), NAMES, st.integers(0, 10)),
        st.tuples(st.just("note"), st.just("inbox!")),
        st.tuples(st.just("take"), NAMES, st.integers(1, 30), st.sampled_from([float("inf"), 50.0])),
        st.tuples(st.just("back"), NAMES, st.integers(1, 3)),
        st.tuples(st.just("advance"), st.sampled_from([0.0, 3.0, 6.0, 30.0, 70.0])),
    ),
    max_size=25,
)


class Side:
    """A store, and what became of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.told: list[str] = []
        watched = ("plain", "inbox!", "body?1", "durable")
        self.store = Store(self.clock, watched, self.told.append, wall=self.clock)
        self.queues = self.store.queues
        self.store.durables.put("durable", "", b"first", 60.0, 20, None, 0, None, None, 0, 30.0)

    def seen(self) -> Any:
        """Return all there is to see; looking at it drops what has expired, so only in the end."""
        queues = self.queues
        names = ("plain", "inbox!", "body?1", "durable")
        told = set(self.told)
        self.told.clear()
        return (
            queues.balance, queues.held(), [queues.peek(name, 99) for name in names], queues.statistics(),
            [queues.channel_statistics(name) for name in names], told,
        )  # fmt: skip


def one_by_one(side: Side, name: str, bodies: list[bytes], expiry: float, capacity: int, most: int | None) -> list[int]:
    calls = [("put", (name, str(index), body, expiry, capacity, most)) for index, body in enumerate(bodies)]
    return [index for index, outcome in enumerate(side.store.run(calls)) if isinstance(outcome, ChannelFull)]


def together(side: Side, name: str, bodies: list[bytes], expiry: float, capacity: int, most: int | None) -> list[int]:
    parts = [part for index, body in enumerate(bodies) for part in (str(index), body)]
    found = side.queues.put_many(name, expiry, capacity, most, parts)
    if found is None:
        return []
    assert found[1], "who refuses nothing says nothing"
    return found[1]


def step(side: Side, put: Callable[..., list[int]], what: str, *arguments: Any) -> Any:
    queues = side.queues
    if what == "put":
        name, sizes, *limits = arguments
        return put(side, name, [bytes([65 + index]) * size for index, size in enumerate(sizes)], *limits)
    if what == "delay":
        name, seconds = arguments
        try:
            return queues.put(name, "d", b"delayed", 60.0, 20, None, seconds)
        except ChannelFull:
            return None
    if what == "note":
        return side.store.groups.add("g", arguments[0], "member", None, 60.0, 20, None)
    if what == "take":
        name, limit, enough = arguments
        return elements_of(queues.take((name,), 0, limit, enough))
    if what == "back":
        name, limit = arguments
        if name == "durable":
            return None
        found = queues.take((name,), 0, limit)
        messages = [element for element in found[2] if element[2] == 0] if found else []
        queues.put_back(name, messages)
        return messages
    side.clock.advance(arguments[0])
    return None


def elements_of(found: tuple[str, float, list[Any]] | None) -> Any:
    """Leave out the ids of durable messages, which hold the time of day."""
    return found and (*found[:2], [(*element[:5], element[5] and element[5][1:]) for element in found[2]])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_together_or_one_by_one_is_the_same(steps: list[tuple[Any, ...]]) -> None:
    alone, joined = Side(), Side()
    for each in steps:
        assert step(alone, one_by_one, *each) == step(joined, together, *each), each
        assert alone.queues.balance == joined.queues.balance
    assert alone.seen() == joined.seen()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from([1, 2, 1000]))
def test_taking_together_or_one_by_one_is_the_same(steps: list[tuple[Any, ...]], least: int) -> None:
    """What is looked at together is bounded; beyond that each is looked at by itself."""
    alone, joined = Side(), Side()
    with pytest.MonkeyPatch.context() as patch:
        for each in steps:
            patch.setattr("trunkline.layer.store.queue._AT_ONCE", 0)
            one = step(alone, together, *each)
            patch.setattr("trunkline.layer.store.queue._AT_ONCE", least)
            assert one == step(joined, together, *each), each
            assert alone.queues.balance == joined.queues.balance
        assert alone.seen() == joined.seen()


def test_a_queue_that_is_full_says_how_many_wait_there_and_which_were_refused() -> None:
    side = Side()
    assert side.queues.put_many("plain", 60.0, 3, None, ("", b"1", "", b"2")) is None
    assert side.queues.put_many("plain", 60.0, 3, None, ("", b"3", "", b"4", "", b"5")) == (3, [1, 2])
    assert side.queues.peek("plain", 9) == [b"1", b"2", b"3"]
    assert side.queues.channel_statistics("plain")["channel_full_count"] == 2


def test_a_single_reader_channel_that_had_expired_lives_from_the_first_that_is_put() -> None:
    side = Side()
    side.queues.put_many("body?1", 5.0, 1, None, ("", b"old"))
    side.clock.advance(6)
    assert side.queues.put_many("body?1", 5.0, 1, None, ("", b"1", "", b"2")) == (1, [1])
    assert side.queues.peek("body?1", 9) == [b"1"]


def test_a_smaller_one_behind_one_that_is_too_large_is_refused_too() -> None:
    side = Side()
    parts = ("a", b"1" * 40, "b", b"2" * 40, "c", b"3" * 10)
    assert side.queues.put_many("inbox!", 60.0, 100, 60, parts) == (1, [1, 2])
    assert side.queues.channel_statistics("inbox!")["channel_full_count"] == 2


def test_a_run_puts_nothing_where_one_of_its_sends_found_no_room() -> None:
    """Room that time makes in the middle of a run is for the next one."""
    side = Side()
    side.queues.put("plain", "", b"old", 5.0, 1)
    passes = ("cancel", ("other", "k"))
    put = ("put", ("plain", "", b"new", 60.0, 1, None))
    side.store.calls["cancel"] = lambda *_: side.clock.advance(6)
    found = side.store.run([put, passes, put, ("put", ("other", "", b"new", 60.0, 1, None))])
    assert [type(outcome) for outcome in found] == [ChannelFull, type(None), ChannelFull, bool]
    assert side.queues.channel_statistics("plain")["channel_full_count"] == 2
    assert side.store.run([put]) == [True]
