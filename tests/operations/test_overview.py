"""A command as a whole, as the operations port sees it from its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.operations import overview as module
from trunkline.operations import reports
from trunkline.operations.overview import Overview
from trunkline.operations.recent import Recent
from trunkline.operations.reports import Reporter

WAIT = 30  # seconds until a test that hangs is called failed


class Server:
    """Tells what a server does."""

    title = "http"
    ports = ("http://127.0.0.1:8000",)
    peers = ()
    serves = True
    sockets = 4
    waiting = 3
    groups = (1, 2)

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def problems(self) -> list[str]:
        self.threads.add(threading.get_ident())
        return ["http: something"]

    def counts(self) -> Counter[str]:
        return Counter(failures=2)


class Worker:
    """Tells what a worker does."""

    name = "worker.1.x"
    channels = ("jobs",)
    stats = Counter(messages=5)

    def lags(self) -> dict[str, list[float]]:
        return {"jobs": [5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]}


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that turns in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT)
    loop.close()


def test_nothing_is_known_at_first() -> None:
    seen = Overview().look()
    assert (seen.state, seen.turns, seen.processes, seen.reports) == ("starting", True, [], [])
    assert Overview().turns()


def test_a_worker_alone_needs_no_loop() -> None:
    overview = Overview()
    overview.has(Reporter("worker", Recent(), worker=Worker()))
    overview.state = "running"
    seen = overview.look()
    assert overview.turns()
    assert (seen.state, seen.turns, seen.crews) == ("running", True, [])
    assert seen.reports[0]["worker"]["counts"] == {"messages": 5}
    assert seen.counts["worker", "messages"] == seen.counts["lag", "jobs", "0"] == 5
    assert seen.counts["lag", "jobs", "sum"] == 0.5
    assert seen.reports[0]["memory"] > 1 << 20
    assert reports.counted(seen.reports[0]) == seen.counts


def test_servers_are_asked_on_their_loop(loop: asyncio.AbstractEventLoop) -> None:
    server = Server()
    overview = Overview()
    overview.has(Reporter("http server", Recent(), servers=[server], loop=loop), loop=loop)
    seen = overview.look()
    assert seen.reports[0]["servers"][0] == {
        "title": "http",
        "ports": ["http://127.0.0.1:8000"],
        "peers": [],
        "serves": True,
        "problems": ["http: something"],
        "sockets": 4,
        "waiting": 3,
        "groups": 1,
        "members": 2,
        "counts": {"failures": 2},
    }
    assert server.threads.isdisjoint({threading.get_ident()})
    report = Reporter("http server", Recent(), servers=[server], loop=loop).report()
    assert report is not None
    assert report["servers"] == seen.reports[0]["servers"]


def stuck(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Have the loop hang; return what lets it go on."""
    began, go = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        assert go.wait(WAIT)

    loop.call_soon_threadsafe(hang)
    assert began.wait(WAIT)
    return go.set


def test_a_loop_that_is_stuck_is_told_and_what_was_known_before(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = Overview()
    reporter = Reporter("http server", Recent(), servers=[Server()], loop=loop)
    overview.has(reporter, loop=loop)
    known = overview.look()
    overview.state = "running"
    for name, value in (("PATIENCE", 0.05), ("_SLACK", 0.0)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(reports, "PATIENCE", 0.05)
    go_on = stuck(loop)
    try:
        assert not overview.turns()
        assert reporter.report() is None
        assert overview.look() == known._replace(turns=False, state="running")
    finally:
        go_on()
    while not overview.turns():
        pass  # a busy machine


def test_what_goes_wrong_is_told(loop: asyncio.AbstractEventLoop) -> None:
    class Broken(Server):
        def counts(self) -> Counter[str]:
            raise ZeroDivisionError

    overview = Overview()
    overview.has(Reporter("http server", Recent(), servers=[Broken()], loop=loop), loop=loop)
    with pytest.raises(ZeroDivisionError):
        overview.look()


def test_a_loop_that_was_closed_is_no_error() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    overview = Overview()
    reporter = Reporter("http server", Recent(), servers=[Server()], loop=loop)
    overview.has(reporter, loop=loop)
    assert not overview.turns()
    assert not overview.look().turns
    assert reporter.report() is None
    assert reporter.make()["servers"], "at the end it is asked directly"


def test_memory_is_0_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(*_: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_proc)
    assert reports._memory() == 0
