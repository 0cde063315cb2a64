"""`asgi.delay`, which every worker understands (messages.md), and crontab lines."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import route
from trunkline.workers.cron import Cron

from .conftest import Bench

MakeBench = Callable[..., Bench]


@pytest.fixture
def worker(bench: MakeBench) -> Bench:
    return bench(route("nothing", lambda message: None))


def delay(worker: Bench, milliseconds: int, n: int = 1, channel: str = "jobs", **keys: Any) -> None:
    worker.send("asgi.delay", channel=channel, delay=milliseconds, content={"n": n}, **keys)
    worker.run()


def times(worker: Bench, seconds: float, channel: str = "jobs", step: float = 0.125) -> list[tuple[float, Any]]:
    """Let time pass; return when messages arrived, in seconds from now, and their numbers."""
    start, found = worker.clock(), []
    while worker.clock() < start + seconds - 1e-6:
        worker.advance(step, step)
        found += [(round(worker.clock() - start, 2), message["n"]) for _, message in worker.taken(channel)]
    return found


def test_a_delayed_send(worker: Bench) -> None:
    delay(worker, 1500)
    delay(worker, 0, 2)
    assert times(worker, 3) == [(0.12, 2), (1.5, 1)]
    assert worker.stats == {"messages": 2, "delayed": 2}


def test_a_later_one_of_the_same_id_replaces_it(worker: Bench) -> None:
    delay(worker, 1000, 1, id="a")
    delay(worker, 2000, 2, id="a")
    delay(worker, 500, 3, id="b")
    assert times(worker, 3) == [(0.5, 3), (2.0, 2)]
    delay(worker, 1000, 1, id="a")
    delay(worker, 1000, 2, "other", id="a")
    assert times(worker, 2) == [], "an id is one, whatever the channel"
    assert [message for _, message in worker.taken("other")] == [{"n": 2}]


def test_minus_one_cancels(worker: Bench) -> None:
    delay(worker, 1000, id="a" * 500)
    delay(worker, -1, id="a" * 500)
    delay(worker, -1, id="never there")
    assert times(worker, 2) == []
    assert "failures" not in worker.stats


def test_repeat(worker: Bench) -> None:
    delay(worker, 500, repeat=1000)
    assert times(worker, 4) == [(0.5, 1), (1.5, 1), (2.5, 1), (3.5, 1)]


def test_a_repetition_does_not_drift_and_skips_what_it_missed(worker: Bench, clock: ManualClock) -> None:
    delay(worker, 1000, repeat=1000)
    clock.advance(4.25)
    worker.run()
    assert [message["n"] for _, message in worker.taken("jobs")] == [1]
    assert [when for when, _ in times(worker, 2)] == [0.75, 1.75]


def test_a_repetition_outlives_a_pause_of_all_workers(worker: Bench, clock: ManualClock) -> None:
    delay(worker, 1000, repeat=1000, id="a")
    clock.advance(3600)
    assert len(times(worker, 3)) >= 3


def test_a_repetition_is_replaced_and_cancelled(worker: Bench) -> None:
    delay(worker, 1000, 1, repeat=1000, id="a")
    assert len(times(worker, 2.5)) == 2
    delay(worker, 100, 2, repeat=500, id="a")
    assert {n for _, n in times(worker, 3)} == {2}
    delay(worker, 100, 3, id="a")
    assert [n for _, n in times(worker, 3)] == [3]
    delay(worker, 100, 4, repeat=100, id="a")
    assert len(times(worker, 1)) == 8
    delay(worker, -1, id="a")
    assert times(worker, 3) == []


def test_a_repetition_cancelled_while_a_worker_has_it_in_hand(worker: Bench, layer: MemoryLayer) -> None:
    delay(worker, 1000, repeat=1000, id="a")
    worker.clock.advance(1.1)
    in_hand = layer.receive(["asgi.delay"])[1]
    assert in_hand is not None
    delay(worker, -1, id="a")
    layer.send("asgi.delay", in_hand)
    assert times(worker, 3) == []
    assert len(worker.stats) == 2


def test_cron_repeats_at_its_times(worker: Bench, clock: ManualClock) -> None:
    midnight = 1_800_057_600.0  # a Saturday
    clock.advance(midnight - 90 - clock())
    delay(worker, 30_000, cron="*/2 * * * *", id="c")
    assert [when for when, _ in times(worker, 400, step=5)] == [30, 90, 210, 330]
    delay(worker, -1, id="c")
    assert times(worker, 300, step=5) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "FormatError: asgi.delay: channel"),
        ({"channel": "x", "delay": -5, "content": {}}, "FormatError: asgi.delay: delay"),
        ({"channel": "x", "delay": 1, "content": "x"}, "FormatError: asgi.delay: content"),
        ({"channel": "x", "delay": -1, "content": {}}, "ValueError: a delay of -1 cancels, and needs the id"),
        ({"channel": "no name", "delay": 1, "content": {}}, "TypeError: 'no name' is no channel name"),
        ({"channel": "udp.receive", "delay": 1, "content": {"n": 1}}, "FormatError: udp.receive"),
        ({"channel": "x", "delay": 1, "content": {}, "cron": "* *"}, "ValueError: cron '* *': five fields"),
        ({"channel": "x", "delay": 1, "content": {}, "cron": "* * * * *", "repeat": 5}, "ValueError: either repeat or"),
        ({"channel": "x", "delay": 1, "content": {}, "repeat": 0}, "FormatError: asgi.delay: repeat"),
    ],
)
def test_what_cannot_be_delayed_is_a_dead_letter(
    worker: Bench, layer: MemoryLayer, content: dict[str, Any], reason: str
) -> None:
    layer.send("asgi.delay", content)
    worker.run()
    (letter,) = layer.dead_letters()
    assert letter["reason"].startswith(reason)
    assert letter["message"] == content
    assert worker.stats == {"messages": 1, "failures": 1, "dead_letters": 1}


def test_a_route_of_ones_own_comes_first(bench: MakeBench) -> None:
    seen: list[int] = []
    worker = bench(route("asgi.delay", lambda message: seen.append(message["delay"]), channel="^mine"))
    delay(worker, 5, channel="mine")
    delay(worker, 0, channel="jobs")
    assert seen == [5]
    assert len(worker.taken("jobs")) == 1


# crontab lines


def moments(line: str, start: str, count: int = 3) -> list[str]:
    moment = datetime.datetime.fromisoformat(start + "+00:00").timestamp()
    found = []
    for _ in range(count):
        moment = Cron(line).after(moment)
        found.append(datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("line", "start", "expected"),
    [
        ("* * * * *", "2026-11-20 09:07:00", ["2026-11-20 09:08", "2026-11-20 09:09", "2026-11-20 09:10"]),
        ("*/15 * * * *", "2026-11-20 23:44:59", ["2026-11-20 23:45", "2026-11-21 00:00", "2026-11-21 00:15"]),
        ("0 9 * * mon-FRI", "2026-11-20 09:00", ["2026-11-23 09:00", "2026-11-24 09:00", "2026-11-25 09:00"]),
        ("0 0 29 feb *", "2026-11-20 09:00", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("5,7 4 1,15 * sun", "2026-11-21 09:00", ["2026-11-22 04:05", "2026-11-22 04:07", "2026-11-29 04:05"]),
        ("0 0 * * 7", "2026-11-21 09:00", ["2026-11-22 00:00", "2026-11-29 00:00", "2026-12-06 00:00"]),
        ("59 23 31 12 *", "2026-12-31 23:59", ["2027-12-31 23:59", "2028-12-31 23:59", "2029-12-31 23:59"]),
        ("10/20 1-3/2 * * *", "2026-11-20 00:00", ["2026-11-20 01:10", "2026-11-20 01:30", "2026-11-20 01:50"]),
        ("0 0 */10 * mon", "2026-11-20 00:00", ["2026-12-21 00:00", "2027-01-11 00:00", "2027-02-01 00:00"]),
    ],
)
def test_cron(line: str, start: str, expected: list[str]) -> None:
    assert moments(line, start) == expected


@pytest.mark.parametrize(
    "line",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
     "5-1 * * * *", "x * * * *", "*/ * * * *", "1,,2 * * * *", "² * * * *", "-1 * * * *", "1-x * * * *", "0 0 31 2 *",
     "* * * mon *", "*-5 * * * *"],
)  # fmt: skip
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        Cron(line)
