"""Redis goes away under traffic and comes back: who is told what, what is lost, and how soon all is as before.

The same servers and workers live through everything here.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .clients import Sender
from .counts import Counts
from .house import SETTINGS, TIMEOUT, WORKERS, Answer, House, Stay, ask, numbered, staying
from .site import Site, until

BACK = 3.0  # seconds after which everything is served again
RENEWAL = 5.0  # seconds between two renewals of a lease
SLOW = 2  # times as long as everything may take on a machine that is slow
AT_ONCE = 16  # datagrams that may be under way at one moment
BUSY = 2000.0  # frames a second

KILL = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
HOLD_UP = ("EVAL", "local n = 0 for i = 1, 10000000 do n = n + i end", 0)  # for about 0.1 s

Tell = Callable[[str], None]

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def house(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The house for all tests here; at the end its programs end as they should."""
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        built = House(folder, peer("redis-server"))
        try:
            asyncio.run(built.up())
            yield built
            for program in built.programs:
                program.signal(signal.SIGTERM)
            asyncio.run(until(lambda: all(each.code is not None for each in built.programs), "all programs end"))
            assert [each.code for each in built.programs] == [0] * len(built.programs), built.site.printed()
        finally:
            built.site.close()


def shown(took: dict[str, float]) -> str:
    return "served again after " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items())


def in_time(took: dict[str, float], most: float) -> None:
    """Fail if anything took longer than it may on a slow machine."""
    late = {what: seconds for what, seconds in took.items() if seconds > most * SLOW}
    assert not late, f"more than {most:g} s: {shown(late)}"


# Redis dies, and comes back empty


@pytest.mark.parametrize("away", [2.0, 6.0], ids=lambda away: f"{away:g}s")
def test_redis_dies_and_comes_back_empty(house: House, counts: Counts, tell: Tell, away: float) -> None:
    """Meanwhile each protocol refuses in its own words; then the members are back, and everything is served."""

    async def body() -> None:
        async with staying(house, f"kill{away:g}", BUSY) as stay:
            street = stay.street
            half = Sender("half", street.smtp)
            await half.open()
            assert (await half.begin()).startswith("250 ")
            with house.stopped():
                if away > TIMEOUT:
                    await street.pile_up()  # in Redis
                with house.frozen():
                    inside = street.lost
                    await street.pile_up()  # on the way to it
                    house.redis.kill()
            killed = time.monotonic()
            pages = [await ask(street.http)]
            while pages[-1].status != 503:
                pages.append(await ask(street.http))
            noticed = time.monotonic() - killed
            sent = {socket.name: len(socket.sent) for socket in street.sockets}
            refused: list[Answer] = []
            handshakes: list[Answer] = []
            mails = [await half.finish(f"{street.name}half"), await street.mail()]
            half.close()
            while time.monotonic() < killed + away:
                refused.append(await ask(street.http))
                handshakes.append(await ask(street.http, upgrade=True))
                await asyncio.sleep(0.05)
            mails.append(await street.mail())
            house.redis.start()
            took = await street.served()
            tell(f"the first page refused after {noticed * 1000:.0f} ms; {shown(took)}")

            await stay.end(counts)
            stay.bear(counts, inside=inside)
            late = [text for socket in street.sockets if socket.code is None for text in socket.missing
                    if numbered(text) >= sent[socket.name]]  # fmt: skip
            counts.none("lost that was sent while Redis was away", late)
            counts.expect("pages told 503", [each.status for each in refused].count(503), len(refused))
            counts.none("not told when to come again", [each for each in refused if "retry-after" not in each.fields])
            counts.expect("handshakes told 503", [each.status for each in handshakes].count(503), len(handshakes))
            counts.none("told after a second", [each for each in (*refused, *handshakes) if each.seconds > SLOW])
            counts.limit("told 504", street.statuses[504], 0, len(street.browsers))
            counts.expect("mails told 451 meanwhile", sum(line[:4] == "451 " for line in mails), len(mails))
            dropped = stay.grown["udp.refused_unavailable"] + stay.grown["udp.in_doubt"]
            unanswered = street.datagrams.sent - len(street.datagrams.echoes)
            counts.limit("datagrams without an answer", unanswered, 1, dropped + AT_ONCE)
            counts.none("quiet sockets closed", [socket.name for socket in street.quiet if socket.code is not None])
            closed = len(street.sockets) if away > TIMEOUT else 0
            counts.expect("sockets that sent closed with 1013", street.closed[1013], closed)
            counts.none("closed otherwise", street.closed.keys() - {1013})
            in_time(took, BACK)

    asyncio.run(body())
    counts.check(house.site)


# Redis lives, and its connections do not


