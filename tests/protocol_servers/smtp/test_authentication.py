"""Who sent a mail, as its consumer is told; and whose sender gets a bounce for it."""

from __future__ import annotations

import asyncio
import smtplib
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from trunkline.protocol_servers.smtp import LmtpServer, SmtpServer
from trunkline.protocol_servers.smtp.authentication.judging import Authenticator

NOTHING = {"spf": {"result": "none"}, "dkim": {"result": "none"}, "dmarc": {"result": "none"}}
MAIL = b"From: Ann <ann@example.org>\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n\r\nHello.\r\n"
TXT = {"example.org": b"v=spf1 ip4:192.0.2.1 -all", "_dmarc.example.org": b"v=DMARC1; p=reject"}


class Records:
    """A DNS with a few texts; it may be silent."""

    def __init__(self, silent: bool = False) -> None:
        self.silent = silent

    async def texts(self, name: str) -> Sequence[bytes]:
        if self.silent:
            await asyncio.Event().wait()
        return [TXT[name]] if name in TXT else []

    async def names(self, name: str, kind: str) -> Sequence[str]:
        return []


class Proxied(smtplib.SMTP):
    """A client that comes through a proxy, which says where from."""

    source = "192.0.2.1"

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), timeout)
        connection.sendall(f"PROXY TCP4 {self.source} 192.0.2.25 40000 25\r\n".encode())
        return connection


def ask(house: Any, **options: Any) -> None:
    """Have a server ask the DNS of the test."""
    server = house.server
    server.authenticator = Authenticator(Records(**options), server.in_thread, timeout=0.3 if options else 30)


def send(house: Any, source: str = "192.0.2.1", to: tuple[str, ...] = ("bob@example.com",)) -> tuple[int, bytes]:
    with Proxied(timeout=60) as client:
        client.source = source
        client.connect("127.0.0.1", house.port)
        client.ehlo("client.example.org")
        client.mail("ann@example.org")
        for each in to:
            assert client.rcpt(each)[0] == 250
        return client.data(MAIL)


PROXIED: dict[str, Any] = {"proxy_protocol": True, "trusted_proxies": ["127.0.0.1"]}


@pytest.mark.parametrize(("source", "spf", "dmarc"), [("192.0.2.1", "pass", "pass"), ("192.0.2.2", "fail", "fail")])
def test_the_consumer_is_told(house: Any, source: str, spf: str, dmarc: str) -> None:
    place = house(**PROXIED)
    ask(place)
    assert send(place, source)[0] == 250
    (mail,) = place.mails
    assert mail["authentication"] == {
        "spf": {"result": spf, "domain": "example.org", "identity": "mailfrom"},
        "dkim": {"result": "none"},
        "dmarc": {"result": dmarc, "domain": "example.org", "policy": "reject"},
    }
    assert mail["client"][0] == source


def test_a_silent_dns_costs_a_temperror_and_no_mail(house: Any) -> None:
    place = house(**PROXIED)
    ask(place, silent=True)
    assert send(place, to=("bob@example.com", "eve@example.com"))[0] == 250
    found = [mail["authentication"] for mail in place.mails]
    assert [each["spf"]["result"] for each in found] == ["temperror", "temperror"]
    assert found[0] is not found[1]


def test_mail_of_our_own_machines_asks_nobody(house: Any) -> None:
    """Nor does it wait for anybody: the DNS is silent, and has for ever."""
    place = house()
    place.server.authenticator = Authenticator(Records(silent=True), place.server.in_thread, timeout=1e9)
    with place.smtp() as client:
        client.sendmail("ann@example.org", ["bob@example.com"], MAIL)
    assert place.mails[0]["authentication"] == NOTHING


def test_a_server_without_the_extra_says_nothing(stage: Any) -> None:
    play = stage()
    play.server.authenticator = None
    play.mail("bob@example.com")
    assert "authentication" not in play.sent("email.receive")[0].message


@pytest.mark.parametrize(
    ("host", "settings", "judged"),
    [
        ("192.0.2.1", {}, True),
        ("2001:db8::1", {}, True),
        ("::ffff:10.0.0.1", {}, False),
        ("10.1.2.3", {}, False),
        ("", {}, False),
        ("192.0.2.1", {"trusted": ["192.0.2.0/24"]}, False),
        ("192.0.2.1", {"server": LmtpServer}, False),
    ],
)
def test_whose_address_says_who_sent(stage: Any, host: str, settings: Any, judged: bool) -> None:
    play = stage(**settings)
    asked = []
    play.server.judge = lambda content, origin, mail, then: asked.append(origin.judged)
    client = play.connect("LHLO" if settings.get("server") else "EHLO")
    client.protocol.peer[0] = host
    client.protocol.session.trusted = play.server.trusts(client.protocol)
    client.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>")
    for question in play.inbox.take():
        play.answer(question)
    client.say("DATA", "", ".")
    client.hear()
    assert asked == [judged]


@pytest.mark.parametrize(("source", "code", "bounces"), [("192.0.2.1", 250, 1), ("192.0.2.2", 554, 0)])
def test_an_aligned_sender_gets_a_bounce(
    house: Any, monkeypatch: pytest.MonkeyPatch, source: str, code: int, bounces: int
) -> None:
    """Bob takes it and Eve does not: only a sender who verifiably wrote it can be told by mail."""
    monkeypatch.setattr(SmtpServer, "relays", True)

    def consume(_: Any, message: dict[str, Any]) -> dict[str, Any]:
        if message["address"].startswith("bob"):
            return {"accept": True}
        return {"accept": False, "code": 554, "text": "5.7.1 Not wanted"}

    place = house(consume, **PROXIED)
    ask(place)
    assert send(place, source, ("bob@example.com", "eve@example.com"))[0] == code
    sent = place.layer.reader().receive_batch(["email.send"], 5, 0)
    assert len(sent) == bounces
    assert all(each.message["to"] == ["ann@example.org"] for each in sent)
