"""A line to many WebSockets, from a process of its own: the time until the last socket has it.

    python benchmarks/broadcast.py [--rounds 5] [--lines 20] [--sockets 1000 5000]

trunkline        a group; `Layer.send_group` in the sending process
python-socketio  a room under uvicorn; `AsyncRedisManager.emit`
channels         a group under uvicorn; `group_send`

Each line is sent when the one before has arrived everywhere. A round's figures are the median and the longest of its
lines.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import HERE, Running
from systems import Start, channels, python_socketio, trunkline

SUBJECTS: dict[str, Start] = {"trunkline": trunkline, "python-socketio": python_socketio, "channels": channels}
GOALS = {
    1000: (
        Goal("last ms", "trunkline", "python-socketio", most=1),
        Goal("last ms", "trunkline", "python-socketio", most=0.4, word="aim"),
        Goal("last ms", "trunkline", "channels"),
    ),
    5000: (
        Goal("last ms", "trunkline", "python-socketio", most=1),
        Goal("last ms", "trunkline", "python-socketio", most=0.2, word="aim"),
        Goal("last ms", "trunkline", "channels"),
    ),
}
WARM = 3  # lines before the measurement
PAUSE = 0.05  # seconds between lines, for what is not over with the last delivery


def measure(start: Start, sockets: int, lines: int, size: int) -> Round:
    """Start a system, open the sockets, send lines, end it."""
    with start() as system:
        assert system.emit is not None
        load: list[str | Path] = [sys.executable, HERE / "websocket_load.py", "members", str(system.port), system.room]
        with (
            Running("client", [*load, "--sockets", str(sockets)], talks=True) as client,
            system.emit("x" * size) as emitter,
        ):
            client.hear()
            times: list[float] = []
            for number in range(WARM + lines):
                if number == WARM:
                    before, began = {**system.cpu(), "client": client.cpu()}, time.perf_counter()
                emitter.tell("")
                sent = float(emitter.hear())
                times.append(1000 * (float(client.hear()) - sent))
                time.sleep(PAUSE)
            seconds = time.perf_counter() - began
            cpu = {name: used - before[name] for name, used in {**system.cpu(), "client": client.cpu()}.items()}
            client.tell("")
    values = {"last ms": statistics.median(times[WARM:]), "longest ms": max(times[WARM:])}
    return Round(values, lines * sockets, seconds, cpu)


def main() -> None:
    parser = arguments(__doc__, seconds=None)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--sockets", type=int, nargs="+", default=[1000], help="5000 as well takes a few minutes")
    parser.add_argument("--size", type=int, default=200, help="bytes of a line")
    options = parser.parse_args()
    for sockets in options.sockets:
        subjects = {
            name: partial(measure, start, sockets, options.lines, options.size) for name, start in SUBJECTS.items()
        }
        goals = GOALS[5000 if sockets >= 5000 else 1000]
        compare(f"a line to {sockets} sockets", subjects, options, goals, "delivery")


if __name__ == "__main__":
    main()
