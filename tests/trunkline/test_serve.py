"""`trunkline serve` as a process or several, on a real Redis, with workers that are other processes."""

from __future__ import annotations

import http.client
import os
import re
import signal
import smtplib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed


@pytest.fixture
def shared(folder: Path, layer: str) -> str:
    """The user's folder names a layer that others can share; return its URL."""
    settings = f'layer = "{layer}"\nrouting = "app.routing"\n[http]\nendpoints = ["tcp:0"]\naccess_log = "off"\n'
    (folder / "trunkline.toml").write_text(settings, encoding="utf-8")
    return layer


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def ask(port: int, path: str) -> socket.socket:
    """Send a request, and leave its answer unread."""
    asking = socket.create_connection(("127.0.0.1", port), WAIT)
    asking.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode())
    return asking


def test_one_server_and_two_workers(start: Start, shared: str) -> None:
    server, worker = start("serve", "http"), start("work", "--processes", "2")
    port = server.port("http")
    server.ready()
    worker.ready()
    for _ in range(20):
        assert get(port)[0] == 200
    lines = server.printed.splitlines()
    assert re.fullmatch(r"Trunkline \S+: http on unix://\S+redis\.sock\S*", lines[0])
    assert lines[1].startswith(f"listening on http://127.0.0.1:{port} (this machine only; ")
    assert lines[2] == "Ctrl-C ends"
    # Workers come and go, the server stays and its clients wait.
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    answers: list[int] = []
    waiting = threading.Thread(target=lambda: answers.append(get(port)[0]))
    waiting.start()
    start("work").ready()
    waiting.join(WAIT)
    assert answers == [200]
    server.signal(signal.SIGTERM)
    assert server.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_open_work_is_finished(start: Start, shared: str, folder: Path, number: int) -> None:
    routing = folder / "app" / "routing.py"
    routing.write_text(routing.read_text("utf-8").replace("time.sleep(60)", "time.sleep(1)\n    message.reply('done')"))
    server, worker = start("serve", "http"), start("work")
    asking = ask(server.port("http"), "/slow")
    worker.until("slow began")
    server.signal(number)
    server.until("stopping")
    assert asking.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
    assert server.ended() == 0, server.printed
    asking.close()


def test_who_waits_longer_than_the_grace_is_told(start: Start, shared: str) -> None:
    server, worker = start("serve", "http", "--grace", "3"), start("work")
    asking = ask(server.port("http"), "/slow")
    worker.until("slow began")
    server.signal(signal.SIGTERM)
    assert asking.makefile("rb").readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert server.ended() == 0
    asking.close()


def test_second_signal_is_1_at_once(start: Start, shared: str) -> None:
    server, worker = start("serve", "http"), start("work")
    asking = ask(server.port("http"), "/slow")
    worker.until("slow began")
    server.signal(signal.SIGINT)
    server.until("stopping")
    server.signal(signal.SIGINT)
    assert server.ended() == 1
    asking.close()


def test_flags_go_before_the_file(start: Start, shared: str, free_port: int) -> None:
    server = start("serve", "http", "-e", f"tcp:{free_port}", "--endpoint", "tcp:0")
    assert server.port("http") == free_port
    server.ready()
    assert server.printed.count("listening on") == 2


def test_smtp_and_udp(start: Start, shared: str, folder: Path, free_port: int) -> None:
    """Each by itself; what the file says of other servers is no matter."""
    with (folder / "trunkline.toml").open("a", encoding="utf-8") as file:
        file.write("nonsense = 1\n")
    udp, smtp = start("serve", "udp", "-e", "udp:0"), start("serve", "smtp", "-e", f"tcp:{free_port}")
    assert udp.port("udp")
    with socket.create_connection(("127.0.0.1", smtp.port("smtp")), WAIT) as client:
        assert client.recv(3) == b"220"
    both = [udp, smtp]
    for program in both:
        program.signal(signal.SIGTERM)
    assert [program.ended() for program in both] == [0, 0]


def test_lmtp_that_queues(start: Start, folder: Path, layer: str) -> None:
    """LMTP on a unix socket: a mail is taken although no worker is there, for the channel keeps it."""
    (folder / "trunkline.toml").write_text(
        f'layer = "{layer}"\n[channels."email.receive"]\ndurable = true\n[lmtp]\naccept = "queued"\nrcpt = "any"\n',
        encoding="utf-8",
    )
    program = start("serve", "lmtp", "-e", "unix:lmtp.sock")
    program.until("listening on lmtp://")
    with smtplib.LMTP(str(folder / "lmtp.sock")) as client:
        assert client.sendmail("a@b", ["c@d"], b"Message-ID: <1>\r\n\r\nhi") == {}
    program.signal(signal.SIGTERM)
    assert program.ended() == 0


