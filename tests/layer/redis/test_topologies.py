"""The ways in which users run their Redis, end to end: TLS both ways, users, versions that are too old."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable, open_layer
from trunkline.layer.redis.layer import RedisLayer

from .conftest import Fake, RedisServer, free_port
from .sentinels import SERVICE
from .traffic import Traffic

PATIENCE = 60.0


class Secured:
    """A Redis that takes TLS connections of those who have a certificate.

    Attributes:
        options: What a layer needs for that.
        server: What any server of this kind needs.
    """

    def __init__(self, folder: Path, certificate: Any) -> None:
        client = certificate.another(folder, "client")
        self.options: dict[str, Any] = {
            "tls_ca": str(certificate.certificate), "tls_certificate": str(client.certificate),
            "tls_key": str(client.key),
        }  # fmt: skip
        # It shows its certificate to replicas and Sentinels, too: who trusts the clients has to trust that one as well.
        trusted = folder / "trusted.pem"
        trusted.write_bytes(client.certificate.read_bytes() + certificate.certificate.read_bytes())
        self.server = (
            "tls-cert-file", str(certificate.certificate), "tls-key-file", str(certificate.key),
            "tls-ca-cert-file", str(trusted), "tls-auth-clients", "yes",
        )  # fmt: skip
        self.port = free_port()

    def start(self, start_redis: Callable[..., RedisServer]) -> RedisServer:
        pairs = zip(self.server[::2], self.server[1::2], strict=True)
        options = [word for name, value in pairs for word in (f"--{name}", value)]
        return start_redis("--tls-port", str(self.port), *options)


@pytest.fixture
def secured(tmp_path: Path, certificate: Any, start_redis: Callable[..., RedisServer]) -> Secured:
    made = Secured(tmp_path, certificate)
    made.start(start_redis)
    return made


def test_tls_with_a_client_certificate(
    secured: Secured, start_traffic: Callable[..., Traffic], tell: Callable[[str], None]
) -> None:
    traffic = start_traffic(f"rediss://localhost:{secured.port}", **secured.options)
    traffic.goes_on()
    counted = traffic.finish()
    tell(str(counted))
    assert (counted.lost, counted.twice, counted.in_doubt, traffic.told) == ([], [], 0, [])
    assert counted.arrived == counted.sent


def test_tls_without_a_client_certificate_is_one_clear_line(secured: Secured) -> None:
    with RedisLayer(f"rediss://localhost:{secured.port}", tls_ca=secured.options["tls_ca"]) as layer:
        [problem] = layer.problems()
    assert problem.startswith(f"cannot reach rediss://localhost:{secured.port}/0: ")
    assert "\n" not in problem


def test_tls_to_sentinels(
    secured: Secured, peer: Callable[[str], str], tmp_path: Path, start_traffic: Callable[..., Traffic]
) -> None:
    port = free_port()
    settings = [f"{name} {value}" for name, value in zip(secured.server[::2], secured.server[1::2], strict=True)]
    lines = [
        "port 0", f"tls-port {port}", "tls-replication yes", *settings, "bind 127.0.0.1", f"dir {tmp_path}",
        "logfile sentinel.log", "sentinel resolve-hostnames yes",
        f"sentinel monitor {SERVICE} localhost {secured.port} 1", "sentinel announce-hostnames yes", "",
    ]  # fmt: skip
    path = tmp_path / "sentinel.conf"
    path.write_text("\n".join(lines))
    process = subprocess.Popen([peer("redis-sentinel"), str(path)], stdout=subprocess.DEVNULL)
    try:
        url = f"rediss+sentinel://localhost:{port}/{SERVICE}"
        with RedisLayer(url, **secured.options) as layer:
            while layer.problems():
                assert process.poll() is None, (tmp_path / "sentinel.log").read_text()
        traffic = start_traffic(url, **secured.options)
        counted = traffic.finish()
        assert counted.arrived == counted.sent
    finally:
        process.kill()
        process.wait(PATIENCE)


@pytest.mark.parametrize("database", [0, 3])
def test_a_user_with_a_password_and_a_database(start_redis: Callable[..., RedisServer], database: int) -> None:
    server = start_redis()
    server.command("CONFIG", "SET", "requirepass", "a@b/c")
    with open_layer(f"redis://default:a%40b%2Fc@127.0.0.1:{server.port}/{database}") as layer:
        assert layer.send("a", {"n": 1})
        assert layer.receive(["a"]) == ("a", {"n": 1})
        assert layer.problems() == []
    with open_layer(f"redis://127.0.0.1:{server.port}/{database}") as layer:
        [problem] = layer.problems()
        assert problem == f"redis://127.0.0.1:{server.port}/{database} wants a user name and password"


# too old


@pytest.fixture
def old(fake: Callable[..., Fake]) -> Fake:
    greeting = Fake.greeting.replace(b"$6\r\n7.0.15", b"$6\r\n6.2.14")

    def behave(sock: socket.socket) -> None:
        received = b""
        while b"TIME" not in received:
            received += sock.recv(65536)
        sock.sendall(greeting.replace(b"+PONG\r\n", b"*0\r\n" * received.count(b"EXISTS")))
        sock.recv(65536)

    return fake(behave)


SAID = "is Redis 6.2.14; Trunkline needs 7.0 or newer, or Valkey"


def test_a_redis_that_is_too_old_is_said_at_the_first_call(old: Fake) -> None:
    with open_layer(old.address.text) as layer:
        with pytest.raises(LayerUnavailable) as failed:
            layer.send("a", {})
        assert str(failed.value) == f"{old.address.text} {SAID}"


def test_trunkline_check_says_that_redis_is_too_old(old: Fake) -> None:
    done = trunkline("check", layer=old.address.text)
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if SAID in line] == [f"problem  layer: {old.address.text} {SAID}"]


def test_trunkline_serve_ends_where_redis_is_too_old(old: Fake) -> None:
    done = trunkline("serve", "http", "-e", f"tcp:{free_port()}", layer=old.address.text)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [f"trunkline: the layer is away: {old.address.text} {SAID}"]


def trunkline(*arguments: str, layer: str) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    settings["TRUNKLINE_LAYER"] = layer
    command = [sys.executable, "-m", "trunkline", *arguments]
    return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=PATIENCE, check=False)
