"""What a worker adds to the layer, in µs of one thread: `python benchmarks/worker_loop.py [MESSAGES] [ROUNDS]`.

Interleaved rounds of the same messages through the layer alone (take, look inside, answer in batches) and through a
worker whose consumers do next to nothing. Prints medians and spread, and what the worker adds.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from trunkline.layer import MemoryLayer
from trunkline.workers import Message, Worker, include, route

BATCH = 64
HEADERS = [[b"host", b"localhost"], [b"user-agent", b"benchmark"], [b"accept", b"*/*"]]
REQUEST = {
    "reply_channel": "http.reply.bench!00000000",
    "http_version": "1.1",
    "method": "GET",
    "path": "/shop/cart/7",
    "query_string": b"",
    "headers": HEADERS,
    "client": ["127.0.0.1", 50000],
}
FRAME = {"reply_channel": "http.reply.bench!00000000", "path": "/echo", "text": "hello", "order": 1}
RESPONSE = {"status": 200, "headers": [[b"content-type", b"text/plain"]], "content": b"hello world\n"}


def raw_answer(message: Message) -> None:
    channel = message.reply_channel
    assert channel is not None
    channel.send(RESPONSE)


def hello(message: Message) -> None:
    message.reply("hello world\n")


def cart(message: Message, number: str) -> None:
    message.reply("hello world\n")


def echo(message: Message) -> None:
    message.reply(message["text"])


async def later(message: Message) -> None:
    message.reply("hello world\n")


def nothing(message: Message) -> None:
    pass


def fill(layer: MemoryLayer, channel: str, content: dict[str, Any], count: int) -> None:
    for _ in range(count):
        layer.send(channel, content)


def layer_alone(layer: MemoryLayer, count: int, answer: dict[str, Any] | None, channel: str) -> float:
    """Take, unpack and answer as cheaply as the layer's contract allows."""
    fill(layer, channel, REQUEST if channel == "http.request" else FRAME, count)
    reader, started, left = layer.reader(), time.perf_counter(), count
    while left:
        deliveries = reader.receive_batch([channel, "asgi.delay"], BATCH)
        left -= len(deliveries)
        batch = layer.batch()
        for delivery in deliveries:
            name = delivery.message["reply_channel"]
            if answer is not None:
                batch.send(name, answer)
        batch.run()
    return time.perf_counter() - started


def through_worker(routes: list[Any], channel: str, running: bool = False) -> Callable[[MemoryLayer, int], float]:
    """Consume by steps in this thread, or with `run()` and its helper thread."""

    def measure(layer: MemoryLayer, count: int) -> float:
        fill(layer, channel, REQUEST if channel == "http.request" else FRAME, count)
        if running:
            worker = Worker(layer, routes, prefetch=BATCH, max_messages=count)
            thread = threading.Thread(target=worker.run)
            started = time.perf_counter()
            thread.start()
            thread.join()
            return time.perf_counter() - started
        worker = Worker(layer, routes, prefetch=BATCH)
        started = time.perf_counter()
        while worker.step():
            pass
        return time.perf_counter() - started

    return measure


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    shop = [include([route("http.request", cart, path=r"^/cart/(?P<number>\d+)$")], path="^/shop")]
    request, receive = "http.request", "websocket.receive"
    cases: dict[str, tuple[str, Callable[[MemoryLayer, int], float]]] = {
        "layer: take only": ("", lambda layer, n: layer_alone(layer, n, None, request)),
        "layer: take and answer (HTTP)": ("", lambda layer, n: layer_alone(layer, n, RESPONSE, request)),
        "layer: take and answer (frame)": ("", lambda layer, n: layer_alone(layer, n, {"text": "hello"}, receive)),
        "worker: consumer does nothing": ("layer: take only", through_worker([route(request, nothing)], request)),
        "worker: Channel.send of a response": (
            "layer: take and answer (HTTP)",
            through_worker([route(request, raw_answer)], request),
        ),
        "worker: reply with a text (HTTP)": (
            "layer: take and answer (HTTP)",
            through_worker([route(request, hello)], request),
        ),
        "worker: include, filter, capture": ("layer: take and answer (HTTP)", through_worker(shop, request)),
        "worker: async def": ("layer: take and answer (HTTP)", through_worker([route(request, later)], request)),
        "worker: echo of a frame": ("layer: take and answer (frame)", through_worker([route(receive, echo)], receive)),
        "worker: the same in run()": (
            "layer: take and answer (frame)",
            through_worker([route(receive, echo)], receive, True),
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (_, measure) in cases.items():
            with MemoryLayer(capacity=10_000_000) as layer:
                times[name].append(measure(layer, count) / count * 1e6)
    print(f"{count} messages, {rounds} interleaved rounds; µs a message: median (least – most) + what the worker adds")
    for name, (base, _) in cases.items():
        median = statistics.median(times[name])
        added = f"   + {median - statistics.median(times[base]):5.1f}" if base else ""
        print(f"{name:38} {median:6.1f} ({min(times[name]):5.1f} – {max(times[name]):5.1f}){added}")


if __name__ == "__main__":
    main()
