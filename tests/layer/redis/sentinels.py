"""A Redis with a replica, and three Sentinels that watch them and promote the replica within about a second."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

if TYPE_CHECKING:
    from .conftest import RedisServer

SERVICE = "main"
PATIENCE = 60.0
DOWN_AFTER = 0.3
"""Seconds after which a master that does not answer is held for dead."""

# Milliseconds; Sentinels' own are ten times as long. FAILOVER leaves the old master one for four times PUBLISH-PERIOD.
_HURRY = ("INFO-PERIOD", 300, "PUBLISH-PERIOD", 200, "PING-PERIOD", 100, "ASK-PERIOD", 100)


class Watched:
    """One master, one replica, three Sentinels.

    Attributes:
        servers: The two Redis servers, first the one that is the master at the beginning.
        ports: Those of the Sentinels.
        url: Where a layer finds the service.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        start_redis: Callable[..., RedisServer],
        free_port: Callable[[], int],
        *options: str,
        config: str = "",
        credentials: str = "",
    ) -> None:
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options)
        master = start_redis(*quick)
        replica = start_redis(*quick, "--replicaof", "127.0.0.1", str(master.port))
        self.servers = [master, replica]
        self._processes: list[subprocess.Popen[bytes]] = []
        for _ in range(5):
            self.ports = [free_port() for _ in range(3)]
            if self._start(program, folder, config):
                break
            self.stop()
        else:
            pytest.fail("".join(path.read_text() for path in folder.glob("*.log")))
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.url = f"redis+sentinel://{credentials}{hosts}/{SERVICE}"
        try:
            self.wait(lambda: replica.command("INFO", "replication")["master_link_status"] == "up")
        except BaseException:
            self.stop()
            raise

    def _start(self, program: str, folder: Path, config: str) -> bool:
        master, replica = self.servers
        ids = [str(number) * 40 for number in (1, 2, 3)]
        for index, port in enumerate(self.ports):
            # What they would find out about each other within some seconds is told at once.
            known = [
                f"sentinel known-sentinel {SERVICE} 127.0.0.1 {self.ports[other]} {ids[other]}"
                for other in range(3)
                if other != index
            ]
            path = folder / f"sentinel.{index}.conf"
            lines = [
                f"port {port}", "bind 127.0.0.1", f"dir {folder}", f"logfile sentinel.{index}.log",
                f"sentinel myid {ids[index]}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
                f"sentinel down-after-milliseconds {SERVICE} {round(DOWN_AFTER * 1000)}",
                f"sentinel failover-timeout {SERVICE} 3000",
                f"sentinel known-replica {SERVICE} 127.0.0.1 {replica.port}",
                *known, config, "",
            ]  # fmt: skip
            path.write_text("\n".join(lines))
            command = [program, str(path)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._processes.append(process)
        return all(self._ready(index) for index in range(3))

    def _ready(self, index: int) -> bool:
        deadline = time.monotonic() + PATIENCE
        while self._processes[index].poll() is None:
            try:
                self.sentinel(index, "DEBUG", *_HURRY)
                return True
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "a Sentinel does not answer"
                time.sleep(0.005)
        return False

    def sentinel(self, index: int, *command: str | float) -> Any:
        """Ask a Sentinel about its work."""
        return self.ask(index, "SENTINEL", *command)

    def ask(self, index: int, *command: str | float) -> Any:
        """Run a command in a Sentinel, and return its answer as it came."""
        connection: Any = redis.Connection(  # type: ignore[no-untyped-call]
            port=self.ports[index], socket_timeout=PATIENCE, protocol=2
        )
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()

    def master(self, index: int = 0) -> RedisServer:
        """Return the server that a Sentinel holds for the master."""
        port = self.sentinel(index, "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]
        return next(server for server in self.servers if server.port == int(port))

    def other(self) -> RedisServer:
        return next(server for server in self.servers if server is not self.master())

    def kill(self, index: int) -> None:
        """End a Sentinel at once."""
        self._processes[index].kill()
        self._processes[index].wait(PATIENCE)

    def ready_for_failover(self) -> None:
        """Wait until the Sentinels agree that there is a replica to be promoted, and who is alive."""

        def agreed() -> bool:
            for index in range(3):
                try:
                    self.sentinel(index, "CKQUORUM", SERVICE)
                except redis.ResponseError:
                    return False
                [replica] = self.sentinel(index, "REPLICAS", SERVICE)
                facts = dict(zip(replica[::2], replica[1::2], strict=True))
                if facts[b"flags"] != b"slave" or facts[b"master-link-status"] != b"ok":
                    return False
            return True

        self.wait(agreed)
        self.copy()

    def copy(self) -> None:
        """Have the replica say that it has everything that was written so far."""
        master = self.master()
        written = master.command("INFO", "replication")["master_repl_offset"]
        self.wait(lambda: int(master.command("INFO", "replication").get("slave0", {}).get("offset", 0)) >= written)

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE)
        self._processes.clear()
