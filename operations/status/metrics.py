"""The numbers as Prometheus reads them (text format 0.0.4): every family stands in `METRICS`, and none elsewhere.

Labels have few values: kinds of processes, servers, events that the code counts, and channels, of which the first
`MOST_CHANNELS` have a label of their own and all others share one, as do the inboxes of all processes of a server.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..buckets import BUCKETS
from ..overview import Seen
from .readiness import Trip, Verdict
from .view import View

TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_CHANNELS = 200
OTHER = "other"
"""The label of all channels beyond those."""


class Metric(NamedTuple):
    """A family of numbers.

    Attributes:
        name: Its name.
        type: "counter", "gauge" or "histogram".
        labels: Names of its labels.
        help: What it tells.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


_KIND, _SERVER, _CHANNEL = ("kind",), ("server",), ("channel",)

METRICS = tuple(
    Metric(f"trunkline_{name}", type, labels, help)
    for name, type, labels, help in (
        ("build_info", "gauge", ("version",), "1; which version runs"),
        ("command_ready", "gauge", (), "1 where /readyz answers 200"),
        ("command_problems", "gauge", (), "lines that /readyz tells"),
        ("processes_wanted", "gauge", _KIND, "processes that should run"),
        ("processes_running", "gauge", _KIND, "processes that are ready"),
        ("process_restarts_total", "counter", _KIND, "processes that took the place of one that had ended"),
        ("process_memory_bytes", "gauge", _KIND, "memory of the processes of a kind"),
        ("process_cpu_seconds_total", "counter", _KIND, "processor time of the processes of a kind"),
        ("log_lines_total", "counter", ("level",), "warnings and errors that were logged"),
        ("port_requests_total", "counter", ("status",), "requests to the operations port"),
        ("layer_up", "gauge", (), "1 where a message went through the layer and back in time"),
        ("layer_roundtrip_seconds", "gauge", (), "how long that took"),
        ("layer_messages_total", "counter", (), "messages that the layer took"),
        ("layer_refused_messages_total", "counter", (), "messages that a full channel refused"),
        ("layer_pending_messages", "gauge", (), "messages that wait"),
        ("layer_oldest_seconds", "gauge", (), "how long the oldest of them waits"),
        ("layer_group_dropped_messages_total", "counter", (), "copies of group messages that found no room"),
        ("layer_dead_letters", "gauge", (), "dead letters that are kept"),
        ("layer_dead_letters_dropped_total", "counter", (), "dead letters that made room for others"),
        ("layer_blobs", "gauge", (), "large parts that are kept"),
        ("layer_blobs_bytes", "gauge", (), "bytes in them"),
        ("layer_workers", "gauge", (), "workers that announced themselves"),
        ("channel_messages_total", "counter", _CHANNEL, "messages that the channel took"),
        ("channel_refused_messages_total", "counter", _CHANNEL, "messages that it refused, being full"),
        ("channel_pending_messages", "gauge", _CHANNEL, "messages that wait in it"),
        ("channel_oldest_seconds", "gauge", _CHANNEL, "how long the oldest of them waits"),
        ("channel_workers", "gauge", _CHANNEL, "workers that listen to it"),
        ("channel_lag_seconds", "histogram", _CHANNEL, "from a message's sending to its taking by a worker here"),
        ("server_serving", "gauge", _SERVER, "processes in which the server can do its work"),
        ("server_problems", "gauge", _SERVER, "lines that /readyz tells of it"),
        ("server_sockets", "gauge", _SERVER, "connections that clients have open"),
        ("server_waiting", "gauge", _SERVER, "requests, sockets, recipients that can be answered"),
        ("server_groups", "gauge", _SERVER, "groups that have members there"),
        ("server_members", "gauge", _SERVER, "members of any group"),
        ("server_failures_total", "counter", _SERVER, "exceptions of the server's own, which are logged"),
        ("server_refused_messages_total", "counter", ("server", "reason"), "messages that the layer did not take"),
        ("server_timeouts_total", "counter", _SERVER, "deadlines that passed, as of an answer"),
        ("server_late_answers_total", "counter", _SERVER, "answers to what was closed by then"),
        ("server_events_total", "counter", ("server", "event"), "whatever else the server counts"),
        ("worker_messages_total", "counter", (), "messages that workers took"),
        ("worker_failures_total", "counter", (), "messages whose consumer failed"),
        ("worker_dead_letters_total", "counter", (), "messages that became dead letters"),
        ("worker_dropped_messages_total", "counter", (), "messages of consumers that found no room for 2 s"),
        ("worker_unrouted_messages_total", "counter", (), "messages that no route takes"),
        ("worker_retries_total", "counter", (), "messages that are consumed again later"),
        ("worker_events_total", "counter", ("event",), "whatever else workers count"),
    )
)
"""All families; docs/reference/metrics.md shows them."""

