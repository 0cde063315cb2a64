"""DKIM: mails that dkimpy signed pass, and whatever was done to them since does not."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.message_formats.email.parts import Kept
from trunkline.protocol_servers.smtp.authentication import Sender
from trunkline.protocol_servers.smtp.authentication.dkim import MAX_SIGNATURES, read_head
from trunkline.protocol_servers.smtp.authentication.judging import Authenticator

Records = dict[str, dict[str, Any]]
MakeZone = Callable[[Records], Any]

MAIL = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.com\r\nSubject: Hello\r\n  there\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@example.org>\r\n\r\n"
    b"Hello  Bob, \r\n\r\n\twhat is up?\r\n\r\n\r\n"
)
NEAR = Sender(None, "client.example.org", "ann@example.org")


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(function)


def judge(resolver: Any, mail: bytes, wall: float | None = None) -> dict[str, Any]:
    authenticator = Authenticator(resolver, in_thread, wall=time.time if wall is None else lambda: wall)
    found: dict[str, Any] = asyncio.run(authenticator.judge(Kept(mail), NEAR))["dkim"]
    return found


@pytest.fixture
def published(zone: MakeZone, key: Any) -> Any:
    return zone({"s1._domainkey.example.org": {"TXT": [key.record]}})


@pytest.mark.parametrize("forms", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"hi", b"hi\r\n", MAIL.partition(b"\r\n\r\n")[2], b"a b\tc\r\n" * 40_000]
)
def test_what_was_signed_passes(published: Any, key: Any, forms: str, body: bytes) -> None:
    mail = key.sign(MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body, forms=forms)
    assert judge(published, mail) == {
        "result": "pass",
        "signatures": [{"result": "pass", "domain": "example.org", "selector": "s1"}],
    }


def test_the_relaxed_form_survives_the_usual_changes(published: Any, key: Any) -> None:
    mail = key.sign(MAIL).replace(b"Subject: Hello\r\n  there", b"SUBJECT:   Hello there\t")
    mail = mail.replace(b"Hello  Bob, \r\n", b"Hello Bob,\t\r\n").rstrip() + b"\r\n"
    assert judge(published, mail)["result"] == "pass"


@pytest.mark.parametrize(
    ("old", "new", "result", "reason"),
    [
        (b"what is up", b"what is down", "fail", "the body was altered"),
        (b"up?\r\n", b"up?\r\nmore\r\n", "fail", "the body was altered"),
        (b"Ann <ann", b"Ann <eve", "fail", "the header was altered, or somebody else signed"),
        (b"Subject: Hello", b"Subject: Bye", "fail", "the header was altered, or somebody else signed"),
        (b"s=s1", b"s=s2", "permerror", "there is no such key"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "permerror", "its algorithm is not taken"),
        (b"v=1", b"v=2", "permerror", "the signature makes no sense"),
        (b"d=example.org", b"d=org", "permerror", "its domain makes no sense"),
        (b"c=relaxed/relaxed", b"c=loose", "permerror", "the signature makes no sense"),
        (b"bh=", b"bh=A", "fail", "the body was altered"),
        (b"; s=s1", b"; s=s1; x=1000", "fail", "the signature has expired"),
        (b"; s=s1", b"; s=s1; x=soon", "fail", "the signature has expired"),
        (b"; s=s1", b"; s=s1; l=3", "policy", "it covers only a part of the body"),
        (b"; s=s1", b"; s=s1; l=99999", "permerror", "the signature makes no sense"),
        (b"i=@example.org", b"i=@example.com", "permerror", "it signs for another domain"),
        (b"q=dns/txt", b"q=mail", "permerror", "its key is not in the DNS"),
        (b"; s=s1", b"; s=s1; s=s1", "permerror", "the signature makes no sense"),
        (b"; s=s1", b"; s=s1; \xff=1", "permerror", "the signature makes no sense"),
        (b"To: bob", b"Subject: Buy!\r\nTo: bob", "permerror", "subject stands twice"),
        (b"From: Ann", b"From: eve@example.net\r\nFrom: Ann", "permerror", "from stands twice"),
        (b"To: bob", b"a line that is no header\r\nTo: bob", "permerror", "the header has a line that is none"),
    ],
)
def test_what_was_altered_does_not(published: Any, key: Any, old: bytes, new: bytes, result: str, reason: str) -> None:
    mail = key.sign(MAIL)
    assert mail.count(old) >= 1
    found = judge(published, mail.replace(old, new, 1))
    assert found["result"] == result
    assert found["signatures"][0]["reason"] == reason


@pytest.mark.parametrize(
    ("record", "result", "reason"),
    [
        ([], "permerror", "there is no such key"),
        ("FAILS", "temperror", "its key could not be fetched"),
        (["v=DKIM1; p="], "permerror", "the key was revoked"),
        (["v=DKIM2; p=x"], "permerror", "the key makes no sense"),
        (["v=DKIM1"], "permerror", "the key makes no sense"),
        (["v=DKIM1; p=!"], "permerror", "the key makes no sense"),
        (["v=DKIM1; p=QUJD"], "permerror", "the key makes no sense"),
        (["rubbish"], "permerror", "the key makes no sense"),
        (["v=DKIM1; p=" + "A" * 5000], "permerror", "the key makes no sense"),
        (["KEY; h=sha1"], "permerror", "the key is for another algorithm"),
        (["v=DKIM1; k=ed25519; p=QUJD"], "permerror", "the key is for another algorithm"),
        (["KEY; s=tlsrpt"], "permerror", "the key is not for mail"),
        (["KEY; s=email; t=y:s"], "", ""),
    ],
)
def test_keys(zone: MakeZone, key: Any, record: Any, result: str, reason: str) -> None:
    records = [text.replace("KEY", key.record) for text in record] if isinstance(record, list) else record
    found = judge(zone({"s1._domainkey.example.org": {"TXT": records}}), key.sign(MAIL))
    assert found["result"] == (result or "pass")
    assert found["signatures"][0].get("reason", "") == reason


def test_a_key_that_is_not_for_subdomains(zone: MakeZone, key: Any) -> None:
    mail = key.sign(MAIL, identity=b"ann@sub.example.org")
    records = {"s1._domainkey.example.org": {"TXT": [key.record]}}
    assert judge(zone(records), mail)["result"] == "pass"
    records["s1._domainkey.example.org"]["TXT"][0] += "; t=s"
    assert judge(zone(records), mail)["signatures"][0]["reason"] == "the key is not for subdomains"


def test_another_key_than_the_one_that_signed(zone: MakeZone, key: Any, short_key: Any) -> None:
    found = judge(zone({"s1._domainkey.example.org": {"TXT": [short_key.record]}}), key.sign(MAIL))
    assert found["result"] == "fail"


def test_a_key_that_would_take_for_ever(zone: MakeZone, key: Any) -> None:
    """An exponent as long as a long modulus: in plain arithmetic that takes minutes, and nothing else runs."""
    record = huge_key(6000)
    assert len(record) < 4096
    began = time.process_time()
    found = judge(zone({"s1._domainkey.example.org": {"TXT": [record]}}), key.sign(MAIL))
    assert found["result"] != "pass"
    assert time.process_time() - began < 1


def huge_key(bits: int) -> str:
    def der(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content

    numbers = [(1 << bits) - 1, (1 << (bits - 1)) + 1]
    pair = der(0x30, b"".join(der(2, b"\0" + number.to_bytes(bits // 8, "big")) for number in numbers))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return "v=DKIM1; p=" + base64.b64encode(der(0x30, algorithm + der(3, b"\0" + pair))).decode()


def test_one_good_signature_is_enough(published: Any, key: Any) -> None:
    mail = b"DKIM-Signature: v=1\r\n" + key.sign(MAIL)
    found = judge(published, mail)
    assert found["result"] == "pass"
    assert [each["result"] for each in found["signatures"]] == ["permerror", "pass"]


def test_only_a_few_signatures_are_looked_at(published: Any, key: Any) -> None:
    signed = key.sign(MAIL)
    signature = signed[: len(signed) - len(MAIL)]
    found = judge(published, signature * 50 + MAIL)
    assert len(found["signatures"]) == MAX_SIGNATURES == sum("_domainkey" in name for name, _ in published.asked)


def test_no_signature(published: Any) -> None:
    assert judge(published, MAIL) == {"result": "none"}


RFC_8463 = """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""


