"""What each provider posts, as its documentation shows it; and what is said to everybody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.message_formats.email import parse_mail
from trunkline.operations.secret import Secret
from trunkline.protocol_servers.http_core.hooks import HookAnswer, HookRequest
from trunkline.protocol_servers.smtp.webhooks.listening import make_provider
from trunkline.protocol_servers.smtp.webhooks.posted import Malformed, Posted, Unbelieved, Unverifiable
from trunkline.protocol_servers.smtp.webhooks.settings import (
    MailgunSettings,
    PostmarkSettings,
    SendgridSettings,
    SesSettings,
)

from .conftest import multipart

Wall = Callable[[], float]
WHERE: dict[str, Any] = {"endpoints": ["tcp:0"], "path": "/mail"}
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"


def at(request: HookRequest, **headers: str) -> HookRequest:
    """Return the request with other headers."""
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return request._replace(
        headers=[(name, given.pop(name, value)) for name, value in request.headers] + [*given.items()]
    )


@pytest.fixture
def mailgun(mailgun_peer: Any, wall: Wall) -> Any:
    return make_provider(MailgunSettings(**WHERE, secret=Secret(mailgun_peer.key)), wall=wall)


@pytest.fixture
def postmark(postmark_peer: Any) -> Any:
    return make_provider(PostmarkSettings(**WHERE, secret=Secret(postmark_peer.secret)))


@pytest.fixture
def sendgrid(sendgrid_peer: Any) -> Any:
    return make_provider(SendgridSettings(**WHERE, secret=Secret(sendgrid_peer.secret)))


@pytest.fixture
def signed_sendgrid(sendgrid_peer: Any, wall: Wall) -> Any:
    return make_provider(SendgridSettings(**WHERE, secret=Secret(sendgrid_peer.public)), wall=wall)


@pytest.fixture
def ses(amazon: Any, wall: Wall) -> Any:
    return make_provider(SesSettings(**WHERE, topic=TOPIC), wall=wall, fetched=amazon.fetch)


# Mailgun


def test_mailgun_with_the_raw_mail(mailgun: Any, mailgun_peer: Any, raw: bytes) -> None:
    assert mailgun.read(mailgun_peer.mime()) == Posted(raw, "ann@example.org", ["bob@example.com"])
    assert mailgun.read(mailgun_peer.mime(recipient="a@b.c, d@e.f")).recipients == ["a@b.c", "d@e.f"]


def test_mailgun_taken_apart(mailgun: Any, mailgun_peer: Any) -> None:
    fields = parse_mail(mailgun.read(mailgun_peer.parsed()).raw).fields
    assert (fields["subject"], fields["message_id"]) == ("Grüße", "<1@example.org>")
    assert (fields["text"], fields["html"], fields["defects"]) == ("Hello, Böb.", "<p>Hello</p>", [])
    fields = parse_mail(mailgun.read(mailgun_peer.parsed_with_files()).raw).fields
    assert [(each["filename"], each["content-type"]) for each in fields["attachments"]] == [
        ("Grüße.pdf", "application/pdf"), ("a.png", "image/png")
    ]  # fmt: skip
    assert fields["content"]["parts"][2]["content_id"] == "pic@1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"signature": "0" * 64}, {"signature": "é"}, {"signature": ""}, {"timestamp": "1"}, {"timestamp": "1" * 20},
        {"token": "another"},
    ],
    ids=str,
)  # fmt: skip
def test_mailgun_is_believed_by_its_signature_alone(mailgun: Any, mailgun_peer: Any, wrong: dict[str, str]) -> None:
    body, kind = multipart(mailgun_peer.fields(**{"body-mime": "x"}) | wrong)
    with pytest.raises(Unbelieved):
        mailgun.read(at(mailgun_peer.mime(), content_type=kind)._replace(body=body))


@pytest.mark.parametrize("gone", ["signature", "timestamp", "token"])
def test_mailgun_without_its_signature(mailgun: Any, mailgun_peer: Any, gone: str) -> None:
    mine = mailgun_peer.mime()
    with pytest.raises(Unbelieved, match="not signed"):
        mailgun.read(mine._replace(body=mine.body.replace(f'"{gone}"'.encode(), b'"gone"')))


@pytest.mark.parametrize(
    ("age", "believed"), [(0, True), (8 * 3600, True), (10 * 3600, False), (-200, True), (-900, False)]
)
def test_a_signature_of_mailgun_gets_old(mailgun_peer: Any, wall: Wall, age: int, believed: bool) -> None:
    """Old enough for its last attempt, and no older; its clock may be a little fast."""
    provider = make_provider(MailgunSettings(**WHERE, secret=Secret(mailgun_peer.key)), wall=lambda: wall() + age)
    if believed:
        assert provider.read(mailgun_peer.mime())
    else:
        with pytest.raises(Unbelieved, match="too old"):
            provider.read(mailgun_peer.mime())


def test_a_signature_of_mailgun_is_good_for_one_mail(mailgun: Any, mailgun_peer: Any) -> None:
    """It is not over the mail: whoever saw one could put it to another."""
    mine = mailgun_peer.mime(token="t")
    assert mailgun.read(mine) == mailgun.read(mine)  # its answer was lost
    with pytest.raises(Unbelieved, match="another mail"):
        mailgun.read(mailgun_peer.mime(b"Subject: Buy!\r\n\r\n", token="t"))
    with pytest.raises(Unbelieved, match="another mail"):
        mailgun.read(mailgun_peer.mime(recipient="eve@example.com", token="t"))


def test_nothing_is_read_of_a_mail_that_mailgun_did_not_sign(mailgun: Any, mailgun_peer: Any) -> None:
    """JSON takes many times its size in memory."""
    fields = mailgun_peer.fields(**{"message-headers": "no JSON"}) | {"signature": "0" * 64}
    body, kind = multipart(fields)
    with pytest.raises(Unbelieved):
        mailgun.read(at(mailgun_peer.mime(), content_type=kind)._replace(body=body))


def test_tokens_are_forgotten_in_time(mailgun_peer: Any, monkeypatch: pytest.MonkeyPatch, wall: Wall) -> None:
    monkeypatch.setattr("trunkline.protocol_servers.smtp.webhooks.believing._MOST_TOKENS", 3)
    now = [wall()]
    provider: Any = make_provider(MailgunSettings(**WHERE, secret=Secret(mailgun_peer.key)), wall=lambda: now[0])
    tokens = provider._signatures._tokens
    for _ in range(5):
        provider.read(mailgun_peer.mime())
    assert len(tokens) == 3
    now[0] += 10 * 3600
    provider.read(mailgun_peer.mime(timestamp=str(int(now[0]))))
    assert len(tokens) == 1


@pytest.mark.parametrize(
    "headers", ["", "{", "[1]", "[[1]]", "{}" * 2, "[" * 100_000, '[["a","b","c"]]', "null"], ids=lambda text: text[:8]
)
def test_mailgun_that_makes_no_sense(mailgun: Any, mailgun_peer: Any, headers: str) -> None:
    body = mailgun_peer.mime(**{"message-headers": headers})
    with pytest.raises(Malformed):
        mailgun.read(body._replace(body=body.body.replace(b'"body-mime"', b'"body-gone"')))


# Postmark


def test_postmark_with_the_raw_mail(postmark: Any, postmark_peer: Any, raw: bytes) -> None:
    assert postmark.read(postmark_peer.post(RawEmail=raw.decode())) == Posted(
        raw, "ann@example.org", ["bob+7@example.com"]
    )


def test_postmark_taken_apart(postmark: Any, postmark_peer: Any) -> None:
    fields = parse_mail(postmark.read(postmark_peer.post()).raw).fields
    assert fields["defects"] == []
    assert (fields["subject"], fields["message_id"]) == ("Grüße", "<1@example.org>")
    assert fields["headers"]["from"] == "Ann <ann@example.org>"
    assert fields["headers"]["to"] == "Bob <bob+7@example.com>"
    assert fields["headers"]["date"] == "Fri, 1 Aug 2014 16:45:32 -04:00"
    assert (fields["text"], fields["html"]) == ("Hello, Böb.", "<p>Hello</p>")
    assert [each["filename"] for each in fields["attachments"]] == ["a.pdf"]


def test_the_sender_of_postmark(postmark: Any, postmark_peer: Any) -> None:
    path = {"Name": "Return-Path", "Value": "<>"}
    assert postmark.read(postmark_peer.post(Headers=[path])).sender == ""
    assert postmark.read(postmark_peer.post(Headers=[])).sender == "ann@example.org"


def test_half_a_surrogate_pair_in_a_name(postmark: Any, postmark_peer: Any) -> None:
    posted = postmark.read(postmark_peer.post(FromFull={"Email": "ann@example.org", "Name": "Ann \ud83d"}))
    assert parse_mail(posted.raw).fields["headers"]["from"] == "Ann ? <ann@example.org>"


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !", "Bearer x", "Basic " + base64.b64encode(b"hook:another").decode(),
     "Bearer " + base64.b64encode(b"hook:a long password").decode(), "basic"],
)  # fmt: skip
def test_postmark_is_believed_by_its_password_alone(postmark: Any, postmark_peer: Any, header: str) -> None:
    with pytest.raises(Unbelieved):
        postmark.read(at(postmark_peer.post(), authorization=header))


@pytest.mark.parametrize(
    "change",
    [
        {"OriginalRecipient": None}, {"OriginalRecipient": 1}, {"Headers": 1}, {"Headers": [1]}, {"Headers": [{}]},
        {"Headers": [{"Name": 1, "Value": ""}]}, {"Attachments": "x"}, {"Attachments": [{"Content": "!"}]},
        {"Attachments": [{"Content": 1}]}, {"RawEmail": 1}, {"TextBody": []}, {"FromFull": "x"}, {"Subject": {}},
    ],
    ids=str,
)  # fmt: skip
def test_postmark_that_makes_no_sense(postmark: Any, postmark_peer: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        postmark.read(postmark_peer.post(**change))


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"[" * 100_000, b'"\xff"', b'{"a":' * 50_000])
def test_what_is_no_json(postmark: Any, postmark_peer: Any, body: bytes) -> None:
    with pytest.raises(Malformed):
        postmark.read(postmark_peer.post()._replace(body=body))


# SendGrid


def test_sendgrid_with_the_raw_mail(sendgrid: Any, sendgrid_peer: Any, raw: bytes) -> None:
    posted = sendgrid.read(sendgrid_peer.with_password(sendgrid_peer.raw()))
    assert posted == Posted(raw, "ann@example.org", ["bob@example.com"], client="192.0.2.1")


def test_sendgrid_taken_apart(sendgrid: Any, sendgrid_peer: Any) -> None:
    posted = sendgrid.read(sendgrid_peer.with_password(sendgrid_peer.parsed()))
    fields = parse_mail(posted.raw).fields
    assert posted.sender == ""
    assert (fields["subject"], fields["message_id"]) == ("two lines", "<1@example.org>")
    assert (fields["text"], fields["html"], fields["defects"]) == ("Hello, Böb.", "<p>Hello</p>", [])
    assert fields["content"]["parts"][1]["content_id"] == "pic"


def test_sendgrid_that_signs(signed_sendgrid: Any, sendgrid_peer: Any, wall: Wall) -> None:
    form = sendgrid_peer.raw()
    mine = sendgrid_peer.signed(form)
    assert signed_sendgrid.read(mine)
    signature = "x-twilio-email-event-webhook-signature"
    timestamp = "x-twilio-email-event-webhook-timestamp"
    for wrong in (
        mine._replace(body=mine.body + b" "),
        at(mine, **{signature: "!"}),
        at(mine, **{signature: base64.b64encode(b"x").decode()}),
        at(mine, **{timestamp: str(int(wall()) + 1)}),
        mine._replace(headers=[pair for pair in mine.headers if pair[0] != signature.encode()]),
        sendgrid_peer.signed(form, str(int(wall()) - 6 * 86400)),
        sendgrid_peer.signed(form, "now"),
        sendgrid_peer.with_password(form),
    ):
        with pytest.raises(Unbelieved):
            signed_sendgrid.read(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"envelope": "x"}, {"envelope": "[]"}, {"envelope": "{}"}, {"envelope": '{"to": [1], "from": "a"}'},
        {"envelope": '{"to": ["a@b"], "from": 1}'},
    ],
    ids=str,
)  # fmt: skip
def test_sendgrid_that_makes_no_sense(sendgrid: Any, sendgrid_peer: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        sendgrid.read(sendgrid_peer.with_password(sendgrid_peer.raw(**change)))
    body, kind = sendgrid_peer.raw()
    for name in (b'"email"', b'"envelope"'):
        with pytest.raises(Malformed):
            sendgrid.read(sendgrid_peer.with_password((body.replace(name, b'"gone"'), kind)))


# Amazon


@pytest.mark.parametrize("encoding", [None, "UTF8", "BASE64"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_ses(ses: Any, amazon: Any, raw: bytes, encoding: str | None, version: str) -> None:
    request = amazon.post("Notification", json.dumps(amazon.mail(encoding=encoding)), version)
    spf = {"result": "pass", "domain": "example.org", "identity": "mailfrom"}
    expected = Posted(raw, "ann@example.org", ["bob@example.com", "eve@example.com"], spf=spf)
    assert ses.read(request) == expected == ses.read(request)
    assert len(amazon.fetched) == 1  # the certificate is remembered


@pytest.mark.parametrize(
    "change",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:other"},
        {"Message": "{}"}, {"Subject": "another"}, {"MessageId": "x"},
        {"Type": "SubscriptionConfirmation", "Token": "x", "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/"},
        {"Signature": ""}, {"Signature": "!"}, {"Signature": "QUJD"},
        {"SignatureVersion": "3"}, {"SignatureVersion": "1"}, {"Timestamp": "2015-01-01T00:00:00.000Z"},
    ],
    ids=str,
)  # fmt: skip
def test_amazon_is_believed_by_its_signature_alone(ses: Any, amazon: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Unbelieved):
        ses.read(amazon.post(**change))


@pytest.mark.parametrize(
    "address",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com.example.net/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com@example.net/SimpleNotificationService-1.pem",
        "https://example.net/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com/../x/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem/x",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem?1",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem#1",
        "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com\\@example.net/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com/mine.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem\r\nX: y",
        "https://[/SimpleNotificationService-1.pem",
        "",
    ],
)
def test_certificates_come_from_amazon_alone(ses: Any, amazon: Any, address: str) -> None:
    with pytest.raises(Unbelieved, match="not at Amazon"):
        ses.read(amazon.post(SigningCertURL=address))
    assert amazon.fetched == []


def test_nobody_else_s_topic_makes_us_ask(ses: Any, amazon: Any) -> None:
    with pytest.raises(Unbelieved):
        ses.read(amazon.post(signed={"TopicArn": "arn:aws:sns:eu-west-1:210987654321:mail"}))
    assert amazon.fetched == []


def test_amazon_that_does_not_answer(ses: Any, amazon: Any) -> None:
    amazon.away = True
    with pytest.raises(Unverifiable):
        ses.read(amazon.post())
    amazon.away = False
    assert ses.read(amazon.post())


def test_few_certificates_are_fetched_at_a_time(amazon: Any, wall: Wall) -> None:
    """Anybody can name some that do not exist, and each takes its time."""
    asked: list[str] = []
    refused: list[str] = []

    def ask() -> None:
        name = f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{len(asked)}.pem"
        with pytest.raises(Unverifiable) as error:
            provider.read(amazon.post(SigningCertURL=name))
        refused.append(str(error.value))

    def fetch(address: str) -> bytes:
        asked.append(address)
        ask()  # while this one is on its way
        raise OSError("nobody there")

    provider: Any = make_provider(SesSettings(**WHERE, topic=TOPIC), wall=wall, fetched=fetch)
    for round_ in (1, 2):
        ask()
        assert len(asked) == 4 * round_
    assert refused == 2 * ["Amazon is asked too much already", *4 * ["Amazon cannot be asked"]]


def test_a_certificate_that_is_none_or_old(amazon: Any, wall: Wall) -> None:
    settings = SesSettings(**WHERE, topic=TOPIC)
    with pytest.raises(Unverifiable):
        make_provider(settings, wall=wall, fetched=lambda _: b"<html>").read(amazon.post())
    later = make_provider(settings, wall=lambda: wall() + 40 * 86400, fetched=amazon.fetch)
    with pytest.raises(Unbelieved, match="expired"):
        later.read(amazon.post())


def test_a_subscription_is_confirmed(ses: Any, amazon: Any) -> None:
    answer = ses.read(amazon.post("SubscriptionConfirmation", "please"))
    assert isinstance(answer, HookAnswer)
    assert answer.status == 200
    assert [address.partition("?")[2] for address in amazon.fetched] == [
        "", "Action=ConfirmSubscription&Token=2336412f37"
    ]  # fmt: skip


def test_a_subscription_to_elsewhere_is_not(ses: Any, amazon: Any) -> None:
    request = amazon.post("SubscriptionConfirmation", "please", signed={"SubscribeURL": "https://example.net/"})
    with pytest.raises(Unbelieved):
        ses.read(request)
    assert len(amazon.fetched) == 1
    amazon.away = True
    with pytest.raises(Unverifiable):
        ses.read(amazon.post("SubscriptionConfirmation", "please"))


def test_what_is_no_mail(ses: Any, amazon: Any, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("Successfully validated SNS topic.", '{"notificationType": "Bounce"}'):
        assert ses.read(amazon.post("Notification", text)).status == 200
    assert ses.read(amazon.post("UnsubscribeConfirmation", "bye")).status == 200
    assert "has no subscription any more" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"content": None}, {"content": 1}, {"mail": None}, {"receipt": []}, {"receipt": {"recipients": "x"}},
        {"receipt": {"recipients": [1]}}, {"mail": {"source": 1}},
        {"receipt": {"recipients": [], "action": {"encoding": "BASE64"}}, "content": "!"},
    ],
    ids=str,
)  # fmt: skip
def test_ses_that_makes_no_sense(ses: Any, amazon: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        ses.read(amazon.post("Notification", json.dumps(amazon.mail(**change))))


def test_a_mail_that_is_elsewhere_says_what_to_set(ses: Any, amazon: Any) -> None:
    mail = amazon.mail()
    del mail["content"]
    with pytest.raises(Malformed, match='has to be "SNS"'):
        ses.read(amazon.post("Notification", json.dumps(mail)))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"Type": 1}', b'{"Type": "Notification"}', b'{"Type": "x"}'])
def test_what_amazon_would_not_send(ses: Any, amazon: Any, body: bytes) -> None:
    with pytest.raises((Malformed, Unbelieved)):
        ses.read(amazon.post()._replace(body=body))


def test_what_is_too_long_for_amazon_is_not_read(ses: Any, amazon: Any) -> None:
    mine = amazon.post()
    with pytest.raises(Malformed, match="too long"):
        ses.read(mine._replace(body=mine.body + b" " * 1024 * 1024))


def test_a_password_before_all_that(amazon: Any, wall: Wall) -> None:
    provider = make_provider(
        SesSettings(**WHERE, topic=TOPIC, secret=Secret("hook:pass")), wall=wall, fetched=amazon.fetch
    )
    with pytest.raises(Unbelieved):
        provider.read(amazon.post())
    assert provider.read(at(amazon.post(), authorization="Basic " + base64.b64encode(b"hook:pass").decode()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_value_raises_anything_else(postmark_peer: Any, amazon_key: Any, data: st.DataObject) -> None:
    """Any key of a payload may hold anything."""
    postmark = make_provider(PostmarkSettings(**WHERE, secret=Secret(postmark_peer.secret)))
    key = data.draw(st.sampled_from(sorted(postmark_peer.payload())))
    ses = make_provider(SesSettings(**WHERE, topic=TOPIC), wall=lambda: 1_760_000_000.0, fetched=amazon_key.fetch)
    mail = amazon_key.mail()
    part = data.draw(st.sampled_from([mail, mail["mail"], mail["receipt"], mail["receipt"]["action"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    requests = [
        (postmark, postmark_peer.post(**{key: data.draw(JSON)})),
        (ses, amazon_key.post("Notification", json.dumps(mail))),
    ]
    for provider, request in requests:
        try:
            provider.read(request)
        except (Malformed, Unbelieved):
            pass


def test_what_is_posted_is_shown_to_nobody(raw: bytes) -> None:
    assert "Hello" not in repr(replace(Posted(raw, "a@b", ["c@d"]), client="x"))
