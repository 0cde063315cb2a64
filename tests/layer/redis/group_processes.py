"""One process of `test_groups.py`: server instances, or workers. It prints what happened, one line of JSON each.

    group_processes.py serve '{"url": …, "prefix": …, "inboxes": […], "lasting": …}'
    group_processes.py work '{"url": …, "prefix": …, "seed": …, "steps": …, "groups": […], "shares": [[…], …]}'

Times are those of `time.monotonic()`, which all processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from itertools import count
from typing import Any

from trunkline.layer import Inbox, InboxItem, LayerError, LayerUnavailable
from trunkline.layer.redis.layer import RedisLayer

EXPIRY = 3600.0
_saying = threading.Lock()
now = time.monotonic


def say(*event: Any) -> None:
    with _saying:
        print(json.dumps(event), flush=True)


class Instance(threading.Thread):
    """A server instance. It knows its connections, which are members of groups until they are gone."""

    def __init__(self, layer: RedisLayer, name: str, lasting: bool) -> None:
        super().__init__()
        self.layer, self.inbox_name, self.lasting = layer, name, lasting
        self.loop = asyncio.new_event_loop()
        self.closed: set[str] = set()
        self.rng = random.Random(name)
        self.silent = False
        self.ids = count()
        self.stop = asyncio.Event()

    def run(self) -> None:
        self.loop.run_until_complete(self.serve())

    async def serve(self) -> None:
        while True:
            try:
                self.inbox: Inbox = self.layer.open_inbox(
                    self.inbox_name, loop=self.loop, receive=self.receive, lasting=self.lasting
                )
                break
            except LayerUnavailable:
                raise
            except LayerError:  # whoever had it before has it still
                await asyncio.sleep(0.02)
        say("open", self.inbox_name, self.inbox._holder)  # type: ignore[attr-defined]
        await self.stop.wait()
        await self.inbox.close()

    def do(self, what: str, local: str) -> None:
        if what == "gone":
            self.closed.add(local)
            began = now()
            self.inbox.gone(local)
            say("gone", self.inbox_name + local, began, now())
        elif what == "hush":
            self.silent = True
            # Outcomes come in order.
            self.inbox.send_group("nobody", {}, then=lambda outcome: say("quiet", self.inbox_name))
        elif what == "check":
            self.inbox._check()  # type: ignore[attr-defined]
        else:
            self.stop.set()

    def receive(self, items: list[InboxItem]) -> None:
        for group, names, message in items:
            if group is None:
                say("sync", self.inbox_name, message["n"])
                continue
            late = [name for name in names if name in self.closed]
            for name in late:
                self.inbox.gone(name)
            say("got", message["n"], self.inbox_name, list(names), late)
            if self.rng.random() < 0.03 and not self.silent:
                self.broadcast(group, self.rng.sample(list(names), min(len(names), self.rng.randrange(3))))

    def broadcast(self, group: str, locals_: list[str]) -> None:
        id = f"{self.inbox_name}{os.getpid()}.{next(self.ids)}"
        began = now()
        exclude = [self.inbox_name + local for local in locals_]

        def sent(outcome: Any) -> None:
            error = isinstance(outcome, LayerError)
            say("sent", id, group, began, now(), exclude, (error and ("unsure" if outcome.uncertain else "not")) or "")

        self.inbox.send_group(group, {"n": id}, exclude, then=sent)


def serve(url: str, prefix: str, inboxes: list[str], lasting: bool) -> None:
    with RedisLayer(url, prefix=prefix, expiry=EXPIRY) as layer:
        instances = {name: Instance(layer, name, lasting) for name in inboxes}
        for instance in instances.values():
            instance.start()
        for line in sys.stdin:
            what, name, local = json.loads(line)
            instances[name].loop.call_soon_threadsafe(instances[name].do, what, local)
        for instance in instances.values():
            instance.loop.call_soon_threadsafe(instance.stop.set)
        for instance in instances.values():
            instance.join()


def work(url: str, prefix: str, seed: str, steps: int, groups: list[str], shares: list[list[str]]) -> None:
    with RedisLayer(url, prefix=prefix, expiry=EXPIRY) as layer:
        everybody = [inbox for share in shares for inbox in share]
        threads = [
            threading.Thread(target=act, args=(layer, f"{seed}.{n}", steps, groups, share, everybody))
            for n, share in enumerate(shares)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def act(layer: RedisLayer, seed: str, steps: int, groups: list[str], inboxes: list[str], everybody: list[str]) -> None:
    """Do anything, to members that nobody else touches but for their own servers.

    Args:
        inboxes: For each member the inbox it is in; a name that ends in "*" is of one that keeps its members.
    """
    rng = random.Random(seed)
    ids = count()
    members = [f"{inbox}{seed}.{next(ids)}" for inbox in inboxes]
    for step in range(steps):
        group = rng.choice(groups)
        at = rng.randrange(len(members))
        name = members[at]
        dice = rng.random()
        began = now()
        if dice < 0.28:
            layer.group_add(group, name, step)
            say("add", group, name, began, now(), step)
        elif dice < 0.48:
            layer.group_discard(group, name)
            say("discard", group, name, began, now(), None)
        elif dice < 0.52 and not name.startswith("lasting"):
            # The connection ends while we still add it somewhere, and another one takes its place.
            say("end", name)
            time.sleep(rng.choice([0, 0, 0.0003, 0.001]))
            for other in rng.sample(groups, 2):
                began = now()
                layer.group_add(other, name)
                say("add", other, name, began, now(), None)
            members[at] = f"{inboxes[at]}{seed}.{next(ids)}"
        else:
            id = f"{seed}.{step}"
            exclude = rng.sample(members, rng.choice([0, 0, 1, 3])) if dice < 0.9 else members
            layer.send_group(group, {"n": id}, exclude=exclude)
            say("sent", id, group, began, now(), list(exclude), "")


if __name__ == "__main__":
    main = serve if sys.argv[1] == "serve" else work
    main(**json.loads(sys.argv[2]))
