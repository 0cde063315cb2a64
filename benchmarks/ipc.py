"""One machine without Redis: messages of about 400 bytes from one process to another, end to end.

    python benchmarks/ipc.py [--rounds 5] [--seconds 2]

trunkline, one by one   a send at a time, a receive at a time, through `trunkline bus`
trunkline, hundreds     100 sends in a batch, receives of up to 100
polling a file          what ASGI 1.x had for one machine (`peers/polling_layer.py`), one by one: it has no batches

The sender sends as fast as it is let; counted is what the reader has unpacked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from peers.polling_layer import ChannelFull as PollingFull
from peers.polling_layer import PollingLayer
from processes import Running

from trunkline.layer import ChannelFull, open_layer

TEXT = "x" * 390
SUBJECTS = {
    "trunkline, one by one": ("trunkline", 1),
    "trunkline, hundreds": ("trunkline", 100),
    "polling a file": ("polling", 1),
}
GOALS = (
    Goal("messages/s", "trunkline, one by one", "polling a file"),
    Goal("messages/s", "trunkline, hundreds", "polling a file", least=10),
    Goal("messages/s", "trunkline, hundreds", least=100_000),
    Goal("messages/s", "trunkline, one by one", least=15_000, word="aim"),
    Goal("messages/s", "trunkline, hundreds", least=200_000, word="aim"),
)
WARM_UP = 500  # messages


def sender(kind: str, place: str, size: int) -> Callable[[], object]:
    """Return what sends `size` messages, or as many as there is room for."""
    message: dict[str, object] = {"text": TEXT}
    if kind == "polling":
        polling = PollingLayer(place)

        def poll() -> None:
            try:
                polling.send("work", message)
            except PollingFull:
                time.sleep(0.0005)

        return poll
    layer = open_layer(f"ipc://{place}/bus.sock?capacity=10000")

    def one() -> None:
        try:
            layer.send("work", message)
        except ChannelFull:
            time.sleep(0.0005)

    def many() -> None:
        batch = layer.batch()
        for _ in range(size):
            batch.send("work", message)
        if batch.run()[-1] is not True:
            time.sleep(0.0005)

    return one if size == 1 else many


def receiver(kind: str, place: str, size: int) -> Callable[[], int]:
    """Return what receives up to `size` messages, and returns how many these were."""
    if kind == "polling":
        polling = PollingLayer(place)

        def poll() -> int:
            assert polling.receive("work")["text"] == TEXT
            return 1

        return poll
    reader = open_layer(f"ipc://{place}/bus.sock").reader()

    def receive() -> int:
        deliveries = reader.receive_batch(("work",), size, 5)
        for delivery in deliveries:
            assert delivery.message["text"] == TEXT
        return len(deliveries)

    return receive


def read(receive: Callable[[], int], seconds: float) -> None:
    """Receive for some time; print where that begins and what came."""
    count = 0
    while count < WARM_UP:
        count += receive()
    print("begin", flush=True)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        count += receive()
    print(json.dumps({"count": count, "seconds": time.perf_counter() - began}), flush=True)


def measure(kind: str, size: int, seconds: float) -> Round:
    """Start a sender and a reader, and the bus between them."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    me: list[str | Path] = [sys.executable, Path(__file__).resolve(), "--size", str(size), "--seconds", str(seconds)]
    with tempfile.TemporaryDirectory(prefix="trunkline.", dir=memory) as place, ExitStack() as stack:
        processes: dict[str, Running] = {}

        def start(name: str, command: list[str | Path], talks: bool = False) -> Running:
            processes[name] = stack.enter_context(Running(name, command, talks=talks))
            return processes[name]

        if kind == "trunkline":
            bus = start("bus", [sys.executable, "-m", "trunkline", "bus", f"unix:{place}/bus.sock"])
            bus.wait_for(lambda: os.path.exists(f"{place}/bus.sock"))
        reader = start("reader", [*me, "--read", kind, place], talks=True)
        start("sender", [*me, "--send", kind, place])
        reader.hear()
        before = {name: process.cpu() for name, process in processes.items()}
        did = json.loads(reader.hear())
        cpu = {name: process.cpu() - before[name] for name, process in processes.items()}
    return Round({"messages/s": did["count"] / did["seconds"]}, did["count"], did["seconds"], cpu)


def main() -> None:
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        kind, place = options.read
        read(receiver(kind, place, options.size), options.seconds)
        return
    if options.send:
        kind, place = options.send
        send = sender(kind, place, options.size)
        while True:
            send()
    subjects = {name: partial(measure, *subject, options.seconds) for name, subject in SUBJECTS.items()}
    compare(f"a message of {len(TEXT)} characters from process to process", subjects, options, GOALS, "message")


if __name__ == "__main__":
    main()
