"""Send and receive by channels_redis, for redis_layer.py: python channels_layer.py --drive URL --size N --seconds S."""

# mypy: disable-error-code="import-not-found, import-untyped"

import argparse
import asyncio
import json
import time

import uvloop
from channels_redis.core import RedisChannelLayer

TEXT = "x" * 390


async def main(url: str, size: int, seconds: float) -> None:
    layer = RedisChannelLayer(hosts=[url], capacity=10_000)
    message = {"type": "work", "text": TEXT}

    async def step() -> None:
        if size == 1:
            await layer.send("work", message)
            received = [await layer.receive("work")]
        else:
            await asyncio.gather(*(layer.send("work", message) for _ in range(size)))
            received = await asyncio.gather(*(layer.receive("work") for _ in range(size)))
        assert all(each["text"] == TEXT for each in received)

    for _ in range(max(1, 100 // size)):
        await step()
    print("begin", flush=True)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        await step()
        count += size
    print(json.dumps({"count": count, "seconds": time.perf_counter() - began}), flush=True)


parser = argparse.ArgumentParser()
parser.add_argument("--drive")
parser.add_argument("--size", type=int)
parser.add_argument("--seconds", type=float)
options = parser.parse_args()
uvloop.run(main(options.drive, options.size, options.seconds))