def test_the_example_of_rfc_8463(zone: MakeZone) -> None:
    """Ed25519, and a header list that says names twice, so that none can be added."""
    resolver = zone(
        {
            "brisbane._domainkey.football.example.com": {
                "TXT": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
            }
        }
    )
    mail = RFC_8463.replace("\n", "\r\n").encode()
    assert judge(resolver, mail)["result"] == "pass"
    assert judge(resolver, mail.replace(b"hungry", b"thirsty"))["result"] == "fail"
    assert judge(resolver, mail.replace(b"dinner", b"supper"))["result"] == "fail"


def test_an_expired_signature_was_good_once(published: Any, key: Any) -> None:
    import dkim  # whose way to let a signature expire is not in `dkim.sign`

    signer = dkim.DKIM(MAIL)
    signature = signer.sign(b"s1", b"example.org", key._pem, canonicalize=(b"relaxed", b"relaxed"))
    assert judge(published, bytes(signature) + MAIL, wall=time.time() + 1e9)["result"] == "pass"


@pytest.mark.parametrize(
    ("mail", "count", "size", "defect"),
    [
        (b"A: b\r\n\r\nx", 1, 8, ""),
        (b"A: b\r\nC : d\r\n e\r\n\r\nx", 2, 19, ""),
        (b"\r\nx", 0, 2, ""),
        (b"A: b", 1, 8, ""),
        (b"", 0, 4, "the header has a line that is none"),
        (b"A: b\r\nno header\r\n\r\n", 1, 19, "the header has a line that is none"),
        (b"X: " + b"y" * 300_000 + b"\r\n\r\n", 0, 0, "the header is too large"),
    ],
)
def test_heads(mail: bytes, count: int, size: int, defect: str) -> None:
    head = read_head(Kept(mail))
    assert (len(head.fields), head.size, head.defect) == (count, size, defect)


@pytest.mark.parametrize(
    "header",
    [
        b"h=" + b"from:" * 20_000, b"h=from; b=" + b" " * 60_000, b";" * 100_000, b"=" * 100_000, b"x=1;" * 30_000,
        b"h=from; d=" + b"a." * 40_000, b"b=" + b"A" * 100_000,
    ],
    ids=lambda header: header[:10].decode(),
)  # fmt: skip
def test_hostile_signatures_take_no_time(published: Any, header: bytes) -> None:
    mail = io.BytesIO(b"DKIM-Signature: v=1; a=rsa-sha256; bh=A; s=s1; d=example.org; b=A; " + header).read()
    began = time.process_time()
    assert judge(published, mail + b"\r\nFrom: a@example.org\r\n\r\nhi")["result"] != "pass"
    assert time.process_time() - began < 2
