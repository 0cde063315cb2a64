"""Mail while everything that carries it is killed and comes back: nothing is lost, and nothing is consumed twice.

Twenty senders behave as mail servers do: what was not accepted they send again, and some repeat what was, as if the
answer had been lost. Redis writes to disk before it answers. Whatever is killed is killed at a random moment.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from trunkline.layer import LayerUnavailable

from .clients import Sender
from .counts import Counts
from .site import WAIT, Program, Site, ended, lasting_port, noted, until

SENDERS = 20
MAILS = 250  # for each way of accepting; twenty times as many in a campaign
WORKERS = 2
VISIBILITY = 3  # seconds after which what a killed worker had of a durable channel is delivered again
LARGE = "The quick brown fox jumps over the lazy dog.\r\n" * 2000  # more than a message holds
KILLED = ("worker", "server", "redis", "layer")

pytestmark = pytest.mark.campaign

SETTINGS = """
routing = "app"
[smtp]
hostname = "mail.example.com"
accept = "{accept}"
rcpt = "{rcpt}"
answer_timeout = 4
[worker]
stream_timeout = 3
"""

ROUTING = f'''
"""Notes down which mails it begins with and what they come to; reads large ones to their end.

A large one breaks off where the layer or the server that sends it is killed.
"""

import os
import time

from trunkline import LayerUnavailable, StreamClosed, StreamTimeout, route

notes = os.open(f"{{os.environ['NOTES']}}/taken.{{os.getpid()}}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(what, message):
    os.write(notes, f"{{what}} {{message['subject']}} {{time.monotonic()}}\\n".encode())


def mail(message):
    note("begun", message)
    if message["subject"].endswith("large"):
        try:
            with message.stream(message["content"]) as stream:
                read = stream.read()
        except (LayerUnavailable, StreamClosed, StreamTimeout):
            note("broken", message)
            raise
        assert len(read) == message["content"]["size"] >= {len(LARGE)}
    else:
        time.sleep(0.002)
    note("done", message)


routing = [route("email.receive", mail, address=r"^in@example\\.com$")]
'''


class Post:
    """A site of one mail server and two workers, each of which is replaced when it was killed.

    Attributes:
        queued: Whether mails are accepted once they are in a durable channel.
        port: The server's.
        killed: How often what was killed.
        dead: The process ids of the workers that were.
    """

    def __init__(self, site: Site, scale: int, *, queued: bool) -> None:
        self.site = site
        self.queued = queued
        self.killed: Counter[str] = Counter()
        self.dead: set[int] = set()
        self._scale = scale
        self.port = lasting_port()
        self._server = self._serve()
        self._workers = [site.start("work") for _ in range(WORKERS)]

    async def up(self) -> None:
        """Wait until all run."""
        await self.site.up(self._server, *self._workers)

    def _serve(self) -> Program:
        return self.site.start("serve", "smtp", "-e", f"tcp:{self.port}")

    async def kill(self, what: str) -> None:
        """Kill something, and have it back."""
        self.killed[what] += 1
        if what == "worker":
            await self._kill_workers()
        elif what == "server":
            await _killed(self._server)
            self._server = self._serve()
            await self.site.up(self._server)
        elif what == "redis":
            self.site.redis.kill()
            await asyncio.sleep(random.uniform(0, 1))
            await asyncio.to_thread(self.site.redis.start)
        else:
            self.site.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _kill_workers(self) -> None:
        """Kill one worker, in `make test` all at once: then what they claimed need not be waited for."""
        chosen = self._workers if self._scale == 1 else [random.choice(self._workers)]
        await _killed(*chosen)
        self.dead.update(worker.pid for worker in chosen)
        if self._scale == 1:
            self.site.drop_claims()
        self._workers = [worker for worker in self._workers if worker.pid not in self.dead]
        self._workers += [self.site.start("work") for _ in chosen]

    def close(self) -> None:
        """Fail if something ended that nobody killed."""
        for program in (self._server, *self._workers):
            assert program.code is None, f"it ended with {program.code}:\n{program.printed}"


async def _killed(*programs: Program) -> None:
    for program in programs:
        program.signal(signal.SIGKILL)
    await ended(*programs)


class Told(NamedTuple):
    """What a mail was answered: up to its 250, and to its repeats afterwards; "": the connection was cut."""

    answers: list[str]
    repeats: list[str]
    at: list[float]  # when the 250 was seen


class Taken(NamedTuple):
    """A consumer that began with a mail, or came to an end with it."""

    at: float
    worker: int


class Senders:
    """Twenty sessions with mails to send.

    Attributes:
        told: By subject.
        accepted: How many were.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        subjects = [f"{number}{'large' * (number % 25 == 0)}" for number in range(count)]
        self.told = {subject: Told([], [], []) for subject in subjects}
        self.accepted = 0

    def beyond(self, count: float) -> bool:
        """Say whether so many were accepted."""
        return self.accepted >= count

    async def run(self) -> None:
        """Send all, until each was accepted."""
        left = iter(self.told)
        await asyncio.gather(*(self._send(f"m{number}", left) for number in range(SENDERS)))

    async def _send(self, name: str, left: Iterator[str]) -> None:
        sender: Sender | None = None
        for subject in left:
            told, repeats = self.told[subject], random.random() < 0.1
            while not told.at or (repeats and told.repeats[-1:] != told.answers[-1:]):
                try:
                    if sender is None:
                        sender = await self._opened(name)
                    said = await sender.send(subject, text=LARGE if subject.endswith("large") else "Hello.")
                except (OSError, asyncio.IncompleteReadError):
                    sender, said = None, ""
                (told.repeats if told.at else told.answers).append(said)
                if not said.startswith("250 "):
                    await asyncio.sleep(0.2)
                elif not told.at:
                    told.at.append(time.monotonic())
                    self.accepted += 1
        if sender is not None:
            sender.close()

    async def _opened(self, name: str) -> Sender:
        """Return an open session, as soon as there is a server."""
        while True:
            sender = Sender(name, self._port)
            try:
                await sender.open()
                return sender
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)


