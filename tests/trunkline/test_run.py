"""`trunkline run` as a process: what it prints, what it serves, and every way it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed


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


def test_serves_and_says_where(start: Start) -> None:
    program = start("run")
    port = program.port("http")
    program.ready()
    assert get(port)[0] == 200
    lines = program.printed.splitlines()
    assert lines[0].startswith("Trunkline ")
    assert lines[0].endswith(": app.routing on memory://")
    assert lines[1].startswith(f"listening on http://127.0.0.1:{port} (this machine only; ")
    assert lines[2] == "Ctrl-C ends"
    assert "\x1b" not in program.printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_within_two_seconds(start: Start, number: int) -> None:
    """The promise: exit 0 in under 2 s, with connections idle, half-written and waiting for an answer."""
    program = start("run")
    port = program.port("http")
    program.ready()
    idle = socket.create_connection(("127.0.0.1", port), WAIT)
    half = socket.create_connection(("127.0.0.1", port), WAIT)
    half.sendall(b"GET / HTTP/1.1\r\n")
    waiting = ask(port, "/never")
    program.until("waiting")
    began = time.monotonic()
    program.signal(number)
    assert program.ended() == 0, program.printed
    assert time.monotonic() - began < 20  # and not the grace of 30 s; a quiet machine needs less than 2
    assert "stopping" in program.printed
    for peer in (idle, half, waiting):
        peer.close()


def test_consumers_finish_within_the_grace(start: Start, folder: Path) -> None:
    routing = folder / "app" / "routing.py"
    routing.write_text(routing.read_text("utf-8").replace("time.sleep(60)", "time.sleep(1.5)"), encoding="utf-8")
    program = start("run")
    asking = ask(program.port("http"), "/slow")
    program.until("slow began")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed
    asking.close()


def test_exceeded_grace_is_1(start: Start) -> None:
    program = start("run", "--grace", "0.2")
    asking = ask(program.port("http"), "/slow")
    program.until("slow began")
    program.signal(signal.SIGTERM)
    assert program.ended() == 1
    assert "consumers were still at work after 0.2 s" in program.printed
    asking.close()


def test_what_consumers_left_to_a_thread_pool_has_the_grace_too(start: Start, folder: Path) -> None:
    routing = folder / "app" / "routing.py"
    left = "async def page(message):\n    import asyncio\n    asyncio.get_running_loop().run_in_executor(None, slow, 0)"
    routing.write_text(routing.read_text("utf-8").replace("def page(message):", left), encoding="utf-8")
    program = start("run", "--grace", "0.2")
    assert get(program.port("http"))[0] == 200
    program.until("slow began")
    program.signal(signal.SIGTERM)
    assert program.ended() == 1
    assert "left running are abandoned after 0.2 s" in program.printed


def test_second_signal_is_1_at_once(start: Start) -> None:
    program = start("run")
    asking = ask(program.port("http"), "/slow")
    program.until("slow began")
    program.signal(signal.SIGINT)
    program.until("stopping")
    program.signal(signal.SIGINT)
    assert program.ended() == 1
    asking.close()


def test_worker_that_dies_is_1(start: Start, folder: Path) -> None:
    routing = folder / "app" / "routing.py"
    broken = "from trunkline.workers import Worker\n\n\ndef run(self):\n    raise MemoryError\n\n\nWorker.run = run\n"
    routing.write_text(broken + routing.read_text("utf-8"), encoding="utf-8")
    program = start("run")
    assert program.ended() == 1
    assert "the worker failed" in program.printed


def test_taken_port_is_3(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = start("run", TRUNKLINE_HTTP_ENDPOINTS=f"tcp:{port}")
        assert program.ended() == 3
        assert program.printed == f"trunkline: tcp:{port}: port {port} on 127.0.0.1 is already in use\n"


def test_second_server_that_cannot_start_is_3(start: Start) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        program = start("run", TRUNKLINE_UDP_ENDPOINTS=f"udp:{taken.getsockname()[1]}")
        assert program.ended() == 3
        assert "already in use" in program.printed
        assert program.printed.count("\n") == 1


def test_says_what_others_can_reach(start: Start) -> None:
    program = start("run", TRUNKLINE_HTTP_ENDPOINTS="tcp:0:interface=0.0.0.0")
    program.until(r"listening on http://0\.0\.0\.0:\d+\n")


def test_several_servers(start: Start) -> None:
    program = start("run", TRUNKLINE_UDP_ENDPOINTS="udp:0")
    assert program.port("http")
    assert program.port("udp")


def test_json_log(start: Start, folder: Path) -> None:
    """With --log-format json everything it says is JSON, the addresses too."""
    program = start("run", "--log-format", "json", "--log-level", "debug")
    program.until("Ctrl-C ends")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0
    assert "".join(program.out) == ""
    messages = [json.loads(line)["message"] for line in program.err if line]
    assert any(message.startswith("listening on http://127.0.0.1:") for message in messages)


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (("--processes", "0"), {}, "--processes: must be at least 1, got 0"),
        (("--processes", "many"), {}, "argument --processes: invalid int value: 'many'"),
        (("--grace", "-1"), {}, "--grace: must be at least 0, got -1.0"),
        (("--bogus",), {}, "unrecognized arguments: --bogus"),
        (("--layer", "redis+odd://localhost"), {}, "no layer engine is called 'redis+odd'"),
        (("--layer", "nonsense"), {}, "'nonsense' is no layer URL"),
        ((), {"TRUNKLINE_HTTP_RESPNSE_TIMEOUT": "1"}, "did you mean TRUNKLINE_HTTP_RESPONSE_TIMEOUT?"),
        ((), {"TRUNKLINE_HTTP_ENDPOINTS": "tcp:port"}, "tcp:port: "),
        ((), {"TRUNKLINE_HTTP_ENDPOINTS": ""}, "[http] endpoints: the list is empty, so nothing could connect"),
        (("gone.routing",), {}, "'gone.routing'"),
        (("app.routing:gone",), {}, "no attribute 'gone'"),
        (("-c", "gone.toml"), {}, "gone.toml: cannot be read: No such file or directory"),
    ],
)
def test_mistakes_are_2_in_one_line(
    start: Start, arguments: tuple[str, ...], environ: dict[str, str], expected: str
) -> None:
    program = start("run", *arguments, **environ)
    assert program.ended() == 2, program.printed
    assert expected in program.printed
    assert "".join(program.err).startswith("trunkline: ")
    assert program.printed.count("\n") == 1


def test_routing_that_does_not_import_is_2_with_file_and_line(start: Start, folder: Path) -> None:
    (folder / "app" / "routing.py").write_text("import json\n\njson.gone\n", encoding="utf-8")
    program = start("run")
    assert program.ended() == 2
    assert program.printed.startswith("trunkline: app/routing.py:3: ")
    assert program.printed.count("\n") == 1


def test_missing_extra_is_2(start: Start, folder: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'httptools'\", name='httptools')\n"
    (folder / "httptools.py").write_text(missing, encoding="utf-8")
    program = start("run")
    assert program.ended() == 2
    assert "pip install 'trunkline[http]'" in program.printed
    assert program.printed.count("\n") == 1


def test_a_routing_may_import_the_reactor(start: Start, folder: Path) -> None:
    """Ours is there first, whatever a user's code imports."""
    routing = folder / "app" / "routing.py"
    routing.write_text("from twisted.internet import reactor\n" + routing.read_text("utf-8"), encoding="utf-8")
    program = start("run")
    assert get(program.port("http"))[0] == 200


