"""Processes that a benchmark starts: when they answer, what CPU they take, how often they wake, and their end."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HERE = Path(__file__).resolve().parent
HELLO = b"hello world\n"
PATIENCE = 30.0  # seconds until a process has to answer


class Running:
    """One started process and its children, to be used in a `with` statement.

    Args:
        name: What it is called in figures: "server", "worker", "redis".
        command: The program and its arguments.
        folder: Where it runs.
        environment: Variables beside those of this process.
        talks: Its standard input and output are pipes; else what it says is kept and shown if it fails.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: str | Path = HERE,
        environment: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        pipe = subprocess.PIPE if talks else None
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or self._said,
            stderr=self._said,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if error is not None:
            print(f"{self.name} said: {self._last_words()}", file=sys.stderr)
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                stream.close()

    def tell(self, line: str) -> None:
        """Write a line to the process."""
        stream: IO[bytes] | None = self._process.stdin
        assert stream is not None, "started without talks"
        stream.write(line.encode() + b"\n")
        stream.flush()

    def hear(self) -> str:
        """Wait for a line of the process.

        Raises:
            SystemExit: It ended instead.
        """
        assert self._process.stdout is not None, "started without talks"
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self.fail("ended")
        return line.decode().rstrip("\n")

    def fail(self, reason: str) -> None:
        """Leave the benchmark; on the way each process shows what it said last.

        Raises:
            SystemExit: Always.
        """
        raise SystemExit(f"{self.name} {reason}, exit code {self._process.poll()}: {self._process.args!r}")

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-3000:]

    def wait_for(self, answers: Callable[[], bool]) -> None:
        """Wait until `answers` is true; an OSError in it means not yet.

        Raises:
            SystemExit: The process ended, or nothing came for too long.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                self.fail("ended")
            try:
                if answers():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        self.fail("does not answer")

    def wait_for_hello(self, port: int) -> None:
        """Wait until GET /hello is answered as it should be."""

        def answers() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/hello")
                return connection.getresponse().read() == HELLO
            except http.client.HTTPException:
                return False
            finally:
                connection.close()

        self.wait_for(answers)

    def wait_for_greeting(self, port: int, greeting: bytes, first: bytes = b"") -> None:
        """Wait until a connection, after `first` is sent, begins with `greeting`."""

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", port), 5) as found:
                found.sendall(first)
                return found.recv(len(greeting)) == greeting

        self.wait_for(answers)

    def cpu(self) -> float:
        """Return the CPU seconds that the process and its children have used."""
        ticks = 0
        for pid in _family(self._process.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the bytes of memory that the process and its children have written to, and share with nobody."""
        found = 0
        for pid in _family(self._process.pid):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
        return 1024 * found

    def wakes(self) -> dict[int, int]:
        """Return how often each thread of the process and its children was given a CPU so far, by thread id."""
        found: dict[int, int] = {}
        for pid in _family(self._process.pid):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                lines = (thread / "status").read_text().splitlines()
                found[int(thread.name)] = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
        return found


def _family(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += _family(int(child))
    return found


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def peers_python() -> Path:
    """Return the interpreter that has the peers; its environment is made first where it is missing."""
    subprocess.run(["sh", HERE / "peers" / "make"], check=True)
    return HERE / ".venv" / "bin" / "python"


@contextmanager
def redis_server() -> Iterator[tuple[Running, str]]:
    """Run a Redis that keeps nothing on disk; yield it and its URL.

    Raises:
        SystemExit: redis-server is missing, or does not answer.
    """
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is missing: apt-get install redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    with tempfile.TemporaryDirectory() as folder, Running("redis", ["redis-server", *options], folder=folder) as redis:
        redis.wait_for_greeting(port, b"+PONG", b"PING\r\n")
        yield redis, f"redis://127.0.0.1:{port}/0"
