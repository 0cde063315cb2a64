"""Groups on a real Redis under everything at once, each (broadcast, member) a check of its own.

Servers and workers are processes (`group_processes.py`). Workers join, leave and broadcast at random, and end
connections while they still add them somewhere; servers broadcast too. Meanwhile servers are killed, closed, started
again, and their connections to Redis cut. Everybody reports when each thing began and when it was done, and who got
what. Once all is over:

    A  after an add, every later broadcast reaches the member exactly once, until it is discarded or gone
    B  after a discard, no later broadcast reaches it
    C  nothing reaches a member twice
    D  group_members tells exactly who is alive, and Redis keeps of a dead inbox but the memory that it was there

What overlaps in time may be seen either way, and is no check. Neither is what a lost connection may take with it: what
was sent between the last sign that all had arrived and the end of that connection. A server that was cut off or
started again knows who its members are, not who was one for a while: what was for somebody who was discarded before
the server was back is no check either.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from trunkline.layer.redis.layer import RedisLayer

if TYPE_CHECKING:
    from tests.layer.redis.conftest import RedisServer

PATIENCE = 60.0
PROGRAM = Path(__file__).with_name("group_processes.py")
GROUPS = [f"g{n}" for n in range(5)]
STEPS = 1100  # of each worker thread
FOREVER = float("inf")
EXPIRY = 3600
DAY = 86400
now = time.monotonic


class Change(NamedTuple):
    """A membership was changed."""

    joins: bool
    began: float
    done: float
    info: Any


class Broadcast(NamedTuple):
    """A broadcast was made; `trouble`: "", "unsure" or "not"."""

    group: str
    began: float
    done: float
    exclude: frozenset[str]
    trouble: str


class Log:
    """What all processes reported."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.events = 0
        self.holders: dict[str, str] = {}
        self.quiet: set[str] = set()
        self.synced: set[tuple[str, str]] = set()
        self.changes: dict[tuple[str, str], list[Change]] = defaultdict(list)
        self.gone: dict[str, tuple[float, float]] = {}
        self.broadcasts: dict[str, Broadcast] = {}
        self.got: dict[str, Counter[str]] = defaultdict(Counter)
        self.late: Counter[str] = Counter()
        self.ended: Callable[[str], None] = lambda name: None

    def add(self, event: list[Any]) -> None:
        kind, *args = event
        if kind == "end":
            self.ended(args[0])
        with self.changed:
            if kind in ("add", "discard"):
                group, name, began, done, info = args
                self.changes[group, name].append(Change(kind == "add", began, done, info))
            elif kind == "sent":
                id, group, began, done, exclude, trouble = args
                self.broadcasts[id] = Broadcast(group, began, done, frozenset(exclude), trouble)
            elif kind == "got":
                id, inbox, names, late = args
                self.got[id].update(inbox + name for name in names)
                self.late.update({id: len(late)})
            elif kind == "gone":
                self.gone[args[0]] = (args[1], args[2])
            elif kind == "sync":
                self.synced.add((args[0], args[1]))
            elif kind == "quiet":
                self.quiet.add(args[0])
            elif kind == "open":
                self.holders[args[0]] = args[1]
            self.events += 1
            self.changed.notify_all()

    def wait(self, done: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(done, PATIENCE)


class Process:
    """A child process, and the thread that reads what it reports."""

    def __init__(self, log: Log, mode: str, **arguments: Any) -> None:
        self.inboxes: list[str] = arguments.get("inboxes", [])
        self._log = log
        self._child = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert isinstance(self._child.stdout, io.RawIOBase)
        for line in io.BufferedReader(self._child.stdout):
            if line.endswith(b"\n"):  # unless it was killed in the middle
                self._log.add(json.loads(line))

    def tell(self, what: str, inbox: str, local: str = "") -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps([what, inbox, local]).encode() + b"\n")
        except (OSError, ValueError):
            pass  # it was killed or closed

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def close(self) -> int:
        """Let it come to its end."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._reader.join(PATIENCE)
        return self._child.wait(PATIENCE)


class House:
    """Servers and workers on one Redis, and what is done to them."""

    def __init__(self, redis: RedisServer, seed: str) -> None:
        self.redis = redis
        self.prefix = f"groups.{seed}"
        self.seed = seed
        self.rng = random.Random(seed)
        self.log = Log()
        self.log.ended = lambda name: self.at(name).tell("gone", *self._split(name))
        self.layer = RedisLayer(redis.unix_url, prefix=self.prefix)
        self.servers: dict[str, Process] = {}
        self.all: list[Process] = []
        self.alive: set[str] = set()
        self.doubts: dict[str, list[tuple[float, float]]] = defaultdict(list)  # what a connection may have lost
        self.blind: dict[str, list[tuple[float, float]]] = defaultdict(list)  # without notes of who joins and leaves
        self.done: Counter[str] = Counter()
        self._marks = count()

    @staticmethod
    def _split(name: str) -> tuple[str, str]:
        inbox, _, local = name.partition("!")
        return inbox + "!", local

    def at(self, name: str) -> Process:
        return self.servers[self._split(name)[0]]

    def start(self, *inboxes: str) -> None:
        lasting = inboxes[0].startswith("lasting")
        process = Process(
            self.log, "serve", url=self.redis.unix_url, prefix=self.prefix, inboxes=inboxes, lasting=lasting
        )
        self.all.append(process)
        for inbox in inboxes:
            self.log.holders.pop(inbox, None)
            self.servers[inbox] = process
            self.alive.add(inbox)

    def opened(self) -> None:
        self.log.wait(lambda: self.log.holders.keys() >= self.alive)

    def follow(self, process: Process) -> None:
        """Start a server's process again, in the place of one that was killed."""
        began = self.doubts[process.inboxes[0]][-1][0]
        self.start(*process.inboxes)
        self.opened()
        self.sync(*process.inboxes)
        for inbox in process.inboxes:
            self.blind[inbox].append((began, now()))
        self.done["started again"] += 1

    def work(self, seed: str, steps: int, shares: list[list[str]]) -> Process:
        process = Process(
            self.log, "work", url=self.redis.unix_url, prefix=self.prefix, seed=seed, steps=steps, groups=GROUPS,
            shares=shares,
        )  # fmt: skip
        self.all.append(process)
        return process

    def sync(self, *inboxes: str) -> float:
        """Wait until all that was put into some inboxes so far was reported; return when this began."""
        began = now()
        marks = [(inbox, f"{next(self._marks)}") for inbox in inboxes]
        for inbox, mark in marks:
            self.layer.send(inbox + "sync", {"n": mark})
        self.log.wait(lambda: self.log.synced.issuperset(marks))
        return began

    def hush(self) -> None:
        """Have the servers that are left broadcast no more, and wait until they have told about all they did."""
        for inbox in self.alive:
            self.servers[inbox].tell("hush", inbox)
        self.log.wait(lambda: self.log.quiet >= self.alive)

    # faults

    def _connections(self, inbox: str) -> list[dict[str, str]]:
        clients = [dict(part.partition("=")[::2] for part in line.split()) for line in self._clients()]
        return [client for client in clients if client.get("name") == f"trunkline.{inbox}"]

    def _clients(self) -> list[str]:
        listed = self.redis.command("CLIENT", "LIST")
        return (listed.decode() if isinstance(listed, bytes) else str(listed)).splitlines()

    def cut(self, inbox: str) -> None:
        """Cut one connection of a server, or both."""
        began = self.sync(inbox)
        found = self._connections(inbox)
        kind = self.rng.choice(["sending", "receiving", "both"])
        if kind != "both" and [client["cmd"] for client in found].count("blmpop") == 1:
            found = [client for client in found if (client["cmd"] == "blmpop") == (kind == "receiving")]
        else:
            kind = "both"
        for client in found:
            self.redis.command("CLIENT", "KILL", "ID", client["id"])
        ended = now()
        self.sync(inbox)
        if kind != "sending":
            self.doubts[inbox].append((began, ended))
            self.blind[inbox].append((began, now()))
        self.done[f"{kind} cut"] += 1

    def check(self, inbox: str) -> None:
        """Have a server renew its lease now."""
        self.servers[inbox].tell("check", inbox)
        self.done["renewals"] += 1

    def _end(self, process: Process, end: Callable[[], object]) -> None:
        began = self.sync(*process.inboxes)
        end()
        while any(self._connections(inbox) for inbox in process.inboxes):
            time.sleep(0.001)
        for inbox in process.inboxes:
            self.alive.discard(inbox)
            self.doubts[inbox].append((began, now() if inbox.startswith("lasting") else FOREVER))

    def kill(self, inbox: str) -> None:
        """Kill a server's process."""
        process = self.servers[inbox]
        self._end(process, process.kill)
        self.done["killed"] += 1

    def lapse(self, *inboxes: str) -> None:
        """Let the leases of a killed process be over, as they are after 15 seconds."""
        for inbox in inboxes:
            self.layer._call(("renew", (inbox, self.log.holders[inbox], -1.0)))

    def close_server(self, inbox: str) -> None:
        """Close a server's process in peace."""
        process = self.servers[inbox]
        self._end(process, process.close)
        self.done["closed"] += 1

    # what has to be true

    def member(self, group: str, name: str) -> bool:
        """Whether, now that all is quiet, this is a member."""
        return (
            self._split(name)[0] in self.alive
            and name not in self.log.gone
            and bool(self.log.changes[group, name])
            and self.log.changes[group, name][-1].joins
        )

    def members(self, group: str) -> dict[str, Any]:
        return {
            name: changes[-1].info
            for (where, name), changes in list(self.log.changes.items())
            if where == group and self.member(group, name)
        }

    def verdicts(self) -> Iterator[tuple[str, str, bool, int]]:
        """Go through all that can be told: (broadcast, member, whether it has to arrive, how often it did)."""
        members: dict[str, list[tuple[str, list[Change]]]] = defaultdict(list)
        for (group, name), changes in self.log.changes.items():
            members[group].append((name, changes))
        for id, broadcast in self.log.broadcasts.items():
            got = self.log.got[id]
            for name, changes in members[broadcast.group]:
                must = self._must(broadcast, name, changes)
                if must is not None:
                    yield id, name, must, got[name]

    def _must(self, broadcast: Broadcast, name: str, changes: list[Change]) -> bool | None:
        last = next((change for change in reversed(changes) if change.began < broadcast.done), None)
        if last is None:
            return None
        if name in broadcast.exclude or broadcast.trouble == "not":
            return False
        if last.done > broadcast.began:
            return None
        if not last.joins:
            return False
        if name in self.log.gone or broadcast.trouble:
            return None
        inbox = self._split(name)[0]
        if any(begin < broadcast.done and broadcast.began < end for begin, end in self.doubts[inbox]):
            return None
        left = [change.began for change in changes if change.began > broadcast.began and not change.joins]
        for begin, end in self.blind[inbox]:
            if begin < broadcast.done and broadcast.began < end and any(time < end for time in left):
                return None
        return True

    def keys(self) -> dict[str, set[str]]:
        """Return the inboxes of which Redis keeps something, by the kind of key."""
        found: dict[str, set[str]] = defaultdict(set)
        for key in self.redis.command("KEYS", f"{self.prefix}:*"):
            kind, _, name = key.decode().removeprefix(f"{self.prefix}:").partition(":")
            last = name.rpartition("{")[2].rstrip("}")
            if kind == "g":
                found["g"].update(inbox.decode() for inbox in self.redis.command("HKEYS", key))
            elif kind in ("leases", "queues"):
                command = ("ZRANGE", key, 0, -1) if kind == "leases" else ("SMEMBERS", key)
                found[kind].update(inbox.decode() for inbox in self.redis.command(*command))
            elif kind in ("m", "q") and last not in self.alive:
                # The memory that it was there; messages that its process would have had, were it only cut off.
                assert 0 < self.redis.command("TTL", key) <= (7 * DAY if kind == "m" else EXPIRY)
            elif last.endswith("!"):
                found[kind].add(last)
        return found

    def close(self) -> None:
        for process in self.all:
            process.kill()
        self.layer.close()