def test_connections_are_killed(house: House, counts: Counts, tell: Tell, scale: int) -> None:
    """All connections are dropped again and again: what was under way on them may be lost, and nothing else."""

    async def body() -> None:
        async with staying(house, "drop", BUSY) as stay:
            street = stay.street
            wanted, killed = house.connections(), 0
            worst: dict[str, float] = {}
            for _ in range(2 * scale):
                for number in range(5):  # in less than the 5 s for which sockets are patient
                    # Whoever is slow to come back is not waited for.
                    with suppress(AssertionError):
                        await until(lambda: house.connections() >= wanted, "all connections are back", 0.3)
                    killed += await drop(stay, read=number % 2 == 0)
                took = await street.served()
                worst = {what: max(seconds, worst.get(what, 0.0)) for what, seconds in took.items()}
            tell(f"{killed} connections killed; {shown(worst)}, at the latest")
            await stay.end(counts)
            stay.bear(counts)
            counts.limit("receives of workers cut", stay.grown["worker.receives_cut"], 1, 10 * scale * WORKERS)
            counts.none("sockets closed", street.closed)
            in_time(worst, BACK)

    asyncio.run(body())
    counts.check(house.site)


async def drop(stay: Stay, *, read: bool) -> int:
    """Drop all connections; return how many these were.

    Args:
        stay: Whose.
        read: Redis executes what is under way, perhaps, and never sends the answers; otherwise it never reads it.
    """
    redis = stay.house.redis
    if not read:
        replies = await asyncio.to_thread(redis.together, HOLD_UP, KILL)
        return int(replies[1])
    busy = asyncio.create_task(asyncio.to_thread(redis.command, *HOLD_UP))
    piled_up = asyncio.create_task(stay.street.pile_up())
    await asyncio.wait((busy, piled_up), return_when=asyncio.FIRST_COMPLETED)
    piled_up.cancel()
    killed = int(await asyncio.to_thread(redis.command, *KILL))
    await busy
    return killed


def test_redis_pauses(house: House, counts: Counts, tell: Tell) -> None:
    """For 3 s nobody is answered: everything is late, and that is all."""

    async def body() -> None:
        async with staying(house, "pause") as stay:
            street = stay.street
            before = house.redis.info("stats", "total_connections_received")
            house.redis.command("CLIENT", "PAUSE", 3000, "ALL")
            page = await ask(street.http)
            took = await street.served()
            tell(f"a page took {page.seconds:.2f} s; {shown(took)}")
            await stay.end(counts)
            made = house.redis.info("stats", "total_connections_received") - before
            counts.limit("connections made", made, 0, len(stay.pids))
            counts.expect("told 200", page.status, 200)
            counts.none("frames lost", street.lost)
            counts.expect("in doubt", stay.in_doubt, 0)
            counts.none("requests refused", street.statuses.keys() - {200})
            counts.none("mails refused", [name for name, told in street.mails.items() if len(told) > 1])
            counts.expect("datagrams answered", len(street.datagrams.echoes), street.datagrams.sent)
            counts.none("sockets closed", street.closed)
            assert 2.5 < page.seconds < 3 * SLOW
            in_time(took, BACK)

    asyncio.run(body())
    counts.check(house.site)


def test_redis_freezes(house: House, counts: Counts, tell: Tell, scale: int) -> None:
    """Redis is there, and silent: it is given up after 5 s, and what it still does afterwards it does once."""
    frozen = 7.0 if scale == 1 else 12.0

    async def body() -> None:
        async with staying(house, "freeze") as stay:
            street = stay.street
            began = time.monotonic()
            with house.frozen():
                first = await ask(street.http)
                refused = [await ask(street.http, upgrade=upgrade) for upgrade in (False, True)]
                await asyncio.sleep(began + frozen - time.monotonic())
            took = await street.served()
            tell(f"the first page refused after {first.seconds:.2f} s; {shown(took)}")
            await stay.end(counts)
            stay.bear(counts)
            counts.expect("first page told 503 or 504", int(first.status in (503, 504)), 1)
            counts.expect("then told 503", [each.status for each in refused].count(503), len(refused))
            counts.none("told after a second", [each for each in refused if each.seconds > SLOW])
            counts.note("sockets that sent closed with 1013", street.closed[1013])
            counts.none("closed otherwise", street.closed.keys() - {1013})
            counts.none("quiet sockets closed", [socket.name for socket in street.quiet if socket.code is not None])
            assert first.seconds < (TIMEOUT + 1) * SLOW
            in_time(took, BACK)

    asyncio.run(body())
    counts.check(house.site)


# Redis forgets, or has no room


def test_redis_is_flushed(house: House, counts: Counts, tell: Tell) -> None:
    """FLUSHALL: what waited is lost, and within one renewal the members are back."""

    async def body() -> None:
        async with staying(house, "flush", BUSY, senders=0) as stay:
            street = stay.street
            with house.stopped():
                await street.pile_up()
                inside = street.lost
                house.redis.command("FLUSHALL")
            took = await street.served()
            tell(shown(took))
            await stay.end(counts)
            stay.bear(counts, inside=inside)
            counts.limit("requests lost", len(street.requests(504)), 0, len(street.browsers))
            counts.none("requests refused", street.requests(503))
            counts.none("sockets closed", street.closed)
            in_time(took, RENEWAL)

    asyncio.run(body())
    counts.check(house.site)


