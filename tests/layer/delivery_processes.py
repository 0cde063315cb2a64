"""One process of `test_delivery.py`. For a line of JSON it opens a layer, says "ready", and at the next line works."""

from __future__ import annotations

import json
import select
import sys
from typing import Any

from trunkline.layer import ChannelFull, Layer, open_layer


def send(layer: Layer, channel: str, sender: int, count: int, together: int = 1) -> int:
    """Send messages, so many in one batch; return how many were taken."""
    taken = 0
    for first in range(0, count, together):
        batch = layer.batch()
        for n in range(first, min(first + together, count)):
            batch.send(channel, {"sender": sender, "n": n})
        taken += sum(outcome is True for outcome in batch.run())
    return taken


def send_once(layer: Layer, channel: str, sender: int, count: int) -> int:
    """Send what others send as well; return how many were sent by this process."""
    return sum(layer.send(channel, {"sender": sender, "n": n}, once=str(n)) for n in range(count))


def flood(layer: Layer, channel: str) -> int:
    """Send until another line comes; return how many were taken."""
    taken = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            taken += layer.send(channel, {})
        except ChannelFull:
            pass
    sys.stdin.readline()
    return taken


def receive(layer: Layer, channel: str) -> dict[str, Any]:
    """Receive until a message says that it is the last; return what came, and how many this process could not read."""
    got: list[tuple[int, int]] = []
    reader = layer.reader()
    while True:
        for delivery in reader.receive_batch([channel], 1, None):
            if "last" in delivery.message:
                return {"got": got, "unreadable": layer.unreadable}
            got.append((delivery.message["sender"], delivery.message["n"]))


def add(layer: Layer, key: str, count: int) -> dict[str, Any]:
    """Add one to a value so many times; return the versions it wrote, and how often another was faster."""
    versions: list[int] = []
    beaten = 0
    while len(versions) < count:
        value, version = layer.get_state(key)
        written = layer.put_state(key, (value or 0) + 1, 600, if_version=version)
        if written:
            versions.append(written)
        beaten += not written
    return {"versions": versions, "beaten": beaten}


def increment(layer: Layer, key: str, count: int) -> list[int]:
    """Count; return the numbers this process was given."""
    return [layer.incr_state(key, 600) for _ in range(count)]


def delay(layer: Layer, channel: str, delays: list[float], longest: float) -> None:
    """Send delayed messages, and move what is due, of anybody, until this process is killed.

    Args:
        longest: Seconds after which a mover on Redis looks although nobody told it to.
    """
    from trunkline.layer.redis import mover

    mover._LONGEST = longest
    for n, seconds in enumerate(delays):
        layer.send(channel, {"n": n}, delay=seconds)
    print("null", flush=True)
    layer.receive_batch(["nothing"], 1, None)


def main() -> None:
    while line := sys.stdin.readline():
        told = json.loads(line)
        work = globals()[told.pop("do")]
        with open_layer(told.pop("url"), **told.pop("options")) as layer:
            layer.group_channels("nobody")
            print('"ready"', flush=True)
            sys.stdin.readline()
            print(json.dumps(work(layer, **told)), flush=True)


if __name__ == "__main__":
    main()
