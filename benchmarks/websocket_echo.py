"""WebSocket echo, side by side in interleaved rounds; each socket sends the next frame when it has its answer.

    python benchmarks/websocket_echo.py [--rounds 5] [--seconds 3] [--sockets 100 1000]

trunkline       `trunkline serve http`, Redis, and one `trunkline work` that echoes
in one process  `trunkline run`: the memory layer
channels        Channels under uvicorn in one process, no bus
channels, bus   the same; each frame goes through Redis to a `runworker` process and back

Only the ratios of one run mean anything: client and servers share the machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import HERE, Running
from systems import Start, channels, channels_alone, trunkline, trunkline_alone

SUBJECTS: dict[str, Start] = {
    "trunkline": trunkline,
    "in one process": trunkline_alone,
    "channels": channels_alone,
    "channels, bus": channels,
}
GOALS = (
    Goal("echoes/s", "trunkline", "channels", least=1),
    Goal("echoes/s", "trunkline", "channels", least=3, word="aim"),
    Goal("echoes/s", "trunkline", "channels, bus"),
)


def measure(start: Start, mode: str, sockets: int, options: Sequence[str | Path]) -> Round:
    """Start a system, load it, end it."""
    with start() as system:
        load: list[str | Path] = [sys.executable, HERE / "websocket_load.py", mode, str(system.port), system.echo]
        with Running("client", [*load, "--sockets", str(sockets), *options], talks=True) as client:
            client.hear()
            before = {**system.cpu(), "client": client.cpu()}
            met = json.loads(client.hear())
            cpu = {name: used - before[name] for name, used in {**system.cpu(), "client": client.cpu()}.items()}
    values = {"echoes/s": met["count"] / met["seconds"], "p50 ms": met["p50"], "p99 ms": met["p99"]}
    return Round(values, met["count"], met["seconds"], cpu)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sockets", type=int, nargs="+", default=[100, 1000])
    options = parser.parse_args()
    for sockets in options.sockets:
        seconds = ("--seconds", str(options.seconds))
        subjects = {name: partial(measure, start, "echo", sockets, seconds) for name, start in SUBJECTS.items()}
        compare(f"WebSocket echo, {sockets} sockets, {options.seconds:g} s", subjects, options, GOALS, "frame")


if __name__ == "__main__":
    main()
