"""A supervised process and its parent, which is the test: what the process says, and what it takes for its end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.child import ASK
from trunkline.operations.errors import UsageError
from trunkline.operations.parent import Parent

WAIT = 60  # seconds until a test that hangs is called failed

PROGRAM = """
import signal, sys, time
from trunkline.operations import parent as module
from trunkline.operations.parent import Parent

parent = Parent(sys.argv[1])
module._LOOK = 0.01
"""


class Process:
    """A process whose parent end the test holds."""

    def __init__(self, folder: Path, code: str) -> None:
        (folder / "program.py").write_text(PROGRAM + code, encoding="utf-8")
        self.link, theirs = socket.socketpair()
        self.link.settimeout(WAIT)
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "program.py", f"3:{theirs.fileno()}"],
                cwd=folder,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.said = self.link.makefile("r", encoding="utf-8")

    def hear(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.said.readline())
        return said

    def cut(self) -> None:
        """Close the parent's end, as the system does when the parent dies."""
        self.said.close()
        self.link.close()

    def end(self) -> None:
        self.cut()
        self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            assert stream
            stream.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Process] = []

    def start(code: str) -> Process:
        started.append(Process(tmp_path, code))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_what_it_says(start: Any) -> None:
    process = start("parent.ready(['listening']); parent.failed('no layer'); parent.files({'b', 'a'}); parent.ready()")
    assert process.hear() == {"ready": ["listening"]}
    assert process.hear() == {"failed": "no layer"}
    assert process.hear() == {"files": ["a", "b"]}
    assert process.hear() == {"ready": []}
    assert process.popen.wait(WAIT) == 0


def test_end_of_the_parent_is_a_sigterm(start: Any, capfd: pytest.CaptureFixture[str]) -> None:
    process = start("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); parent.ready(); time.sleep(60)")
    process.hear()
    process.cut()
    assert process.popen.wait(WAIT) == 7
    assert capfd.readouterr().err == "the parent is gone: this process drains and ends\n"


def test_nothing_is_said_to_a_parent_that_is_gone(start: Any) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: (parent.ready(), sys.exit(0))); parent.ready(); time.sleep(60)"
    process = start(code)
    process.hear()
    process.cut()
    assert process.popen.wait(WAIT) == 0


def test_it_tells_of_itself_when_it_is_asked_and_at_its_end(start: Any) -> None:
    process = start("parent.report = lambda: {'n': 1}; parent.ready(); sys.stdin.readline(); parent.tell()")
    process.hear()
    for _ in range(3):
        process.link.sendall(ASK)
        assert process.hear() == {"report": {"n": 1}}
    process.popen.stdin.write("end\n")
    process.popen.stdin.flush()
    assert process.hear() == {"report": {"n": 1}}
    assert process.popen.wait(WAIT) == 0


def test_who_has_nothing_to_tell_says_nothing(start: Any) -> None:
    process = start("parent.ready(); sys.stdin.readline(); parent.ready(['later'])")
    process.hear()
    process.link.sendall(ASK * 100)
    process.popen.stdin.write("go on\n")
    process.popen.stdin.flush()
    assert process.hear() == {"ready": ["later"]}


def test_what_is_asked_does_not_hide_that_it_is_dismissed(start: Any) -> None:
    code = """
signal.signal(signal.SIGTERM, lambda *_: None)
parent.report = lambda: {"n": 1}
parent.ready([str(parent.dismissed)])
sys.stdin.readline()
parent.ready([str(parent.dismissed)])
time.sleep(60)
"""
    process = start(code)
    assert process.hear() == {"ready": ["False"]}
    process.link.sendall(ASK)
    process.link.shutdown(socket.SHUT_WR)
    process.popen.stdin.write("go on\n")
    process.popen.stdin.flush()
    said = [process.hear(), process.hear()]
    assert {"ready": ["True"]} in said
    assert {"report": {"n": 1}} in said


def test_signals_of_a_terminal_are_the_parents(start: Any) -> None:
    process = start("parent.ready(); time.sleep(0.01); input() if False else sys.stdin.read(); print('unhurt')")
    process.hear()
    process.popen.send_signal(signal.SIGINT)
    process.popen.send_signal(signal.SIGHUP)
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(WAIT) == -signal.SIGTERM


def test_programs_of_a_consumer_get_the_signals_of_a_terminal(start: Any) -> None:
    """What is ignored stays ignored when another program is executed; a handler does not."""
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, end='')"
    process = start(f"import subprocess; subprocess.run([sys.executable, '-c', {ask!r}]); sys.stdout.flush()")
    assert process.popen.stdout.read() == "True"
    assert process.popen.wait(WAIT) == 0


def test_the_link_is_not_inherited(start: Any) -> None:
    """A program that a consumer leaves running does not keep the link open."""
    look = "import os, sys; os.fstat(int(sys.argv[1]))"
    code = "descriptor = sys.argv[1].split(':')[1]; import subprocess; "
    command = f"[sys.executable, '-c', {look!r}, descriptor]"
    process = start(code + f"print(subprocess.run({command}, close_fds=False, stderr=-3).returncode)")
    assert process.popen.stdout.read() == "1\n"


def test_nohup_stays(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = Process(tmp_path, "parent.ready([str(signal.getsignal(signal.SIGHUP))])")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.hear() == {"ready": [str(signal.SIG_IGN)]}
    process.end()


def test_files_of_what_is_imported_now_and_later(start: Any, tmp_path: Path) -> None:
    for name in ("early", "late"):
        (tmp_path / f"{name}.py").touch()
    process = start(
        "import early\nparent.follow_imports()\nsys.stdin.read(0)\ntime.sleep(0.05)\nimport late\ntime.sleep(60)"
    )
    seen: set[str] = set()
    while len(seen) < 3:
        seen.update(process.hear()["files"])
    assert {os.path.basename(path) for path in seen} == {"program.py", "early.py", "late.py"}
    process.popen.kill()


@pytest.mark.parametrize("marker", ["", "1", "1:", "x:1", "1:999999", "0"])
def test_only_a_parent_can_mark_a_process(marker: str) -> None:
    with pytest.raises(UsageError, match=r"^--child is for processes that trunkline starts by itself$"):
        Parent(marker)
