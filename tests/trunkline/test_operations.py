"""The operations port as an operator meets it: real commands, curl, Redis that goes away, Chromium."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trunkline.operations.status.readiness import DEADLINE
from trunkline.protocol_servers.testing import SlackService

from .conftest import wait_until

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed

TOKEN = "correct horse"

ROUTING = """
import os
import time

from trunkline import Channel, route


def page(message):
    message.reply("hello")


def fail(message):
    raise ValueError("no <b>good</b>")


def slow(message):
    while not os.path.exists("go"):
        time.sleep(0.05)
    message.reply("late")


def leave(message):
    Channel("nobody.takes").send({"password": "hunter2", "<script>": 1})
    message.reply("left")


routing = [
    route("http.request", fail, path="^/fail$"),
    route("http.request", slow, path="^/slow$"),
    route("http.request", leave, path="^/leave$"),
    route("http.request", page),
]
"""


@pytest.fixture
def place(folder: Path) -> Path:
    """The user's folder, with an operations port that is free."""
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    with (folder / "trunkline.toml").open("a", encoding="utf-8") as file:
        file.write("\n[operations]\nport = 0\n")
    return folder


class Redis:
    """A Redis of this test alone, that can be stopped, killed and started again."""

    def __init__(self, program: str, place: str) -> None:
        self.path = f"{place}/redis.sock"
        self.url = f"unix://{self.path}"
        self._command = [program, "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no"]
        self._command += ["--dir", place]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(lambda: Path(self.path).exists())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        Path(self.path).unlink(missing_ok=True)


@pytest.fixture
def redis(peer: Callable[[str], str]) -> Iterator[Redis]:
    with tempfile.TemporaryDirectory() as place:
        running = Redis(peer("redis-server"), place)
        yield running
        running.end()


def port_of(program: Any) -> int:
    return int(program.until(r"status on http://127\.0\.0\.1:(\d+)/\n")[1])


