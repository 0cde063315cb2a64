"""Addresses: who is in a network, and what counts as one client."""

from __future__ import annotations

import pytest

from trunkline.protocol_servers.listening import ListeningSettings
from trunkline.protocol_servers.networks import Networks, one_client


@pytest.mark.parametrize(
    ("entries", "host", "expected"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["192.0.2.7"], "::ffff:192.0.2.7", True),
        (["2001:db8::/32", "192.0.2.7"], "192.0.2.7", True),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["unix"], "", True),
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0"], "no address", False),
        ([], "127.0.0.1", False),
    ],
)
def test_who_is_in_them(entries: list[str], host: str, expected: bool) -> None:
    networks = Networks(entries, "trusted")
    assert (host in networks) is expected
    assert (host in networks) is expected
    assert bool(networks) is bool(entries)


def test_not_everybody_who_ever_came_is_remembered() -> None:
    networks = Networks(["10.0.0.0/16"], "trusted")
    assert sum(f"10.0.{number // 256}.{number % 256}" in networks for number in range(10_000)) == 10_000
    assert len(networks._judged) <= 1024


@pytest.mark.parametrize("entry", ["example.com", "10.0.0.1/8", "", "1.2.3.4/33", "UNIX"])
def test_what_is_no_network_is_an_error_that_names_the_setting(entry: str) -> None:
    with pytest.raises(ValueError, match=r'^trusted_proxies: .*; write an address, a network, or "unix"$'):
        ListeningSettings(trusted_proxies=[entry])


def test_a_header_that_nobody_may_send_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^proxy_protocol: .* name the proxies in trusted_proxies$"):
        ListeningSettings(proxy_protocol=True)
    assert "" in ListeningSettings(proxy_protocol=True, trusted_proxies=["unix"]).proxies


def test_an_ipv6_network_is_one_client() -> None:
    assert one_client("2001:db8::1") == one_client("2001:db8::ffff:1") != one_client("2001:db8:0:1::1")
    assert one_client("fe80::1%eth0") == one_client("fe80::2")
    assert one_client("::ffff:192.0.2.7") == one_client("192.0.2.7") == "192.0.2.7" != one_client("192.0.2.8")
    assert one_client("") == ""
    assert one_client("no:address") == "no:address"
