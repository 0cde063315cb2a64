"""How costs grow: with the members of a group, with the processes that hold them, and with channels.

    python benchmarks/growth.py [--rounds 3] [--sends 20] [--only members processes channels listening] [--plots FOLDER]

members      `send_group` to 10² … 10⁴ members on 4 processes, beside channels_redis' `group_send`
processes    the same to 1 000 members on 1 … 16 processes
channels     a message to one of 10 … 10 000 channels of a server process, a connection each, until the process has it
listening    a message to one of 10 … 10 000 channels that one reader listens to: the send, then the receive

It prints tables of medians, and draws each as PLOTS/NAME.svg with the least and the most; both axes are logarithmic.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import send_group
from comparison import shown
from plot import Point, draw
from processes import HERE, Running, redis_server

TENS = (10, 100, 1000, 10_000)


class Figure(NamedTuple):
    """One plot: what is measured at each x, in milliseconds, for each subject."""

    title: str
    across: str
    xs: tuple[int, ...]
    subjects: dict[str, Callable[[int, int], float]]  # (x, how many sends) → milliseconds


def to_group(layer: str, members: int, sends: int) -> float:
    """Return how long a send to members on 4 processes takes."""
    return send_group.measure(layer, members, 4, sends).values["send ms"]


def to_processes(layer: str, processes: int, sends: int) -> float:
    """Return how long a send to 1 000 members takes, on some processes."""
    return send_group.measure(layer, 1000, processes, sends).values["send ms"]


def to_one(layer: str, channels: int, sends: int) -> float:
    """Return how long a message to one connection of a process takes until that process has it."""
    return send_group.measure(layer, channels, 1, sends, alone=True).values["all ms"]


def to_listener(channels: int, sends: int) -> float:
    """Return how long a send takes, and a receive by a reader of all these channels."""
    with redis_server() as (_, url):
        command = [sys.executable, str(Path(__file__).resolve())]
        command += ["--sends", str(sends), "--listen", url, str(channels)]
        with Running("program", command, talks=True) as program:
            return float(json.loads(program.hear()))


def listen(url: str, count: int, sends: int) -> None:
    """Send to one channel after the other and receive from all; print the median time in milliseconds."""
    from trunkline.layer import open_layer

    channels = tuple(f"work.{number}" for number in range(count))
    took = []
    with open_layer(url) as layer:
        reader = layer.reader()
        for number in range(send_group.WARM + sends):
            channel = channels[number * 7919 % count]
            began = time.perf_counter()
            layer.send(channel, {"text": send_group.TEXT})
            (delivery,) = reader.receive_batch(channels, 1, 5)
            took.append(1000 * (time.perf_counter() - began))
            assert delivery.channel == channel
    print(json.dumps(statistics.median(took[send_group.WARM :])), flush=True)


def both(measure: Callable[[str, int, int], float]) -> dict[str, Callable[[int, int], float]]:
    """Return ours and the peer."""
    return {layer: partial(measure, layer) for layer in send_group.LAYERS}


FIGURES = {
    "members": Figure(
        "send_group to members on 4 processes", "members", (100, 300, 1000, 3000, 10_000), both(to_group)
    ),
    "processes": Figure("send_group to 1 000 members", "server processes", (1, 2, 4, 8, 16), both(to_processes)),
    "channels": Figure("a message to one connection of a server process", "connections", TENS, both(to_one)),
    "listening": Figure("a send and a receive", "channels the reader listens to", TENS, {"trunkline": to_listener}),
}


def measure(figure: Figure, rounds: int, sends: int) -> dict[str, list[Point]]:
    """Measure each point of a figure once a round, and print the medians."""
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for x in figure.xs:
            for name, subject in figure.subjects.items():
                found.setdefault((name, x), []).append(subject(x, sends))
    print(f"\n{figure.title}, ms by {figure.across}; median (least – most) of {rounds} rounds")
    curves = {}
    for name in figure.subjects:
        curves[name] = [Point(x, statistics.median(ms), min(ms), max(ms)) for x in figure.xs for ms in [found[name, x]]]
        cells = [f"{each.x}: {shown(each.y)} ({shown(each.least)} – {shown(each.most)})" for each in curves[name]]
        print(f"{name:16}{'   '.join(cells)}", flush=True)
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sends", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--plots", type=Path, default=HERE / "plots", help="where the SVG files go")
    parser.add_argument("--listen", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        url, count = options.listen
        listen(url, int(count), options.sends)
        return
    options.plots.mkdir(exist_ok=True)
    for name in options.only:
        figure = FIGURES[name]
        curves = measure(figure, options.rounds, options.sends)
        (options.plots / f"{name}.svg").write_text(draw(figure.title, figure.across, "ms", curves))


if __name__ == "__main__":
    main()
