"""A worker in the main thread: real signals, and a worker that does what the test says."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from trunkline.operations.process import SIGNALS
from trunkline.operations.worker_process import WorkerProcess, _forget

WAIT = 60  # seconds until a test that hangs is called failed


class FakeWorker:
    """Runs `doing`, then waits until it is stopped; deaf where told to."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.doing: Callable[[], None] = lambda: None
        self.stopped = threading.Event()
        self.deaf = False

    def run(self) -> None:
        self.doing()
        assert self.stopped.wait(WAIT)
        self.events.append("worker finished")

    def stop(self) -> None:
        self.events.append("worker told to stop")
        if not self.deaf:
            self.stopped.set()


class Life:
    """One process of a worker, whose end is noted instead."""

    def __init__(self) -> None:
        self.worker = FakeWorker()
        self.codes: list[int] = []
        self.ended = threading.Event()

    def end(self, code: int) -> None:
        self.codes.append(code)
        self.worker.stopped.set()
        self.ended.set()

    def run(self, grace: float = 30.0, supervised: bool = False) -> int:
        return WorkerProcess(
            self.worker,
            grace=grace,
            supervised=supervised,
            ready=lambda: self.worker.events.append("ready"),
            stopping=lambda: self.worker.events.append("stopping"),
            now=self.end,
        ).main()


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    # It would stay registered for as long as this process lives.
    monkeypatch.setattr(os, "register_at_fork", lambda **functions: None)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    made = Life()
    yield made
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.set_wakeup_fd(-1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_worker(life: Life, number: signal.Signals) -> None:
    life.worker.doing = lambda: signal.raise_signal(number)
    assert life.run() == 0
    assert life.worker.events == ["ready", "stopping", "worker told to stop", "worker finished"]
    assert life.codes == []


def test_a_worker_that_has_done_its_share_ends_the_process(life: Life) -> None:
    life.worker.doing = life.worker.stopped.set
    assert life.run() == 0
    assert life.worker.events == ["ready", "worker finished"]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(0)])
def test_a_failing_worker_is_1(life: Life, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    life.worker.doing = fail
    assert life.run() == 1
    assert "the worker failed" in caplog.text


def test_a_second_signal_ends_at_once(life: Life) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    life.worker.deaf = True
    life.worker.doing = twice
    life.run()
    assert life.codes == [1]
    assert life.worker.events.count("stopping") == 1


def test_a_signal_after_the_end_ends_at_once(life: Life) -> None:
    life.worker.doing = lambda: signal.raise_signal(signal.SIGTERM)
    assert life.run() == 0
    signal.raise_signal(signal.SIGTERM)
    assert life.ended.wait(WAIT)
    assert life.codes == [1]


def test_exceeded_grace_is_1_however_often_the_terminal_is_closed(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    def hang_up() -> None:
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)

    life.worker.deaf = True
    life.worker.doing = hang_up
    life.run(grace=0)
    assert life.codes == [1]
    assert "consumers were still at work after 0 s and are abandoned" in caplog.text


def test_a_parent_may_say_it_twice(life: Life) -> None:
    """As when systemd tells the whole group, and the parent its children as well."""
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: seen.append(number))

    def signals() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)

    life.worker.doing = signals
    assert life.run(supervised=True) == 0
    assert seen == [signal.SIGINT]
    assert life.codes == []


def test_signals_of_others_are_left_alone(life: Life) -> None:
    """A consumer's own handlers work as ever."""
    seen: list[int] = []
    kept = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))

    def signals() -> None:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)

    life.worker.doing = signals
    assert life.run() == 0
    assert seen == [signal.SIGUSR1]
    signal.signal(signal.SIGUSR1, kept)


def test_forgotten_signals_are_as_in_a_new_process(life: Life) -> None:
    life.worker.doing = life.worker.stopped.set
    life.run()
    _forget([signal.SIGINT, signal.SIGTERM])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


FORKING = """
import os, signal, time
from trunkline.operations.worker_process import WorkerProcess

class Worker:
    ending = False

    def run(self):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(reading, 1)
        os.kill(child, signal.SIGTERM)
        print(os.waitpid(child, 0)[1] == signal.SIGTERM, self.ending, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        while not self.ending:
            time.sleep(0.01)

    def stop(self):
        self.ending = True

print(WorkerProcess(Worker(), grace=20).main())
"""


def test_a_process_that_a_consumer_forked_is_ended_by_a_signal_and_alone() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=WAIT, check=False)
    assert (ended.stdout, ended.stderr) == ("True False\n0\n", "")
