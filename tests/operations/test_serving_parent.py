"""Servers with processes around them: in which order, and what a signal does at each moment of a life."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.operations import supervision
from trunkline.operations.errors import StartError, UsageError
from trunkline.operations.serving_parent import ServingParent
from trunkline.operations.supervision import Supervisor

WAIT = 60  # seconds until a test that hangs is called failed

# A child says that it is ready, unless a file says what it does instead, and ends when told to.
CHILD = """
import json, os, signal, socket, sys, time
name, marker = sys.argv[1:]
link = socket.socket(fileno=int(marker.partition(":")[2]))

def note(what):
    with open("events", "a") as file:
        file.write(f"{name} {what}\\n")

def end(*_):
    note("ended")
    sys.exit(0)

note("began")
if os.path.exists(name):
    exec(open(name).read())
signal.signal(signal.SIGTERM, end)
link.sendall(b'{"ready": []}\\n')
while True:
    time.sleep(0.02)
"""


class Server:
    """Notes what happens to it, beside the children's notes."""

    name = "http"

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def start(self) -> None:
        if self.error is not None:
            raise self.error
        note("http began")

    async def stop(self, grace: float) -> bool:
        note("http ended")
        return True


def note(what: str) -> None:
    with open("events", "a", encoding="utf-8") as file:
        file.write(what + "\n")


class Life:
    """One parent, in a folder of its own."""

    def __init__(self) -> None:
        self.server = Server()
        self.codes: list[int] = []
        self.parent: ServingParent
        self.ready: Callable[[], None] = lambda: self.parent.signalled()

    def run(self, *, bus: bool = True) -> int:
        async def main() -> int:
            def crew(name: str) -> Supervisor:
                command = [sys.executable, "-I", "-S", "child.py", name]
                return Supervisor(lambda marker: [*command, marker], 1, what=name, grace=5)

            self.parent = ServingParent(
                [self.server],
                crew("worker"),
                crew("bus") if bus else None,
                drain=1,
                ready=self._is_ready,
                stopping=lambda: note("stopping"),
                now=self.codes.append,
            )
            return await asyncio.wait_for(self.parent.main(), WAIT)

        return asyncio.run(main())

    def _is_ready(self) -> None:
        note("ready")
        self.ready()

    def events(self) -> list[str]:
        return Path("events").read_text("utf-8").splitlines()


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    monkeypatch.chdir(tmp_path)
    Path("child.py").write_text(CHILD, encoding="utf-8")
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield Life()
    for number, handler in kept.items():
        signal.signal(number, handler)


def behave(name: str, code: str) -> None:
    Path(name).write_text(textwrap.dedent(code), encoding="utf-8")


WHOLE = ["bus began", "http began", "worker began", "ready", "stopping", "http ended", "worker ended", "bus ended"]


def test_what_others_need_comes_first_and_goes_last(life: Life) -> None:
    assert life.run() == 0
    assert life.events() == WHOLE


def test_without_a_bus_of_its_own(life: Life) -> None:
    assert life.run(bus=False) == 0
    assert life.events() == [event for event in WHOLE if not event.startswith("bus")]


@pytest.mark.parametrize(("slow", "begun"), [("bus", ["bus"]), ("worker", ["bus", "http", "worker"])])
def test_a_signal_while_it_starts(life: Life, slow: str, begun: list[str]) -> None:
    """What has not begun does not begin any more."""
    behave(slow, "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)")
    assert life.run() == 0
    events = life.events()
    assert [event for event in events if event.endswith("began")] == [f"{name} began" for name in begun]
    assert "ready" not in events
    ended = [event for event in events if event.endswith("ended")]
    assert ended == [event for event in WHOLE if event.endswith("ended") and event.split()[0] in begun[:-1]]


def test_a_child_that_cannot_start_ends_the_others(life: Life) -> None:
    behave("worker", 'link.sendall(b\'{"failed": "no such routing"}\\n\')\nsys.exit(2)')
    with pytest.raises(UsageError, match="no such routing"):
        life.run()
    assert life.events() == ["bus began", "http began", "worker began", "http ended", "bus ended"]


def test_a_bus_that_cannot_start_is_all_there_is(life: Life) -> None:
    behave("bus", 'link.sendall(b\'{"failed": "the path is too long"}\\n\')\nsys.exit(3)')
    with pytest.raises(StartError, match="the path is too long"):
        life.run()
    assert life.events() == ["bus began"]


def test_a_server_that_cannot_start_ends_the_bus(life: Life) -> None:
    life.server.error = OSError("taken")
    with pytest.raises(StartError, match="http: taken"):
        life.run()
    assert life.events() == ["bus began", "bus ended"]


def test_a_second_signal_does_not_wait(life: Life) -> None:
    behave("worker", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nend = signal.SIG_IGN")

    def twice() -> None:
        life.parent.signalled()
        asyncio.get_running_loop().call_later(0.1, life.parent.signalled)

    life.ready = twice
    assert life.run() == 1, "what was killed did not end well"
    assert life.codes == [1]


def test_hangup_renews_the_workers_and_a_closed_terminal_ends_it(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_in_front", lambda: True)

    async def hang_up() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        while life.events().count("worker ended") < 1:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(supervision, "_in_front", lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)

    tasks = []
    life.ready = lambda: tasks.append(asyncio.ensure_future(hang_up()))
    assert life.run() == 0
    assert life.events().count("worker began") == 2
    assert life.events().count("stopping") == 1
    assert life.codes == []
