"""Real Redis servers, and servers that are none.

    def test_something(redis_server: RedisServer) -> None:      # from the module below, if TYPE_CHECKING
        layer = open_layer(redis_server.url)                    # or .unix_url
        redis_server.command("CLIENT", "PAUSE", 100)

`redis_server` is one for the whole session, so keys stay: use a prefix of your own, or FLUSHALL. Who kills it restarts
it. `start_redis(*options)` starts another one, which ends with the test; `start_watched(*options)` a master with a
replica and three Sentinels.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from trunkline.layer.redis.address import Address

from .sentinels import Watched
from .traffic import Traffic

PATIENCE = 60.0  # seconds; a bound against hanging, never waited for


class RedisServer:
    """A redis-server on a loopback port and a Unix socket, which writes nothing to disk.

    Attributes:
        port: The TCP port; it stays the same after `restart`.
        socket: Path of the Unix socket.
        url, unix_url: Where a layer finds it.
    """

    def __init__(self, program: str, folder: Path, *options: str, config: str = "") -> None:
        self.socket = folder / "redis.sock"
        self._program = program
        self._folder = folder
        self._options = options
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None
        for _ in range(5):
            self.port = free_port()
            if self._start():
                break
        else:
            pytest.fail((folder / "redis.log").read_text())
        self.url = f"redis://127.0.0.1:{self.port}"
        self.unix_url = f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> Address:
        return Address(port=self.port)

    def command(self, *args: str | bytes | float) -> Any:
        """Run one command, as an administrator would; errors are raised."""
        assert self._client is not None
        return self._client.execute_command(*args)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process is not None
        if self._client is not None:
            self._client.close()
        self._process.kill()
        self._process.wait(PATIENCE)

    def restart(self) -> None:
        """Start it again in the same place, empty."""
        self.kill()
        assert self._start()

    def freeze(self) -> None:
        """Have it do nothing at all; its sockets stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _start(self) -> bool:
        """Start it, and wait until it answers; False if it ended instead, as when somebody took the port."""
        config = self._folder / "redis.conf"
        config.write_text(self._config)
        command = [
            self._program, str(config), "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket),
            "--save", "", "--appendonly", "no", "--dir", str(self._folder), "--logfile", "redis.log",
            "--enable-debug-command", "yes", *self._options,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            try:
                self._client.execute_command("PING")  # type: ignore[no-untyped-call]
                return True
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.005)
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def redis_program(peer: Callable[[str], str]) -> str:
    return peer("redis-server")


@pytest.fixture(scope="session")
def redis_server(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole session."""
    server = RedisServer(redis_program, tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def start_redis(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of one's own: `start_redis("--requirepass", "secret")`."""
    started: list[RedisServer] = []

    def start(*options: str, config: str = "") -> RedisServer:
        server = RedisServer(redis_program, tmp_path_factory.mktemp("redis"), *options, config=config)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def start_watched(
    peer: Callable[[str], str], start_redis: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[Callable[..., Watched]]:
    """Start a Redis with a replica and Sentinels: `start_watched("--requirepass", "secret", config="…")`."""
    started: list[Watched] = []

    def start(*options: str, **more: Any) -> Watched:
        started.append(Watched(peer("redis-sentinel"), tmp_path, start_redis, free_port, *options, **more))
        return started[-1]

    yield start
    for watched in started:
        watched.stop()


@pytest.fixture
def start_traffic() -> Iterator[Callable[..., Traffic]]:
    """Start traffic through a Redis: `start_traffic(url)`."""
    started: list[Traffic] = []

    def start(url: str, **more: Any) -> Traffic:
        started.append(Traffic(url, **more))
        return started[-1]

    yield start
    for each in started:
        each.close()


class Fake:
    """A server that answers as a test wants it to.

    Args:
        behave: Called in a thread with each connection, which is closed when it returns.
    """

    greeting = (
        b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:5\r\n"
        b"$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
        b"$12\r\nrun_id:abc\r\n\r\n+PONG\r\n*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"
    )
    """What Redis answers to the handshake of a connection that needs no scripts."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._behave = behave
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.accepted = 0
        self.address = Address(port=self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock:
                self._behave(sock)
        except OSError:
            pass  # the other end is gone, or the test is over

    def close(self) -> None:
        for sock in (self._server, *self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


@pytest.fixture
def fake() -> Iterator[Callable[..., Fake]]:
    """Start a `Fake`: `fake(behave)` for one that does anything, `fake(*answers)` for one that can greet.

    After the handshake each of the answers is sent for what arrives next, or, as (text, answer), when that text has
    arrived. None never answers; after the last it closes.
    """
    started: list[Fake] = []

    def scripted(*answers: bytes | tuple[bytes, bytes] | None) -> Callable[[socket.socket], None]:
        def behave(sock: socket.socket) -> None:
            for each in (Fake.greeting, *answers):
                until, answer = each if isinstance(each, tuple) else (b"", each)
                received = b""
                while not received or until not in received:
                    more = sock.recv(65536)
                    if not more:
                        return
                    received += more
                if answer is None:
                    while sock.recv(65536):
                        pass
                    return
                sock.sendall(answer)

        return behave

    def start(*what: Any) -> Fake:
        server = Fake(what[0] if what and callable(what[0]) else scripted(*what))
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
