"""A small site: Trunkline's commands as processes of their own, over a Redis of their own.

What its consumers take they note down, one line each, in a file named by their process: what was consumed, how often
and by whom is read from there, whatever became of the answers.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any

import redis

from trunkline.layer import Layer, open_layer
from trunkline.layer.redis.layer import PREFIX

WAIT = 60.0  # seconds until what hangs is called failed; nothing is measured by it
LEASE = 15.0  # seconds for which a claim is held without being renewed
_CLAIM = "claim:email.receive:"

ROUTING = '''
"""Echoes frames, answers pages, takes mail; and notes down what it took."""

import os
import time

from trunkline import Group, route

NOTES = os.environ["NOTES"]
notes = os.open(f"{NOTES}/taken.{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def take(kind, name):
    """Note what was taken. What is to be held is held once, by whoever is first, for longer than any test lasts."""
    os.write(notes, f"{kind} {name}\\n".encode())
    if "hold" in name:
        try:
            os.close(os.open(f"{NOTES}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        time.sleep(600)


def enter(message):
    Group("all").add(message.reply_channel, info={"name": message["path"][1:]})


def echo(message):
    take("frame", message["text"])
    message.reply(message["text"])


def page(message):
    name = message["query_string"].decode()
    take("request", name)
    if message["path"] == "/slow":
        time.sleep(0.5)
    message.reply(name)


def mail(message):
    take("mail", message["subject"])


def datagram(message):
    take("datagram", message["data"].decode())
    message.reply(message["data"])


routing = [
    route("websocket.connect", enter),
    route("websocket.receive", echo),
    route("http.request", page),
    route("email.receive", mail, address=r"^in@example\\.com$"),
    route("udp.receive", datagram),
]
'''


def lasting_port() -> int:
    """Return a free port that stays free while nobody listens on it.

    It is none of those that the system gives to connections: whoever connects while nobody listens could get that very
    port, and be connected with itself.
    """
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    first = int(text.split()[0])
    while True:
        port = random.randrange(first // 2, first)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


class Redis:
    """A redis-server on a Unix socket and, if the layer takes it, on a port.

    Args:
        program: The path of redis-server.
        folder: Where its socket is.
        tcp: Whether the layer takes the port.
        options: Of the layer, for its URL.
        keeps: Whether every write is on disk before it is answered; else nothing ever is.

    Attributes:
        url: Where the layer finds it.
        layer: The layer, for the test to look at.
    """

    def __init__(
        self, program: str, folder: Path, *, tcp: bool = False, options: str = "", keeps: bool = False
    ) -> None:
        path = folder / "redis.sock"
        port = lasting_port() if tcp else 0
        self.url = (f"redis://127.0.0.1:{port}" if tcp else f"unix://{path}") + options
        places = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path), "--dir", str(folder)]
        keeping = ["--appendonly", "yes", "--appendfsync", "always"] if keeps else ["--appendonly", "no"]
        self._command = [program, *places, "--save", "", *keeping]
        self._client = redis.Redis(unix_socket_path=str(path), socket_timeout=WAIT)
        self.start()
        self.layer = open_layer(self.url)

    def start(self) -> None:
        """Start it, with what it kept, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self.command("PING")
                break
            except redis.ConnectionError:
                assert self._process.poll() is None, "redis-server has ended"
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.005)

    def command(self, *args: str | float) -> Any:
        """Run one command, as an administrator would."""
        return self._client.execute_command(*args)  # type: ignore[no-untyped-call]

    def together(self, *commands: tuple[str | float, ...]) -> list[Any]:
        """Run commands with nobody's in between."""
        pipeline = self._client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        replies: list[Any] = pipeline.execute()
        return replies

    def info(self, section: str, name: str) -> int:
        """Return one of its own figures."""
        return int(self.command("INFO", section)[name])

    def states(self, beginning: str) -> list[str]:
        """Return the names of the layer's state that begin like this."""
        start = f"{PREFIX}:s:{{{beginning}"
        keys = self._client.scan_iter(match=f"{start}*", count=1000)
        return [key.decode()[len(f"{PREFIX}:s:{{") : -1] for key in keys]

    def expire(self, beginning: str, seconds: float) -> None:
        """End what would expire within some seconds, of the layer's state whose names begin like this."""
        for name in self.states(beginning):
            key = f"{PREFIX}:s:{{{name}}}"
            if 0 <= self.command("PTTL", key) < seconds * 1000:
                self.command("DEL", key)

    def expire_lease(self, inbox: str) -> None:
        """End the lease of an inbox."""
        added = self.command("HSET", f"{PREFIX}:m:{{{inbox}}}", "e", "0")
        assert not added, "the end of a lease is kept somewhere else"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would, with all that it holds."""
        self._client.close()
        self._process.kill()
        self._process.wait(WAIT)

    def close(self) -> None:
        self.layer.close()
        self.kill()


class Program:
    """A running `trunkline …`, and what it printed so far."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environ: dict[str, str]) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trunkline", *arguments],
            cwd=folder,
            env=inherited | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        assert self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            self._lines.extend(stream)

    @property
    def printed(self) -> str:
        return "".join(self._lines)

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def ready(self) -> bool:
        """Whether it says that it runs."""
        assert self.code is None, f"it ended with {self.code}:\n{self.printed}"
        return "Ctrl-C ends" in self.printed

    @property
    def port(self) -> int:
        found = re.search(r"listening on \w+://127\.0\.0\.1:(\d+) ", self.printed)
        assert found, self.printed
        return int(found[1])

    def children(self) -> set[int]:
        """Return the processes that it supervises."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return set(map(int, text.split()))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        """End it, and what it supervises, however that is."""
        if self._process.poll() is None:
            # It is its group's leader and not waited for yet, so that the number is still its own.
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(WAIT)
        self._reader.join(WAIT)


class Site:
    """A folder with a routing and settings, a Redis, and the commands that run there.

    Args:
        folder: Where.
        redis_program: The path of redis-server.
        settings: What `trunkline.toml` says.
        tcp, options, keeps: As for `Redis`.
        routing: The Python source of `app`.

    Attributes:
        redis: Its Redis.
        layer: The site's layer, for the test to look at.
    """

    def __init__(
        self,
        folder: Path,
        redis_program: str,
        settings: str = "",
        *,
        tcp: bool = False,
        options: str = "",
        keeps: bool = False,
        routing: str = ROUTING,
    ) -> None:
        self.folder = folder
        self._programs: list[Program] = []
        (folder / "app.py").write_text(routing, encoding="utf-8")
        (folder / "trunkline.toml").write_text(settings, encoding="utf-8")
        self.redis = Redis(redis_program, folder, tcp=tcp, options=options, keeps=keeps)
        self.layer: Layer = self.redis.layer

    def start(self, *arguments: str, folder: Path | None = None) -> Program:
        """Start `trunkline` with some arguments, here or in another folder."""
        environ = {"NOTES": str(self.folder), "TRUNKLINE_LAYER": self.redis.url}
        program = Program(arguments, folder or self.folder, environ)
        self._programs.append(program)
        return program

    async def up(self, *programs: Program) -> None:
        """Wait until these run."""
        await until(lambda: all(program.ready for program in programs), "the commands start")

    def listening(self) -> set[int]:
        """Return the process ids of the workers that are announced; a killed one stays so for a while."""
        return {int(name.split(".")[1]) for name in self.layer.listeners() if name.startswith("worker.")}

    def taken(self, by: Collection[int] | None = None) -> Counter[str]:
        """Return what consumers took, "kind name", and how often.

        Args:
            by: Only what these processes took.
        """
        found: Counter[str] = Counter()
        for pid, lines in noted(self.folder):
            if by is None or pid in by:
                found.update(lines)
        return found

    async def holds(self, name: str) -> None:
        """Wait until a consumer holds this, as it will until it is killed."""
        await until((self.folder / name).exists, f"a worker holds {name}")

    def drop_claims(self) -> None:
        """Let all claims lapse that are held now, as time would once all workers are dead."""
        self.redis.expire(_CLAIM, LEASE + 1)

    async def lapse_claims(self) -> None:
        """Let time pass for claims that nobody renews any more, and for nothing else, until cancelled."""
        while True:
            self.redis.expire(_CLAIM, LEASE - 2)
            await asyncio.sleep(0.1)

    def lapse_lease(self, inbox: str) -> None:
        """Let time pass for the lease of a dead server's inbox, and for nothing else."""
        self.redis.expire_lease(inbox)

    def outcomes(self) -> int:
        """Return for how many mails the layer knows what became of them."""
        return sum("answer" in self.layer.get_state(key)[0] for key in self.redis.states(_CLAIM))

    def close(self) -> None:
        for program in self._programs:
            program.close()
        self.redis.close()

    def printed(self) -> str:
        """Return what all commands printed, for the message of a failure."""
        return "\n".join(f"--- {number}\n{each.printed}" for number, each in enumerate(self._programs))


def noted(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Return what consumers noted down so far: a process id, and its lines.

    What is read while it is written may end in the middle of a line, which is then left out; and so is the one that a
    process was killed in.
    """
    for path in folder.glob("taken.*"):
        yield int(path.suffix[1:]), path.read_text(encoding="utf-8").split("\n")[:-1]


async def until(condition: Callable[[], object], what: str, wait: float = WAIT) -> None:
    """Wait until a condition holds, looking at it now and then."""
    try:
        async with asyncio.timeout(wait):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {wait:g} s in vain: {what}") from None


async def gone(*pids: int) -> None:
    """Wait until processes of somebody else's have ended."""
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"{pids} end")


async def ended(*programs: Program) -> None:
    """Wait until these have ended."""
    await until(lambda: all(program.code is not None for program in programs), "the commands end")
