"""The life of a process, with servers and workers that do what the test says."""

import asyncio
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.operations.errors import StartError
from trunkline.operations.event_loop import install_reactor
from trunkline.operations.process import SIGNALS, Process, end_within, exit_now


class FakeServer:
    """Notes what happens to it; fails where told to."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None
        self.in_time = True
        self.hangs = False

    async def start(self) -> None:
        if self.start_error:
            raise self.start_error
        self.events.append(f"{self.name} started")

    async def stop(self, grace: float) -> bool:
        self.events.append(f"{self.name} stopped within {grace:g}")
        if self.stop_error:
            raise self.stop_error
        if self.hangs:
            await asyncio.Event().wait()
        return self.in_time


class FakeWorker:
    """Works until stopped, or until `error` is due; deaf to `stop` where told to."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.ending = threading.Event()
        self.error: BaseException | None = None
        self.deaf = False

    def run(self) -> None:
        self.events.append("worker started")
        self.ending.wait()
        if self.error:
            raise self.error
        self.events.append("worker finished")

    def stop(self) -> None:
        self.events.append("worker told to stop")
        if not self.deaf:
            self.ending.set()


class Life:
    """One process with two servers, which ends itself when ready unless told otherwise."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.servers = [FakeServer("http", self.events), FakeServer("smtp", self.events)]
        self.worker = FakeWorker(self.events)
        self.alone = False  # servers without a worker
        self.codes: list[int] = []
        self.process: Process
        self.ready: Callable[[], None] = lambda: self.process.signalled()

    def begin(self) -> None:
        self.events.append("ready")
        self.ready()

    def run(self, *, drain: float = 1.0, grace: float = 30.0) -> int:
        async def main() -> int:
            self.process = Process(
                self.servers,
                None if self.alone else self.worker,
                drain=drain,
                grace=grace,
                ready=self.begin,
                stopping=lambda: self.events.append("stopping"),
                now=self.codes.append,
            )
            return await asyncio.wait_for(self.process.main(), 30)

        return asyncio.run(main())


@pytest.fixture
def life() -> Iterator[Life]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    made = Life()
    yield made
    made.worker.ending.set()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_servers_drain_while_the_worker_still_works(life: Life) -> None:
    assert life.run() == 0
    events = [event for event in life.events if event != "worker started"]
    assert events == [
        "http started",
        "smtp started",
        "ready",
        "stopping",
        "http stopped within 1",
        "smtp stopped within 1",
        "worker told to stop",
        "worker finished",
    ]
    assert "worker started" in life.events
    assert life.codes == []


def test_signals_of_the_system_end_it(life: Life) -> None:
    life.ready = lambda: signal.raise_signal(signal.SIGTERM)
    assert life.run() == 0
    assert "stopping" in life.events


def test_a_closed_terminal_drains_however_often_it_says_so(life: Life) -> None:
    def hang_up() -> None:
        signal.raise_signal(signal.SIGHUP)
        life.process.hung_up()

    life.ready = hang_up
    assert life.run() == 0
    assert life.events.count("stopping") == 1
    assert life.codes == []


def test_nohup_is_respected(life: Life) -> None:
    def hang_up_and_end() -> None:
        signal.raise_signal(signal.SIGHUP)
        life.worker.ending.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    life.ready = hang_up_and_end
    assert life.run() == 0
    assert "stopping" not in life.events
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("broken", [None, "closed"])
def test_nothing_keeps_a_process_that_is_to_end(monkeypatch: pytest.MonkeyPatch, broken: str | None) -> None:
    """A user's code closed stdout, or there never was one."""
    ended: list[int] = []
    stream = None if broken is None else io.StringIO()
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(os, "_exit", ended.append)
    exit_now(1)
    assert ended == [1]


def test_no_room_for_a_loop_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("trunkline.operations.event_loop.new_loop", full)
    with pytest.raises(StartError, match=r"^no event loop: Too many open files$"):
        install_reactor()


