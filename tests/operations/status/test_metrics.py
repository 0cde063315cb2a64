"""The numbers as Prometheus reads them: by its own parser, from a made-up command."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trunkline.layer import MemoryLayer
from trunkline.operations.buckets import BUCKETS
from trunkline.operations.overview import Crew, Seen
from trunkline.operations.status.metrics import METRICS, MOST_CHANNELS, Labels, render
from trunkline.operations.status.readiness import Trip, Verdict
from trunkline.operations.status.view import View, look

from .conftest import report, seen, server

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"

LAG = [5, 0, 2, 0, 0, 0, 0, 0, 1, 90.5]


def worker(counts: Mapping[str, int], lags: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "worker.1.x", "channels": ["jobs"], "counts": dict(counts), "lags": dict(lags)}


def of(
    it: Seen, view: View | None = None, trip: Trip | None = None, labels: Labels | None = None
) -> dict[tuple[str, ...], float]:
    """Return the samples by name and labels' values."""
    verdict = Verdict("degraded", ["x"])
    text = render("1.2", it, view or View("away"), trip or Trip(0.5), verdict, {"200": 3}, labels or Labels())
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found, key
            found[key] = sample.value
    return found


def everything() -> Seen:
    counts = {"failures": 2, "refused_full": 3, "refused_too_large": 4, "requests": 5}
    return seen(
        report(servers=[server(counts=counts), server("slack.acme", serves=False, problems=["revoked"])]),
        report("worker", worker=worker({"messages": 8, "failures": 1, "abandoned": 6}, {"jobs": LAG})),
        report("worker", worker=worker({"messages": 2}, {"jobs": LAG}), lines=[{"time": 0.0}]),
        None,
        crews=[Crew("worker", 1, 2, 7)],
    )


@pytest.fixture
def view() -> View:
    with MemoryLayer(capacity=2) as layer:
        layer.announce("worker.1.a", {"channels": {"jobs": False, "idle": False}})
        layer.announce("worker.1.b", {"channels": {"jobs": False}})
        for _ in range(2):
            layer.send("jobs", {})
        layer.dead_letter("jobs", {"secret": "x"}, reason="broken")
        return look(layer)


def test_the_documented_table_is_the_codes() -> None:
    rows = [
        re.split(r" *\| *", line.strip("| ")) for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    told = [(row[0].strip("`"), row[1], tuple(re.findall(r"`(\w+)`", row[2])), row[3]) for row in rows]
    assert told == [tuple(metric) for metric in METRICS]


def test_names_follow_the_rule() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"trunkline_[a-z]+(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") is (metric.type == "counter")
        assert not metric.name.endswith(("_count", "_sum", "_bucket"))


def test_all_of_them_are_told(view: View) -> None:
    told = {re.sub(r"_(bucket|sum|count)$", "", key[0]) for key in of(everything(), view)}
    assert told == {metric.name for metric in METRICS}


def test_numbers_of_processes(view: View) -> None:
    found = of(everything(), view)
    expected = {
        ("trunkline_build_info", "1.2"): 1,
        ("trunkline_command_ready",): 1,
        ("trunkline_command_problems",): 1,
        ("trunkline_processes_wanted", "worker"): 2,
        ("trunkline_processes_running", "worker"): 1,
        ("trunkline_process_restarts_total", "worker"): 7,
        ("trunkline_process_memory_bytes", "worker"): 2 << 20,
        ("trunkline_process_cpu_seconds_total", "worker"): 3.0,
        ("trunkline_log_lines_total", "error"): 1,
        ("trunkline_port_requests_total", "200"): 3,
        ("trunkline_server_serving", "http"): 1,
        ("trunkline_server_serving", "slack.acme"): 0,
        ("trunkline_server_problems", "slack.acme"): 1,
        ("trunkline_server_sockets", "http"): 3,
        ("trunkline_server_failures_total", "http"): 2,
        ("trunkline_server_failures_total", "slack.acme"): 0,
        ("trunkline_server_refused_messages_total", "http", "full"): 3,
        ("trunkline_server_refused_messages_total", "http", "unavailable"): 0,
        ("trunkline_server_refused_messages_total", "http", "too_large"): 4,
        ("trunkline_server_events_total", "http", "requests"): 5,
        ("trunkline_worker_messages_total",): 10,
        ("trunkline_worker_failures_total",): 1,
        ("trunkline_worker_retries_total",): 0,
        ("trunkline_worker_events_total", "abandoned"): 6,
    }
    assert {key: found[key] for key in expected} == expected


