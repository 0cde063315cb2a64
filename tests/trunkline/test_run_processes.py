"""`trunkline run` with workers as processes: what is replaced, what stays open, and that nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from trunkline.command_line import main
from trunkline.layer import open_layer

from .conftest import wait_until

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed

ROUTING = """
import os
import threading
import time

from trunkline import Channel, route

WORD = "one"


def page(message):
    own = threading.current_thread().name
    message.reply({"pid": os.getpid(), "threads": sum(each.name == own for each in threading.enumerate())})


def slow(message):
    print("slow began", flush=True)
    time.sleep(1.5)
    print("slow ended", flush=True)


def leave(message):
    for number in range(3):
        Channel("nobody.takes").send({"number": number})
    message.reply({"left": 3})


def say(message):
    message.reply(f"{WORD}: {message['text']}")


routing = [
    route("http.request", slow, path="^/slow$"),
    route("http.request", leave, path="^/leave$"),
    route("http.request", page),
    route("websocket.receive", say),
]
"""


@pytest.fixture
def place(folder: Path) -> Path:
    """The user's folder, whose temporary files are in one that the test can look into."""
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    return folder


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes make temporary files; its path is short enough for a socket."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def run(start: Start, place: Path, temporary: Path) -> Start:
    """Start `trunkline run` there."""
    return lambda *arguments, **environ: start("run", *arguments, TMPDIR=str(temporary), **environ)


def get(port: int, path: str = "/") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    body = response.read()
    connection.close()
    return json.loads(body)


def children(program: Any) -> list[int]:
    """Return the process ids that the parent told of: the bus' first, the workers' then."""
    program.ready()
    program.until(r"trunkline\.supervisor: workers?: .*\n")
    return [int(pid) for pid in re.findall(r"\(pid (\d+)\)", program.printed)]


