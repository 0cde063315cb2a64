"""WebSocket echo under light load: 200 frames a second, each timed from when it is sent until its answer is there.

    python benchmarks/websocket_latency.py [--rounds 5] [--seconds 5] [--sockets 100] [--rate 200]

The same systems as in websocket_echo.py.
"""

from __future__ import annotations

from functools import partial

from comparison import Goal, arguments, compare
from websocket_echo import SUBJECTS, measure

GOALS = (
    Goal("p50 ms", "trunkline", "channels, bus", most=0.5),
    Goal("p50 ms", "trunkline", "channels, bus", most=1 / 3, word="aim"),
    Goal("p99 ms", "trunkline", "channels, bus"),
    Goal("p50 ms", "trunkline", "channels"),
)


def main() -> None:
    parser = arguments(__doc__, seconds=5.0)
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    options = parser.parse_args()
    pace = ("--seconds", str(options.seconds), "--rate", str(options.rate))
    subjects = {name: partial(measure, start, "paced", options.sockets, pace) for name, start in SUBJECTS.items()}
    title = f"WebSocket echo, {options.rate:g} frames/s over {options.sockets} sockets, {options.seconds:g} s"
    compare(title, subjects, options, GOALS, "frame")


if __name__ == "__main__":
    main()
