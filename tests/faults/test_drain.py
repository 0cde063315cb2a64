"""A server with many sockets and some requests at work is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .clients import Browser
from .counts import Counts
from .site import Site, ended, until

CROWD = Path(__file__).with_name("crowd.py")
GRACE = 30
IN_FLIGHT = 4

pytestmark = pytest.mark.campaign

SETTINGS = """
routing = "app"
[http]
endpoints = ["tcp:0"]
access_log = "off"
max_per_address = 5000
"""


def test_a_full_server_is_drained(make_site: Callable[[str], Site], counts: Counts, scale: int) -> None:
    """1012 for every socket, in no order and not at one moment; an answer for every request; exit code 0 in time."""
    sockets = 200 if scale == 1 else 2000
    site = make_site(SETTINGS)

    async def body() -> None:
        server = site.start("serve", "http", "--grace", str(GRACE))
        work = site.start("work", "--threads", str(IN_FLIGHT))
        await site.up(server, work)
        port = server.port
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, str(CROWD), str(port), str(sockets), stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        try:
            assert crowd.stdout is not None
            async with asyncio.timeout(120):
                assert await crowd.stdout.readline() == b"open\n"
            await until(lambda: len(site.layer.group_members("all")) == sockets, "all are members")
            browsers = [Browser(f"slow{number}", port) for number in range(IN_FLIGHT)]
            asked = [asyncio.create_task(each.ask(each.name, "/slow")) for each in browsers]
            await until(
                lambda: site.taken().keys() >= {f"request {each.name}" for each in browsers}, "requests are in flight"
            )
            server.signal(signal.SIGTERM)
            await ended(server)
            statuses = await asyncio.gather(*asked)
            async with asyncio.timeout(120):
                ends = json.loads(await crowd.stdout.readline())
                assert await crowd.wait() == 0
        finally:
            if crowd.returncode is None:
                crowd.kill()
                await crowd.wait()

        numbers = [number for number, _, _ in ends]
        codes = Counter(code for _, code, _ in ends)
        counts.expect("exit code", server.code, 0)
        counts.expect("sockets", len(ends), sockets)
        counts.expect("closed with 1012", codes[1012], sockets)
        counts.expect("requests in flight", len(statuses), IN_FLIGHT)
        counts.expect("finished", statuses.count(200), IN_FLIGHT)
        counts.none("members left", site.layer.group_members("all"))
        counts.none("in the order in which they came", [True] * (numbers == sorted(numbers)))
        counts.limit("ms from the first close to the last", int(1000 * ends[-1][2]), 1, 1000 * GRACE)
        counts.none("cut off", [line for line in server.printed.splitlines() if "cut off" in line])

    asyncio.run(body())
    counts.check(site)
