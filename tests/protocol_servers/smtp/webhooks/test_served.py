"""Webhooks on real ports: the same messages as by SMTP, and what each provider is answered."""

from __future__ import annotations

import http.client
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from trunkline import message_formats
from trunkline.operations.errors import SettingsError, UsageError
from trunkline.operations.secret import Secret
from trunkline.operations.tables import table
from trunkline.protocol_servers.smtp import LmtpSettings, SmtpServer, SmtpSettings
from trunkline.protocol_servers.smtp.authentication.judging import Authenticator
from trunkline.protocol_servers.smtp.webhooks.settings import (
    MailgunSettings,
    PostmarkSettings,
    SendgridSettings,
    SesSettings,
    WebhooksSettings,
)

from .conftest import TOPIC, MailgunPeer, multipart

PATIENCE = 60
Answer = dict[str, Any]
NO: Answer = {"accept": False, "code": 550, "text": "5.1.1 No such recipient here"}


class Nobody:
    """A DNS that knows nothing."""

    async def texts(self, name: str) -> list[bytes]:
        return []

    async def names(self, name: str, kind: str) -> list[str]:
        return []


@pytest.fixture
def posts(house: Any, mailgun_peer: Any, postmark_peer: Any, sendgrid_peer: Any, amazon: Any, wall: Any,
          monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:  # fmt: skip
    """Makes a server that all providers post to, at one port; its clock is that of the requests."""
    base = "trunkline.protocol_servers.smtp.webhooks"
    monkeypatch.setattr(f"{base}.listening.make_provider.__kwdefaults__", {"wall": wall, "fetched": amazon.fetch})

    def make(consumer: Any = lambda house, message: {"accept": True}, **settings: Any) -> Any:
        where: dict[str, Any] = {"endpoints": ["tcp:0"]}
        place = house(
            consumer,
            webhooks=WebhooksSettings(
                mailgun=MailgunSettings(**where, path="/mailgun/mime", secret=Secret(mailgun_peer.key)),
                postmark=PostmarkSettings(**where, path="/postmark", secret=Secret(postmark_peer.secret)),
                sendgrid=SendgridSettings(**where, path="/sendgrid", secret=Secret(sendgrid_peer.secret)),
                ses=SesSettings(**where, path="/ses", topic=TOPIC),
            ),
            **settings,
        )
        place.server.authenticator = Authenticator(Nobody(), place.server.in_thread)
        return place

    return make


def post(place: Any, path: str, request: Any, method: str = "POST") -> tuple[int, str]:
    """Post a request, and return the status and the text."""
    port = int(place.server.ports[1].rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, request.body, {name.decode(): value.decode() for name, value in request.headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text.strip()


def test_every_provider_s_mail_is_the_same_mail(
    posts: Any, mailgun_peer: Any, postmark_peer: Any, sendgrid_peer: Any, amazon: Any, raw: bytes
) -> None:
    place = posts()
    assert [port.partition(":")[0] for port in place.server.ports] == ["smtp", "http"]
    sendgrid = sendgrid_peer.with_password(sendgrid_peer.raw())
    assert post(place, "/mailgun/mime", mailgun_peer.mime()) == (200, "2.6.0 Mail taken")
    assert (
        post(place, "/postmark", postmark_peer.post(RawEmail=raw.decode(), OriginalRecipient="bob@example.com"))[0]
        == 200
    )
    assert post(place, "/sendgrid", sendgrid)[0] == 200
    assert post(place, "/ses", amazon.post())[0] == 200
    by_smtp = smtp(place, raw)
    format = message_formats.get("email.receive")
    assert format is not None
    for message in place.mails:
        format.validate(message)
    of_bob = [message for message in place.mails if message["address"] == "bob@example.com"]
    varying = ("reply_channel", "client", "helo", "authentication", "to")
    plain = [{key: value for key, value in message.items() if key not in varying} for message in of_bob]
    assert len(plain) == 5
    assert by_smtp == 250
    assert all(each == plain[0] for each in plain)  # the identity too: a mail that comes twice is one mail
    assert [message["authentication"]["spf"]["result"] for message in of_bob] == [
        "none",
        "none",
        "none",
        "pass",
        "none",
    ]
    assert of_bob[2]["client"] == ["192.0.2.1", 0]
    assert [message["to"] for message in place.mails if message["address"] == "eve@example.com"] == [
        ["bob@example.com", "eve@example.com"]
    ]


def smtp(place: Any, raw: bytes) -> int:
    with place.smtp() as client:
        client.ehlo()
        client.mail("ann@example.org")
        client.rcpt("bob@example.com")
        code: int = client.data(raw)[0]
    return code


@pytest.mark.parametrize(
    ("answer", "statuses"),
    [
        ({"accept": True}, (200, 200, 200, 200)),
        (NO, (406, 403, 406, 406)),
        ({"accept": False, "code": 451, "text": "4.3.0 Later"}, (503, 503, 503, 503)),
    ],
)
def test_what_the_consumer_says(
    posts: Any, mailgun_peer: Any, postmark_peer: Any, sendgrid_peer: Any, amazon: Any, answer: Answer, statuses: Any
) -> None:
    """What is refused is not tried again, in each provider's word for it; what failed is."""
    place = posts(lambda house, message: answer)
    found = [
        post(place, "/mailgun/mime", mailgun_peer.mime()),
        post(place, "/postmark", postmark_peer.post()),
        post(place, "/sendgrid", sendgrid_peer.with_password(sendgrid_peer.raw())),
        post(place, "/ses", amazon.post()),
    ]
    assert tuple(status for status, _ in found) == statuses
    assert {text for _, text in found} == {answer.get("text", "2.6.0 Mail taken")}


def test_nobody_answers(posts: Any, mailgun_peer: Any) -> None:
    place = posts(lambda house, message: None, answer_timeout=0.2)
    status, text = post(place, "/mailgun/mime", mailgun_peer.mime())
    assert status == 503
    assert "Try again later" in text


def test_queued_mail(posts: Any, mailgun_peer: Any) -> None:
    place = posts(accept="queued")
    assert post(place, "/mailgun/mime", mailgun_peer.mime()) == (200, "2.6.0 Mail queued")
    assert post(place, "/mailgun/mime", mailgun_peer.mime()) == (200, "2.6.0 Mail queued")
    assert post(place, "/mailgun/mime", mailgun_peer.mime(recipient="eve@example.com"))[0] == 200
    deadline = time.monotonic() + PATIENCE
    while len(place.mails) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [mail["address"] for mail in place.mails] == ["bob@example.com", "eve@example.com"]  # the repeat is one


def test_postmaster(posts: Any, mailgun_peer: Any) -> None:
    place = posts(postmaster="admin@example.com")
    assert post(place, "/mailgun/mime", mailgun_peer.mime(recipient="PostMaster@example.org"))[0] == 200
    assert place.mails[0]["address"] == "admin@example.com"


def test_large_attachments_come_through_channels(posts: Any, mailgun_peer: Any) -> None:
    content = bytes(range(256)) * 4096

    def consume(house: Any, message: dict[str, Any]) -> Answer:
        node = message["content"]["parts"][1]
        message["read"] = house.body(node["body_channel"])
        return {"accept": True}

    place = posts(consume)
    fields = mailgun_peer.fields(**{
        "message-headers": json.dumps([["Message-Id", "<1@x>"]]), "body-plain": "see there",
        "attachment-1": ("a.bin", "application/x-test", content),
    })  # fmt: skip
    body, kind = multipart(fields)
    request = mailgun_peer.mime()
    request = request._replace(body=body, headers=[(b"content-type", kind.encode())])
    assert post(place, "/mailgun/mime", request)[0] == 200
    assert place.mails[0]["read"] == content
    assert place.server.room.disk == place.server.room.memory == 0


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"recipient": "bob"}, 400, "a recipient is no address"),
        ({"recipient": "bob@example.com> RCPT TO:<eve@x"}, 400, "a recipient is no address"),
        ({"recipient": ""}, 400, "a recipient is no address"),
        ({"recipient": ",".join(f"u{number}@x" for number in range(4))}, 406, "5.5.3 Too many recipients"),
        ({"raw": b"X: y\r\n\r\n" + b"x" * 5000}, 406, "5.3.4 The mail is larger than we take"),
        ({"sender": "nonsense"}, 200, "2.6.0 Mail taken"),
    ],
)
def test_what_is_odd(posts: Any, mailgun_peer: Any, change: Any, status: int, text: str) -> None:
    place = posts(max_size=4096, max_recipients=3)
    assert post(place, "/mailgun/mime", mailgun_peer.mime(**change)) == (status, text)
    assert all("from" not in mail for mail in place.mails)


