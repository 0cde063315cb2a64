"""The memory that a server has for each WebSocket that is open and idle.

    python benchmarks/websocket_memory.py [--rounds 3] [--sockets 5000]

trunkline  `trunkline serve http`: each socket was accepted by a worker, over Redis
uvicorn    with websockets and uvloop, each socket waiting for a message; no bus

What the server's processes have written to and share with nobody, before the sockets and with them, a socket.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import HERE, Running
from systems import Start, trunkline, uvicorn

SUBJECTS: dict[str, Start] = {"trunkline": trunkline, "uvicorn": partial(uvicorn, "hello:idle")}
GOALS = (
    Goal("KiB a socket", "trunkline", "uvicorn", most=0.5),
    Goal("KiB a socket", "trunkline", most=8, word="aim"),
)
FIRST = 100  # sockets before the first look: what is loaded and made once is not a socket's


def measure(start: Start, sockets: int) -> Round:
    """Start a system, open the sockets, look at its server, end it."""
    with start() as system:
        load: list[str | Path] = [sys.executable, HERE / "websocket_load.py", "members", str(system.port), system.echo]
        with Running("first", [*load, "--sockets", str(FIRST)], talks=True) as first:
            first.hear()
            before = system.processes[0].memory()
            with Running("client", [*load, "--sockets", str(sockets)], talks=True) as client:
                client.hear()
                after = system.processes[0].memory()
                client.tell("")
            first.tell("")
    return Round({"KiB a socket": (after - before) / sockets / 1024})


def main() -> None:
    parser = arguments(__doc__, rounds=3, seconds=None)
    parser.add_argument("--sockets", type=int, default=5000)
    options = parser.parse_args()
    subjects = {name: partial(measure, start, options.sockets) for name, start in SUBJECTS.items()}
    compare(f"{options.sockets} idle WebSockets", subjects, options, GOALS)


if __name__ == "__main__":
    main()
