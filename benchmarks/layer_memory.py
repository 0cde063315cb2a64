"""The memory layer alone: one sender, one reader, messages of about 400 bytes; and what looking at messages costs.

    python benchmarks/layer_memory.py [--rounds 5]

Every row is measured once a round, rows taking turns; the median and the spread are printed. Only ratios taken in one
run mean anything.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from trunkline.layer import InboxItem, MemoryLayer, packing

REQUEST: dict[str, Any] = {
    "reply_channel": "http.reply.4f2a9c1e!5b7e0c2d9a8f4c31",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/hello/world",
    "query_string": b"page=1",
    "headers": [[b"host", b"example.org"], [b"user-agent", b"curl/8.5"], [b"accept", b"*/*"], [b"cookie", b"s" * 90]],
    "client": ["127.0.0.1", 44321],
    "server": ["127.0.0.1", 8000],
}
CHAT: dict[str, Any] = {"text": "x" * 400}
# A float and a nested dict: bytes that have to be looked at.
NESTED: dict[str, Any] = {**REQUEST, "time": 1.5, "extra": {"a": {"b": 1}}}
MEMBERS = 1000


def one_by_one(message: dict[str, Any], count: int = 10_000) -> float:
    """Send and receive in one thread; seconds a message."""
    layer = MemoryLayer()
    began = time.perf_counter()
    for _ in range(count):
        layer.send("work", message)
        layer.receive(["work"])
    return (time.perf_counter() - began) / count


def batched(message: dict[str, Any], count: int = 20_000, size: int = 100) -> float:
    """Send in batches and receive in batches, in one thread; seconds a message."""
    layer = MemoryLayer()
    reader = layer.reader()
    began = time.perf_counter()
    for _ in range(count // size):
        batch = layer.batch()
        for _ in range(size):
            batch.send("work", message)
        batch.run()
        for delivery in reader.receive_batch(["work"], size):
            delivery.message  # noqa: B018
    return (time.perf_counter() - began) / count


def two_threads(message: dict[str, Any], count: int = 20_000) -> float:
    """One thread sends, another is blocked in its receives and takes up to 64; seconds a message."""
    layer = MemoryLayer(capacity=count)

    def read() -> None:
        reader, left = layer.reader(), count
        while left:
            for delivery in reader.receive_batch(["work"], 64, 5):
                delivery.message  # noqa: B018
                left -= 1

    thread = threading.Thread(target=read)
    began = time.perf_counter()
    thread.start()
    for _ in range(count):
        layer.send("work", message)
    thread.join()
    return (time.perf_counter() - began) / count


def inbox(message: dict[str, Any], count: int = 20_000, size: int = 100) -> float:
    """A server sends a turn's messages and a worker's batch answers each; seconds for both ways."""
    layer = MemoryLayer()

    async def run() -> float:
        arrived = 0

        def receive(items: list[InboxItem]) -> None:
            nonlocal arrived
            arrived += len(items)

        server = layer.open_inbox("http.reply.4f2a9c1e!", loop=asyncio.get_running_loop(), receive=receive)
        reader = layer.reader()
        began = time.perf_counter()
        for turn in range(1, count // size + 1):
            for _ in range(size):
                server.send("work", message)
            await asyncio.sleep(0)
            batch = layer.batch()
            for delivery in reader.receive_batch(["work"], size):
                batch.send(
                    delivery.message.get("reply_channel", "http.reply.4f2a9c1e!a"), {"status": 200, "content": b"hello"}
                )
            batch.run()
            while arrived < turn * size:
                await asyncio.sleep(0)
        took = (time.perf_counter() - began) / count
        await server.close()
        return took

    return asyncio.run(run())


def broadcast(message: dict[str, Any], count: int = 300) -> float:
    """Send to a group of 1 000 members in one inbox until the server has it for all of them; seconds a broadcast."""
    layer = MemoryLayer()

    async def run() -> float:
        reached = 0

        def receive(items: list[InboxItem]) -> None:
            nonlocal reached
            reached += sum(len(item.names) for item in items)

        server = layer.open_inbox("http.reply.4f2a9c1e!", loop=asyncio.get_running_loop(), receive=receive)
        for number in range(MEMBERS):
            layer.group_add("room", f"http.reply.4f2a9c1e!{number:016x}")
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        for turn in range(1, count + 1):
            layer.send_group("room", message)
            while reached < turn * MEMBERS:
                await asyncio.sleep(0)
        took = (time.perf_counter() - began) / count
        await server.close()
        return took

    return asyncio.run(run())


def times(call: Callable[[], Any], count: int = 20_000) -> float:
    """Return the seconds a call takes."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def rows() -> dict[str, Callable[[], float]]:
    """Return what is measured."""
    bare = msgpack.Packer().pack
    found: dict[str, Callable[[], float]] = {}
    for name, message in (("request", REQUEST), ("chat line", CHAT)):
        found[f"{name}: send + receive, one by one"] = partial(one_by_one, message)
        found[f"{name}: send + receive, hundreds"] = partial(batched, message)
        found[f"{name}: sender and reader threads"] = partial(two_threads, message)
        found[f"{name}: server to worker and back"] = partial(inbox, message)
    found[f"chat line: group of {MEMBERS} in one inbox"] = partial(broadcast, CHAT)
    for name, message in (("request", REQUEST), ("chat line", CHAT), ("with a float and dicts", NESTED)):
        found[f"{name}: bare packing"] = partial(times, partial(bare, message))
        found[f"{name}: packing, looking at bytes"] = partial(times, partial(packing.pack_message, message))
        found[f"{name}: looking at all values instead"] = partial(times, partial(packing._travels, message))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    measured: dict[str, list[float]] = {name: [] for name in rows()}
    for _ in range(options.rounds):
        for name, measure in rows().items():
            measured[name].append(measure())
    sizes = ", ".join(f"{len(packing.pack_message(message))} B" for message in (REQUEST, CHAT, NESTED))
    print(f"messages of {sizes}; median of {options.rounds} rounds (lowest … highest)")
    for name, seconds in measured.items():
        median, low, high = (1e6 * figure for figure in (statistics.median(seconds), min(seconds), max(seconds)))
        print(f"{name:50} {median:9.2f} µs ({low:.2f} … {high:.2f})  {1e6 / median:11,.0f}/s")


if __name__ == "__main__":
    main()
