"""What a process tells of itself: a report, which travels from a child to its parent as JSON.

    report   kind, pid, started, memory, cpu, servers, worker, log
    server   title, ports, peers, serves, problems, sockets, waiting, groups, members, counts
    worker   name, channels, counts, lags

What only grows, the counts, can be added up over processes, those that have ended included: `counted` takes it out of
a report as (what, which, …) → number.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import resource
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from .recent import Recent

PATIENCE = 1.0
"""Seconds that a process may take to say how it is doing."""

Report = dict[str, Any]
Counted = tuple[str, ...]
"""What is counted: ("server", title, event), ("worker", event), ("lag", channel, bucket or "sum"), ("log", level),
("cpu", kind), ("restarts", kind)."""


class ReportingServer(Protocol):
    """What a server tells of itself; asked on the loop's thread."""

    @property
    def title(self) -> str:
        """Its name, that of its network or workspace included."""

    @property
    def ports(self) -> Sequence[str]:
        """What it listens on."""

    @property
    def peers(self) -> Sequence[str]:
        """What it connects to."""

    @property
    def serves(self) -> bool:
        """Whether it does anything for anybody at present."""

    @property
    def sockets(self) -> int:
        """Sockets that clients have open."""

    @property
    def waiting(self) -> int:
        """What can be answered: requests, WebSockets, recipients."""

    @property
    def groups(self) -> tuple[int, int]:
        """How many groups have members here, and how many members there are."""

    def problems(self) -> Sequence[str]:
        """What a person has to do something about."""

    def counts(self) -> Mapping[str, int]:
        """Named counters."""


class ReportingWorker(Protocol):
    """What a worker tells of itself; safe from any thread."""

    @property
    def name(self) -> str:
        """What it announces itself as."""

    @property
    def channels(self) -> Collection[str]:
        """What it takes from."""

    @property
    def stats(self) -> Mapping[str, int]:
        """Named counters."""

    def lags(self) -> Mapping[str, Sequence[float]]:
        """How long messages waited, by channel: how many in each bucket, and seconds in all."""


class Reporter:
    """Makes the reports of this process.

    Args:
        kind: What people call the process: "http server", "worker".
        recent: What it logged.
        servers: Its servers.
        worker: Its worker.
        loop: Where the servers run; None: there are none.
    """

    def __init__(
        self,
        kind: str,
        recent: Recent,
        *,
        servers: Sequence[ReportingServer] = (),
        worker: ReportingWorker | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._kind = kind
        self._recent = recent
        self._servers = servers
        self._worker = worker
        self._loop = loop
        self._started = time.time()

    def report(self) -> Report | None:
        """Return the report, from any thread but the loop's; None: the loop does not turn."""
        if self._loop is None:
            return self.make()
        made: concurrent.futures.Future[Report] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(lambda: made.set_result(self.make()))
            return made.result(PATIENCE)
        except (TimeoutError, RuntimeError):
            return None  # it is busy for long, or was closed

    def make(self) -> Report:
        """Return the report, on the loop's thread."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "kind": self._kind,
            "pid": os.getpid(),
            "started": self._started,
            "memory": _memory(),
            "cpu": used.ru_utime + used.ru_stime,
            "servers": [_server(server) for server in self._servers],
            "worker": None if self._worker is None else _worker(self._worker),
            "log": {"counts": dict(self._recent.counts), "lines": self._recent.lines()},
        }


def counted(report: Mapping[str, Any]) -> Counter[Counted]:
    """Return what only grows in a report."""
    counts: Counter[Counted] = Counter({("cpu", report["kind"]): report["cpu"]})
    for server in report["servers"]:
        counts.update({("server", server["title"], event): number for event, number in server["counts"].items()})
    worker = report["worker"]
    if worker is not None:
        counts.update({("worker", event): number for event, number in worker["counts"].items()})
        for channel, row in worker["lags"].items():
            *buckets, seconds = row
            counts.update({("lag", channel, str(number)): each for number, each in enumerate(buckets)})
            counts["lag", channel, "sum"] += seconds
    counts.update({("log", level): number for level, number in report["log"]["counts"].items()})
    return counts


def _server(server: ReportingServer) -> dict[str, Any]:
    groups, members = server.groups
    return {
        "title": server.title,
        "ports": list(server.ports),
        "peers": list(server.peers),
        "serves": server.serves,
        "problems": list(server.problems()),
        "sockets": server.sockets,
        "waiting": server.waiting,
        "groups": groups,
        "members": members,
        "counts": dict(server.counts()),
    }


def _worker(worker: ReportingWorker) -> dict[str, Any]:
    return {
        "name": worker.name,
        "channels": list(worker.channels),
        "counts": dict(worker.stats),
        "lags": {channel: list(row) for channel, row in worker.lags().items()},
    }


def _memory() -> int:
    """Return the bytes this process has in memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
