"""Groups by channels_redis, for send_group.py: channels_group.py --hold URL NAME MEMBERS EACH, or --send URL."""

# mypy: disable-error-code="import-not-found, import-untyped"

import argparse
import asyncio
import json
import sys
import time

import uvloop
from channels_redis.core import RedisChannelLayer

TEXT = "x" * 200


def open_layer(url: str) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[url], capacity=10_000)


async def hold(url: str, members: int, each: int) -> None:
    layer = open_layer(url)
    prefix = f"specific.{layer.client_prefix}!"
    count = 0

    async def member(channel: str) -> None:
        nonlocal count
        while True:
            message = await layer.receive(channel)
            assert message["text"] == TEXT
            count += 1
            if count == each:
                count = 0
                print(time.monotonic(), flush=True)

    channels = [f"{prefix}{number}" for number in range(members)]
    for channel in channels:
        await layer.group_add("room", channel)
    async with asyncio.TaskGroup() as tasks:
        for channel in channels:
            tasks.create_task(member(channel))
        await asyncio.sleep(0.2)
        print(prefix, flush=True)


async def send(url: str) -> None:
    layer = open_layer(url)
    message = {"type": "room.line", "text": TEXT}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        channel = line.strip()
        began, since = time.monotonic(), time.perf_counter()
        if channel:
            await layer.send(channel, message)
        else:
            await layer.group_send("room", message)
        print(json.dumps([began, time.perf_counter() - since]), flush=True)


parser = argparse.ArgumentParser()
parser.add_argument("--hold", nargs=4)
parser.add_argument("--send")
options = parser.parse_args()
if options.hold:
    uvloop.run(hold(options.hold[0], int(options.hold[2]), int(options.hold[3])))
else:
    uvloop.run(send(options.send))
