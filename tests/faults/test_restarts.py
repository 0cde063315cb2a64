"""Workers and servers are stopped, killed and started again under traffic; what became of all of it is counted."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from .clients import Sender, Socket, Traffic, settle
from .counts import Counts
from .site import Program, Site, ended, gone, until

DEMO = Path(__file__).parents[2] / "examples" / "helpdesk"
WORKERS = 2
PREFETCH = 16
SOCKETS = 200
MANY_SOCKETS = 1000  # in campaigns

pytestmark = pytest.mark.campaign

MakeSite = Callable[[str], Site]

SETTINGS = """
routing = "app"
[http]
endpoints = ["tcp:0"]
access_log = "off"
max_per_address = 2000
response_timeout = {timeout}
[smtp]
endpoints = ["tcp:0"]
hostname = "mail.example.com"
answer_timeout = {timeout}
rcpt = "{rcpt}"
[channels."*"]
capacity = 20000
"""


def start_workers(site: Site, *options: str) -> Program:
    return site.start("work", "--processes", str(WORKERS), *options)


async def at_work(site: Site, work: Program) -> set[int]:
    """Wait until as many workers as there should be take messages; return their process ids."""
    await until(lambda: len(work.children()) == WORKERS and work.children() <= site.listening(), "the workers run")
    return work.children()


async def make_busy(site: Site, traffic: Traffic) -> list[asyncio.Task[int]]:
    """Have requests in flight that take a while, one for each worker; return their statuses to be."""
    before = site.taken()
    names = [f"slow{len(before)}.{number}" for number in range(WORKERS)]
    asked = [asyncio.create_task(traffic.ask(name, "/slow")) for name in names]
    await until(lambda: site.taken().keys() >= {f"request {name}" for name in names}, "slow requests are in flight")
    return asked


# Workers


def test_workers_are_stopped_under_traffic(make_site: MakeSite, counts: Counts, scale: int) -> None:
    """SIGHUP to the supervisor, SIGTERM to each worker, SIGTERM to the supervisor: nobody notices anything."""
    site = make_site(SETTINGS.format(timeout=30, rcpt="route"))
    sockets = SOCKETS if scale == 1 else MANY_SOCKETS

    async def body() -> None:
        http, smtp = site.start("serve", "http"), site.start("serve", "smtp")
        work = start_workers(site)
        await site.up(http, smtp, work)
        workers = used = await at_work(site, work)
        traffic = Traffic("a", http=http.port, smtp=smtp.port, sockets=sockets, browsers=8, senders=4)
        await traffic.start()
        await traffic.flows()
        slow = []
        for _ in range(scale):
            slow += await make_busy(site, traffic)
            work.signal(signal.SIGHUP)
            await gone(*workers)
            workers = await at_work(site, work)
            used = used | workers
            await traffic.flows()

            slow += await make_busy(site, traffic)
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
                await gone(pid)
            workers = await at_work(site, work)
            used = used | workers
            await traffic.flows()

            slow += await make_busy(site, traffic)
            work.signal(signal.SIGTERM)
            await ended(work)
            assert work.code == 0, work.printed
            work = start_workers(site)
            workers = await at_work(site, work)
            used = used | workers
            await traffic.flows()
        await traffic.stop()
        await asyncio.gather(*slow)
        await settle(traffic.sockets, site, workers)

        taken = site.taken()
        counts.note("requests at work when their worker was told to end", len(slow))
        counts.note("worker processes", len(used))
        counts.note("sockets", sockets)
        counts.none("closed", traffic.closed)
        counts.note("frames", traffic.frames)
        counts.none("lost", traffic.missing)
        counts.none("echoed twice", traffic.doubled)
        counts.note("requests", traffic.statuses.total())
        counts.expect("told 200", traffic.statuses[200], traffic.statuses.total())
        counts.none("told another's text", [name for browser in traffic.browsers for name in browser.wrong])
        counts.note("mails", len(traffic.mails))
        counts.none("refused", {name: told for name, told in traffic.mails.items() if len(told) > 1})
        counts.none("consumed twice", {what: count for what, count in taken.items() if count > 1})
        counts.expect("consumed", len(taken), traffic.frames + traffic.statuses.total() + len(traffic.mails))
        traffic.close()

    asyncio.run(body())
    counts.check(site)


def test_workers_are_killed_under_traffic(make_site: MakeSite, counts: Counts, scale: int) -> None:
    """SIGKILL to every worker: what they had taken is lost, and whoever waits for it is told so."""
    # A lost question about a recipient is answered after 10 s: not in `make test`.
    site = make_site(SETTINGS.format(timeout=5, rcpt="any" if scale == 1 else "route"))
    rounds: list[tuple[str, ...]] = [("frame", "request"), ("mail", "frame"), *[()] * (scale > 1)] * scale

    async def body() -> None:
        http, smtp = site.start("serve", "http"), site.start("serve", "smtp")
        prefetch = ("--prefetch", str(PREFETCH))
        work = start_workers(site, *prefetch)
        await site.up(http, smtp, work)
        workers = await at_work(site, work)
        traffic = Traffic("a", http=http.port, smtp=smtp.port, sockets=SOCKETS, browsers=8, senders=4)
        await traffic.start()
        await traffic.flows()
        held = Held(site, traffic, smtp.port)
        killed: set[int] = set()
        for kinds in rounds:
            await held.hold(kinds)
            killed |= workers
            if kinds:
                for pid in workers:
                    os.kill(pid, signal.SIGKILL)
                await gone(*workers)
            else:  # the supervisor as well, which would wait longer and longer before it starts another
                work.close()
                work = start_workers(site, *prefetch)
            workers = await at_work(site, work)
            await traffic.flows(1, sockets_only=True)
        lapsing = asyncio.create_task(site.lapse_claims()) if scale == 1 else None
        await traffic.stop()
        await held.end()
        if lapsing is not None:
            lapsing.cancel()
        await settle(traffic.sockets, site, workers)

        taken, by_others = site.taken(), site.taken(workers)
        timed_out = [line for told in traffic.mails.values() for line in told if "no answer within" in line]
        lost = len(traffic.missing) + traffic.statuses[504] + len(timed_out)
        counts.note("workers killed", len(killed))
        counts.note("sockets", SOCKETS)
        counts.none("closed", traffic.closed)
        counts.limit("messages lost with them", lost, held.count, PREFETCH * len(killed))
        begun = site.taken(killed)
        unanswered = [f"frame {text}" for text in traffic.missing] + [
            f"request {name}" for name in traffic.requests(504)
        ]
        counts.note("frames and requests of those begun", sum(what in begun for what in unanswered))

        counts.note("frames", traffic.frames)
        counts.note("lost", len(traffic.missing))
        counts.none("lost by a living worker", [text for text in traffic.missing if by_others[f"frame {text}"]])
        counts.none("echoed twice", traffic.doubled)
        counts.note("requests", traffic.statuses.total())
        counts.note("told 504", traffic.statuses[504])
        counts.none("told neither 200 nor 504", traffic.statuses.keys() - {200, 504})
        counts.none("504 by a living worker", [name for name in traffic.requests(504) if by_others[f"request {name}"]])
        counts.none("told another's text", [name for browser in traffic.browsers for name in browser.wrong])

        counts.note("mails", len(traffic.mails))
        counts.note("told 451 as nobody answered", len(timed_out))
        answers = [line for told in traffic.mails.values() for line in told]
        counts.none("told anything but 250 and 451", [line for line in answers if line[:4] not in ("250 ", "451 ")])
        counts.none("never taken", [name for name, told in traffic.mails.items() if told[-1][:3] != "250"])
        counts.none("told 250 and not consumed", [name for name in traffic.mails if not taken[f"mail {name}"]])
        once = [what for what in taken if not what.startswith("mail ")]
        counts.none("frames and requests consumed twice", [what for what in once if taken[what] > 1])
        counts.none("mails consumed twice by living workers", [what for what, count in by_others.items() if count > 1])
        await repeat(site, traffic, smtp.port, counts)
        traffic.close()

    asyncio.run(body())
    counts.check(site)


class Held:
    """Messages in the hands of workers that will be killed: of their kinds, at least these are lost."""

    def __init__(self, site: Site, traffic: Traffic, smtp: int) -> None:
        self.count = 0
        self._site = site
        self._traffic = traffic
        self._smtp = smtp
        self._tasks: list[asyncio.Task[object]] = []

    async def hold(self, kinds: Collection[str]) -> None:
        """Have one worker each hold a message of these kinds; of none: let any moment pass."""
        if not kinds:
            await asyncio.sleep(random.uniform(0, 0.2))
        for kind in kinds:
            self.count += 1
            await self._site.holds(getattr(self, f"_{kind}")(f"hold{self.count}"))

    async def end(self) -> None:
        """Wait until those who wait have their answers."""
        await asyncio.gather(*self._tasks)

    def _frame(self, name: str) -> str:
        return self._traffic.sockets[self.count % SOCKETS].send(f"-{name}")

    def _request(self, name: str) -> str:
        self._tasks.append(asyncio.create_task(self._traffic.ask(name)))
        return name

    def _mail(self, name: str) -> str:
        sender = Sender(name, self._smtp)
        self._traffic.senders.append(sender)

        async def send() -> None:
            await sender.open()
            await sender.deliver(name)

        self._tasks.append(asyncio.create_task(send()))
        return name


async def repeat(site: Site, traffic: Traffic, port: int, counts: Counts) -> None:
    """Send mails once more that were told 250, those before all that had to be sent again."""
    mails = sorted(traffic.mails, key=lambda name: -len(traffic.mails[name]))[:20]
    before = site.taken()
    sender = Sender("again", port)
    await sender.open()
    told = [await sender.send(name) for name in mails]
    sender.close()
    counts.note("mails sent once more", len(mails))
    counts.none("not told 250", [line for line in told if not line.startswith("250 ")])
    counts.none("consumed again", site.taken() - before)
    counts.expect("outcomes kept", site.outcomes(), len(traffic.mails))


# Servers


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_server_is_restarted(make_site: MakeSite, counts: Counts, scale: int, how: signal.Signals) -> None:
    """One of two HTTP servers ends: its sockets are sent away, the other's do not notice."""
    site = make_site(SETTINGS.format(timeout=30, rcpt="any"))

    async def body() -> None:
        first, second, work = site.start("serve", "http"), site.start("serve", "http"), start_workers(site)
        await site.up(first, second, work)
        workers = await at_work(site, work)
        leaves = Traffic("a", http=first.port, sockets=SOCKETS // 2, browsers=4)
        stays = Traffic("b", http=second.port, sockets=SOCKETS // 2, browsers=4)
        await leaves.start()
        await until(lambda: inboxes(site).total() == len(leaves.sockets), "all are members")
        (inbox,) = inboxes(site)
        await stays.start()
        await asyncio.gather(leaves.flows(), stays.flows())
        before = inboxes(site)

        slow = await make_busy(site, leaves)
        port = first.port
        first.signal(how)
        await ended(first)
        after = inboxes(site)
        statuses = await asyncio.gather(*slow)
        await leaves.stop()
        await stays.flows()
        if how == signal.SIGKILL:
            if scale == 1:
                site.lapse_lease(inbox)
            await until(lambda: len(inboxes(site)) == 1, "the lease of the inbox lapses")

        again = site.start("serve", "http", "-e", f"tcp:{port}")
        await site.up(again)
        back = Traffic("c", http=port, sockets=SOCKETS // 4, browsers=4)
        await back.start()
        await asyncio.gather(back.flows(), stays.flows())
        site.layer.send_group("all", {"text": "to all"})
        everybody = stays.sockets + back.sockets
        await until(lambda: all(socket.said for socket in everybody), "the group hears")
        await asyncio.gather(back.stop(), stays.stop())
        await settle(back.sockets, site, workers)
        await settle(stays.sockets, site, workers)

        counts.note("sockets of the server", len(leaves.sockets))
        if how == signal.SIGTERM:
            counts.expect("exit code", first.code, 0)
            counts.expect("closed with 1012", leaves.closed[1012], len(leaves.sockets))
            counts.expect("slow requests finished", statuses.count(200), len(slow))
            counts.expect("members right after it", after.total(), len(stays.sockets))
        else:
            counts.expect("broken off", leaves.closed[1006], len(leaves.sockets))
            counts.expect("members until its lease lapsed", after.total(), SOCKETS)
        counts.expect("members before", before.total(), SOCKETS)
        counts.note("requests told 503", leaves.statuses[503])
        counts.none("told neither 200, 503 nor nothing", leaves.statuses.keys() - {200, 503, 0})
        if how == signal.SIGTERM:
            taken = site.taken()
            counts.none("taken and not answered", [name for name in leaves.requests(0) if taken[f"request {name}"]])
        counts.note("sockets of another server", len(stays.sockets))
        counts.none("closed there", stays.closed)
        counts.note("frames", stays.frames)
        counts.none("lost", stays.missing)
        counts.none("echoed twice", stays.doubled)
        counts.expect("requests told 200", stays.statuses[200], stays.statuses.total())
        counts.note("sockets that came back", len(back.sockets))
        counts.none("closed again", back.closed)
        counts.none("frames lost", back.missing)
        counts.none("told by the group other than once", [each.name for each in everybody if each.said != ["to all"]])
        counts.expect("members", inboxes(site).total(), len(everybody))
        counts.expect("inboxes with members", len(inboxes(site)), 2)
        for traffic in (leaves, stays, back):
            traffic.close()

    asyncio.run(body())
    counts.check(site)


def inboxes(site: Site) -> Counter[str]:
    """Return how many members of the group each inbox has."""
    return Counter(channel[: channel.index("!") + 1] for channel in site.layer.group_members("all"))


# The demo


def test_helpdesk_as_four_processes(make_site: MakeSite, tmp_path: Path, counts: Counts) -> None:
    """Chat over WebSockets and mail meet in one room, whichever of the workers takes what."""
    site = make_site("")
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)

    async def body() -> None:
        http = site.start("serve", "http", "-e", "tcp:0", folder=folder)
        smtp = site.start("serve", "smtp", "-e", "tcp:0", folder=folder)
        works = [site.start("work", folder=folder) for _ in range(2)]
        await site.up(http, smtp, *works)
        await until(lambda: site.listening() == {work.pid for work in works}, "both workers are heard of")

        ann, bob = Socket("room"), Socket("room")
        await asyncio.gather(ann.open(http.port), bob.open(http.port))
        await until(lambda: ann.said and bob.said, "the history comes")
        assert ann.said == bob.said == ['{"history": []}']
        rounds = 10
        for number in range(rounds):
            ann.say(json.dumps({"name": "Ann", "text": f"line {number}"}))
            told = await mail(smtp.port, f"support+{number}@example.com")
            assert told.startswith("250 "), told
        await until(lambda: len(ann.said) == len(bob.said) == 2 * rounds + 1, "all lines come")
        late = Socket("room")
        await late.open(http.port)
        await until(lambda: late.said, "the history comes")

        wanted = sorted(
            [("chat", "Ann", f"line {number}", None) for number in range(rounds)]
            + [("mail", "eve@example.org", "It broke.", f"#{number} Help") for number in range(rounds)],
            key=str,
        )
        lines = [json.loads(text) for text in ann.said[1:]]
        assert sorted(map(shape, lines), key=str) == wanted
        by_id = {line["id"]: line for line in lines}
        assert {line["id"]: line for line in map(json.loads, bob.said[1:])} == by_id
        assert {line["id"]: line for line in json.loads(late.said[0])["history"]} == by_id
        assert (await mail(smtp.port, "nobody@example.com")).startswith("550 5.1.1 ")
        assert (await mail(smtp.port, "broken@example.com")).startswith("451 4.3.0 ")
        counts.note("lines by chat and mail in the room of three", len(lines))

        for program in (http, smtp, *works):
            program.signal(signal.SIGTERM)
        await ended(http, smtp, *works)
        counts.expect("processes ended with 0", [each.code for each in (http, smtp, *works)].count(0), 4)
        counts.expect("sockets closed with 1012", [each.code for each in (ann, bob, late)].count(1012), 3)

    asyncio.run(body())
    counts.check(site)


def shape(line: dict[str, str]) -> tuple[str, str, str, str | None]:
    return line["kind"], line["from"], line["text"], line.get("subject")


async def mail(port: int, address: str) -> str:
    """Send a mail; return the answer that decided about it."""
    sender = Sender("eve", port)
    await sender.open()
    told = await sender.send("Help", address, "It broke.")
    sender.close()
    return told
