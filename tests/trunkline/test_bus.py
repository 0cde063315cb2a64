"""`trunkline bus` as a process: what it says, where it is, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from trunkline.command_line import bus, main
from trunkline.layer import LayerUnavailable, open_layer

from .conftest import WAIT, Start


@pytest.fixture
def short() -> Iterator[str]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="trunkline.") as name:
        yield name


def test_it_says_how_to_use_it_and_ends_on_a_signal(start: Start, short: str) -> None:
    program = start("bus", f"unix:{short}/own/bus.sock")
    url = program.until(r"--layer (ipc://\S+) \(Ctrl-C ends\)")[1]
    assert url == f"ipc://{short}/own/bus.sock"
    assert stat.S_IMODE(os.stat(f"{short}/own").st_mode) == 0o700
    with open_layer(url) as layer:
        layer.send("a", {"n": 1})
        program.signal(signal.SIGINT)
        assert program.ended() == 0
        with pytest.raises(LayerUnavailable):
            layer.receive(["a"])
    assert "stopping; a second Ctrl-C ends at once" in program.printed
    assert "1 messages that nobody took end with the bus" in program.printed
    assert os.listdir(f"{short}/own") == ["bus.sock.lock"]


def test_the_default_is_in_the_runtime_folder(start: Start, short: str) -> None:
    program = start("bus", "--log-format", "json", "--memory", "16", "--max-size", "4", XDG_RUNTIME_DIR=short)
    said = json.loads(program.until(r"\{.*ipc://.*\}")[0])
    assert f"ipc://{short}/trunkline/bus.sock" in said["message"]
    with open_layer(f"ipc://{short}/trunkline/bus.sock?max_size=4194304") as layer:
        assert layer.send("a", {"x": b"x" * (3 << 20)})
    second = start("bus", XDG_RUNTIME_DIR=short)
    assert second.ended() == 3
    assert "another bus is at" in second.printed
    program.signal(signal.SIGTERM)
    assert program.ended() == 0


def test_a_bus_of_one_process_ends_with_it(short: str) -> None:
    """A process that starts a bus for itself is told when it can be used, and does not leave it behind."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            number = theirs.fileno()
            place = f"unix:{short}/bus.sock"
            bus = subprocess.Popen(
                [sys.executable, "-m", "trunkline", "bus", f"--child=1:{number}", place], pass_fds=[number]
            )
        with ours.makefile() as said:
            assert json.loads(said.readline()) == {"ready": [f"ipc://{short}/bus.sock"]}
        bus.send_signal(signal.SIGINT)
        with open_layer(f"ipc://{short}/bus.sock") as layer:
            assert layer.send("a", {}), "what a terminal sends is the other process' to decide"
            layer.purge("a")
    assert bus.wait(WAIT) == 0


def test_without_a_runtime_folder_it_is_in_one_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert bus.default_path() == f"/tmp/trunkline-{os.geteuid()}/bus.sock"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["tcp:80"], 2, "tcp:80: write where the bus is as unix:PATH"),
        (["unix:"], 2, "write where the bus is as unix:PATH"),
        (["unix:/" + "x" * 120], 2, "at most 107 bytes"),
        (["unix:/tmp/bus.sock"], 2, "others may enter /tmp"),
        (["unix:/proc/none/bus.sock"], 3, "No such file"),
        (["--memory", "0"], 2, "0 is not above 0"),
        (["--max-size", "much"], 2, "invalid"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bus", *arguments]) == code
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1


def test_a_place_that_is_taken_by_a_file_is_left_alone(short: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{short}/bus.sock"
    with open(path, "w", encoding="utf-8"):
        pass
    assert main(["bus", f"unix:{path}"]) == 2
    assert "is no socket" in capsys.readouterr().err
    assert os.path.exists(path)