def consumed(folder: Path) -> dict[str, dict[str, list[Taken]]]:
    """Return when who was "begun", "done" or "broken" off with each mail, in order."""
    found: dict[str, dict[str, list[Taken]]] = {kind: defaultdict(list) for kind in ("begun", "done", "broken")}
    for pid, lines in noted(folder):
        for line in lines:
            kind, subject, at = line.split()
            found[kind][subject].append(Taken(float(at), pid))
    return {kind: {subject: sorted(taken) for subject, taken in each.items()} for kind, each in found.items()}


def by_worker(taken: dict[str, list[Taken]]) -> Counter[int]:
    """Return how often each worker did it."""
    return Counter(each.worker for some in taken.values() for each in some)


def pending(site: Site) -> int:
    """Return how many mails are in the channel; -1 where the test itself does not reach it."""
    try:
        return int(site.layer.channel_statistics("email.receive")["messages_pending"])
    except LayerUnavailable:
        return -1


@pytest.mark.parametrize("accept", ["consumed", "queued"])
def test_no_mail_is_lost(
    peer: Callable[[str], str], tmp_path: Path, counts: Counts, scale: int, accept: Literal["consumed", "queued"]
) -> None:
    """Every mail whose 250 was seen was consumed; every other answer was 4xx or a cut; none is consumed again."""
    count = MAILS * scale
    rounds = max(2, scale)
    # A question about a recipient that a killed worker had is answered after 10 s: not in `make test`.
    settings = SETTINGS.format(accept=accept, rcpt="any" if scale == 1 else "route")
    options = f"?durable=email.receive:{VISIBILITY}&capacity=100000" if accept == "queued" else ""
    site = Site(tmp_path, peer("redis-server"), settings, options=options, keeps=True, routing=ROUTING)

    async def body() -> None:
        post = Post(site, scale, queued=accept == "queued")
        await post.up()
        senders = Senders(post.port, count)
        sending = asyncio.create_task(senders.run())
        order = [what for _ in range(rounds) for what in random.sample(KILLED, len(KILLED))]
        for number, what in enumerate(order):
            begin = (number + random.random()) * count * 0.9 / len(order)
            await until(partial(senders.beyond, begin), "mails are accepted", 2 * WAIT)
            await post.kill(what)
        await asyncio.wait_for(sending, 10 * WAIT)
        if post.queued:
            await until(lambda: pending(site) == 0, "everything is consumed", 2 * WAIT)
        post.close()
        judge(counts, post, senders, tmp_path)

    try:
        asyncio.run(body())
        counts.check(site)
    finally:
        site.close()


def judge(counts: Counts, post: Post, senders: Senders, folder: Path) -> None:
    """Hold what senders were told against what was consumed."""
    (begun, done, broken), told = consumed(folder).values(), senders.told
    for what in KILLED:
        counts.note(f"{what} kills", post.killed[what])
    counts.note("mails", len(told))
    counts.expect("told 250", sum(len(each.at) for each in told.values()), len(told))
    counts.none("told 250 and lost", [subject for subject in told if subject not in done])
    repeats = [answer for each in told.values() for answer in each.repeats]
    counts.note("sent once more after their 250", sum(len(each.repeats) > 0 for each in told.values()))
    others = [answer for each in told.values() for answer in each.answers[:-1]]
    others += [answer for answer in repeats if answer[:4] != "250 "]
    for line, number in Counter(line.replace(",", "") or "cut" for line in others).items():
        counts.note(f"answers {line!r}", number)
    counts.none("told anything but 250, 4xx or a cut", [line for line in others if line and line[:1] != "4"])
    counts.note("large ones that broke off", by_worker(broken).total())
    without = by_worker(begun)
    without.subtract(by_worker(done) + by_worker(broken))
    counts.limit("consumers killed at work", without.total(), 0, len(post.dead))
    counts.none("consumers without an end though their worker lived", (+without).keys() - post.dead)
    counts.none("workers with more consumers without an end than one", [n for n in without.values() if n > 1])
    again = {subject: taken[:-1] for subject, taken in done.items() if len(taken) > 1}
    counts.limit("consumed again since their worker was killed just after its end", len(again), 0, len(post.dead))
    counts.none("consumed again though their worker lived", by_worker(again).keys() - post.dead)
    most = by_worker(again).values()
    counts.none("workers of whose mails more were consumed again than one", [n for n in most if n > 1])
    # In a durable channel the 250 comes before the consumer.
    late = [subject for subject, taken in begun.items() if taken[-1].at > told[subject].at[0]]
    counts.none("consumed again after their 250", [] if post.queued else late)
