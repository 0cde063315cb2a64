"""`send_group` over Redis to members that several server processes hold: how long it takes.

    python benchmarks/send_group.py [--rounds 5] [--sends 20] [--members 100 1000 10000] [--processes 4]

trunkline       `Layer.send_group`; each process holds an inbox with its share of the members
channels_redis  `group_send`; each process receives for its share of the members, a channel each

"send ms" is the call. "all ms" is from before it until each process has handed the message to all of its members.
The next message is sent when the one before has arrived everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import Goal, Round, arguments, compare, shown
from processes import Running, peers_python, redis_server
from systems import PEERS

if TYPE_CHECKING:
    from trunkline.layer import InboxItem

TEXT = "x" * 200
LAYERS = ("trunkline", "channels_redis")
WARM = 3  # messages before the measurement


def hold(url: str, name: str, members: int, each: int) -> None:
    """Hold members of the group; print their prefix, then the time of every `each`th message that one of them got."""
    from trunkline.layer import open_layer

    async def run() -> None:
        count = 0

        def receive(items: list[InboxItem]) -> None:
            nonlocal count
            for item in items:
                assert item.message["text"] == TEXT
                count += len(item.names)
            while count >= each:
                count -= each
                print(time.monotonic(), flush=True)

        with open_layer(url) as layer:
            inbox = layer.open_inbox(f"server.{name}!", loop=asyncio.get_running_loop(), receive=receive)
            await asyncio.to_thread(add, inbox.name)
            print(inbox.name, flush=True)
            await asyncio.Event().wait()

    def add(inbox: str) -> None:
        with open_layer(url) as layer:
            for number in range(members):
                layer.group_add("room", f"{inbox}{number}")

    asyncio.run(run())


def send(url: str) -> None:
    """Send a message to the channel of each line, to the group for an empty one; print when and how long it took."""
    from trunkline.layer import open_layer

    message = {"text": TEXT}
    with open_layer(url) as layer:
        for line in sys.stdin:
            channel = line.strip()
            began, since = time.monotonic(), time.perf_counter()
            if channel:
                layer.send(channel, message)
            else:
                layer.send_group("room", message)
            print(json.dumps([began, time.perf_counter() - since]), flush=True)


def measure(layer: str, members: int, processes: int, sends: int, *, alone: bool = False) -> Round:
    """Start a Redis, processes that hold members, and a sender; send to the group, or to one member after the other."""
    program: list[str | Path] = [sys.executable, Path(__file__).resolve()]
    if layer == "channels_redis":
        program = [peers_python(), PEERS / "channels_group.py"]
    with ExitStack() as stack:
        _, url = stack.enter_context(redis_server())
        share = members // processes
        each = "1" if alone else str(share)
        holders = []
        for number in range(processes):
            command = [*program, "--hold", url, str(number), str(share), each]
            holders.append(stack.enter_context(Running(f"server {number}", command, talks=True)))
        prefixes = [holder.hear() for holder in holders]
        sender = stack.enter_context(Running("sender", [*program, "--send", url], talks=True))
        took: list[float] = []
        arrived: list[float] = []
        for number in range(WARM + sends):
            sender.tell(f"{prefixes[number % processes]}{number * 7919 % share}" if alone else "")
            began, seconds = json.loads(sender.hear())
            took.append(1000 * seconds)
            waited = holders[number % processes :][:1] if alone else holders
            arrived.append(1000 * (max(float(holder.hear()) for holder in waited) - began))
    return Round({"send ms": statistics.median(took[WARM:]), "all ms": statistics.median(arrived[WARM:])})


def goals(members: list[int]) -> list[Goal]:
    """Return what to look at: a fifth of the peer, and no growth with the members."""
    found = []
    for count in members:
        ours, peer = (f"{layer}, {shown(count)}" for layer in LAYERS)
        found.append(Goal("send ms", ours, peer, most=0.2 if count == 1000 else None))
        found.append(Goal("all ms", ours, peer))
    least, most = (f", {shown(count)}" for count in (min(members), max(members)))
    if least != most:
        found.append(Goal("send ms", LAYERS[0] + most, LAYERS[0] + least, most=1.5))
        found.append(Goal("send ms", LAYERS[1] + most, LAYERS[1] + least))
    return found


def main() -> None:
    parser = arguments(__doc__, seconds=None)
    parser.add_argument("--sends", type=int, default=20)
    parser.add_argument("--members", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--hold", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--send", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        url, name, members, each = options.hold
        hold(url, name, int(members), int(each))
    elif options.send:
        send(options.send)
    else:
        subjects = {
            f"{layer}, {shown(members)}": partial(measure, layer, members, options.processes, options.sends)
            for members in options.members
            for layer in LAYERS
        }
        title = f"a message to a group on {options.processes} processes"
        compare(title, subjects, options, goals(options.members))


if __name__ == "__main__":
    main()
