"""Bodies and answers larger than the memory that anybody has for them, through real processes over every layer.

curl is the client, over both versions of HTTP. What it writes goes through a pipe: while the test reads nothing from
there, curl takes nothing from the server. What is sent to the server comes through one likewise.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

Start = Callable[..., Any]
Tell = Callable[[str], None]

WAIT = 60  # seconds until a test that hangs is called failed
PATIENCE = 600  # the same for what goes through at full size
MB = 1024 * 1024
ROOM = 50 * MB  # what a process may grow by
LITTLE = 64  # MB that go through in `make test`; more than there is room for
WHOLE = 1000  # MB in a campaign
ON_THE_WAY = 32 * MB  # what may be in sockets, pipes and the 16 chunks ahead, at most

VERSIONS = ("1.1", "2")

ROUTING = """
import hashlib
import os
import time

from trunkline import Group, route
from trunkline.workers.exceptions import StreamClosed

BLOCK = os.urandom(65536)


def blocks(whole, count):
    for _ in range(int(count) * 16):
        whole.update(BLOCK)
        yield BLOCK


def download(message, count):
    whole = hashlib.sha256()
    message.reply(blocks(whole, count))
    print(f"download HTTP/{message['http_version']} sent: {whole.hexdigest()}", flush=True)


def by_hand(message, count):
    whole = hashlib.sha256()
    sending = message.reply_channel.send
    sending({"status": 200, "more_content": True}, immediately=True)
    for block in blocks(whole, count):
        sending({"content": block, "more_content": True}, immediately=True)
    sending({"content": b""}, immediately=True)
    print(f"by-hand HTTP/{message['http_version']} sent: {whole.hexdigest()}", flush=True)


def upload(message, gate):
    whole = hashlib.sha256()
    size, told = 0, False
    body = message.stream()
    try:
        while block := body.read(65536):
            size += len(block)
            whole.update(block)
            if size > 1024 * 1024 and not told:
                told = True
                print(f"{gate}: reads no more", flush=True)
                while not os.path.exists(gate):
                    time.sleep(0.01)
    except StreamClosed as error:
        print(f"{gate} left: {error}", flush=True)
        raise
    message.reply({"size": size, "sha256": whole.hexdigest()})


def poll(message, name):
    Group("polls").add(message.reply_channel)
    print(f"polling: {name}", flush=True)


def answer(message):
    Group("polls").send({"status": 200, "content": b"news"})
    message.reply("told")


def events(message):
    Group("events").add(message.reply_channel)
    kind = [[b"content-type", b"text/event-stream"]]
    message.reply_channel.send({"status": 200, "headers": kind, "content": b": hello\\n\\n", "more_content": True})


def event(message):
    Group("events").send({"content": b"data: x\\n\\n", "more_content": True})
    message.reply("told")


def left(message):
    print("disconnected:", message["path"], flush=True)


