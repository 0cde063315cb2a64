"""`trunkline work` as a process or several, on a real Redis: what it takes, and every way it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main
from trunkline.layer import Layer, open_layer

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed

ROUTING = """
import os
import threading
import time

from trunkline import Channel, route


def answer(message):
    Channel(message["to"]).send({"pid": os.getpid(), "thread": threading.current_thread().name})


def slow(message):
    print("slow began", flush=True)
    time.sleep(message["seconds"])
    print("slow ended", flush=True)


routing = [route("test.ask", answer), route("test.slow", slow)]
"""


@pytest.fixture
def bus(layer: str, folder: Path) -> Iterator[Layer]:
    """The layer, as another process sees it; the folder names it in its trunkline.toml."""
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    settings = f'layer = "{layer}"\nrouting = "app.routing"\n[http]\nendpoints = ["tcp:0"]\n'
    (folder / "trunkline.toml").write_text(settings, encoding="utf-8")
    opened = open_layer(layer)
    yield opened
    opened.close()


def ask(bus: Layer) -> dict[str, Any]:
    """Have a worker answer; return what it tells of itself."""
    bus.send("test.ask", {"to": "test.answers"})
    (answer,) = bus.receive_batch(["test.answers"], 1, WAIT)
    answer.ack()
    return answer.message


def pids(program: Any, which: str = r"workers?") -> list[int]:
    """Return the process ids that the parent told of."""
    told = program.until(rf"trunkline\.supervisor: {which}: (.*)")[1]
    return [int(pid) for pid in re.findall(r"\(pid (\d+)\)", told)]


def test_one_process_without_a_parent(start: Start, bus: Layer) -> None:
    program = start("work")
    program.ready()
    assert ask(bus)["pid"] == program.process.pid
    lines = program.printed.splitlines()
    assert re.fullmatch(r"Trunkline \S+: a worker of app\.routing on unix://\S+redis\.sock\S*", lines[0])
    assert lines[1] == "taking from asgi.delay, test.ask, test.slow"
    assert lines[2] == "Ctrl-C ends"
    program.signal(signal.SIGTERM)
    assert program.ended() == 0
    assert bus.listeners() == {}


def test_it_loads_no_networking(start: Start, bus: Layer, folder: Path) -> None:
    """Nor the servers that the same file configures."""
    (folder / "looking.py").write_text(
        "import sys\nfrom trunkline import route\n\n\ndef look(message):\n"
        "    print('loaded', sorted({'twisted', 'uvloop', 'httptools'} & set(sys.modules)), flush=True)\n\n\n"
        "routing = [route('test.ask', look)]\n",
        encoding="utf-8",
    )
    program = start("work", "looking")
    program.ready()
    bus.send("test.ask", {})
    program.until(r"loaded \[\]")


def test_threads_only_and_exclude(start: Start, bus: Layer) -> None:
    program = start("work", "--only", "test.*", "--exclude", "test.s*", "--threads", "3", "--prefetch", "1")
    program.until(r"taking from test\.ask\n")
    program.ready()
    assert ask(bus)["pid"] == program.process.pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_consumers_finish(start: Start, bus: Layer, number: int) -> None:
    program = start("work")
    bus.send("test.slow", {"seconds": 1})
    program.until("slow began")
    program.signal(number)
    program.until("stopping")
    assert program.ended() == 0
    assert "slow ended" in program.printed


def test_exceeded_grace_is_1(start: Start, bus: Layer) -> None:
    program = start("work", "--grace", "0.2")
    bus.send("test.slow", {"seconds": 60})
    program.until("slow began")
    program.signal(signal.SIGTERM)
    assert program.ended() == 1
    assert "consumers were still at work after 0.2 s" in program.printed


def test_second_signal_is_1_at_once(start: Start, bus: Layer) -> None:
    program = start("work")
    bus.send("test.slow", {"seconds": 60})
    program.until("slow began")
    program.signal(signal.SIGINT)
    program.until("stopping")
    program.signal(signal.SIGINT)
    assert program.ended() == 1


def test_one_process_ends_after_its_messages(start: Start, bus: Layer) -> None:
    program = start("work", "--max-messages", "2")
    ask(bus)
    ask(bus)
    assert program.ended() == 0, program.printed


def test_several_processes(start: Start, bus: Layer) -> None:
    """One that is killed is replaced; what was on the bus is taken by another."""
    program = start("work", "--processes", "2")
    program.ready()
    first, second = pids(program)
    assert {ask(bus)["pid"] for _ in range(20)} <= {first, second}
    assert len(bus.listeners()) == 2
    os.kill(first, signal.SIGKILL)
    program.until(rf"worker 1 \(pid {first}\) was killed by SIGKILL; another starts in 0\.\d s")
    third = int(program.until(r"worker 1 \(pid (\d+)\) runs")[1])
    assert {ask(bus)["pid"] for _ in range(20)} <= {second, third}
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed
    assert program.printed.count("Trunkline ") == program.printed.count("stopping") == 1


def test_messages_are_answered_all_through_a_renewal(start: Start, bus: Layer) -> None:
    """SIGHUP: there is no moment without a worker, and nothing is lost."""
    program = start("work", "--processes", "2")
    program.ready()
    old = pids(program)
    program.signal(signal.SIGHUP)
    asked = 0
    while "the old ones drain" not in program.printed:
        ask(bus)
        asked += 1
    new = pids(program, "new workers")
    assert asked > 0
    assert not set(old) & set(new)
    deadline = time.monotonic() + WAIT
    while any(map(alive, old)):
        assert time.monotonic() < deadline
        ask(bus)
    assert {ask(bus)["pid"] for _ in range(20)} <= set(new)
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_several_processes_replace_those_that_did_their_share(start: Start, bus: Layer) -> None:
    program = start("work", "--processes", "2", "--max-messages", "5")
    program.ready()
    assert len({ask(bus)["pid"] for _ in range(20)}) >= 4
    program.until("has ended; another takes its place")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_a_signal_to_parent_and_children_cuts_nothing_off(start: Start, bus: Layer) -> None:
    """As systemd sends it, unless told otherwise: children are told twice then."""
    program = start("work", "--processes", "2")
    program.ready()
    bus.send("test.slow", {"seconds": 1})
    program.until("slow began")
    for pid in (program.process.pid, *pids(program)):
        os.kill(pid, signal.SIGTERM)
    assert program.ended() == 0, program.printed
    assert "slow ended" in program.printed


def test_grace_of_several_processes(start: Start, bus: Layer) -> None:
    program = start("work", "--processes", "2", "--grace", "0.2")
    program.ready()
    bus.send("test.slow", {"seconds": 60})
    program.until("slow began")
    program.signal(signal.SIGTERM)
    assert program.ended() == 1
    number = program.until(r"\[([12])\] trunkline\.process: consumers were still at work after 0\.2 s")[1]
    program.until(rf"worker {number} \(pid \d+\) ended with exit code 1")


def test_log_lines_say_which_process_wrote_them(start: Start, bus: Layer, folder: Path) -> None:
    broken = ROUTING.replace("    print(", "    raise ValueError('broken')\n    print(", 1)
    (folder / "app" / "routing.py").write_text(broken, encoding="utf-8")
    program = start("work", "--processes", "2", "--log-format", "json")
    program.until("Ctrl-C ends")
    bus.send("test.slow", {"seconds": 0})
    program.until("ValueError: broken")
    program.signal(signal.SIGTERM)
    assert program.ended() == 0
    lines = [json.loads(line) for line in program.err if line]
    assert {line["process"] for line in lines if "broken" in line.get("traceback", "")} <= {1, 2}
    assert not [line for line in lines if line["logger"] == "trunkline.supervisor" and "process" in line]


def test_reload_takes_new_code_and_keeps_the_old_where_it_does_not_import(
    start: Start, bus: Layer, folder: Path
) -> None:
    helper, routing = folder / "app" / "helper.py", folder / "app" / "routing.py"
    helper.write_text("word = 'one'\n", encoding="utf-8")
    told = ROUTING.replace('"pid": os.getpid()', '"word": word').replace("import os\n", "from .helper import word\n")
    routing.write_text(told, encoding="utf-8")
    second = 1_700_000_000 * 10**9
    os.utime(helper, ns=(second, second))
    program = start("work", "--reload", PYTHONDONTWRITEBYTECODE="")
    program.ready()
    assert ask(bus)["word"] == "one"

    # Saved in the same second and as long as before: bytecode that Python had kept would pass for this one's.
    saved = folder / "saved"
    saved.write_text("word = 'two'\n", encoding="utf-8")
    os.utime(saved, ns=(second, second + 1))
    saved.rename(helper)
    program.until(r"app/helper\.py changed")
    program.until("the old ones drain")
    deadline = time.monotonic() + WAIT
    while ask(bus)["word"] != "two":
        assert time.monotonic() < deadline

    helper.write_text("word = \n", encoding="utf-8")
    program.until(r"app/helper\.py:1: SyntaxError: invalid syntax; the old ones stay")
    assert "Traceback" in program.printed
    assert ask(bus)["word"] == "two"

    # What the broken code has imported first is watched as well.
    helper.write_text("from .other import word\n", encoding="utf-8")
    (folder / "app" / "other.py").write_text("1 / 0\n", encoding="utf-8")
    program.until(r"app/other\.py:1: ZeroDivisionError")
    (folder / "app" / "other.py").write_text("word = 'three'\n", encoding="utf-8")
    while ask(bus)["word"] != "three":
        assert time.monotonic() < deadline
    program.signal(signal.SIGTERM)
    assert program.ended() == 0, program.printed


def test_reload_without_a_traceback_of_a_users_code(start: Start, bus: Layer, folder: Path) -> None:
    program = start("work", "--reload")
    program.ready()
    (folder / "app" / "routing.py").write_text("rooting = []\n", encoding="utf-8")
    program.until(r"'app\.routing' has no attribute 'routing'.*; the old ones stay")


def test_layer_that_is_away_is_3(start: Start, folder: Path) -> None:
    program = start("work", "--layer", f"unix://{folder}/gone.sock", "--processes", "2")
    assert program.ended() == 3, program.printed
    assert program.printed.startswith("trunkline: the layer is away: ")
    assert program.printed.count("\n") == 1


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("gone.routing",), "no routing module 'gone.routing'"),
        (("--only", "nothing.*"), "no channel is left to listen to; the routing has test.ask, test.slow"),
    ],
)
def test_mistakes_are_2_in_one_line(
    start: Start, bus: Layer, processes: str, arguments: tuple[str, ...], expected: str
) -> None:
    program = start("work", "--processes", processes, *arguments)
    assert program.ended() == 2, program.printed
    assert expected in program.printed
    assert "".join(program.err).startswith("trunkline: ")
    assert program.printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--threads", "0"), "--threads: must be at least 1, got 0"),
        (("--prefetch", "0"), "--prefetch: must be at least 1, got 0"),
        (("--max-messages", "0"), "--max-messages: must be at least 1, got 0"),
        (("--grace", "-1"), "--grace: must be at least 0, got -1.0"),
        (("--layer", "memory://"), "work cannot use memory://: no other process reaches it; trunkline run can"),
        (("--processes", "2", "--child=1:2"), "--child is for processes that trunkline starts by itself"),
    ],
)
def test_mistakes_that_are_seen_before_anything_starts(
    bus: Layer, here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert main(["work", *arguments]) == 2
    assert capsys.readouterr().err == f"trunkline: {expected}\n"


def test_without_a_layer_or_a_routing_is_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work"]) == 2
    said = "trunkline: work needs a layer: --layer redis://localhost:6379/0, TRUNKLINE_LAYER, or layer in a file\n"
    assert capsys.readouterr().err == said
    (here / "trunkline.toml").unlink()
    assert main(["work", "--processes", "2", "--layer", "redis://localhost"]) == 2
    assert capsys.readouterr().err.startswith("trunkline: no routing is named")


def test_warnings_about_a_routing_come_once(start: Start, bus: Layer, folder: Path) -> None:
    odd = ROUTING.replace('route("test.ask", answer)', 'route("http.reqest", answer)')
    (folder / "app" / "routing.py").write_text(odd, encoding="utf-8")
    program = start("work", "--processes", "2")
    program.ready()
    program.signal(signal.SIGTERM)
    assert program.ended() == 0
    assert program.printed.count("did you mean 'http.request'?") == 1


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
