"""What an operator should think of a command: ready, degraded, or not ready, and why."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.operations.overview import Crew, Seen
from trunkline.operations.status.readiness import SILENT, Probe, Trip, Verdict, judge

from .conftest import report, seen, server

GONE = "slack.acme: Slack does not take bot_token: token_revoked"
SLACK = server("slack.acme", serves=False, problems=[GONE])


def crew(running: int, wanted: int = 2, kind: str = "worker") -> Crew:
    return Crew(kind, running, wanted, 0)


@pytest.mark.parametrize(
    ("it", "trip", "expected"),
    [
        (seen(report(servers=[server()])), Trip(0.001), Verdict("ready", [])),
        (seen(report("worker")), Trip(0.001), Verdict("ready", [])),
        (seen(state="starting"), Trip(0.001), Verdict("not ready", ["starting"])),
        (seen(report(), state="stopping"), Trip(0.001), Verdict("not ready", ["stopping"])),
        (seen(report()), Trip(2.0, failure="away"), Verdict("not ready", ["layer: away"])),
        (seen(report()), Trip(0.1, ["it forgets"]), Verdict("degraded", ["it forgets"])),
        (seen(report())._replace(turns=False), Trip(0.1), Verdict("not ready", ["the event loop is stuck"])),
        # One of several
        (
            seen(report(servers=[server(), SLACK])),
            Trip(0.001),
            Verdict("degraded", [GONE]),
        ),
        # All that there is
        (
            seen(report(servers=[SLACK])),
            Trip(0.001),
            Verdict("not ready", ["no server can do its work", GONE]),
        ),
        # A problem is no end
        (
            seen(report(servers=[server("smtp", problems=["smtp: the relay is away"])])),
            Trip(0.001),
            Verdict("degraded", ["smtp: the relay is away"]),
        ),
        # The same of several processes is told once
        (
            seen(report(servers=[SLACK, server()]), report(servers=[SLACK])),
            Trip(0.001),
            Verdict("degraded", [GONE]),
        ),
        (seen(report(), crews=[crew(2)]), Trip(0.001), Verdict("ready", [])),
        (seen(report(), crews=[crew(1)]), Trip(0.001), Verdict("degraded", ["1 of 2 workers run"])),
        (seen(report(), crews=[crew(0)]), Trip(0.001), Verdict("not ready", ["no worker runs"])),
        (
            seen(report(), state="starting", crews=[crew(0)]),
            Trip(0.001),
            Verdict("not ready", ["starting"]),
        ),
        (
            seen(report(), silent=SILENT + 7),
            Trip(0.001),
            Verdict("degraded", ["process 1 has not answered for 12 s"]),
        ),
    ],
)  # fmt: skip
def test_verdicts(it: Seen, trip: Trip, expected: Verdict) -> None:
    assert judge(it, trip) == expected
    assert judge(it, trip).ready is (expected.state != "not ready")


def test_a_round_trip_is_a_real_one() -> None:
    with MemoryLayer() as layer:
        probe = Probe(layer)
        for number in range(1, 4):
            trip = probe()
            assert (trip.failure, trip.problems) == ("", [])
            assert layer.global_statistics()["messages_count"] == number
        assert layer.global_statistics()["messages_pending"] == 0
        assert layer.channels() == {}, "it adds nothing to what people look at"
    assert probe().failure == "memory:// is closed"


def test_what_earlier_trips_left_behind_is_no_answer() -> None:
    with MemoryLayer() as layer:
        probe = Probe(layer)
        for _ in range(3):
            layer.send(probe._channel, {"probe": "of one that was given up"})
        assert probe().failure == ""
        assert probe().failure == ""


def test_a_layer_that_loses_messages_is_not_called_sound() -> None:
    class Leaky(MemoryLayer):
        def send(self, channel: Any, message: Any, **options: Any) -> bool:
            return True

    with Leaky() as layer:
        assert Probe(layer)().failure == "a message was sent and did not come"


def test_a_layer_that_takes_nothing_is_not_called_sound() -> None:
    class Full(MemoryLayer):
        def send(self, channel: Any, message: Any, **options: Any) -> bool:
            raise LayerUnavailable("it takes no writes")

    with Full() as layer:
        assert Probe(layer)().failure == "it takes no writes"