@pytest.fixture
def house(start_redis: Callable[..., RedisServer]) -> Iterator[Callable[[str], House]]:
    redis = start_redis()
    houses: list[House] = []

    def build(seed: str) -> House:
        houses.append(House(redis, seed))
        return houses[-1]

    yield build
    for each in houses:
        each.close()


@pytest.mark.campaign
def test_everybody_gets_what_is_theirs(house: Callable[[str], House], scale: int, tell: Callable[[str], None]) -> None:
    must = must_not = changes = broadcasts = late = 0
    done: Counter[str] = Counter()
    wrong: list[str] = []
    for turn in range(scale):
        one = house(f"{turn}")
        everything_at_once(one)
        for id, name, has_to, times in one.verdicts():
            if has_to:
                must += 1
            else:
                must_not += 1
            if times != has_to:
                wrong.append(f"{one.seed}: {id} came {times} times to {name}: {one.log.broadcasts[id]}")
        twice = [(id, name) for id, got in one.log.got.items() for name, times in got.items() if times > 1]
        wrong += [f"{one.seed}: {id} came more than once to {name}" for id, name in twice]
        changes += sum(map(len, one.log.changes.values()))
        broadcasts += len(one.log.broadcasts)
        late += sum(one.log.late.values())
        done += one.done + Counter({"gone": len(one.log.gone)})
        quiet(one)
        one.close()
    tell(f"{must} that had to arrive and {must_not} that must not: {len(wrong)} violations")
    tell(
        f"{changes} changes, {broadcasts} broadcasts, {late} too late for their connection; "
        + ", ".join(f"{times} {what}" for what, times in sorted(done.items()))
    )
    assert wrong == []
    assert must + must_not >= 10_000 * scale