def test_queued_mail_needs_a_durable_channel(start: Start, folder: Path, layer: str) -> None:
    (folder / "trunkline.toml").write_text(f'layer = "{layer}"\n[lmtp]\naccept = "queued"\n', encoding="utf-8")
    program = start("serve", "lmtp", "-e", "tcp:0")
    assert program.ended() == 2
    assert program.printed == (
        'trunkline: [lmtp] accept = "queued" needs [channels."email.receive"] durable = true: '
        "a mail is safe nowhere else\n"
    )


def test_several_processes_share_a_port(start: Start, shared: str, free_port: int) -> None:
    """One that is killed is replaced, SIGHUP replaces all, and clients notice neither."""
    server, worker = start("serve", "http", "-e", f"tcp:{free_port}", "--processes", "2"), start("work")
    server.ready()
    worker.ready()
    assert server.printed.count("listening on") == 1
    for _ in range(20):
        assert get(free_port)[0] == 200
    told = server.until(r"http servers: 1 \(pid (\d+)\), 2 \(pid (\d+)\)")
    os.kill(int(told[2]), signal.SIGKILL)
    server.until(rf"http server 2 \(pid {told[2]}\) was killed by SIGKILL")
    for _ in range(10):
        assert get(free_port)[0] == 200
    server.until(r"http server 2 \(pid \d+\) runs")
    server.signal(signal.SIGHUP)
    server.until(r"new http servers: .*; the old ones drain")
    for _ in range(10):
        assert get(free_port)[0] == 200
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.printed


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "1")])
def test_taken_port_is_3(start: Start, shared: str, free_port: int, first: str, second: str) -> None:
    """Although several processes of one user could share it."""
    start("serve", "http", "-e", f"tcp:{free_port}", "--processes", first).ready()
    program = start("serve", "http", "-e", f"tcp:{free_port}", "--processes", second)
    assert program.ended() == 3, program.printed
    assert program.printed == f"trunkline: tcp:{free_port}: port {free_port} on 127.0.0.1 is already in use\n"


def test_endpoint_that_is_none_is_2(start: Start, shared: str) -> None:
    program = start("serve", "http", "-e", "tcp:x")
    assert program.ended() == 2
    assert program.printed == "trunkline: tcp:x: the port must be a number from 0 to 65535, not 'x'\n"


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (
            ("http",),
            {},
            "serve http needs a layer: --layer redis://localhost:6379/0, TRUNKLINE_LAYER, or layer in a file",
        ),
        (("http",), {"TRUNKLINE_LAYER": "memory://x"}, "serve http cannot use memory://x: no other process reaches it"),
        (("udp",), {}, "serve udp needs an endpoint: -e udp:PORT"),
        ((), {}, "the following arguments are required: SERVER"),
        (("gopher",), {}, "argument SERVER: invalid choice: 'gopher'"),
        (("http", "--processes", "0"), {}, "--processes: must be at least 1, got 0"),
        (("http", "-e", "tcp:0", "--processes", "2"), {}, "tcp:0: several processes need one port"),
        (("udp", "-e", "udp:9", "--processes", "2"), {}, "udp:9: several processes share tcp:PORT and ssl:PORT alone"),
        (("http", "-e", "unix:x.sock", "--processes", "2"), {}, "unix:x.sock: several processes share"),
        (("http",), {"TRUNKLINE_HTTP_ENDPOINTS": ""}, "[http] endpoints: the list is empty"),
        (("http",), {"TRUNKLINE_HTTP_ENDPONTS": "tcp:1"}, "did you mean TRUNKLINE_HTTP_ENDPOINTS?"),
    ],
)
def test_mistakes_are_2_in_one_line(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    environ: dict[str, str],
    expected: str,
) -> None:
    if "layer" not in expected:
        monkeypatch.setenv("TRUNKLINE_LAYER", "redis://localhost")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["serve", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("trunkline: ")
    assert expected in line
    assert line.count("\n") == 1


def test_defaults(start: Start, folder: Path, layer: str) -> None:
    """Without any setting HTTP listens on 8000; so it does, or somebody else does."""
    (folder / "trunkline.toml").unlink()
    program = start("serve", "http", "--layer", layer)
    program.until(r"listening on http://127\.0\.0\.1:8000 |tcp:8000: port 8000 on 127\.0\.0\.1 is already in use")
