"""All of it together, on one mail; and a DNS that is slow, away or mad."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import message_formats
from trunkline.message_formats.email import parse_mail, receive_message
from trunkline.message_formats.email.parts import Kept
from trunkline.protocol_servers.smtp.authentication import Sender, vouches_for
from trunkline.protocol_servers.smtp.authentication.judging import Authenticator

MakeZone = Callable[[dict[str, dict[str, Any]]], Any]

MAIL = b"From: Ann <ann@example.org>\r\nSubject: Hello\r\n\r\nHello.\r\n"
CLIENT = ipaddress.ip_address("192.0.2.1")
THERE = Sender(CLIENT, "mx.example.org", "ann@example.org")
TOLD = THERE._replace(client=None, spf={"result": "pass", "domain": "example.org"})
DMARC = {"_dmarc.example.org": {"TXT": ["v=DMARC1; p=reject"]}}
SPF = {"example.org": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(function)


def judge(resolver: Any, mail: bytes = MAIL, sender: Sender = THERE, timeout: float = 30) -> dict[str, Any]:
    """Judge a mail; what is found fits the format."""
    found = asyncio.run(Authenticator(resolver, in_thread, timeout=timeout).judge(Kept(mail), sender))
    message = receive_message(
        parse_mail(mail), reply_channel="smtp.reply.x!y", id="id", address="you@example.org", sender=sender.address,
        to=[], client=["192.0.2.1", 25], helo=sender.helo, authentication=found,
    )  # fmt: skip
    format = message_formats.get("email.receive")
    assert format is not None
    format.validate(message)
    return found


def results(found: dict[str, Any]) -> tuple[str, str, str]:
    return found["spf"]["result"], found["dkim"]["result"], found["dmarc"]["result"]


def test_the_shape(zone: MakeZone, key: Any) -> None:
    resolver = zone({**SPF, **DMARC, "s1._domainkey.example.org": {"TXT": [key.record]}})
    assert judge(resolver, key.sign(MAIL)) == {
        "spf": {"result": "pass", "domain": "example.org", "identity": "mailfrom"},
        "dkim": {
            "result": "pass",
            "signatures": [{"result": "pass", "domain": "example.org", "selector": "s1"}],
        },
        "dmarc": {"result": "pass", "domain": "example.org", "policy": "reject"},
    }


@pytest.mark.parametrize(
    ("records", "sender", "expected"),
    [
        ({}, THERE, ("none", "none", "none")),
        ({**SPF, **DMARC}, THERE, ("pass", "none", "pass")),
        ({**SPF, **DMARC}, THERE._replace(client=ipaddress.ip_address("192.0.2.2")), ("fail", "none", "fail")),
        (DMARC, THERE, ("none", "none", "fail")),
        ({**SPF, **DMARC}, THERE._replace(address="ann@example.net"), ("none", "none", "fail")),
        ({"mx.example.org": SPF["example.org"], **DMARC}, THERE._replace(address=None), ("pass", "none", "pass")),
        ({**DMARC, "example.org": {"TXT": "FAILS"}}, THERE, ("temperror", "none", "temperror")),
        ({**SPF, "_dmarc.example.org": {"TXT": "FAILS"}}, THERE, ("pass", "none", "temperror")),
        ({**SPF, "_dmarc.example.org": {"TXT": ["v=DMARC1; p=x"]}}, THERE, ("pass", "none", "permerror")),
        ({"example.org": {"TXT": ["v=spf1 +all", "v=spf1 -all"]}}, THERE, ("permerror", "none", "none")),
        # One of our own passed it on: only a signature says anything.
        ({**SPF, **DMARC}, THERE._replace(client=None), ("none", "none", "none")),
        (DMARC, TOLD, ("pass", "none", "pass")),
    ],
)  # fmt: skip
def test_results(zone: MakeZone, records: Any, sender: Sender, expected: tuple[str, str, str]) -> None:
    assert results(judge(zone(records), sender=sender)) == expected


def test_a_signature_counts_wherever_the_mail_comes_from(zone: MakeZone, key: Any) -> None:
    resolver = zone({**DMARC, "s1._domainkey.example.org": {"TXT": [key.record]}})
    near = THERE._replace(client=None)
    assert results(judge(resolver, key.sign(MAIL), near)) == ("none", "pass", "pass")
    other = zone({**DMARC, "s1._domainkey.example.net": {"TXT": [key.record]}})
    assert results(judge(other, key.sign(MAIL, domain="example.net"), near)) == ("none", "pass", "none")
    assert results(judge(other, key.sign(MAIL, domain="example.net"))) == ("none", "pass", "fail")


@pytest.mark.parametrize("mail", [b"", b"\r\n", b"From: x\r\n\r\n", b"From: a@b\r\nFrom: c@d\r\n\r\n", b"\xff" * 100])
def test_mails_that_are_hardly_any(zone: MakeZone, mail: bytes) -> None:
    assert results(judge(zone(SPF), mail))[0] == "pass"


def test_what_nobody_has_to_be_asked_about(zone: MakeZone, key: Any) -> None:
    resolver = zone({})
    authenticator = Authenticator(resolver, in_thread)
    nothing = {"spf": {"result": "none"}, "dkim": {"result": "none"}, "dmarc": {"result": "none"}}
    near = THERE._replace(client=None)
    assert authenticator.at_once(Kept(MAIL), near) == nothing == judge(resolver, sender=near)
    assert authenticator.at_once(Kept(MAIL), THERE) is None
    assert authenticator.at_once(Kept(key.sign(MAIL)), near) is None
    assert resolver.asked == []


def test_a_silent_dns_costs_a_bounded_time(silence: Any, key: Any) -> None:
    began = time.monotonic()
    found = judge(silence, key.sign(MAIL), timeout=0.2)
    assert time.monotonic() - began < 20
    assert results(found) == ("temperror", "temperror", "temperror")
    assert found["dkim"]["signatures"][0]["domain"] == "example.org"


def test_a_silent_dns_holds_up_nobody_else(silence: Any) -> None:
    """A hundred mails wait at the same time."""

    async def all_of_them() -> list[Any]:
        authenticator = Authenticator(silence, in_thread, timeout=0.5)
        return await asyncio.gather(*(authenticator.judge(Kept(MAIL), THERE) for _ in range(100)))

    began = time.monotonic()
    found = asyncio.run(all_of_them())
    assert time.monotonic() - began < 25  # one after the other they would take 50
    assert {results(each) for each in found} == {("temperror", "none", "temperror")}


def test_what_was_known_in_time_counts(zone: MakeZone, key: Any) -> None:
    """The key never comes; SPF did, and is enough for DMARC, whose record is there."""
    resolver = zone({**SPF, **DMARC, "s1._domainkey.example.org": {"TXT": "FAILS"}})
    assert results(judge(resolver, key.sign(MAIL))) == ("pass", "temperror", "pass")


def test_a_resolver_that_fails_in_its_own_way(caplog: pytest.LogCaptureFixture) -> None:
    class Mad:
        async def texts(self, name: str) -> Any:
            raise ZeroDivisionError

        async def names(self, name: str, kind: str) -> Any:
            raise ZeroDivisionError

    assert results(judge(Mad())) == ("temperror", "temperror", "temperror")
    assert "a mail could not be judged" in caplog.text


@pytest.mark.parametrize(
    ("authentication", "vouched"),
    [
        ({}, False),
        ({"spf": {"result": "pass", "domain": "example.org", "identity": "mailfrom"}}, True),
        ({"spf": {"result": "pass", "domain": "example.org", "identity": "helo"}}, False),
        ({"spf": {"result": "softfail", "domain": "example.org", "identity": "mailfrom"}}, False),
        ({"dkim": {"result": "pass", "signatures": [{"result": "pass", "domain": "example.org"}]}}, True),
        ({"dkim": {"result": "fail", "signatures": [{"result": "fail", "domain": "example.org"}]}}, False),
        ({"dkim": {"result": "pass", "signatures": [{"result": "pass", "domain": "ample.org"}]}}, False),
        ({"dkim": {"result": "pass", "signatures": [{"result": "pass", "domain": "mail.example.org"}]}}, False),
    ],
)
def test_who_vouches_for_a_sender(authentication: dict[str, Any], vouched: bool) -> None:
    assert vouches_for(authentication, "ann@example.org") is vouched


def test_whoever_is_above_a_domain_vouches_for_it() -> None:
    signed = {"dkim": {"signatures": [{"result": "pass", "domain": "example.org"}]}}
    assert vouches_for(signed, "ann@lists.Example.org")