routing = [
    route("http.request", download, path=r"^/download/(?P<count>\\d+)$"),
    route("http.request", by_hand, path=r"^/by-hand/(?P<count>\\d+)$"),
    route("http.request", upload, path=r"^/upload/(?P<gate>.+)$"),
    route("http.request", poll, path=r"^/poll/(?P<name>.+)$"),
    route("http.request", answer, path="^/answer$"),
    route("http.request", events, path="^/events/"),
    route("http.request", event, path="^/event$"),
    route("http.disconnect", left),
]
"""


class House(NamedTuple):
    """A server and a worker, which may be the same process, and where it listens."""

    server: Any
    worker: Any
    port: int

    @property
    def processes(self) -> list[Any]:
        return [self.server] if self.server is self.worker else [self.server, self.worker]

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()


@pytest.fixture
def curl(peer: Callable[[str], str], house: House) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start curl: ``curl(version, "/path", "--option", …)``."""
    program = peer("curl")
    running: list[subprocess.Popen[bytes]] = []

    def start(version: str, path: str, *options: str) -> subprocess.Popen[bytes]:
        flag = "--http2-prior-knowledge" if version == "2" else "--http1.1"
        command = [program, "-sSN", flag, *options, f"http://127.0.0.1:{house.port}{path}"]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.wait()
        for pipe in (each.stdin, each.stdout, each.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


@pytest.fixture(params=["memory", "ipc", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings of a test's own, to be given before the house starts."""
    return {}


@pytest.fixture
def house(kind: str, start: Start, folder: Path, environ: dict[str, str], request: Any) -> Iterator[House]:
    """Processes over one of the layers."""
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are too long for a socket's path
        if kind == "memory":
            both = start("run", **environ)
            yield House(both, both, ready(both))
            return
        if kind == "ipc":
            start("bus", f"unix:{place}/bus.sock").ready()
            url = f"ipc://{place}/bus.sock"
        else:
            url = request.getfixturevalue("layer")
        server, worker = start("serve", "http", "--layer", url, **environ), start("work", "--layer", url)
        worker.ready()
        yield House(server, worker, ready(server))


def ready(program: Any) -> int:
    port: int = program.port("http")
    program.ready()
    return port


class Growth:
    """How much processes grow from now on, at their highest."""

    def __init__(self, house: House) -> None:
        self._before = {}
        for each in house.processes:
            pid = each.process.pid
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew, see proc(5)
            self._before[pid] = _status(pid, "VmRSS")

    def check(self) -> str:
        """Fail if any grew by more than there is room for; else tell how much they did."""
        grown = [_status(pid, "VmHWM") - before for pid, before in self._before.items()]
        assert max(grown) < ROOM
        names = ["server and worker"] if len(grown) == 1 else ["server", "worker"]
        return ", ".join(f"{name} {each / MB:.1f} MB" for name, each in zip(names, grown, strict=True))


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


def said(program: Any, pattern: str) -> str:
    """Wait as long as a campaign needs until something was printed; return its first group."""
    deadline = time.monotonic() + PATIENCE
    while (found := re.search(pattern, program.printed)) is None:
        assert time.monotonic() < deadline, program.printed
        assert program.process.poll() is None, program.printed
        time.sleep(0.05)
    return found[1]


def sha256(file: Any) -> tuple[int, str]:
    """Read a file to its end; return its size and digest."""
    whole, size = hashlib.sha256(), 0
    while block := file.read(MB):
        size += len(block)
        whole.update(block)
    return size, whole.hexdigest()


@pytest.mark.campaign
@pytest.mark.timeout(PATIENCE)
def test_a_download_to_a_slow_client(house: House, curl: Any, kind: str, scale: int, tell: Tell) -> None:
    """It is on disk, the worker free, and nobody's memory full, while the client has taken next to nothing."""
    size = min(LITTLE * scale, WHOLE)
    growth = Growth(house)
    for version in VERSIONS:
        for path in ("download", "by-hand") if kind == "memory" else ("download",):
            client = curl(version, f"/{path}/{size}")
            digest = said(house.worker, f"{path} HTTP/{version} sent: (.*)")
            assert house.get("/answer") == b"told"
            assert sha256(client.stdout) == (size * MB, digest)
            assert client.wait(WAIT) == 0
            tell(f"{size} MB to a slow client, {path}, HTTP/{version}, {kind}: grown by {growth.check()}")


class Feeder:
    """Writes to curl as much as it takes.

    Attributes:
        taken: Bytes that it took.
    """

    def __init__(self, client: subprocess.Popen[bytes], size: int) -> None:
        self.taken = 0
        self.digest = hashlib.sha256()
        self._client = client
        self._size = size
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        block = os.urandom(65536)
        into = self._client.stdin
        assert into
        with contextlib.suppress(BrokenPipeError):
            while self.taken < self._size:
                into.write(block)
                self.digest.update(block)
                self.taken += len(block)
            into.close()

    def stalled(self) -> int:
        """Wait until nothing is taken any more; return how much was."""
        before = -1
        while before != self.taken:
            before = self.taken
            time.sleep(0.5)
        return before

    def join(self) -> None:
        self._thread.join(WAIT)


@pytest.mark.campaign
@pytest.mark.timeout(PATIENCE)
def test_an_upload_at_the_consumers_pace(
    house: House, curl: Any, kind: str, folder: Path, scale: int, tell: Tell
) -> None:
    """While the consumer does not read, the client cannot send; then everything arrives."""
    size = min(LITTLE * scale, WHOLE)
    growth = Growth(house)
    for version in VERSIONS:
        gate = folder / f"gate{version}"
        client = curl(version, f"/upload/{gate.name}", "-T", "-")
        feeder = Feeder(client, size * MB)
        house.worker.until(f"{gate.name}: reads no more")
        assert feeder.stalled() < ON_THE_WAY
        gate.touch()
        answer = client.stdout.read()
        feeder.join()
        assert answer == b'{"size": %d, "sha256": "%b"}' % (size * MB, feeder.digest.hexdigest().encode())
        tell(f"{size} MB from a client, HTTP/{version}, {kind}: grown by {growth.check()}")


@pytest.mark.parametrize("kind", ["ipc"], indirect=True)
@pytest.mark.parametrize("environ", [{"TRUNKLINE_HTTP_RESPONSE_TIMEOUT": "3", "TRUNKLINE_HTTP_ACCESS_LOG": "common"}])
def test_a_consumer_that_reads_no_more(house: House, curl: Any, folder: Path) -> None:
    """Its client is told, whether it sleeps or was killed."""
    for version in VERSIONS:
        client = curl(version, f"/upload/never{version}", "-T", "-", "-w", "%{http_code}")
        feeder = Feeder(client, 4 * ON_THE_WAY)
        house.worker.until(f"never{version}: reads no more")
        if version == VERSIONS[-1]:
            house.worker.kill()
        house.server.until(f'"PUT /upload/never{version} HTTP/{version}" 504')
        assert version == "2" or client.stdout.read().endswith(b"504")  # over HTTP/2 an old curl only says "reset"
        feeder.join()
        assert feeder.taken < ON_THE_WAY
        (folder / f"never{version}").touch()


@pytest.mark.parametrize("kind", ["memory"], indirect=True)
def test_clients_that_leave(house: House, curl: Any, folder: Path) -> None:
    """In the middle of a body its reader learns of it; in the middle of an answer, or before it, a consumer."""
    for version in VERSIONS:
        gate = folder / f"gate{version}"
        client = curl(version, f"/upload/{gate.name}", "-T", "-")
        Feeder(client, 4 * ON_THE_WAY)
        house.worker.until(f"{gate.name}: reads no more")
        client.kill()
        gate.touch()
        house.worker.until(f"{gate.name} left: the sender of this body went away")
        house.worker.until(f"disconnected: /upload/{gate.name}")
        client = curl(version, f"/events/{version}")
        assert client.stdout.read(9) == b": hello\n\n"
        client.kill()
        house.worker.until(f"disconnected: /events/{version}")
        client = curl(version, f"/poll/{version}")
        house.worker.until(f"polling: {version}")
        client.kill()
        house.worker.until(f"disconnected: /poll/{version}")


@pytest.mark.parametrize("kind", ["ipc"], indirect=True)
def test_a_group_answers_long_polls(house: House, curl: Any) -> None:
    clients = [curl(version, f"/poll/{version}.{number}") for version in VERSIONS for number in range(2)]
    for version in VERSIONS:
        for number in range(2):
            house.worker.until(f"polling: {version}.{number}")
    house.get("/answer")
    assert [client.stdout.read() for client in clients] == [b"news"] * 4


SHORT = {
    f"TRUNKLINE_HTTP_{name}_TIMEOUT": "1" for name in ("RESPONSE", "HEAD", "BODY", "IDLE", "CONNECT", "PING", "ORDER")
}


@pytest.mark.parametrize("kind", ["memory"], indirect=True)
@pytest.mark.parametrize("environ", [SHORT])
def test_events_for_longer_than_every_timeout(house: House, curl: Any) -> None:
    clients = [curl(version, f"/events/{version}") for version in VERSIONS]
    for client in clients:
        assert client.stdout.read(9) == b": hello\n\n"
    for _ in range(2):
        time.sleep(1.5)  # the longer this takes, the more it says
        house.get("/event")
        for client in clients:
            assert client.stdout.read(9) == b"data: x\n\n"


@pytest.mark.parametrize("kind", ["ipc"], indirect=True)
def test_a_full_disk_cuts_the_answer_that_needs_it_and_no_other(house: House, curl: Any) -> None:
    """A limit on the size of files stands for the disk."""
    others = [curl(version, f"/events/{version}") for version in VERSIONS]
    for other in others:
        assert other.stdout.read(9) == b": hello\n\n"
    resource.prlimit(house.server.process.pid, resource.RLIMIT_FSIZE, (MB, MB))
    for version in VERSIONS:
        slow = curl(version, "/download/32")
        house.worker.until(f"download HTTP/{version} sent")
        size, _ = sha256(slow.stdout)
        assert size < 32 * MB
        assert slow.wait(WAIT) != 0
    house.get("/event")
    for other in others:
        assert other.stdout.read(9) == b"data: x\n\n"
