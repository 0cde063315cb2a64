"""The layer alone over Redis: messages of about 400 bytes sent and received by one process, and what Redis pays.

    python benchmarks/redis_layer.py [--rounds 5] [--seconds 2]

trunkline, one by one       a send, then a receive
trunkline, hundreds         100 sends in a batch, then a receive of up to 100
channels_redis, one by one  the same by its RedisChannelLayer
channels_redis, hundreds    100 sends at once, then 100 receives at once
a bare list                 an RPUSH, then a BLMPOP: no expiry, no capacity, no statistics
two PINGs                   Redis asked for nothing, twice: a send and a receive, each of which waits for its answer,
                            cannot be had for less

Hundreds are what happens under load, where whatever one turn of a loop sends leaves together; one by one is a process
that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import Running, peers_python, redis_server
from systems import PEERS

TEXT = "x" * 390
SUBJECTS = {
    "trunkline, one by one": ("trunkline", 1),
    "trunkline, hundreds": ("trunkline", 100),
    "channels_redis, one by one": ("channels_redis", 1),
    "channels_redis, hundreds": ("channels_redis", 100),
    "a bare list": ("list", 1),
    "two PINGs": ("pings", 1),
}
BARE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "list": (("RPUSH", "work", TEXT), ("BLMPOP", "5", "1", "work", "LEFT", "COUNT", "1")),
    "pings": (("PING",), ("PING",)),
}
GOALS = (
    Goal("messages/s", "trunkline, one by one", "channels_redis, one by one"),
    Goal("messages/s", "trunkline, hundreds", "channels_redis, hundreds"),
    Goal("Redis CPU µs", "trunkline, one by one", "channels_redis, one by one", most=1 / 6),
    Goal("Redis CPU µs", "two PINGs", "channels_redis, one by one"),
    Goal("Redis CPU µs", "a bare list", "channels_redis, one by one"),
    Goal("Redis CPU µs", "trunkline, hundreds", "channels_redis, hundreds", most=1 / 6),
    Goal("Redis CPU µs", "trunkline, hundreds", most=4, word="aim"),
    Goal("messages/s", "trunkline, one by one", least=15_000, word="aim"),
    Goal("messages/s", "trunkline, hundreds", least=200_000, word="aim"),
)


def drive(url: str, size: int, seconds: float) -> None:
    """Send and receive by our layer; print where that begins and what was done."""
    from trunkline.layer import open_layer

    with open_layer(url) as layer:
        reader = layer.reader()
        message = {"text": TEXT}

        def one() -> None:
            layer.send("work", message)
            (delivery,) = reader.receive_batch(("work",), 1, 5)
            assert delivery.message["text"] == TEXT

        def many() -> None:
            batch = layer.batch()
            for _ in range(size):
                batch.send("work", message)
            assert batch.run() == [True] * size
            left = size
            while left:
                for delivery in reader.receive_batch(("work",), size, 5):
                    assert delivery.message["text"] == TEXT
                    left -= 1

        repeat(one if size == 1 else many, size, seconds)


def drive_bare(kind: str, url: str, seconds: float) -> None:
    """Have Redis do next to nothing, or nothing, on a connection for what is sent and one for what is received."""
    from trunkline.layer import open_layer
    from trunkline.layer.redis.layer import RedisLayer

    send, receive = BARE[kind]
    with open_layer(url) as layer:
        assert isinstance(layer, RedisLayer)
        sending, receiving = layer.connect("sending"), layer.connect("receiving")

        def one() -> None:
            sending.run([send])
            receiving.run([receive])

        repeat(one, 1, seconds)


def repeat(step: Callable[[], object], size: int, seconds: float) -> None:
    """Warm up, then step for some time."""
    for _ in range(100):
        step()
    print("begin", flush=True)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        step()
        count += size
    print(json.dumps({"count": count, "seconds": time.perf_counter() - began}), flush=True)


def measure(layer: str, size: int, seconds: float) -> Round:
    """Start a Redis and a program that sends and receives."""
    command: list[str | Path] = [sys.executable, Path(__file__).resolve()]
    if layer == "channels_redis":
        command = [peers_python(), PEERS / "channels_layer.py"]
    command += ["--size", str(size), "--seconds", str(seconds)]
    command += ["--bare", layer, "--drive"] if layer in BARE else ["--drive"]
    with redis_server() as (redis, url), Running("program", [*command, url], talks=True) as program:
        program.hear()
        before = {"redis": redis.cpu(), "program": program.cpu()}
        did = json.loads(program.hear())
        cpu = {"redis": redis.cpu() - before["redis"], "program": program.cpu() - before["program"]}
    values = {"messages/s": did["count"] / did["seconds"], "Redis CPU µs": 1e6 * cpu["redis"] / did["count"]}
    return Round(values, did["count"], did["seconds"], cpu)


def main() -> None:
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--drive", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--bare", choices=BARE, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        drive_bare(options.bare, options.drive, options.seconds)
        return
    if options.drive:
        drive(options.drive, options.size, options.seconds)
        return
    subjects = {name: partial(measure, *subject, options.seconds) for name, subject in SUBJECTS.items()}
    compare(f"a send and a receive of {len(TEXT)} characters", subjects, options, GOALS, "message")


if __name__ == "__main__":
    main()
