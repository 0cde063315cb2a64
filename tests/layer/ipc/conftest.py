"""Brokers for the tests: in a thread of this process, and as a process of their own that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.testing.ipc import BusThread

WAIT = 60.0  # seconds until a test that hangs is called failed; nothing is measured by it


class Broker:
    """`trunkline bus` as a process."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/bus.sock"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> str:
        """Start it, and return the line it says once it can be used."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trunkline", "bus", f"unix:{self.path}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        said = ""
        for line in self.process.stdout:
            said += line
            if "--layer" in line:
                return said
        raise AssertionError(f"the bus did not start: {said}")

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self.process
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> tuple[int, str]:
        """End it, and return its exit code and what else it said."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=WAIT)
        code = self.process.returncode
        self.process = None
        return code, said


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to become true, and return it."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError("it did not become true")


def again(call: Callable[[], Any]) -> Any:
    """Call until the layer is back, and return what it returns."""

    def attempt() -> list[Any]:
        try:
            return [call()]
        except LayerUnavailable:
            return []

    return until(attempt)[0]


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="trunkline.") as name:
        yield name


@pytest.fixture
def broker(folder: str) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    yield broker
    if broker.process is not None:
        broker.end()


@pytest.fixture
def bus() -> Iterator[BusThread]:
    """A broker in a thread."""
    thread = BusThread()
    yield thread
    thread.close()


@pytest.fixture
def layer(bus: BusThread) -> Iterator[IpcLayer]:
    with IpcLayer(bus.path) as layer:
        yield layer


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Every file descriptor that a test opens is closed at its end."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before
