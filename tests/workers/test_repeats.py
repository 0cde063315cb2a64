"""A consumer that fails again and again: one traceback, then a counted line a minute, in bounded memory."""

import logging
import threading
from collections.abc import Iterator

import pytest

from trunkline.layer import MemoryLayer
from trunkline.layer.testing import ManualClock
from trunkline.workers import Message, Worker, route
from trunkline.workers.repeats import MOST, WINDOW, Repeats

WAIT = 60  # seconds until a test that hangs is called failed


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def layer(clock: ManualClock) -> Iterator[MemoryLayer]:
    with MemoryLayer(clock=clock) as layer:
        yield layer


def fails(message: Message) -> None:
    if message["n"] % 10 == 9:
        raise KeyError(message["n"])
    raise ValueError(message["n"])


def raised(what: str = "x") -> ValueError:
    try:
        raise ValueError(what)
    except ValueError as error:
        return error


def elsewhere() -> ValueError:
    try:
        raise ValueError("x")
    except ValueError as error:
        return error


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def work(worker: Worker) -> None:
    while worker.step():
        pass


def test_a_flood_is_two_tracebacks_and_two_lines_a_minute(
    layer: MemoryLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(layer, [route("x", fails)])
    for number in range(500):
        layer.send("x", {"n": number})
    work(worker)
    assert caplog.text.count("Traceback (most recent call last)") == 2
    assert lines(caplog) == ["x [None]: fails failed"] * 2
    assert worker.stats["failures"] == 500
    assert len(layer.dead_letters()) == 500, "each of them is kept, with its own traceback"

    caplog.clear()
    clock.advance(WINDOW)
    layer.send("x", {"n": 1})
    work(worker)
    assert [line.partition(" at ")[0] for line in lines(caplog)] == [
        "x: fails failed 449 times more in 60 s: ValueError",
        "x: fails failed 49 times more in 60 s: KeyError",
    ]
    assert all(line.rpartition(":")[0].endswith("test_repeats.py") for line in lines(caplog))
    assert "Traceback" not in caplog.text


def test_after_a_quiet_minute_a_failure_is_new(
    layer: MemoryLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(layer, [route("x", fails)])
    for pause in (0.0, WINDOW, WINDOW):
        clock.advance(pause)
        layer.send("x", {"n": 1})
        work(worker)
    assert lines(caplog) == ["x [None]: fails failed"] * 3
    assert caplog.text.count("Traceback (most recent call last)") == 3


def test_what_was_counted_is_told_at_the_end(layer: MemoryLayer, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(layer, [route("x", fails)])
    for _ in range(3):
        layer.send("x", {"n": 1})
    work(worker)
    worker.close()
    assert lines(caplog)[1].startswith("x: fails failed 2 times more in 1 s: ValueError at ")


def test_a_running_worker_tells_it_without_another_failure(
    layer: MemoryLayer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "times more" in record.getMessage():
                told.set()

    worker = Worker(layer, [route("x", fails)], threads=2)
    for _ in range(64):
        layer.send("x", {"n": 1})
    running = threading.Thread(target=worker.run)
    logging.getLogger("trunkline.workers").addHandler(handler := Told())
    running.start()
    try:
        for _ in range(WAIT * 100):
            if worker.stats["failures"] == 64:
                break
            threading.Event().wait(0.01)
        clock.advance(WINDOW)
        worker._expect(0.0)  # its helper's clock is a real one's in production
        assert told.wait(WAIT)
    finally:
        logging.getLogger("trunkline.workers").removeHandler(handler)
        worker.stop()
        running.join(WAIT)
    assert caplog.text.count("Traceback (most recent call last)") == 1


def test_kinds_are_channel_consumer_and_place(clock: ManualClock) -> None:
    repeats = Repeats(clock, lambda due: None)
    assert repeats.is_new("x: a", raised())
    assert not repeats.is_new("x: a", raised("another text"))
    assert repeats.is_new("x: b", raised())
    assert repeats.is_new("y: a", raised())
    assert repeats.is_new("x: a", elsewhere())
    assert repeats.is_new("x: a", ValueError("never raised"))
    assert not repeats.is_new("x: a", ValueError("nor this one"))


def test_memory_is_bounded_and_nothing_is_forgotten_unsaid(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    repeats = Repeats(clock, lambda due: None)
    for _ in range(3):
        repeats.is_new("the first", raised())
    for number in range(MOST + 50):
        assert repeats.is_new(f"c{number}", raised(), logging.WARNING)
    assert len(repeats._kinds) == MOST
    [line] = lines(caplog)
    assert line.startswith("the first failed 2 times more in 1 s: ValueError at ")


def test_it_says_when_it_wants_to_be_called(clock: ManualClock) -> None:
    expected: list[float] = []
    repeats = Repeats(clock, expected.append)
    assert repeats.due() == float("inf")
    repeats.is_new("x", raised())
    assert repeats.due() == clock() + WINDOW == expected[0]
    clock.advance(WINDOW)
    repeats.tell()
    assert repeats.due() == float("inf"), "nothing was counted: it is forgotten"
    repeats.is_new("x", raised())
    repeats.is_new("x", raised())
    clock.advance(WINDOW)
    repeats.tell()
    assert repeats.due() == clock() + WINDOW, "it goes on, and so does the counting"
