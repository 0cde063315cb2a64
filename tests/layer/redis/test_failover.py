"""Failovers under traffic, with what was sent, what arrived and what was told counted."""

from __future__ import annotations

import time
from collections.abc import Callable

from .sentinels import DOWN_AFTER, Watched
from .traffic import Traffic


def test_killed_master(
    start_traffic: Callable[..., Traffic], start_watched: Callable[..., Watched], tell: Callable[[str], None]
) -> None:
    watched = start_watched()
    watched.ready_for_failover()
    traffic = start_traffic(watched.url)
    before = watched.master()
    began = time.monotonic()
    with traffic.outage():
        before.kill()
        time.sleep(DOWN_AFTER * 0.8)
    traffic.goes_on()
    away = time.monotonic() - began
    counted = traffic.finish()
    tell(f"{counted}; {away:.1f} s until everything went on; told {traffic.told}")
    assert watched.master() is not before
    assert counted.twice == []
    assert counted.risen == []
    assert traffic.lied() == []


def test_failover_on_request(
    start_traffic: Callable[..., Traffic], start_watched: Callable[..., Watched], tell: Callable[[str], None]
) -> None:
    watched = start_watched()
    watched.ready_for_failover()
    traffic = start_traffic(watched.url)
    before = watched.master()
    began = time.monotonic()
    watched.sentinel(0, "FAILOVER", "main")
    watched.wait(lambda: before.command("ROLE")[0] == b"slave")
    traffic.goes_on()
    away = time.monotonic() - began
    counted = traffic.finish()
    tell(f"{counted}; {away:.1f} s until everything went on; told {traffic.told}")
    assert counted.risen == []
    assert traffic.lied() == []
