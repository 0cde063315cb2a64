"""SPF, held to the test suite of RFC 7208 that its authors keep (rfc7208-tests.LICENSE)."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.smtp.authentication.lookups import LookupFailed
from trunkline.protocol_servers.smtp.authentication.spf import SpfCheck, is_name
from trunkline.protocol_servers.smtp.authentication.spf_record import Broken, read_record

SUITE = json.loads((Path(__file__).parent / "rfc7208-tests.json").read_text("utf-8"))
Records = dict[str, dict[str, Any]]
MakeZone = Callable[[Records], Any]


class SuiteZone:
    """The zone of a scenario: "TIMEOUT" fails for whatever the name has no record of; SPF records stand for TXT."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self._data = {name.lower(): records for name, records in data.items()}

    def _find(self, name: str, kind: str, depth: int = 0) -> list[Any]:
        found: list[Any] = []
        records = self._data.get(name.lower().rstrip("."), [])
        for record in records:
            for each, value in record.items() if isinstance(record, dict) else ():
                if each == "CNAME" and depth < 8:
                    found += self._find(value, kind, depth + 1)
                elif each == kind and value == "TIMEOUT":
                    raise LookupFailed
                elif each == kind and value != "NONE":
                    found.append(value)
        if not found and "TIMEOUT" in records:
            raise LookupFailed
        if kind == "TXT" and not any("TXT" in record for record in records):
            found += self._find(name, "SPF")
        return found

    async def texts(self, name: str) -> Sequence[bytes]:
        return ["".join(value).encode("utf-8", "surrogateescape") for value in self._find(name, "TXT")]

    async def names(self, name: str, kind: str) -> Sequence[str]:
        return [value[1] if kind == "MX" else value for value in self._find(name, kind)]


def ask(resolver: Any, client: str, sender: str, helo: str = "client.example.net") -> str:
    local, _, domain = (sender or f"postmaster@{helo}").rpartition("@")
    return asyncio.run(SpfCheck(resolver, ipaddress.ip_address(client), local, domain, helo).result())


@pytest.mark.parametrize(
    ("zonedata", "case"),
    [
        pytest.param(scenario["zonedata"], case, id=f"{scenario['description']}: {name}")
        for scenario in SUITE
        for name, case in scenario["tests"].items()
    ],
)
def test_the_suite(zonedata: dict[str, list[Any]], case: dict[str, Any]) -> None:
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert ask(SuiteZone(zonedata), case["host"], case["mailfrom"], case["helo"]) in wanted


def test_the_suite_is_whole() -> None:
    assert sum(len(scenario["tests"]) for scenario in SUITE) == 203


def test_a_client_that_maps_ipv4_into_ipv6_is_the_former(zone: MakeZone) -> None:
    resolver = zone({"example.org": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}})
    assert ask(resolver, "::ffff:192.0.2.1", "ann@example.org") == "pass"


def test_records_that_include_each_other_end(zone: MakeZone) -> None:
    resolver = zone({"a.example": {"TXT": ["v=spf1 include:a.example include:a.example -all"]}})
    assert ask(resolver, "192.0.2.1", "x@a.example") == "permerror"
    assert len(resolver.asked) == 11  # the first, and the ten that may follow


def test_few_lookups_however_many_names(zone: MakeZone) -> None:
    """No more addresses of mail servers are asked for than the RFC says, whatever a record brings together."""
    servers = [f"mx{number}.example.org" for number in range(10)]
    resolver = zone(
        {
            "example.org": {"TXT": ["v=spf1" + " mx" * 50 + " -all"], "MX": servers},
            **{server: {"A": ["192.0.2.9"]} for server in servers},
        }
    )
    assert ask(resolver, "192.0.2.1", "ann@example.org") == "permerror"
    assert len(resolver.asked) <= 1 + 10 + 10 * 10


@pytest.mark.parametrize(
    "record",
    [
        "a" * 60_000, "a:" + "%{d}" * 15_000, "a:" + "%{" * 30_000, "ip4:" + "1." * 30_000, "a:b" + "/1" * 30_000,
        "=" * 60_000, "x=" + "%" * 60_000, "ip6:" + ":" * 60_000, "a:" + "x." * 30_000 + "-", "a:b/" + "1" * 60_000,
        "exists:%{d" + "1" * 60_000 + "}", "a:x." + "a-" * 30_000,
    ],
    ids=lambda record: record[:12],
)  # fmt: skip
def test_hostile_records_take_no_time(record: str) -> None:
    began = time.thread_time()
    try:
        read_record(record)
    except Broken:
        pass
    assert time.thread_time() - began < 1


def test_names() -> None:
    assert is_name("example.org")
    assert is_name("example.org.")
    assert is_name("_spf.example.org")
    for text in ("", "org", "a..b", ".a.b", "a" * 64 + ".org", "ä.org", "a." * 130):
        assert not is_name(text), text
