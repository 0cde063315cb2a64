"""A command whose settings say otherwise of a durable channel than the others does not start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.testing.ipc import BusThread

WAIT = 60.0
ROUTING = 'from trunkline import route\n\nrouting = [route("jobs.a", lambda message: None)]\n'


@pytest.fixture
def bus() -> Iterator[BusThread]:
    thread = BusThread()
    yield thread
    thread.close()


def work(folder: Path, bus: BusThread, durable: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(ROUTING, encoding="utf-8")
    (folder / "trunkline.toml").write_text(f'[channels."jobs.*"]\ncapacity = 5\n{durable}\n', encoding="utf-8")
    command = [sys.executable, "-m", "trunkline", "work", "app", "--layer", f"ipc://{bus.path}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=WAIT, check=False)


def test_exit_3_with_one_line(bus: BusThread, tmp_path: Path) -> None:
    with IpcLayer(bus.path, durable=["jobs.*"]) as layer:
        layer.agree()
        ended = work(tmp_path, bus, "durable = false")
        assert ended.returncode == 3
        [line] = (ended.stdout + ended.stderr).splitlines()
        assert "'jobs.*' are said to be not durable, but in this layer 'jobs.*' are durable" in line


@pytest.mark.parametrize("durable", ["durable = true", ""])
def test_a_worker_takes_durable_messages(bus: BusThread, tmp_path: Path, durable: str) -> None:
    with IpcLayer(bus.path, durable=["jobs.*"]) as layer:
        for n in range(3):
            layer.send("jobs.a", {"n": n})
        ended = work(tmp_path, bus, durable, "--max-messages", "3")
        assert ended.returncode == 0, ended.stderr
        assert layer.channel_statistics("jobs.a")["messages_pending"] == 0