_SERVER_COUNTS: dict[str, tuple[str, dict[str, str]]] = {
    "failures": ("server_failures_total", {}),
    "refused_full": ("server_refused_messages_total", {"reason": "full"}),
    "refused_unavailable": ("server_refused_messages_total", {"reason": "unavailable"}),
    "refused_too_large": ("server_refused_messages_total", {"reason": "too_large"}),
    "timeouts": ("server_timeouts_total", {}),
    "late_answers": ("server_late_answers_total", {}),
}
_WORKER_COUNTS = {
    "messages": "worker_messages_total",
    "failures": "worker_failures_total",
    "dead_letters": "worker_dead_letters_total",
    "dropped_full": "worker_dropped_messages_total",
    "unrouted": "worker_unrouted_messages_total",
    "retried": "worker_retries_total",
}
_WHOLE = {
    "messages_count": "layer_messages_total",
    "channel_full_count": "layer_refused_messages_total",
    "messages_pending": "layer_pending_messages",
    "messages_max_age": "layer_oldest_seconds",
    "group_dropped_count": "layer_group_dropped_messages_total",
    "dead_letters_count": "layer_dead_letters",
    "dead_letters_dropped_count": "layer_dead_letters_dropped_total",
    "blobs_count": "layer_blobs",
    "blobs_bytes": "layer_blobs_bytes",
}
_EACH = {
    "messages_count": "channel_messages_total",
    "channel_full_count": "channel_refused_messages_total",
    "messages_pending": "channel_pending_messages",
}
_OWN_INBOX = re.compile(r"([a-z-]+)\.(reply|process)\.[0-9a-f]{16}!")


class Labels:
    """Which channels have a label of their own: the first ones that were seen, for good, so that no series ends."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, channel: str) -> str:
        """Return a channel's label."""
        inbox = _OWN_INBOX.fullmatch(channel)
        name = f"{inbox[1]}.{inbox[2]}!" if inbox else channel
        if name not in self._known:
            if len(self._known) >= MOST_CHANNELS:
                return OTHER
            self._known.add(name)
        return name


class _Page:
    """Numbers by family and labels."""

    def __init__(self) -> None:
        self._families: dict[str, dict[tuple[str, ...], float]] = {metric.name: {} for metric in METRICS}
        self._labels = {metric.name: metric.labels for metric in METRICS}

    def add(self, name: str, number: float, **labels: str) -> None:
        """Add to a number, which begins with 0."""
        family, key = self._place(name, labels)
        family[key] = family.get(key, 0.0) + number

    def reach(self, name: str, number: float, **labels: str) -> None:
        """Have a number be this one at least."""
        family, key = self._place(name, labels)
        family[key] = max(family.get(key, 0.0), number)

    def _place(self, name: str, labels: Mapping[str, str]) -> tuple[dict[tuple[str, ...], float], tuple[str, ...]]:
        name = f"trunkline_{name}"
        return self._families[name], tuple(labels[label] for label in self._labels[name])

    def text(self, lags: Mapping[str, Mapping[str, float]]) -> str:
        """Return all of it, with the lags by channel."""
        lines: list[str] = []
        for metric in METRICS:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.type}"]
            if metric.type == "histogram":
                for channel, row in lags.items():
                    lines += _histogram(metric.name, channel, row)
                continue
            for key, number in self._families[metric.name].items():
                lines.append(_line(metric.name, zip(metric.labels, key, strict=True), number))
        return "\n".join([*lines, ""])