def test_goes_on_when_nobody_reads_what_it_prints(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [sys.executable, "-m", "trunkline", "run"],
        cwd=folder,
        env=os.environ | {"TRUNKLINE_HTTP_ENDPOINTS": f"tcp:{port}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout
    program.stdout.close()
    try:
        assert get_when_served(port) == 200
        program.send_signal(signal.SIGTERM)
        assert program.communicate(timeout=WAIT)[1] == b""
        assert program.returncode == 0
    finally:
        program.kill()
        program.communicate()


def test_goes_on_without_a_stdout_or_a_stderr(folder: Path) -> None:
    """No socket gets their numbers, no line of a log or of a consumer fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        f"exec '{sys.executable}' -m trunkline run <&- >&- 2>&-",
        shell=True,
        cwd=folder,
        env=os.environ | {"TRUNKLINE_HTTP_ENDPOINTS": f"tcp:{port}", "TRUNKLINE_HTTP_ACCESS_LOG": "common"},
    )
    try:
        assert get_when_served(port) == 200
        ask(port, "/never").close()  # its consumer prints
        assert get(port)[0] == 200
        program.send_signal(signal.SIGTERM)
        assert program.wait(WAIT) == 0
    finally:
        program.kill()
        program.wait()


def test_closed_terminal_ends_it_as_a_signal_does(start: Start) -> None:
    program = start("run")
    waiting = ask(program.port("http"), "/never")
    program.until("waiting")
    program.signal(signal.SIGHUP)
    program.signal(signal.SIGHUP)
    assert program.ended() == 0, program.printed
    waiting.close()


def test_consumer_that_closes_stdout(start: Start, folder: Path) -> None:
    routing = folder / "app" / "routing.py"
    closing = "    import sys\n    sys.stdout.close()\n    sys.stderr.close()\n"
    routing.write_text(routing.read_text("utf-8").replace("    message.reply", closing + "    message.reply"), "utf-8")
    program = start("run")
    port = program.port("http")
    assert [get(port)[0], get(port)[0]] == [200, 200]
    asking = ask(port, "/slow")
    program.signal(signal.SIGINT)
    program.signal(signal.SIGINT)
    assert program.ended() in (0, 1)
    asking.close()


def get_when_served(port: int) -> int:
    """Ask until somebody answers."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return get(port)[0]
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_worker_ends_after_its_messages(start: Start) -> None:
    program = start("run", TRUNKLINE_WORKER_MAX_MESSAGES="1")
    assert get(program.port("http"))[0] == 200
    assert program.ended() == 0, program.printed