def everything_at_once(house: House) -> None:
    servers = [["s1!", "s2!"], ["s3!", "s4!"], ["s5!", "s6!"], ["lasting1!", "lasting2!"]]
    for inboxes in servers:
        house.start(*inboxes)
    house.opened()
    share = [inbox for inboxes in servers for inbox in inboxes]
    workers = [house.work(f"w{n}", STEPS, [share, share]) for n in range(2)]
    steps = 2 * 2 * STEPS

    def later(part: float) -> None:
        house.log.wait(lambda: sum(map(len, house.log.changes.values())) + len(house.log.broadcasts) > part * steps)

    later(0.05)
    for part in (0.1, 0.15, 0.2, 0.25):
        house.cut(house.rng.choice(share))
        house.check(house.rng.choice(share))
        later(part)
    house.kill("s1!")
    house.cut("lasting1!")
    later(0.35)
    house.lapse("s1!", "s2!")
    later(0.4)
    house.kill("lasting1!")
    house.cut("s3!")
    later(0.45)
    house.lapse("lasting1!", "lasting2!")
    later(0.5)
    house.follow(house.servers["lasting1!"])
    later(0.6)
    house.close_server("s5!")
    for part in (0.7, 0.75, 0.8, 0.85):
        house.cut(house.rng.choice(sorted(house.alive)))
        house.check(house.rng.choice(sorted(house.alive)))
        later(part)
    assert [worker.close() for worker in workers] == [0, 0]
    house.hush()
    house.sync(*house.alive)


def quiet(house: House) -> None:
    """Look at what is left once nobody does anything any more."""
    deadline = now() + PATIENCE
    expected = {group: house.members(group) for group in GROUPS}
    while {group: house.layer.group_members(group) for group in GROUPS} != expected and now() < deadline:
        time.sleep(0.01)
    for group in GROUPS:
        assert house.layer.group_members(group) == expected[group]
    for number, group in enumerate(GROUPS):
        house.layer.send_group(group, {"n": f"last.{number}"})
    house.sync(*house.alive)
    for number, group in enumerate(GROUPS):
        assert house.log.got[f"last.{number}"] == Counter(expected[group].keys())
    house.layer._call(("promote", ()))
    kept = house.keys()
    assert {kind: inboxes - house.alive for kind, inboxes in kept.items()} == {kind: set() for kind in kept}
    assert house.layer.global_statistics()["group_dropped_count"] == 0
