"""Connections that suffer while Redis lives, and a Redis that is out of its mind: under traffic, counted.

The traffic goes through a proxy that breaks it. At most what was in flight on a connection that was cut may be lost:
a send is in doubt then, or a reader's batch is gone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from trunkline.layer.redis import inbox, pulling, reader
from trunkline.layer.redis.connection import Connection, Pool
from trunkline.layer.redis.stream import Stream
from trunkline.layer.testing.faults import FaultProxy

from .conftest import RedisServer
from .traffic import LIMIT, Counted, Traffic, until

TIMEOUT = 0.6  # seconds for a reply
BLOCK = 0.3  # seconds of one wait within Redis
PULLED = 256  # messages that an inbox takes at once


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", redis_server.port) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything notice within a second what would take it ten."""
    for waiting in (Connection, Pool, Stream):
        monkeypatch.setitem(cast(dict[str, Any], waiting.__init__.__kwdefaults__), "timeout", TIMEOUT)
    monkeypatch.setattr(reader, "BLOCK", BLOCK)
    monkeypatch.setattr(reader, "GRACE", BLOCK)
    monkeypatch.setattr(pulling, "BLOCK", BLOCK)
    monkeypatch.setattr(inbox, "BLOCK", BLOCK)


def url(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}"


def judge(counted: Counted, traffic: Traffic, tell: Callable[[str], None], cuts: int, more: str = "") -> None:
    """Tell the counts, and check what is so in every outage that Redis survives."""
    tell(f"{counted}; told {traffic.told}, {len(traffic.probes)} probes{more}")
    assert counted.twice == []
    assert counted.risen == []
    assert traffic.lied() == []
    in_work = [number for number in counted.lost if traffic.kinds[number] in ("work", "served")]
    assert len(in_work) <= cuts * LIMIT
    assert len(counted.lost) - len(in_work) <= cuts * PULLED
    assert counted.taken - len(counted.lost) <= counted.arrived <= counted.taken + counted.in_doubt


@pytest.mark.campaign
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_three_drops_in_three_seconds(
    start_traffic: Callable[..., Traffic], proxy: FaultProxy, tell: Callable[[str], None], scale: int, reset: bool
) -> None:
    traffic = start_traffic(url(proxy))
    drops = 3 * scale
    for _ in range(drops):
        began = time.monotonic()
        assert proxy.cut(reset=reset) >= 4
        traffic.goes_on()
        time.sleep(max(0.0, began + 0.8 - time.monotonic()))
    counted = traffic.finish()
    assert traffic.told == ["down", "up"] * drops
    judge(counted, traffic, tell, drops)


def test_first_three_redials_are_refused(
    start_traffic: Callable[..., Traffic], proxy: FaultProxy, tell: Callable[[str], None]
) -> None:
    traffic = start_traffic(url(proxy))
    # Sender, reader, its mover, both sides of the inbox, and who asks: three times each.
    proxy.refuse(18)
    proxy.cut(reset=True)
    with traffic.outage():
        until(lambda: proxy.refused >= 12)
    until(lambda: proxy.refused == 18)
    traffic.goes_on()
    counted = traffic.finish()
    assert traffic.told == ["down", "up"]
    judge(counted, traffic, tell, 1, f", {proxy.refused} redials refused")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", ["both", "replies"])
def test_alive_but_silent(
    start_traffic: Callable[..., Traffic], proxy: FaultProxy, tell: Callable[[str], None], held: str
) -> None:
    traffic = start_traffic(url(proxy))
    began = time.monotonic()
    proxy.silence(requests=held == "both")
    # Whoever asks began before; what it was answered in time is true.
    until(lambda: bool(traffic.probes) and not traffic.probes[-1][2])
    with traffic.outage():
        until(lambda: traffic.told == ["down"])
        noticed = time.monotonic() - began
        time.sleep(TIMEOUT)
    proxy.cut(reset=True)
    proxy.resume()
    traffic.goes_on()
    counted = traffic.finish()
    assert traffic.told == ["down", "up"]
    judge(counted, traffic, tell, 1, f", noticed after {noticed:.1f} s of silence")
    assert counted.in_doubt > 0


def test_half_closed(start_traffic: Callable[..., Traffic], proxy: FaultProxy, tell: Callable[[str], None]) -> None:
    traffic = start_traffic(url(proxy))
    assert proxy.half_close() >= 4
    traffic.goes_on()
    counted = traffic.finish()
    assert traffic.told == ["down", "up"]
    judge(counted, traffic, tell, 1)


def test_slow_slices_and_latency(
    start_traffic: Callable[..., Traffic], proxy: FaultProxy, tell: Callable[[str], None]
) -> None:
    traffic = start_traffic(url(proxy), pause=0.02)
    proxy.slices = 40, 0.0001
    traffic.goes_on(15)
    proxy.slices, proxy.latency = None, 0.02
    traffic.goes_on(15)
    proxy.latency = 0.0
    counted = traffic.finish()
    assert (counted.lost, counted.in_doubt, traffic.told) == ([], 0, [])
    judge(counted, traffic, tell, 0)


@pytest.mark.campaign
def test_scripts_are_forgotten_under_load(
    start_traffic: Callable[..., Traffic],
    proxy: FaultProxy,
    redis_server: RedisServer,
    tell: Callable[[str], None],
    scale: int,
) -> None:
    traffic = start_traffic(url(proxy))
    for _ in range(20 * scale):
        redis_server.command("SCRIPT", "FLUSH")
        traffic.goes_on(3)
    counted = traffic.finish()
    assert (counted.lost, counted.in_doubt, traffic.told) == ([], 0, [])
    assert counted.taken == counted.arrived == counted.sent
    judge(counted, traffic, tell, 0)


def test_memory_is_full_and_free_again(
    start_traffic: Callable[..., Traffic], start_redis: Callable[..., RedisServer], tell: Callable[[str], None]
) -> None:
    server = start_redis()
    traffic = start_traffic(server.url)
    server.command("CONFIG", "SET", "maxmemory", 1)
    with traffic.outage():
        until(lambda: sum(not well for *_, well in traffic.probes) > 3)
    server.command("CONFIG", "SET", "maxmemory", 0)
    traffic.goes_on()
    counted = traffic.finish()
    assert (counted.lost, counted.in_doubt) == ([], 0)
    assert counted.taken == counted.arrived < counted.sent
    assert traffic.told == [], "a server goes on while others wait for room"
    judge(counted, traffic, tell, 0)


@pytest.mark.campaign
def test_flushall(
    start_traffic: Callable[..., Traffic],
    start_redis: Callable[..., RedisServer],
    tell: Callable[[str], None],
    scale: int,
) -> None:
    server = start_redis()
    traffic = start_traffic(server.url)
    for _ in range(scale):
        server.command("FLUSHALL")
        traffic.goes_on()
    counted = traffic.finish()
    kinds = Counter(traffic.kinds[number] for number in counted.lost)
    tell(f"{counted}; of these {dict(kinds)}; told {traffic.told}")
    assert (counted.twice, counted.risen, counted.in_doubt, traffic.told) == ([], [], 0, [])
    # Up to 5 s pass until the server learns that its groups are gone. Of the others only what was in a queue is lost.
    assert kinds["work"] + kinds["served"] + kinds["inbox"] <= 100 * scale
