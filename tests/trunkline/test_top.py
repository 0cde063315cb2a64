"""`trunkline top`: what it shows, and that it gives the terminal back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main
from trunkline.command_line.top import look, render
from trunkline.layer import ChannelFull, MemoryLayer, open_layer
from trunkline.layer.testing import ManualClock

WAIT = 60  # seconds until a test that hangs is called failed
HEADINGS = ["CHANNEL", "WAITING", "OLDEST", "SENT/S", "SENT", "REFUSED/S", "REFUSED", "LISTENERS"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def layer(clock: ManualClock) -> Iterator[MemoryLayer]:
    """A layer with a full channel, an emptied one, and one that somebody listens to."""
    with MemoryLayer(clock=clock, capacity=2, expiry=3600) as layer:
        layer.send("my.work", {})
        layer.send("my.work", {})
        with pytest.raises(ChannelFull):
            layer.send("my.work", {})
        layer.send("done", {})
        layer.receive(["done"])
        layer.announce("worker.1", {"channels": {"my.work": False, "quiet": True}})
        layer.announce("worker.2", {"channels": {"my.work": False}})
        layer.announce("odd", {})
        clock.advance(10)
        yield layer


def cells(line: str) -> list[str]:
    return re.split(r"  +", line)


def test_it_shows_channels_figures_and_listeners(layer: MemoryLayer, clock: ManualClock) -> None:
    head, gap, headings, *rows = render(look(layer))
    assert head == ("waiting 2   oldest 10.0 s   sent 0.3/s   refused 0.1/s   dropped for groups 0   listeners 3")
    assert gap == ""
    assert cells(headings) == HEADINGS
    assert [cells(row) for row in rows] == [
        ["my.work", "2", "10.0 s", "0.2", "2", "0.1", "1", "2"],
        ["done", "0", "-", "0.1", "1", "0.0", "0", "-"],
        ["quiet", "0", "-", "0.0", "0", "0.0", "0", "1"],
    ]
    clock.advance(290)
    assert "5 min" in render(look(layer))[3]


def test_it_says_what_finds_no_room(layer: MemoryLayer) -> None:
    assert len(render(look(layer), 6)) == 6
    assert render(look(layer), 5)[3:] == [render(look(layer))[3], "and 2 channels more"]
    assert render(look(layer), 2)[-1] == "and 3 channels more"


class Terminal:
    """`trunkline top` at a terminal of its own."""

    def __init__(self, url: str, *, keys: bool = True, size: tuple[int, int] = (24, 80)) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        stdin = self.theirs if keys else subprocess.DEVNULL
        command = [sys.executable, "-m", "trunkline", "top", "--layer", url]
        self.process = subprocess.Popen(command, stdin=stdin, stdout=self.theirs, stderr=self.theirs)
        self.seen = ""

    def until(self, pattern: str) -> None:
        """Wait until something is seen that was not seen before."""
        deadline = time.monotonic() + WAIT
        while not re.search(pattern, self.seen):
            assert select.select([self.ours], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.ours, 65536).decode()
        self.seen = ""

    def ended(self) -> int:
        """Wait for the end, and look whether the terminal is as it was."""
        code = self.process.wait(WAIT)
        self.until(re.escape("\x1b[?25h\x1b[?1049l"))
        assert termios.tcgetattr(self.theirs) == self.before
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def bus(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """Where a bus is, and its process."""
    folder = tmp_path_factory.mktemp("b")
    program = start("bus", f"unix:{folder}/bus.sock")
    program.until("the bus runs")
    return f"ipc://{folder}/bus.sock", program


def test_it_is_live_until_q(bus: tuple[str, Any]) -> None:
    """And a layer that is away is no reason to end."""
    url, program = bus
    terminal = Terminal(url)
    try:
        terminal.until(r"\x1b\[\?1049h\x1b\[\?25l\x1b\[Hwaiting 0 ")
        with open_layer(url) as layer:
            layer.send("my.work", {})
        terminal.until(r"my\.work +1 ")
        os.write(terminal.ours, b"x")
        terminal.until(r"my\.work +1 ")
        program.signal(signal.SIGINT)
        terminal.until("the layer is away: ")
        os.write(terminal.ours, b"q")
        assert terminal.ended() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_terminal_back(bus: tuple[str, Any], number: int) -> None:
    terminal = Terminal(bus[0], keys=number == signal.SIGINT, size=(5, 20))
    try:
        terminal.until(r"waiting 0   oldest -\x1b\[K\r\n")
        terminal.process.send_signal(number)
        assert terminal.ended() == 0
    finally:
        terminal.close()


def test_once_where_stdout_is_no_terminal(bus: tuple[str, Any], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("--once",)):
        assert main(["top", "--layer", bus[0], *arguments]) == 0
        head, _, headings = capsys.readouterr().out.splitlines()
        assert head.startswith("waiting 0 ")
        assert cells(headings) == HEADINGS