def test_what_is_left_running_does_not_keep_the_process(caplog: pytest.LogCaptureFixture) -> None:
    ended, codes = threading.Event(), []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    end_within(0, end)
    assert ended.wait(30)
    assert codes == [1]
    assert "are abandoned after 0 s" in caplog.text


def test_second_signal_ends_at_once(life: Life) -> None:
    def twice() -> None:
        life.process.signalled()
        life.process.signalled()

    life.ready = twice
    life.run()
    assert life.codes == [1]
    assert life.events.count("stopping") == 1


def test_signal_after_the_loop_ended_ends_at_once(life: Life) -> None:
    life.run()
    signal.raise_signal(signal.SIGINT)
    assert life.codes == [1]


def test_signal_while_starting_starts_nothing_more(life: Life) -> None:
    async def interrupted() -> None:
        life.events.append("http started")
        life.process.signalled()

    life.servers[0].start = interrupted  # type: ignore[method-assign]
    assert life.run() == 0
    assert "worker started" not in life.events
    assert life.events[-2:] == ["http stopped within 0.5", "smtp stopped within 0.5"]


def test_grace_shorter_than_the_drain(life: Life) -> None:
    assert life.run(grace=0.25) == 0
    assert "http stopped within 0.25" in life.events


def test_consumers_that_need_too_long_are_abandoned(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.worker.deaf = True
    life.run(grace=0)
    assert life.codes == [1]
    assert "consumers were still at work after 0 s" in caplog.text


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(0)])
def test_failing_worker_ends_the_process(life: Life, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    life.worker.error = error
    life.ready = life.worker.ending.set
    assert life.run() == 1
    assert "the worker failed" in caplog.text
    assert "http stopped within 1" in life.events


def test_worker_that_has_done_its_share_ends_the_process(life: Life) -> None:
    life.ready = life.worker.ending.set
    assert life.run() == 0
    assert "stopping" not in life.events


@pytest.mark.parametrize(
    "error", [LayerUnavailable("the layer is away"), OSError("no room"), StartError("smtp: no room")]
)
def test_server_that_cannot_start_stops_those_before_it(life: Life, error: Exception) -> None:
    life.servers[1].start_error = error
    with pytest.raises(StartError, match=r"^smtp: (the layer is away|no room)$") as caught:
        life.run()
    assert caught.value.code == 3
    assert life.events == ["http started", "http stopped within 0.5"]


def test_server_that_fails_to_stop_hurts_no_other(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.servers[0].stop_error = RuntimeError("broken")
    assert life.run() == 1
    assert "http did not stop properly" in caplog.text
    assert "smtp stopped within 1" in life.events
    assert "worker finished" in life.events


def test_server_that_hangs_is_left_behind(life: Life) -> None:
    life.servers[1].hangs = True
    assert life.run(drain=0) == 1
    assert "worker finished" in life.events


@pytest.mark.parametrize("in_time", [True, False])
def test_servers_alone_are_1_when_open_work_was_cut_off(life: Life, in_time: bool) -> None:
    """With a worker beside them it was told to stop as well, and what is not finished is no surprise."""
    life.servers[0].in_time = in_time
    assert life.run() == 0
    life.alone = True
    life.events.clear()
    assert life.run(drain=30) == (0 if in_time else 1)
    assert life.events == [
        "http started", "smtp started", "ready", "stopping", "http stopped within 30", "smtp stopped within 30",
    ]  # fmt: skip


def test_what_signals_mean_is_the_parents_to_decide(life: Life) -> None:
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: seen.append(number))

    async def main() -> int:
        def ready() -> None:
            signal.raise_signal(signal.SIGINT)
            process.signalled()
            process.signalled()

        process = Process(life.servers, None, drain=1, grace=1, ready=ready, supervised=True, now=life.codes.append)
        return await process.main()

    assert asyncio.run(main()) == 0
    signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGINT]
    assert life.codes == []