def test_numbers_of_the_layer(view: View) -> None:
    found = of(everything(), view)
    expected = {
        ("trunkline_layer_up",): 1,
        ("trunkline_layer_roundtrip_seconds",): 0.5,
        ("trunkline_layer_messages_total",): 2,
        ("trunkline_layer_pending_messages",): 2,
        ("trunkline_layer_dead_letters",): 1,
        ("trunkline_layer_workers",): 2,
        ("trunkline_channel_messages_total", "jobs"): 2,
        ("trunkline_channel_pending_messages", "jobs"): 2,
        ("trunkline_channel_workers", "jobs"): 2,
        ("trunkline_channel_workers", "idle"): 1,
        ("trunkline_channel_pending_messages", "idle"): 0,
    }
    assert {key: found[key] for key in expected} == expected


def test_lags_are_a_histogram() -> None:
    found = of(everything())
    buckets = [found["trunkline_channel_lag_seconds_bucket", "jobs", f"{bound:g}"] for bound in BUCKETS]
    assert buckets == [10, 10, 14, 14, 14, 14, 14, 14]
    assert found["trunkline_channel_lag_seconds_bucket", "jobs", "+Inf"] == 16
    assert found["trunkline_channel_lag_seconds_count", "jobs"] == 16
    assert found["trunkline_channel_lag_seconds_sum", "jobs"] == 181.0


def test_a_layer_that_is_away_hides_nothing_else() -> None:
    found = of(everything(), View("away"), Trip(2.0, failure="away"))
    assert found["trunkline_layer_up",] == 0
    assert ("trunkline_layer_roundtrip_seconds",) not in found
    assert not any(key[0].startswith("trunkline_layer_pending") for key in found)
    assert found["trunkline_worker_messages_total",] == 10


def channels(*names: str, listened: str = "") -> View:
    with MemoryLayer() as layer:
        for name in names:
            layer.send(name, {})
        if listened:
            layer.announce("worker", {"channels": {listened: False}})
        return look(layer)


def test_channels_without_end_are_labels_with_an_end() -> None:
    """Those that somebody listens to have one of their own, and a label that was there stays."""
    labels = Labels()
    names = [f"user.{number:04}" for number in range(MOST_CHANNELS + 50)]
    found = of(seen(), channels(*names, "zzz", listened="zzz"), labels=labels)
    told = {key[1]: value for key, value in found.items() if key[0] == "trunkline_channel_pending_messages"}
    assert len(told) == MOST_CHANNELS + 1
    assert (told["zzz"], told["other"]) == (1, 51)
    again = of(seen(), channels("user.0000", "aaa", listened="aaa"), labels=labels)
    told = {key[1]: value for key, value in again.items() if key[0] == "trunkline_channel_pending_messages"}
    assert told == {"user.0000": 1, "other": 1}


def test_inboxes_of_all_processes_of_a_server_are_one() -> None:
    found = of(seen(), channels("http.reply.0123456789abcdef!x", "http.reply.fedcba9876543210!y", "irc.reply.libera!z"))
    told = {key[1]: value for key, value in found.items() if key[0] == "trunkline_channel_pending_messages"}
    assert told == {"http.reply!": 2, "irc.reply.libera!": 1}


def test_no_text_breaks_the_format() -> None:
    odd = 'a "b" \\ c\nd'
    found = of(seen(report(servers=[server(odd, counts={odd: 1})])))
    assert found["trunkline_server_events_total", odd, odd] == 1