def test_redis_forgets_scripts(house: House, counts: Counts, scale: int) -> None:
    """SCRIPT FLUSH: nobody notices."""

    async def body() -> None:
        async with staying(house, "script", BUSY) as stay:
            street = stay.street
            for _ in range(20 * scale):
                house.redis.command("SCRIPT", "FLUSH")
                await street.flows(1)
            await stay.end(counts)
            counts.none("frames lost", street.lost)
            counts.expect("in doubt", stay.in_doubt, 0)
            counts.none("requests refused", street.statuses.keys() - {200})
            counts.none("mails refused", [name for name, told in street.mails.items() if len(told) > 1])
            counts.none("sockets closed", street.closed)

    asyncio.run(body())
    counts.check(house.site)


def test_redis_has_no_room(house: House, counts: Counts, tell: Tell) -> None:
    """Over maxmemory everything is refused as if channels were full; when there is room again, nothing was lost."""

    async def body() -> None:
        async with staying(house, "room") as stay:
            street = stay.street
            house.redis.command("CONFIG", "SET", "maxmemory", "1mb")
            try:
                page, handshake = await ask(street.http), await ask(street.http, upgrade=True)
                await asyncio.sleep(1)
            finally:
                house.redis.command("CONFIG", "SET", "maxmemory", "0")
            took = await street.served()
            tell(shown(took))
            await stay.end(counts)
            counts.expect("page told 503", page.status, 503)
            counts.expect("handshake told 503", handshake.status, 503)
            counts.none("frames lost", street.lost)
            counts.expect("in doubt", stay.in_doubt, 0)
            counts.none("sockets closed", street.closed)
            in_time(took, RENEWAL)

    asyncio.run(body())
    counts.check(house.site)


# Before and without traffic


def test_redis_is_away_at_the_start(make_site: Callable[..., Site], counts: Counts, tell: Tell) -> None:
    """Whoever starts waits 5 s for Redis: where it is not there by then, or says nothing, that is one line, exit 3."""
    site = make_site(SETTINGS)
    commands = [("serve", "http"), ("serve", "smtp"), ("serve", "udp"), ("work",)]

    async def body() -> None:
        site.redis.kill()
        held: list[asyncio.StreamWriter] = []
        silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        began = time.monotonic()
        programs = [site.start(*command) for command in commands]
        programs += [site.start(*command, "--layer", url) for command in commands]
        ended: dict[int, float] = {}

        def all_ended() -> bool:
            for program in programs:
                if program.code is not None:
                    ended.setdefault(program.pid, time.monotonic() - began)
            return len(ended) == len(programs)

        await until(all_ended, "those who find no Redis end")
        for writer in held:
            writer.close()
        silent.close()
        tell(f"given up {min(ended.values()):.1f} to {max(ended.values()):.1f} s after the start of the process")
        printed = [program.printed for program in programs]
        counts.expect("ended with exit code 3", [each.code for each in programs].count(3), len(programs))
        counts.none("said anything but one line", [text for text in printed if text.count("\n") != 1])
        counts.none("said something else", [text for text in printed if "the layer is away" not in text])
        counts.none("given up within 5 s", [seconds for seconds in ended.values() if seconds < 4.5])

    asyncio.run(body())
    counts.check(site)


def test_redis_comes_just_in_time(make_site: Callable[..., Site], counts: Counts) -> None:
    """Whoever starts a little before Redis starts all the same."""
    site = make_site(SETTINGS)

    async def body() -> None:
        site.redis.kill()
        programs = [site.start(*command) for command in (("serve", "http"), ("serve", "smtp"), ("work",))]
        await asyncio.sleep(2)
        counts.none("ready without Redis", [each for each in programs if each.ready])
        site.redis.start()
        await site.up(*programs)
        counts.expect("page told 200", (await ask(programs[0].port)).status, 200)

    asyncio.run(body())
    counts.check(site)


def test_idle_processes_sleep(house: House, counts: Counts, tell: Tell, scale: int) -> None:
    """Without traffic a process wakes at most once a second; all of its threads are counted."""
    window = 10.0 * min(scale, 6)

    async def body() -> None:
        pids = house.pids()
        before: dict[int, int] = {}
        async with asyncio.timeout(30):
            while before != (now := {pid: switches(pid) for pid in pids}):  # what the last traffic left is done
                before = now
                await asyncio.sleep(0.5)
        began = time.monotonic()
        await asyncio.sleep(window)
        passed = time.monotonic() - began
        rates = {pid: (switches(pid) - before[pid]) / passed for pid in pids}
        named = dict(zip((each.pid for each in house.programs), ("http", "smtp", "udp", "supervisor"), strict=True))
        figures = ", ".join(f"{named.get(pid, 'worker')} {rate:.2f}" for pid, rate in sorted(rates.items()))
        tell(f"voluntary context switches a second, within {passed:.0f} s: {figures}")
        # What happens every five seconds may happen once more in ten.
        counts.none(
            "processes woken more than once a second", [rate for rate in rates.values() if rate > 1 + 2 / passed]
        )

    asyncio.run(body())
    counts.check(house.site)


def switches(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep so far; that others took their turn is no wish."""
    texts = [(task / "status").read_text(encoding="ascii") for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(count) for text in texts for count in re.findall(r"^voluntary_ctxt_switches:\t(\d+)", text, re.M))
