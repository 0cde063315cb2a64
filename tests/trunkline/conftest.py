"""`trunkline` as a process of its own: what it prints, how it ends."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

WAIT = 60  # seconds until a test that hangs is called failed; nothing is measured by it

ROUTING = """
import threading
import time

from trunkline.workers import route


def page(message):
    message.reply("hello from " + threading.current_thread().name)


def slow(message):
    print("slow began", flush=True)
    time.sleep(60)


def never(message):
    print("waiting", flush=True)


routing = [
    route("http.request", slow, path="^/slow$"),
    route("http.request", never, path="^/never$"),
    route("http.request", page),
]
"""


class Program:
    """A running `python -m trunkline …`, and what it printed so far.

    Args:
        arguments: What stands after `trunkline`.
        folder: Where it runs.
        environ: Variables on top of this process' own.
        by: Arguments of Python that come before.
        pass_fds: Descriptors that it inherits.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environ: dict[str, str],
        by: Sequence[str] = ("-m", "trunkline"),
        pass_fds: Sequence[int] = (),
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        self.process = subprocess.Popen(
            [sys.executable, *by, *arguments],
            cwd=folder,
            env=inherited | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterator[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line)
                self._changed.notify_all()
        with self._changed:
            lines.append("")
            self._changed.notify_all()

    @property
    def printed(self) -> str:
        return "".join(self.out) + "".join(self.err)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until something was printed, and return it."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.printed)

        with self._changed:
            self._changed.wait_for(lambda: found() or (self.out[-1:] == [""] and self.err[-1:] == [""]), WAIT)
        match = found()
        assert match, f"{pattern!r} was not printed:\n{self.printed}"
        return match

    def port(self, scheme: str) -> int:
        return int(self.until(rf"listening on {scheme}://127\.0\.0\.1:(\d+) ")[1])

    def ready(self) -> None:
        self.until("Ctrl-C ends")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait for the end, and return the exit code."""
        code = self.process.wait(WAIT)
        for reader in self._readers:
            reader.join(WAIT)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.ended()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream
            stream.close()


Start = Callable[..., Program]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with a routing, `app.routing`, and settings that take free ports."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    (tmp_path / "trunkline.toml").write_text(
        'routing = "app.routing"\n[http]\nendpoints = ["tcp:0"]\naccess_log = "off"\n', encoding="utf-8"
    )
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start `trunkline` in the user's folder."""
    running: list[Program] = []

    def start(
        *arguments: str, by: Sequence[str] = ("-m", "trunkline"), pass_fds: Sequence[int] = (), **environ: str
    ) -> Program:
        running.append(Program(arguments, folder, environ, by, pass_fds))
        return running[-1]

    yield start
    for program in running:
        program.kill()


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test has imported from its own folder: in other tests the same names are other modules."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path}/"):
            del sys.modules[name]


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the user's folder, without settings in the environment."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture(scope="session")
def redis_socket(peer: Callable[[str], str]) -> Iterator[str]:
    """The path of the Unix socket of a real Redis, which writes nothing to disk."""
    program = peer("redis-server")
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are too long for a socket's path
        path = f"{place}/redis.sock"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", place]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: Path(path).exists())
            yield path
        finally:
            running.kill()
            running.wait()


@pytest.fixture
def layer(redis_socket: str) -> str:
    """The URL of an empty layer that several processes can share."""
    return f"unix://{redis_socket}?prefix={secrets.token_hex(4)}"


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
