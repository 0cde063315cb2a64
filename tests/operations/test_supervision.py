"""A parent and its processes: real ones, small scripts that do what the test says, and real signals."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations import supervision
from trunkline.operations.errors import StartError, UsageError
from trunkline.operations.reloading import Watch
from trunkline.operations.supervision import FIRST_BACKOFF, LONGEST_BACKOFF, Supervisor

WAIT = 60  # seconds until a test that hangs is called failed

# What every child does before the behaviour of the test; its events are lines in a file.
CHILD = """
import json, os, signal, socket, sys, time
number, _, descriptor = sys.argv[1].partition(":")
link = socket.socket(fileno=int(descriptor))

def note(what):
    with open("events", "a") as file:
        file.write(f"{what} {number} {os.getpid()}\\n")

def say(**said):
    link.sendall(json.dumps(said).encode() + b"\\n")

def end(*_):
    note("ended")
    sys.exit(0)

note("started")
exec(open("behaviour").read())
"""

READY = """
signal.signal(signal.SIGTERM, end)
note("ready")
say(ready=[f"told by {number}"])
while True:
    time.sleep(0.02)
"""


class Life:
    """One parent with its children, which run in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[Sequence[str]] = []
        self.stopping = 0
        self.codes: list[int] = []
        self.bounds: list[float] = []
        self.command = [sys.executable, "-I", "-S", str(folder / "child.py")]
        self.supervisor: Supervisor
        (folder / "child.py").write_text(CHILD, encoding="utf-8")
        (folder / "events").touch()
        self.behave(READY)

    def behave(self, code: str) -> None:
        """Say what children do that are started from now on."""
        (self.folder / "behaviour").write_text(textwrap.dedent(code), encoding="utf-8")

    def run(self, scenario: Callable[[], Awaitable[None]], *, count: int = 2, grace: float = 20, **options: Any) -> int:
        """Supervise while the scenario happens; return the exit code."""

        async def main() -> int:
            self.supervisor = Supervisor(
                lambda marker: [*self.command, marker],
                count,
                what="worker",
                grace=grace,
                ready=self.told.append,
                stopping=self._stopping,
                jitter=self._jitter,
                now=self.codes.append,
                **options,
            )
            supervising = asyncio.ensure_future(self.supervisor.main())
            happening = asyncio.ensure_future(scenario())
            await asyncio.wait([supervising, happening], return_when=asyncio.FIRST_COMPLETED, timeout=WAIT)
            if happening.done():
                happening.result()
            return await asyncio.wait_for(supervising, WAIT)

        return asyncio.run(main())

    def _stopping(self) -> None:
        self.stopping += 1

    def _jitter(self, least: float, most: float) -> float:
        assert least == 0
        self.bounds.append(most)
        return 0

    def events(self, what: str) -> list[str]:
        """Return what children noted of one kind: "number pid"."""
        lines = (self.folder / "events").read_text("utf-8").splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(what + " ")]

    def pids(self, what: str) -> list[int]:
        return [int(event.split()[1]) for event in self.events(what)]

    async def until(self, what: str, count: int) -> None:
        """Wait until children noted something so often."""
        deadline = time.monotonic() + WAIT / 2
        while len(self.events(what)) < count:
            assert time.monotonic() < deadline, (self.folder / "events").read_text("utf-8")
            await asyncio.sleep(0.01)

    async def up(self) -> None:
        """Wait until the parent said that everything runs."""
        deadline = time.monotonic() + WAIT
        while not self.told:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Life]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervision, "MARGIN", 0.1)
    caplog.set_level(logging.INFO)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = Life(tmp_path)
    yield made
    for number, handler in kept.items():
        signal.signal(number, handler)
    left = [pid for pid in made.pids("started") if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_them_all(life: Life, number: int) -> None:
    async def scenario() -> None:
        await life.up()
        interrupt(number)

    assert life.run(scenario) == 0
    assert life.told == [["told by 1"]]
    assert life.stopping == 1
    assert sorted(life.events("ended")) == sorted(life.events("started"))
    assert [event.split()[0] for event in sorted(life.events("started"))] == ["1", "2"]


@pytest.mark.parametrize(("number", "named"), [(signal.SIGKILL, "SIGKILL"), (35, "signal 35")])
def test_a_killed_one_is_replaced(life: Life, caplog: pytest.LogCaptureFixture, number: int, named: str) -> None:
    async def scenario() -> None:
        await life.up()
        os.kill(life.pids("ready")[0], number)
        await life.until("ready", 3)
        interrupt()

    assert life.run(scenario) == 0
    killed, _, another = life.events("ready")
    assert another.split()[0] == killed.split()[0]
    assert f"worker {killed.replace(' ', ' (pid ')}) was killed by {named}; another starts in 0.0 s" in caplog.text
    assert life.bounds == [FIRST_BACKOFF]
    assert len(life.told) == 1


def test_backoff_grows_until_one_runs(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter: the wait is any time up to a bound that doubles, up to a limit."""
    life.behave("sys.exit(1)")
    monkeypatch.setattr(supervision, "LONGEST_BACKOFF", 3.0)

    async def scenario() -> None:
        await life.until("started", 5)
        life.behave(READY)
        await life.until("ready", 1)
        interrupt()

    assert life.run(scenario, count=1) == 0
    assert life.bounds[:5] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_backoff_begins_anew_for_one_that_ran_long(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "STEADY", 0)
    life.behave("note('ready'); say(ready=[]); sys.exit(1)")

    async def scenario() -> None:
        await life.until("ready", 3)
        life.behave(READY)
        await life.until("ready", 4)
        interrupt()

    assert life.run(scenario, count=1) == 0
    assert set(life.bounds) == {FIRST_BACKOFF}


def test_one_that_has_done_its_share_is_replaced_at_once(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.behave("note('ready'); say(ready=[]); sys.exit(0)")

    async def scenario() -> None:
        await life.until("ready", 3)
        life.behave(READY)
        await life.until("ready", 4)
        interrupt()

    assert life.run(scenario, count=1) == 0
    assert life.bounds == []
    assert "has ended; another takes its place" in caplog.text


@pytest.mark.parametrize(("code", "error"), [(2, UsageError), (3, StartError)])
def test_what_cannot_start_ends_the_command_with_its_line(life: Life, code: int, error: type[Exception]) -> None:
    life.behave(READY.replace("say(", f"if number == '2': say(failed='no such routing'); sys.exit({code})\nsay(", 1))

    async def scenario() -> None:
        await life.until("started", 2)

    with pytest.raises(error, match=r"^no such routing$"):
        life.run(scenario)
    assert life.told == []
    assert life.stopping == 0


def test_all_that_cannot_start_end_the_command_once(life: Life) -> None:
    life.behave("""
        while open("events").read().count("started") < 5:
            time.sleep(0.01)
        sys.exit(3)
    """)

    async def scenario() -> None:
        await life.until("started", 5)

    with pytest.raises(StartError, match=r"^worker \d \(pid \d+\) ended with exit code 3$"):
        life.run(scenario, count=5)
    assert len(life.events("started")) == 5


def test_the_same_later_is_no_end(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    """A layer that is away comes back, and what is up stays up."""

    async def scenario() -> None:
        await life.up()
        life.behave("say(failed='the layer is away'); sys.exit(3)")
        os.kill(life.pids("ready")[0], signal.SIGKILL)
        await life.until("started", 4)
        life.behave(READY)
        await life.until("ready", 3)
        interrupt()

    assert life.run(scenario) == 0
    assert "ended with exit code 3: the layer is away; another starts in" in caplog.text


def test_one_that_does_not_end_well_is_1(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.behave(READY.replace("end)", "lambda *_: sys.exit(1))"))

    async def scenario() -> None:
        await life.up()
        interrupt()

    assert life.run(scenario) == 1
    assert caplog.text.count("ended with exit code 1") == 2


def test_one_that_has_not_started_has_nothing_to_finish(life: Life) -> None:
    life.behave("note('hangs'); time.sleep(60)")

    async def scenario() -> None:
        await life.until("hangs", 2)
        interrupt()

    assert life.run(scenario) == 0


def test_exceeded_grace_kills_and_is_1(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    life.behave(READY.replace("end)", "signal.SIG_IGN)"))

    async def scenario() -> None:
        await life.up()
        interrupt()

    assert life.run(scenario, grace=0.1) == 1
    assert caplog.text.count("was still there after 0.1 s and is killed") == 2


def test_second_signal_ends_at_once(life: Life) -> None:
    life.behave(READY.replace("end)", "lambda *_: note('deaf'))"))

    async def scenario() -> None:
        await life.up()
        interrupt()
        await life.until("deaf", 2)
        interrupt(signal.SIGINT)

    assert life.run(scenario) == 1
    assert life.codes == [1]
    assert life.stopping == 1


def test_hang_up_starts_new_ones_before_the_old_ones_drain(life: Life) -> None:
    async def scenario() -> None:
        await life.up()
        interrupt(signal.SIGHUP)
        await life.until("ended", 2)
        interrupt()

    assert life.run(scenario) == 0
    assert len(life.told) == 1
    lines = (life.folder / "events").read_text("utf-8").splitlines()
    kinds = [line.split()[0] for line in lines]
    assert kinds.count("ready") == 4
    assert kinds.index("ended") > kinds.index("ready", kinds.index("ready") + 1)
    old, new = life.pids("ready")[:2], life.pids("ready")[2:]
    assert set(life.pids("ended")[:2]) == set(old)
    assert set(life.pids("ended")[2:]) == set(new)


def test_new_ones_that_do_not_come_up_leave_the_old_ones(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        await life.up()
        life.behave("say(failed='app.py:3: SyntaxError'); sys.exit(2)")
        interrupt(signal.SIGHUP)
        while "the old ones stay" not in caplog.text:
            await asyncio.sleep(0.01)
        assert all(map(alive, life.pids("ready")))
        interrupt()

    assert life.run(scenario) == 0
    assert len(life.events("ended")) == 2
    assert "ended with exit code 2: app.py:3: SyntaxError; the old ones stay" in caplog.text
    assert caplog.text.count("the old ones stay") == 1


def test_hang_up_while_new_ones_start_begins_anew(life: Life) -> None:
    async def scenario() -> None:
        await life.up()
        life.behave("note('hangs'); time.sleep(60)")
        interrupt(signal.SIGHUP)
        await life.until("hangs", 2)
        life.behave(READY)
        interrupt(signal.SIGHUP)
        await life.until("ended", 2)
        interrupt()

    assert life.run(scenario) == 0
    assert len(life.events("ready")) == 4
    assert set(life.pids("ended")) == set(life.pids("ready"))


def test_hang_up_stands_for_restarts_that_were_due(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_jitter", lambda least, most: 60.0)

    async def scenario() -> None:
        await life.up()
        os.kill(life.pids("ready")[0], signal.SIGKILL)
        while len(life.supervisor._due) < 1:
            await asyncio.sleep(0.01)
        interrupt(signal.SIGHUP)
        await life.until("ended", 1)
        assert life.supervisor._due == {}
        interrupt()

    assert life.run(scenario) == 0
    assert len(life.events("ready")) == 4


def test_old_ones_that_do_not_end_are_killed(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    """What was wrong with the old ones does not spoil the exit code of the new ones."""
    life.behave(READY.replace("end)", "signal.SIG_IGN)"))

    async def scenario() -> None:
        await life.up()
        life.behave(READY)
        old = life.pids("ready")
        interrupt(signal.SIGHUP)
        while any(map(alive, old)):
            await asyncio.sleep(0.01)
        interrupt()

    assert life.run(scenario, grace=0.1) == 0
    assert caplog.text.count("was still there after 0.1 s and is killed") == 2


def test_closed_terminal_ends_it_as_a_signal_does(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_in_front", lambda: True)

    async def scenario() -> None:
        await life.up()
        monkeypatch.setattr(supervision, "_in_front", lambda: None)
        interrupt(signal.SIGHUP)
        interrupt(signal.SIGHUP)

    assert life.run(scenario) == 0
    assert life.codes == []
    assert life.stopping == 1
    assert len(life.events("started")) == 2


def test_signals_while_it_ends_start_nothing(life: Life) -> None:
    async def scenario() -> None:
        await life.up()
        life.supervisor.signalled()
        life.supervisor.hung_up()
        life.supervisor.renew()

    assert life.run(scenario) == 0
    assert life.codes == []
    assert len(life.events("started")) == 2


def test_nohup_is_respected(life: Life) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def scenario() -> None:
        await life.up()
        interrupt(signal.SIGHUP)
        interrupt()

    assert life.run(scenario) == 0
    assert len(life.events("started")) == 2
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_no_room_at_the_first_start(life: Life) -> None:
    life.command = [str(life.folder / "gone")]

    async def scenario() -> None:
        return

    with pytest.raises(StartError, match=r"^worker 1 could not be started: No such file or directory$"):
        life.run(scenario)


def test_no_room_for_another_later(
    life: Life, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "LONGEST_BACKOFF", 0.05)

    async def scenario() -> None:
        await life.up()
        command = life.command
        life.command = [str(life.folder / "gone")]
        interrupt(signal.SIGHUP)
        os.kill(life.pids("ready")[0], signal.SIGKILL)
        while "could not be started: No such file or directory\n" not in caplog.text:
            await asyncio.sleep(0.01)
        life.command = command
        await life.until("ready", 3)
        interrupt()

    assert life.run(scenario) == 0
    assert "worker 1 could not be started: No such file or directory; the old ones stay" in caplog.text


def test_no_room_for_all_at_the_first_start(life: Life) -> None:
    """Those that were started before are ended again."""
    commands = iter([life.command, [str(life.folder / "gone")]])
    life.behave("time.sleep(60)")

    async def main() -> int:
        return await Supervisor(lambda marker: [*next(commands), marker], 2, what="worker", grace=1).main()

    with pytest.raises(StartError, match=r"^worker 2 could not be started"):
        asyncio.run(main())


def test_signal_without_any_process_left(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_jitter", lambda least, most: 60.0)
    life.behave("sys.exit(1)")

    async def scenario() -> None:
        while len(life.supervisor._due) < 2:
            await asyncio.sleep(0.01)
        interrupt()

    assert life.run(scenario) == 0


def test_changed_files_call_for_new_ones(
    life: Life, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "_LOOK", 0.01)
    code = life.folder / "code.py"
    code.touch()
    life.behave("say(files=[os.path.abspath('code.py')])\n" + READY)

    async def scenario() -> None:
        await life.up()
        os.utime(code, (1, 1))
        await life.until("ended", 1)
        interrupt()

    assert life.run(scenario, count=1, watch=Watch()) == 0
    assert "code.py changed" in caplog.text
    assert len(life.events("ready")) == 2


def test_the_longest_wait_is_half_a_minute() -> None:
    assert LONGEST_BACKOFF == 30


PARENT = """
import asyncio, sys
from trunkline.operations.supervision import Supervisor

async def main():
    ready = lambda told: print("up", flush=True)
    command = lambda marker: [sys.executable, "child.py", marker]
    await Supervisor(command, 2, what="worker", grace=20, ready=ready).main()

asyncio.run(main())
"""

SUPERVISED = """
import os, signal, sys, time
from trunkline.operations.parent import Parent

def end(*_):
    os.write(1, b"ended %d\\n" % os.getpid())  # in one piece: they share the pipe
    sys.exit(0)

parent = Parent(sys.argv[1])
signal.signal(signal.SIGTERM, end)
os.write(1, b"pid %d\\n" % os.getpid())
parent.ready()
while True:
    time.sleep(0.02)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A parent in a process group of its own, with two children that told their process ids."""
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    (tmp_path / "child.py").write_text(SUPERVISED, encoding="utf-8")
    program = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert program.stdout
    yield program
    program.kill()
    program.wait()
    program.stdout.read()  # until its children, which end by themselves, have ended
    program.stdout.close()


def lines_until(program: subprocess.Popen[str], last: str) -> list[str]:
    assert program.stdout
    lines: list[str] = []
    while not lines or lines[-1] != last:
        line = program.stdout.readline()
        assert line, lines
        lines.append(line.rstrip())
    return lines


def test_children_do_not_outlive_a_killed_parent(parent: subprocess.Popen[str]) -> None:
    pids = {line.split()[1] for line in lines_until(parent, "up")[:2]}
    parent.kill()
    assert parent.stdout
    # The pipe ends when the last child has ended; each of them did so as after a SIGTERM.
    ended = {line.split()[1] for line in parent.stdout.read().splitlines()}
    assert ended == pids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_terminal_reaches_children_only_once(parent: subprocess.Popen[str], number: int) -> None:
    """It is sent to the whole group, and what it means is the parent's to say."""
    lines_until(parent, "up")
    if number == signal.SIGINT:
        os.killpg(parent.pid, number)
    else:
        parent.send_signal(number)
    assert parent.wait(WAIT) == 0
    assert parent.stdout
    assert parent.stdout.read().count("ended") == 2


def test_closing_a_terminal_ends_everything(tmp_path: Path) -> None:
    """A real terminal: SIGHUP would ask for new processes, but nobody is there any more."""
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    silent = "\n".join(line for line in SUPERVISED.splitlines() if "os.write" not in line)
    (tmp_path / "child.py").write_text(silent, encoding="utf-8")
    controller, terminal = os.openpty()
    take = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", take, sys.executable, "parent.py"],
        cwd=tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        os.close(terminal)
        shown = b""
        while b"up" not in shown:
            shown += os.read(controller, 1024)
        os.close(controller)
        assert program.wait(WAIT) == 0
    finally:
        program.kill()
        program.wait()


def test_an_idle_parent_does_not_wake(parent: subprocess.Popen[str]) -> None:
    lines_until(parent, "up")
    status = Path(f"/proc/{parent.pid}/status")
    if not status.exists():
        pytest.skip("there is no /proc that counts wakes")

    def wakes() -> int:
        return sum(int(line.split()[1]) for line in status.read_text("ascii").splitlines() if "voluntary_ctxt" in line)

    # It may still be on its way to sleep; then nothing wakes it.
    before, after = -1, wakes()
    deadline = time.monotonic() + WAIT
    while before != after:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        before, after = after, wakes()
    assert before == after