def test_requests_of_anybody_else(posts: Any, mailgun_peer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of what they sent stands in the log, nor more than one line."""
    place = posts(max_size=4096)
    mine = mailgun_peer.mime()
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            other = MailgunPeer()
            other.key = "another-key"
            status, text = post(place, "/mailgun/mime", other.mime(b"Subject: what-nobody-may-read\r\n\r\n"))
            assert (status, text) == (401, "its signature is wrong")
            assert post(place, "/postmark", mine)[0] == 401
            assert post(place, "/mailgun/mime", mine._replace(body=b"x"))[0] == 400
        assert post(place, "/elsewhere", mine)[0] == 404
        assert post(place, "/mailgun/mime", mine._replace(body=b""), "GET")[0] == 405
        assert post(place, "/mailgun/mime", mine._replace(body=b"x" * 2_000_000))[0] == 413
    assert place.mails == []
    assert len([record for record in caplog.records if "webhooks" in record.getMessage()]) == 2
    assert "what-nobody-may-read" not in caplog.text
    assert place.server.stats["webhooks_refused"] == 6
    assert post(place, "/mailgun/mime", mailgun_peer.mime())[0] == 200


def test_amazon_that_is_away_is_asked_again_later(posts: Any, amazon: Any) -> None:
    place = posts()
    amazon.away = True
    assert post(place, "/ses", amazon.post())[0] == 503
    amazon.away = False
    assert post(place, "/ses", amazon.post())[0] == 200
    assert post(place, "/ses", amazon.post("SubscriptionConfirmation", "please"))[0] == 200


def test_a_server_that_stops_finishes_what_was_posted(posts: Any, mailgun_peer: Any) -> None:
    place = posts()
    assert post(place, "/mailgun/mime", mailgun_peer.mime())[0] == 200
    assert place.stop(PATIENCE)


# Settings

GOOD = {"endpoints": ["tcp:8025"], "path": "/x", "secret": {"env": "S"}}


@pytest.mark.parametrize(
    ("provider", "given", "expected"),
    [
        ("mailgun", {"secret": None}, "[smtp.webhooks.mailgun]: secret: anybody could post here"),
        ("mailgun", {"path": "x"}, "[smtp.webhooks.mailgun]: path: 'x' is not a path"),
        ("mailgun", {"path": "/a?b"}, "path: '/a?b' is not a path"),
        ("mailgun", {"endpoints": []}, "endpoints: nobody could post here"),
        ("mailgun", {"secret": "in the file"}, "a secret does not stand in the file itself"),
        ("postmark", {"secret": {"env": "NO_COLON"}}, 'secret: expected "user:password"'),
        ("sendgrid", {"secret": None}, "[smtp.webhooks.sendgrid]: secret: anybody could post here"),
        ("ses", {}, "[smtp.webhooks.ses] topic: is required"),
        ("ses", {"topic": "mail"}, "topic: 'mail' is not a name"),
        ("mailjet", {}, "[smtp.webhooks] mailjet: unknown key"),
    ],
)
def test_mistakes(provider: str, given: dict[str, Any], expected: str) -> None:
    rows = {key: value for key, value in (GOOD | given).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        table(SmtpSettings, {"webhooks": {provider: rows}}, "[smtp]", {"S": "user:password", "NO_COLON": "x"})
    assert expected in str(caught.value)


def test_two_at_one_place() -> None:
    environ = {"S": "user:password"}
    with pytest.raises(SettingsError, match="mailgun has the path /x at tcp:8025 already"):
        table(SmtpSettings, {"webhooks": {"mailgun": GOOD, "postmark": GOOD}}, "[smtp]", environ)
    with pytest.raises(SettingsError, match="what is said of connections"):
        other = GOOD | {"path": "/y", "max_connections": 5}
        table(SmtpSettings, {"webhooks": {"mailgun": GOOD, "postmark": other}}, "[smtp]", environ)
    assert list(table(SmtpSettings, {"webhooks": {"mailgun": GOOD}}, "[smtp]", environ).webhooks.all())


def test_lmtp_has_none() -> None:
    with pytest.raises(SettingsError, match="webhooks"):
        table(LmtpSettings, {"webhooks": {"mailgun": GOOD}}, "[lmtp]", {"S": "x"})


def test_without_the_extra_it_says_what_to_install(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "trunkline.protocol_servers.smtp.webhooks.listening"
    monkeypatch.delattr(name)
    monkeypatch.setitem(sys.modules, name, None)
    server: SmtpServer = stage().server
    with pytest.raises(UsageError, match=r"\[smtp.webhooks\] needs trunkline\[email\]"):
        server._listen_to(WebhooksSettings()).send(None)
