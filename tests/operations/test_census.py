"""What processes tell their parent: real ones, small scripts that answer, are silent, or die."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trunkline.operations import census as module
from trunkline.operations.supervision import Supervisor

WAIT = 30  # seconds until a test that hangs is called failed

CHILD = """
import json, signal, socket, sys
number, _, descriptor = sys.argv[1].partition(":")
link = socket.socket(fileno=int(descriptor))
asked = 0

def tell():
    report = {"kind": "worker", "pid": 1, "cpu": 0.5, "servers": [], "log": {"counts": {}, "lines": []}}
    worker = {"counts": {"messages": 10 * asked}, "lags": {}}
    link.sendall(json.dumps({"report": report | {"worker": worker}}).encode() + b"\\n")

def end(*_):
    tell()
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
link.sendall(b'{"ready": []}\\n')
while link.recv(1):
    asked += 1
    exec(open("behaviour").read())
signal.pause()
"""


@pytest.fixture
def supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Supervise two processes while a scenario happens, then end them."""
    monkeypatch.chdir(tmp_path)
    Path("child.py").write_text(CHILD, encoding="utf-8")
    behave("tell()")

    def run(scenario: Callable[[Supervisor], Awaitable[None]]) -> None:
        async def main() -> None:
            up = asyncio.Event()
            command = [sys.executable, "-I", "-S", "child.py"]
            supervisor = Supervisor(
                lambda marker: [*command, marker],
                2,
                what="worker",
                grace=10,
                ready=lambda told: up.set(),
                jitter=lambda least, most: 0.0,
            )
            running = asyncio.ensure_future(supervisor.main())
            await asyncio.wait_for(up.wait(), WAIT)
            try:
                await asyncio.wait_for(scenario(supervisor), WAIT)
            finally:
                supervisor.signalled()
                await asyncio.wait_for(running, WAIT)

        asyncio.run(main())

    return run


def behave(code: str) -> None:
    Path("behaviour").write_text(textwrap.dedent(code), encoding="utf-8")


def messages(supervisor: Supervisor) -> float:
    return supervisor.census.counts()["worker", "messages"]


def test_all_are_asked_at_once(supervise: Callable[..., None]) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for number in range(1, 4):
            told = await supervisor.census.ask()
            assert [each.name.split()[:2] for each in told] == [["worker", "1"], ["worker", "2"]]
            assert [each.silent for each in told] == [0.0, 0.0]
            assert messages(supervisor) == 20 * number
        assert (supervisor.census.running, supervisor.census.wanted, supervisor.census.restarts) == (2, 2, 0)

    supervise(scenario)


def test_who_is_silent_is_waited_for_only_so_long_and_not_asked_again(
    supervise: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    behave("if number == '1': tell()")

    async def scenario(supervisor: Supervisor) -> None:
        while (told := await supervisor.census.ask())[0].report is None:
            pass  # a busy machine
        assert told[1].report is None
        assert told[1].silent > 0
        later = await supervisor.census.ask()
        assert later[1].silent > told[1].silent

    supervise(scenario)


def test_what_one_had_counted_stays_when_it_dies(supervise: Callable[..., None]) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.census.ask()
        before = messages(supervisor)
        victim = next(iter(supervisor._alive))
        os.kill(victim.pid, signal.SIGKILL)
        while supervisor.census.restarts == 0 or supervisor.census.running < 2:
            await asyncio.sleep(0.01)
        assert messages(supervisor) == before == 20
        assert supervisor.census.counts()["restarts", "worker"] == 1
        assert supervisor.census.totals["worker", "messages"] == 10
        await supervisor.census.ask()
        assert messages(supervisor) == 10 + 10 + 20

    supervise(scenario)


def test_one_that_is_renewed_tells_at_its_end(supervise: Callable[..., None]) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for _ in range(2):
            await supervisor.census.ask()
        old = set(supervisor._alive)
        supervisor.renew()
        while supervisor._alive & old:
            await asyncio.sleep(0.01)
        assert messages(supervisor) == 40
        assert supervisor.census.restarts == 0

    supervise(scenario)


def test_one_that_dies_while_it_is_asked_is_not_waited_for(supervise: Callable[..., None]) -> None:
    behave("import os; tell() if number == '1' else os.kill(os.getpid(), 9)")

    async def scenario(supervisor: Supervisor) -> None:
        told = await supervisor.census.ask()
        assert "worker 1" in told[0].name

    supervise(scenario)