def gone(pid: int) -> bool:
    """Tell whether a process has ended, its parent having heard of it or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_serves_from_several_processes_and_leaves_nothing(run: Start, temporary: Path) -> None:
    program = run("--processes", "2")
    port = program.port("http")
    bus, *workers = children(program)
    assert len(workers) == 2
    answers = [get(port) for _ in range(20)]
    assert {answer["pid"] for answer in answers} <= set(workers)
    assert {answer["threads"] for answer in answers} == {1}
    [folder] = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"app.routing with 2 worker processes on ipc://{folder}/bus.sock\n" in program.printed
    idle = socket.create_connection(("127.0.0.1", port), WAIT)
    began = time.monotonic()
    program.signal(signal.SIGINT)
    assert program.ended() == 0, program.printed
    assert time.monotonic() - began < 20  # and not the grace of 30 s; a quiet machine needs less than 2
    idle.close()
    assert all(map(gone, (bus, *workers)))
    assert list(temporary.iterdir()) == []
    assert "WARNING" not in program.printed


def test_a_worker_that_dies_is_replaced_while_sockets_stay_open(run: Start) -> None:
    program = run("--processes", "2")
    port = program.port("http")
    _, first, second = children(program)
    with connect(f"ws://127.0.0.1:{port}/") as socket_:
        os.kill(first, signal.SIGKILL)
        third = int(program.until(r"worker 1 \(pid (\d+)\) runs")[1])
        socket_.send("hello")
        assert socket_.recv(WAIT) == "one: hello"
        assert {get(port)["pid"] for _ in range(20)} <= {second, third}


def test_a_bus_that_dies_begins_anew_at_the_same_place(run: Start, temporary: Path) -> None:
    """Everybody finds it again; what was lost with it is said once, as an upper bound."""
    program = run("--processes", "2")
    port = program.port("http")
    bus, *workers = children(program)
    assert get(port, "/leave") == {"left": 3}
    [folder] = temporary.iterdir()
    with open_layer(f"ipc://{folder}/bus.sock") as layer:
        wait_until(lambda: len(layer.peek("nobody.takes")) == 3)
    os.kill(bus, signal.SIGKILL)
    program.until(r"bus 1 \(pid \d+\) runs")
    program.until("the channel layer is back")
    assert get(port)
    lost = re.findall(r"(\d+) messages at most that waited there are lost", program.printed)
    assert len(lost) == 1
    assert int(lost[0]) >= 3
    assert list(temporary.iterdir()) == [folder]
    program.signal(signal.SIGINT)
    assert program.ended() == 0, program.printed
    assert not [pid for pid in workers if not gone(pid)]
    assert list(temporary.iterdir()) == []


def test_reload_takes_new_code_while_a_websocket_stays_open(run: Start, place: Path) -> None:
    routing = place / "app" / "routing.py"
    program = run("--reload")
    port = program.port("http")
    children(program)
    assert get(port)["threads"] == 4, "one worker, with as many as run has otherwise"
    with connect(f"ws://127.0.0.1:{port}/") as socket_:
        socket_.send("hello")
        assert socket_.recv(WAIT) == "one: hello"
        routing.write_text("WORD = \n", encoding="utf-8")
        program.until("SyntaxError: invalid syntax; the old ones stay")
        socket_.send("hello")
        assert socket_.recv(WAIT) == "one: hello"
        routing.write_text(ROUTING.replace('"one"', '"two"'), encoding="utf-8")
        program.until("the old ones drain")
        deadline = time.monotonic() + WAIT
        answer = ""
        while answer != "two: hello":
            assert time.monotonic() < deadline
            socket_.send("hello")
            answer = str(socket_.recv(WAIT))
    program.signal(signal.SIGINT)
    assert program.ended() == 0, program.printed


def test_nothing_is_left_when_the_command_is_killed(run: Start, temporary: Path) -> None:
    program = run("--processes", "2")
    pids = children(program)
    program.signal(signal.SIGKILL)
    program.process.wait(WAIT)
    wait_until(lambda: all(map(gone, pids)))
    assert list(temporary.iterdir()) == []


def test_second_signal_is_1_at_once_and_leaves_nothing(run: Start, temporary: Path) -> None:
    program = run("--processes", "2")
    port = program.port("http")
    pids = children(program)
    asking = socket.create_connection(("127.0.0.1", port), WAIT)
    asking.sendall(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    program.until("slow began")
    program.signal(signal.SIGINT)
    program.until("stopping")
    program.signal(signal.SIGINT)
    assert program.ended() == 1
    assert "slow ended" not in program.printed
    wait_until(lambda: all(map(gone, pids)))
    assert list(temporary.iterdir()) == []
    asking.close()


def test_a_signal_to_all_of_them_cuts_nothing_off(run: Start) -> None:
    """As systemd sends it, unless told otherwise: the bus waits until nobody needs it any more."""
    program = run("--processes", "2")
    port = program.port("http")
    asking = socket.create_connection(("127.0.0.1", port), WAIT)
    asking.sendall(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    program.until("slow began")
    for pid in (*children(program), program.process.pid):
        os.kill(pid, signal.SIGTERM)
    assert program.ended() == 0, program.printed
    assert "slow ended" in program.printed
    assert "WARNING" not in program.printed
    asking.close()


def test_hangup_renews_the_workers_alone(run: Start) -> None:
    program = run("--processes", "2")
    port = program.port("http")
    old = children(program)
    program.signal(signal.SIGHUP)
    told = program.until(r"new workers: (.*); the old ones drain")[1]
    wait_until(lambda: all(map(gone, old[1:])))
    assert f"(pid {get(port)['pid']})" in told
    assert not gone(old[0])


def test_a_layer_that_is_shared_is_used(run: Start, layer: str, temporary: Path) -> None:
    """No bus is started then."""
    program = run("--processes", "2", TRUNKLINE_LAYER=layer)
    port = program.port("http")
    assert len(children(program)) == 2
    assert get(port)
    assert list(temporary.iterdir()) == []
    with open_layer(layer) as seen:
        assert len(seen.listeners()) == 2
    program.signal(signal.SIGINT)
    assert program.ended() == 0, program.printed


def test_options_of_the_memory_layer_are_those_of_the_bus(run: Start, temporary: Path) -> None:
    program = run("--processes", "2", "--layer", f"memory://?max_size={3 << 20}&expiry=7", "--grace", "5")
    program.until(r"on ipc://\S+/bus\.sock\?max_size=3145728&expiry=7\n")
    program.ready()
    [folder] = temporary.iterdir()
    with open_layer(f"ipc://{folder}/bus.sock?max_size={3 << 20}") as layer:
        assert layer.send("large", {"bytes": b"x" * (5 << 19)})
    program.signal(signal.SIGTERM)
    assert program.ended() == 0


def test_taken_port_is_3_and_leaves_nothing(run: Start, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = run("--processes", "2", TRUNKLINE_HTTP_ENDPOINTS=f"tcp:{port}")
        assert program.ended() == 3
    last = program.printed.splitlines()[-1]
    assert last == f"trunkline: tcp:{port}: port {port} on 127.0.0.1 is already in use"
    assert list(temporary.iterdir()) == []


def test_a_worker_that_cannot_start_is_told_in_one_line(run: Start, place: Path, temporary: Path) -> None:
    """What imports here may not import there."""
    routing = place / "app" / "routing.py"
    routing.write_text("import sys\nif 'work' in sys.argv:\n    import gone\n" + ROUTING, encoding="utf-8")
    program = run("--processes", "2")
    assert program.ended() == 2
    assert program.printed.splitlines()[-1].startswith("trunkline: app/routing.py:3: ")
    assert list(temporary.iterdir()) == []


def test_a_place_that_is_too_long_for_a_socket_is_2(start: Start, place: Path) -> None:
    long = place / ("x" * 100)
    long.mkdir()
    program = start("run", "--processes", "2", TMPDIR=str(long))
    assert program.ended() == 2
    assert "the path of a socket has at most 107 bytes" in program.printed
    assert list(long.iterdir()) == []


def test_check_says_what_it_would_use(place: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(here / "trunkline.toml", "a", encoding="utf-8") as settings:
        settings.write("[worker]\nprocesses = 2\n")
    assert main(["check"]) == 0
    assert "trunkline run starts a bus of its own" in capsys.readouterr().out
