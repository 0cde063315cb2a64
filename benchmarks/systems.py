"""What is compared: our servers and workers, and their peers, each started as its users would run it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import HERE, Running, free_port, peers_python, redis_server

PEERS = HERE / "peers"


@dataclass
class System:
    """Processes that answer together on a port of 127.0.0.1.

    `echo` and `room` are paths of WebSockets: one that answers each frame with its text, one whose sockets are all in
    a group. `emit` starts a process that sends a text to that group for each line it is told.
    """

    port: int
    processes: Sequence[Running]
    echo: str = "/echo"
    room: str = "/room"
    emit: Callable[[str], Running] | None = None

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each process so far."""
        return {each.name: each.cpu() for each in self.processes}


Start = Callable[[], AbstractContextManager[System]]


@contextmanager
def trunkline() -> Iterator[System]:
    """Run `trunkline serve http`, one `trunkline work`, and the Redis between them."""
    with ExitStack() as stack:
        redis, url = stack.enter_context(redis_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        settings = _settings(folder, port, url)
        worker = stack.enter_context(_trunkline("worker", "work", "consumers", "-c", settings))
        server = stack.enter_context(_trunkline("server", "serve", "http", "-c", settings))
        server.wait_for_hello(port)

        def emit(text: str) -> Running:
            return Running("emitter", [sys.executable, "emit.py", url, text], folder=HERE, talks=True)

        yield System(port, [server, worker, redis], emit=emit)


@contextmanager
def trunkline_alone() -> Iterator[System]:
    """Run `trunkline run`: server, worker and memory layer in one process."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        settings = _settings(Path(folder), port, "memory://")
        with _trunkline("server", "run", "consumers", "-c", settings) as server:
            server.wait_for_hello(port)
            yield System(port, [server])


@contextmanager
def uvicorn(application: str = "hello:asgi") -> Iterator[System]:
    """Run uvicorn with httptools and uvloop, and no bus."""
    port = free_port()
    with _uvicorn(application, port) as server:
        server.wait_for_hello(port)
        yield System(port, [server])


@contextmanager
def daphne() -> Iterator[System]:
    """Run daphne, the HTTP server of Channels on Twisted, and no bus."""
    port = free_port()
    with _peer("server", "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "-v", "0", "hello:asgi") as server:
        server.wait_for_hello(port)
        yield System(port, [server])


@contextmanager
def gunicorn() -> Iterator[System]:
    """Run gunicorn with one sync worker, and no bus."""
    port = free_port()
    with _peer("server", "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "hello:wsgi") as server:
        server.wait_for_hello(port)
        yield System(port, [server])


def channels_alone() -> AbstractContextManager[System]:
    """Run Channels under uvicorn in one process, without a bus."""
    return uvicorn("channels_site:application")


@contextmanager
def channels() -> Iterator[System]:
    """Run Channels under uvicorn, a `runworker`, and the Redis between them."""
    with ExitStack() as stack:
        redis, url = stack.enter_context(redis_server())
        port = free_port()
        worker = stack.enter_context(_peer("worker", "-m", "django", "runworker", "echo", "-v", "0", bus=url))
        server = stack.enter_context(_uvicorn("channels_site:application", port, url))
        server.wait_for_hello(port)

        def emit(text: str) -> Running:
            return _peer("emitter", "emit.py", "channels", text, bus=url, talks=True)

        yield System(port, [server, worker, redis], echo="/bus", emit=emit)


@contextmanager
def python_socketio() -> Iterator[System]:
    """Run python-socketio under uvicorn, with a Redis for other processes to emit through."""
    with ExitStack() as stack:
        redis, url = stack.enter_context(redis_server())
        port = free_port()
        server = stack.enter_context(_uvicorn("socketio_site:application", port, url))
        server.wait_for_hello(port)

        def emit(text: str) -> Running:
            return _peer("emitter", "emit.py", "socketio", text, bus=url, talks=True)

        yield System(port, [server, redis], room="/socket.io/?EIO=4&transport=websocket", emit=emit)


def _trunkline(name: str, *words: str | Path) -> Running:
    return Running(name, [sys.executable, "-m", "trunkline", *words], folder=HERE)


def _settings(folder: Path, port: int, layer: str) -> Path:
    settings = folder / "trunkline.toml"
    settings.write_text(
        f'layer = "{layer}"\n[http]\nendpoints = ["tcp:{port}"]\naccess_log = "off"\nmax_per_address = 10000\n'
    )
    return settings


def _uvicorn(application: str, port: int, bus: str = "") -> Running:
    quiet = ["--no-access-log", "--log-level", "error"]
    return _peer("server", "-m", "uvicorn", application, "--port", str(port), *quiet, bus=bus)


def _peer(name: str, *words: str, bus: str = "", talks: bool = False) -> Running:
    environment = {
        "BENCHMARK_REDIS": bus,
        "DJANGO_SETTINGS_MODULE": "channels_settings",
        "PYTHONPATH": str(PEERS),
    }
    return Running(name, [peers_python(), *words], folder=PEERS, environment=environment, talks=talks)