def render(
    version: str, seen: Seen, view: View, trip: Trip, verdict: Verdict, requests: Mapping[str, int], labels: Labels
) -> str:
    """Return the page.

    Args:
        version: Trunkline's.
        seen: The command's processes.
        view: The layer.
        trip: A message through it.
        verdict: What to think of it all.
        requests: Those to the operations port, by status.
        labels: Of channels; the same object every time.
    """
    page = _Page()
    page.add("build_info", 1, version=version)
    page.add("command_ready", verdict.ready)
    page.add("command_problems", len(verdict.problems))
    page.add("layer_up", not trip.failure)
    if not trip.failure:
        page.add("layer_roundtrip_seconds", trip.seconds)
    for status, number in requests.items():
        page.add("port_requests_total", number, status=status)
    _add_processes(page, seen)
    lags = _add_counts(page, seen, labels)
    if not view.failure:
        _add_layer(page, view, labels)
    return page.text(lags)


def _add_processes(page: _Page, seen: Seen) -> None:
    for crew in seen.crews:
        page.add("processes_wanted", crew.wanted, kind=crew.kind)
        page.add("processes_running", crew.running, kind=crew.kind)
    for report in seen.reports:
        page.add("process_memory_bytes", report["memory"], kind=report["kind"])
        for server in report["servers"]:
            title = server["title"]
            page.add("server_serving", server["serves"], server=title)
            page.add("server_problems", len(server["problems"]), server=title)
            for what in ("sockets", "waiting", "groups", "members"):
                page.add(f"server_{what}", server[what], server=title)
            for name, more in _SERVER_COUNTS.values():
                page.add(name, 0, server=title, **more)
        if report["worker"] is not None:
            for name in _WORKER_COUNTS.values():
                page.add(name, 0)


def _add_counts(page: _Page, seen: Seen, labels: Labels) -> dict[str, dict[str, float]]:
    """Add what only grows; return the lags by channel's label."""
    lags: dict[str, dict[str, float]] = {}
    for (what, *which), number in seen.counts.items():
        match what:
            case "cpu":
                page.add("process_cpu_seconds_total", number, kind=which[0])
            case "restarts":
                page.add("process_restarts_total", number, kind=which[0])
            case "log":
                page.add("log_lines_total", number, level=which[0])
            case "server" if which[1] in _SERVER_COUNTS:
                name, more = _SERVER_COUNTS[which[1]]
                page.add(name, number, server=which[0], **more)
            case "server":
                page.add("server_events_total", number, server=which[0], event=which[1])
            case "worker" if which[0] in _WORKER_COUNTS:
                page.add(_WORKER_COUNTS[which[0]], number)
            case "worker":
                page.add("worker_events_total", number, event=which[0])
            case "lag":
                row = lags.setdefault(labels.of(which[0]), {})
                row[which[1]] = row.get(which[1], 0.0) + number
    return lags


def _add_layer(page: _Page, view: View, labels: Labels) -> None:
    for figure, name in _WHOLE.items():
        page.add(name, view.whole[figure])
    page.add("layer_workers", view.workers)
    # Where there are more channels than labels, those that somebody listens to come first.
    for channel in sorted(view.channels, key=lambda channel: (channel not in view.listeners, channel)):
        label = labels.of(channel)
        for figure, name in _EACH.items():
            page.add(name, view.channels[channel][figure], channel=label)
        page.reach("channel_oldest_seconds", view.channels[channel]["messages_max_age"], channel=label)
        page.reach("channel_workers", view.listeners.get(channel, 0), channel=label)


def _histogram(name: str, channel: str, row: Mapping[str, float]) -> Iterable[str]:
    total = 0.0
    for number, bound in enumerate((*BUCKETS, math.inf)):
        total += row.get(str(number), 0.0)
        yield _line(f"{name}_bucket", (("channel", channel), ("le", _number(bound))), total)
    yield _line(f"{name}_sum", (("channel", channel),), row.get("sum", 0.0))
    yield _line(f"{name}_count", (("channel", channel),), total)


def _line(name: str, labels: Iterable[tuple[str, str]], number: float) -> str:
    shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
    return f"{name}{{{shown}}} {_number(number)}" if shown else f"{name} {_number(number)}"


def _number(number: Any) -> str:
    if number == math.inf:
        return "+Inf"
    number = float(number)
    return str(int(number)) if number.is_integer() else repr(number)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
