"""DMARC: whose a mail is to its reader, and which domains belong together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.protocol_servers.smtp.authentication.dmarc import Broken, Policy, Tree, author_domain

MakeZone = Callable[[dict[str, dict[str, Any]]], Any]


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        (b" ann@example.org", "example.org"),
        (b" Ann Lee <ann@Example.ORG>", "example.org"),
        (b' "Lee, Ann" <ann@example.org>', "example.org"),
        (b' "boss@bank.example" <eve@example.org>', "example.org"),
        (b" boss (boss@bank.example) <eve@example.org>", "example.org"),
        (b' "a@b"@example.org', "example.org"),
        (b" =?utf-8?q?=3Cboss=40bank.example=3E?= <eve@example.org>", "example.org"),
        (b" ann@example.org, bob@example.org", "example.org"),
        (b" ann@example.org, bob@example.net", None),
        (b" boss@bank.example <eve@example.org>", None),
        (b" <ann@m\xc3\xbcller.example>", "xn--mller-kva.example"),
        (b" ann", None),
        (b"", None),
        (b" @example.org", None),
        (b" ann@localhost", None),
        (b" ann@[192.0.2.1]", None),
        (b" a@b.example" + b" " * 20_000, None),
    ],
)
def test_the_author(value: bytes, domain: str | None) -> None:
    assert author_domain([value]) == domain


def test_two_authors_are_none() -> None:
    assert author_domain([b"ann@example.org", b"ann@example.org"]) is None
    assert author_domain([]) is None


@pytest.mark.parametrize("piece", [b'"', b"(", b"\\", b"a", b"a@", b'"(', b"@", b"<", b"(\\", b"x@y."])
def test_hostile_authors_take_no_time(piece: bytes) -> None:
    began = time.thread_time()
    for _ in range(5):
        author_domain([piece * (10_000 // len(piece))])
    assert time.thread_time() - began < 1


RECORDS: dict[str, Any] = {
    "_dmarc.example.org": {"TXT": ["v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=r"]},
    "_dmarc.own.example.org": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.alone.example.org": {"TXT": ["v=DMARC1; p=none; psd=n"]},
    "_dmarc.co.example": {"TXT": ["v=DMARC1; p=reject; psd=y"]},
    "_dmarc.two.example": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]},
    "_dmarc.other.example": {"TXT": ["google-site-verification=1", "v=DMARC1;p=QUARANTINE"]},
    "_dmarc.broken.example": {"TXT": ["v=DMARC1; p=maybe"]},
    "_dmarc.senseless.example": {"TXT": ["v=DMARC1; p"]},
}


@pytest.mark.parametrize(
    ("domain", "organization", "policy"),
    [
        ("example.org", "example.org", Policy("reject", True, False)),
        ("mail.example.org", "example.org", Policy("quarantine", True, False)),
        ("own.example.org", "example.org", Policy("none", False, False)),
        ("a.own.example.org", "example.org", Policy("quarantine", True, False)),
        ("alone.example.org", "alone.example.org", Policy("none", False, False)),
        ("a.alone.example.org", "alone.example.org", Policy("none", False, False)),
        ("a.shop.co.example", "shop.co.example", Policy("reject", False, False)),
        ("co.example", "co.example", Policy("reject", False, False)),
        ("two.example", "two.example", None),
        ("other.example", "other.example", Policy("quarantine", False, False)),
        ("senseless.example", "senseless.example", None),
        ("nothing.example", "nothing.example", None),
    ],
)
def test_policies(zone: MakeZone, domain: str, organization: str, policy: Policy | None) -> None:
    async def ask() -> None:
        tree = Tree(zone(RECORDS))
        assert await tree.organization(domain) == organization
        assert await tree.policy(domain) == policy

    asyncio.run(ask())


def test_a_record_that_makes_no_sense(zone: MakeZone) -> None:
    with pytest.raises(Broken):
        asyncio.run(Tree(zone(RECORDS)).policy("broken.example"))


@pytest.mark.parametrize(
    ("author", "domain", "strict", "aligned"),
    [
        ("example.org", "example.org", True, True),
        ("example.org", "mail.example.org", False, True),
        ("example.org", "mail.example.org", True, False),
        ("a.example.org", "b.example.org", False, True),
        ("alone.example.org", "example.org", False, False),
        ("a.co.example", "b.co.example", False, False),
        ("x.a.co.example", "y.a.co.example", False, True),
        ("nothing.example", "mail.nothing.example", False, False),  # who owns both, nobody can tell
        ("example.org", "example.com", False, False),
    ],
)
def test_alignment(zone: MakeZone, author: str, domain: str, strict: bool, aligned: bool) -> None:
    assert asyncio.run(Tree(zone(RECORDS)).aligned(author, [domain], strict=strict)) is aligned


def test_no_more_than_eight_questions_a_domain(zone: MakeZone) -> None:
    resolver = zone({})
    domain = ".".join("abcdefghijklmnop") + ".example"
    assert asyncio.run(Tree(resolver).organization(domain)) == domain
    assert len(resolver.asked) == 8
    assert resolver.asked[1][0] == "_dmarc.k.l.m.n.o.p.example"
