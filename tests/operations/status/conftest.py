"""A command as the operations port sees it, made up."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trunkline.operations.census import Told
from trunkline.operations.overview import Crew, Seen, State
from trunkline.operations.reports import Report, counted

Json = dict[str, Any]


def server(title: str = "http", **told: Any) -> Json:
    """Return what a server tells."""
    return {
        "title": title,
        "ports": ["http://127.0.0.1:8000"],
        "peers": [],
        "serves": True,
        "problems": [],
        "sockets": 3,
        "waiting": 2,
        "groups": 1,
        "members": 2,
        "counts": {},
    } | told


def report(
    kind: str = "http server", servers: Sequence[Json] = (), worker: Json | None = None, lines: Sequence[Json] = ()
) -> Report:
    """Return what a process tells."""
    return {
        "kind": kind,
        "pid": 4711,
        "started": 1_700_000_000.0,
        "memory": 1 << 20,
        "cpu": 1.5,
        "servers": list(servers),
        "worker": worker,
        "log": {"counts": {"warning": 0, "error": len(lines)}, "lines": list(lines)},
    }


def seen(*reports: Report | None, state: State = "running", crews: Sequence[Crew] = (), silent: float = 0.0) -> Seen:
    """Return a command with processes that told this."""
    counts: Counter[tuple[str, ...]] = Counter()
    for each in reports:
        if each is not None:
            counts.update(counted(each))
    for crew in crews:
        counts["restarts", crew.kind] = crew.restarts
    processes = [Told(f"process {number}", each, silent) for number, each in enumerate(reports, 1)]
    return Seen(state, True, processes, crews, counts)