def ask(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def metrics(port: int) -> dict[tuple[str, ...], float]:
    status, text = ask(port, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def ready(port: int) -> bool:
    return ask(port, "/readyz")[0] == 200


def has_failed(port: int) -> bool:
    """Tell whether a failure was counted, logged and kept; numbers are good for a second."""
    found = metrics(port)
    names = ("trunkline_worker_failures_total", "trunkline_layer_dead_letters")
    return found["trunkline_log_lines_total", "error"] == 1 and all(found[name,] == 1 for name in names)


def test_one_process(start: Start, place: Path, peer: Callable[[str], str]) -> None:
    program = start("run")
    port, web = port_of(program), program.port("http")
    program.ready()
    curl = [peer("curl"), "-sS", "--max-time", str(WAIT), "-w", " %{http_code}"]

    def told(path: str, *options: str) -> str:
        command = [*curl, *options, f"http://127.0.0.1:{port}{path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert told("/healthz") == "alive\n 200"
    assert told("/readyz") == "ready\n 200"
    assert told("/nothing").endswith(" 404")
    assert told("/readyz", "-H", "Host: evil.example").endswith(" 421")
    assert told("/readyz", "-X", "POST").endswith(" 405")
    for path in ("/", "/", "/fail"):
        ask(web, path)
    wait_until(lambda: has_failed(port))
    found = metrics(port)
    assert found["trunkline_worker_messages_total",] == 3
    assert found["trunkline_worker_failures_total",] == 1
    assert found["trunkline_channel_messages_total", "http.request"] == 3
    assert found["trunkline_channel_lag_seconds_count", "http.request"] == 3
    assert found["trunkline_channel_workers", "http.request"] == 1
    assert found["trunkline_layer_up",] == found["trunkline_command_ready",] == 1
    assert found["trunkline_server_serving", "http"] == 1
    assert found["trunkline_log_lines_total", "error"] == 1
    assert found["trunkline_port_requests_total", "421"] == 1
    status = json.loads(ask(port, "/status.json")[1])
    assert (status["state"], status["problems"], status["life"]) == ("ready", [], "running")
    [process] = status["processes"]
    assert process["pid"] == program.process.pid
    assert process["servers"][0]["ports"] == [f"http://127.0.0.1:{web}"]
    [line] = process["log"]["lines"]
    assert line["text"].endswith("fail failed (ValueError)")
    [letter] = status["dead_letters"]
    assert (letter["channel"], letter["reason"]) == ("http.request", "ValueError: no <b>good</b>")
    assert "hunter2" not in json.dumps(status)


def test_servers_and_workers_apart(start: Start, place: Path, redis: Redis) -> None:
    """Each command tells of itself and its processes, and of the layer that they share."""
    serve = start("serve", "http", "--layer", redis.url)
    work = start("work", "--processes", "2", "--layer", redis.url)
    served, worked, web = port_of(serve), port_of(work), serve.port("http")
    serve.ready()
    work.ready()
    for _ in range(40):
        assert ask(web, "/") == (200, "hello")
    assert ask(served, "/readyz") == ask(worked, "/readyz") == (200, "ready\n")
    wait_until(lambda: metrics(worked)["trunkline_worker_messages_total",] == 40)
    found = metrics(worked)
    assert found["trunkline_processes_running", "worker"] == found["trunkline_processes_wanted", "worker"] == 2
    assert found["trunkline_channel_workers", "http.request"] == 2
    assert found["trunkline_channel_lag_seconds_count", "http.request"] == 40
    assert found["trunkline_process_memory_bytes", "worker"] > 0
    wait_until(lambda: metrics(served)["trunkline_channel_messages_total", "http.request"] == 40)
    found = metrics(served)
    assert found["trunkline_server_serving", "http"] == 1
    assert ("trunkline_worker_messages_total",) not in found


def test_counts_outlive_the_processes(start: Start, place: Path, redis: Redis) -> None:
    """What was counted never goes back: not when workers are renewed, and not when one is killed after it was asked."""
    serve = start("serve", "http", "--layer", redis.url, TRUNKLINE_OPERATIONS_PORT="")
    work = start("work", "--processes", "2", "--layer", redis.url)
    port, web = port_of(work), serve.port("http")
    work.ready()
    assert "status on" not in serve.printed
    for _ in range(20):
        ask(web, "/")
    work.signal(signal.SIGHUP)
    work.until(r"new workers: .*; the old ones drain")
    for _ in range(20):
        ask(web, "/")
    wait_until(lambda: metrics(port)["trunkline_worker_messages_total",] == 40)
    pid = int(re.findall(r"\(pid (\d+)\)", work.until(r"new workers: (.*); the old")[1])[0])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: metrics(port)["trunkline_process_restarts_total", "worker"] == 1)
    assert metrics(port)["trunkline_worker_messages_total",] == 40
    wait_until(lambda: ready(port))


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_layer_that_is_away_is_told_in_time_and_so_is_its_return(
    start: Start, place: Path, redis: Redis, how: str
) -> None:
    program = start("serve", "http", "--layer", redis.url)
    port = port_of(program)
    program.ready()
    wait_until(lambda: ready(port))
    if how == "stopped":
        redis.process.send_signal(signal.SIGSTOP)
    else:
        redis.end()
    began = time.monotonic()
    status, text = ask(port, "/readyz")
    assert time.monotonic() - began < DEADLINE + WAIT / 2
    assert status == 503
    assert text.startswith("not ready\nlayer: ")
    assert ask(port, "/healthz")[0] == 200
    if how == "killed":
        assert metrics(port)["trunkline_layer_up",] == 0
        assert "The layer: " in ask(port, "/")[1]
    if how == "stopped":
        redis.process.send_signal(signal.SIGCONT)
    else:
        redis.start()
    wait_until(lambda: ready(port))


def test_draining_is_not_ready(start: Start, place: Path) -> None:
    program = start("run", "--processes", "2")
    port, web = port_of(program), program.port("http")
    program.ready()
    wait_until(lambda: ready(port))
    with socket.create_connection(("127.0.0.1", web), WAIT) as waiting:
        waiting.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: json.loads(ask(port, "/status.json")[1])["processes"][0]["servers"][0]["waiting"] == 1)
        program.signal(signal.SIGTERM)
        program.until("stopping")
        assert ask(port, "/readyz")[1].startswith("not ready\nstopping\n")
        assert ask(port, "/healthz")[0] == 200
        (place / "go").touch()
        assert waiting.recv(64).startswith(b"HTTP/1.1 200 ")
    assert program.ended() == 0


def test_a_private_bus_and_workers_are_processes_too(start: Start, place: Path) -> None:
    program = start("run", "--processes", "2")
    port = port_of(program)
    program.ready()
    assert ask(port, "/readyz") == (200, "ready\n")
    status = json.loads(ask(port, "/status.json")[1])
    assert [process["kind"] for process in status["processes"]] == ["servers", "worker", "worker", "bus"]
    bus = next(process["pid"] for process in status["processes"] if process["kind"] == "bus")
    os.kill(bus, signal.SIGSTOP)
    try:
        why = f"layer: no message came through it within {DEADLINE:g} s"
        status, text = ask(port, "/readyz")
        assert (status, text.splitlines()[:2]) == (503, ["not ready", why])
    finally:
        os.kill(bus, signal.SIGCONT)
    wait_until(lambda: ask(port, "/readyz") == (200, "ready\n"))


def test_a_token(start: Start, place: Path) -> None:
    settings = (place / "trunkline.toml").read_text("utf-8") + 'host = "0.0.0.0"\ntoken = { file = "token" }\n'
    (place / "trunkline.toml").write_text(settings, encoding="utf-8")
    (place / "token").write_text(TOKEN + "\n", encoding="utf-8")
    program = start("run")
    port = int(program.until(r"status on http://0\.0\.0\.0:(\d+)/\n")[1])
    program.ready()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/healthz", "/readyz", "/metrics", "/status.json", "/nothing"):
        status, text = ask(port, path)
        assert (status, text) == (401, "a token is needed: Authorization: Bearer TOKEN\n")
    assert ask(port, "/readyz", {"Authorization": "Bearer wrong"})[0] == 401
    assert ask(port, "/readyz", bearer) == (200, "ready\n")
    assert ask(port, "/readyz", bearer | {"Host": "metrics.example"}) == (200, "ready\n")
    (place / "token").write_text("another", encoding="utf-8")
    assert ask(port, "/readyz", bearer)[0] == 401
    assert ask(port, "/readyz", {"Authorization": "Bearer another"})[0] == 200
    program.signal(signal.SIGTERM)
    assert program.ended() == 0
    assert TOKEN not in program.printed


def test_mistakes(start: Start, place: Path, free_port: int) -> None:
    program = start("run", TRUNKLINE_OPERATIONS_HOST="0.0.0.0")
    assert program.ended() == 2
    assert program.printed.count("\n") == 1
    assert "host 0.0.0.0 is open to others and needs a token" in program.printed
    taken = {"TRUNKLINE_OPERATIONS_PORT": str(free_port)}
    first = start("run", **taken)
    first.ready()
    second = start("run", **taken)
    assert second.ended() == 3
    assert second.printed.count("\n") == 1
    assert f"[operations] port: 127.0.0.1:{free_port} is already in use; another command" in second.printed
    assert ask(free_port, "/readyz")[0] == 200


@pytest.mark.parametrize(
    ("command", "expected"),
    [(["run"], (200, "degraded\n")), (["serve", "slack"], (503, "not ready\nno server can do its work\n"))],
    ids=["beside a web server", "alone"],
)
def test_a_revoked_token_of_slack(
    start: Start, place: Path, redis: Redis, command: list[str], expected: tuple[int, str]
) -> None:
    """A web server goes on beside it, degraded; where the workspace is all there is, nothing is left."""
    with SlackService() as slack:
        acme = slack.workspace
        table = f'[slack.acme]\napi_url = "{slack.api_url}"\n'
        with (place / "trunkline.toml").open("a", encoding="utf-8") as file:
            file.write(f'{table}bot_token = {{ env = "BOT" }}\napp_token = {{ env = "APP" }}\n')
        program = start(*command, "--layer", redis.url, BOT=acme.bot_token, APP=acme.app_token)
        port = port_of(program)
        program.ready()
        wait_until(lambda: ask(port, "/readyz") == (200, "ready\n"))
        acme.revoke()
        status, text = expected
        wait_until(lambda: ask(port, "/readyz")[1].startswith(f"{text}slack.acme: Slack does not take bot_token"))
        assert ask(port, "/readyz")[0] == status


def test_a_flood_of_clients_hurts_nobody(start: Start, place: Path) -> None:
    """Neither the port itself nor what the process is there for."""
    program = start("run")
    port, web = port_of(program), program.port("http")
    program.ready()
    held = []
    for _ in range(200):
        sock = socket.create_connection(("127.0.0.1", port), WAIT)
        sock.sendall(b"GET / HT")
        held.append(sock)
    for _ in range(5):
        assert ask(port, "/readyz") == (200, "ready\n")
        assert ask(web, "/") == (200, "hello")
    for sock in held:
        sock.close()


@pytest.fixture(scope="module")
def chromium(peer: Callable[[str], str]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peer("chromium"), headless=True, args=quiet)
        yield browser
        browser.close()


def test_the_page_in_a_browser(start: Start, place: Path, chromium: Any, tmp_path: Path) -> None:
    program = start("run", "--show-content")
    port, web = port_of(program), program.port("http")
    program.ready()
    for path in ("/", "/fail", "/leave"):
        ask(web, path)
    wait_until(lambda: has_failed(port))
    page = chromium.new_context().new_page()
    page.set_default_timeout(WAIT * 1000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"http://127.0.0.1:{port}/")
    assert page.inner_text("#state") == "ready"
    assert page.evaluate("getComputedStyle(document.querySelector('#state')).fontWeight") == "600", "its style applies"
    channels = page.inner_text("#channels")
    assert "http.request" in channels
    assert "nobody.takes" in channels
    assert "no <b>good</b>" in page.inner_text("#letters")
    assert "fail failed (ValueError)" in page.inner_text("#errors")
    page.click("text=nobody.takes")
    page.wait_for_selector("#peeked")
    assert '"password": "hunter2"' in page.inner_text("#peeked")
    assert '"<script>": 1' in page.inner_text("#peeked")
    page.click("text=close")
    page.wait_for_selector("#peeked", state="detached")
    page.screenshot(path=tmp_path / "status.png", full_page=True)
    assert [complaint for complaint in complaints if "favicon" not in complaint] == []
    assert {request for request in requests if not request.startswith(f"http://127.0.0.1:{port}/")} == set()


def test_an_idle_command_with_a_port_sleeps(start: Start, place: Path, redis: Redis) -> None:
    """While nobody asks, the port wakes nobody: neither its thread nor the children."""
    program = start("work", "--processes", "2", "--layer", redis.url)
    port = port_of(program)
    program.ready()
    wait_until(lambda: ready(port))

    def switches() -> dict[str, int]:
        """Return how often each thread of the parent was given the processor."""
        found = {}
        for thread in Path(f"/proc/{program.process.pid}/task").iterdir():
            with suppress(OSError):  # it has ended just now
                status = (thread / "status").read_text("ascii")
                found[thread.name] = sum(int(number) for number in re.findall(r"ctxt_switches:\t(\d+)", status))
        return found

    def sleeps() -> bool:
        before = switches()
        time.sleep(1.0)
        return switches() == before

    wait_until(sleeps)
