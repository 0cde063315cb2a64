"""A mail that some recipients take and others refuse: who is told what, by SMTP and by LMTP."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.message_formats.email import parse_mail
from trunkline.protocol_servers.smtp import LmtpServer, SmtpServer

NO = {"accept": False, "code": 554, "text": "5.7.1 Not wanted"}
TRUSTED: dict[str, Any] = {"trusted": ["192.168.0.0/16"]}
TAKEN, REFUSED = "250 2.6.0 Mail taken", "554 5.7.1 Not wanted"


@pytest.fixture
def relayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that could send mail."""
    monkeypatch.setattr(SmtpServer, "relays", True)


def send(play: Any, *answers: dict[str, Any], sender: str = "ann@example.org", parameters: str = "") -> Any:
    """Send a mail whose recipients answer so; return the client, its last words unheard."""
    client = play.connect()
    client.say(f"MAIL FROM:<{sender}>", *[f"RCPT TO:<r{number}@b>{parameters}" for number in range(len(answers))])
    for question in play.inbox.take():
        play.answer(question)
    client.say("DATA")
    client.say("Message-ID: <1>", "Subject: Hello", "", "hi", ".")
    for sent, answer in zip(play.sent("email.receive"), answers, strict=True):
        play.answer(sent, **answer)
    return client


@pytest.mark.usefixtures("relayed")
def test_a_bounce_tells_the_sender_who_refused(stage: Any) -> None:
    play = stage(**TRUSTED)
    client = send(play, {}, NO, {}, NO)
    (sent,) = play.sent("email.send")
    assert client.hear() == [TAKEN]
    assert (sent.message["to"], sent.message["from"]) == (["ann@example.org"], "")
    report = parse_mail(sent.message["raw"]).fields
    assert report["auto_submitted"]
    assert report["headers"]["to"] == "<ann@example.org>"
    told = report["bounce"]["recipients"]
    assert [(each["address"], each["action"], each["status"]) for each in told] == [
        ("r1@b", "failed", "5.7.1"), ("r3@b", "failed", "5.7.1")
    ]  # fmt: skip
    assert play.server.stats["bounces"] == 1
    again = send(play, {}, NO, {}, NO)  # its 250 was lost: what is sent is the same, and the layer knows it
    assert again.hear() == [TAKEN]
    assert play.sent("email.send")[0].options["once"] == sent.options["once"]


@pytest.mark.parametrize(
    ("settings", "answers", "sender", "reply"),
    [
        ({}, [{}, NO], "ann@b", REFUSED),  # nobody vouches for the sender
        (TRUSTED, [{}, NO], "", REFUSED),  # never a bounce for a bounce
        (TRUSTED, [NO, NO], "ann@b", REFUSED),
        (TRUSTED, [{}, {}], "ann@b", TAKEN),
        (TRUSTED, [{}, NO, {"accept": False, "code": 451, "text": "4.3.0 Later"}], "ann@b", "451 4.3.0 Later"),
    ],
)
@pytest.mark.usefixtures("relayed")
def test_when_there_is_no_bounce(
    stage: Any, settings: dict[str, Any], answers: list[dict[str, Any]], sender: str, reply: str
) -> None:
    play = stage(**settings)
    client = send(play, *answers, sender=sender)
    assert client.hear() == [reply]
    assert play.inbox.take() == []


@pytest.mark.usefixtures("relayed")
def test_who_wants_no_bounce_gets_none(stage: Any) -> None:
    play = stage(**TRUSTED)
    assert send(play, {}, NO, parameters=" NOTIFY=NEVER").hear() == [TAKEN]
    assert play.inbox.take() == []


@pytest.mark.usefixtures("relayed")
def test_a_bounce_names_what_the_sender_named(stage: Any) -> None:
    play = stage(**TRUSTED)
    send(play, {}, NO, parameters=" ORCPT=rfc822;old+2Bname@example.com")
    (sent,) = play.sent("email.send")
    assert (
        b"\r\nOriginal-Recipient: rfc822;old+name@example.com\r\nFinal-Recipient: rfc822; r1@b\r\n"
        in sent.message["raw"]
    )


@pytest.mark.usefixtures("relayed")
def test_a_bounce_that_nobody_takes_delays_the_mail(stage: Any) -> None:
    play = stage(**TRUSTED)
    play.inbox.refusals["email.send"] = LayerUnavailable("x")
    assert send(play, {}, NO).hear() == ["451 4.3.0 Temporary failure, try again later"]
    assert (play.server.room.memory, play.server.room.disk) == (0, 0)


def test_without_a_relay_nobody_could_take_the_bounce(stage: Any) -> None:
    play = stage(**TRUSTED)
    assert send(play, {}, NO).hear() == [REFUSED]


def test_lmtp_answers_for_each_recipient_as_soon_as_its_turn_has_come(stage: Any) -> None:
    play = stage(server=LmtpServer)
    client = play.connect("LHLO")
    client.say("MAIL FROM:<a@b>", "RCPT TO:<x@b>", "RCPT TO:<y@b>", "RCPT TO:<x@b>", "RCPT TO:<z@b>")
    for question in play.sent("email.recipient"):
        play.answer(question)
    client.say("DATA")
    client.say("Message-ID: <1>", "", "hi", ".", "MAIL FROM:<next@b>", "RCPT TO:<n@b>")
    first, second, third = play.sent("email.receive")
    assert [one.message["address"] for one in (first, second, third)] == ["x@b", "y@b", "z@b"]
    play.answer(second, **NO)
    assert client.hear()[-1:] != [REFUSED]
    play.answer(first)
    assert client.hear() == [TAKEN, REFUSED, TAKEN]
    play.answer(third, accept=False, code=451, text="4.3.0 Later")
    assert client.hear() == ["451 4.3.0 Later", "250 2.1.0 Sender OK"]
    assert len(play.sent("email.recipient")) == 1
    assert (play.server.stats["mails_delayed"], play.server.room.memory) == (1, 0)


def test_lmtp_answers_for_all_when_the_mail_goes_nowhere(stage: Any) -> None:
    play = stage(server=LmtpServer, rcpt="any")
    client = play.connect("LHLO")
    client.say("MAIL FROM:<a@b>", *[f"RCPT TO:<r{number}@b>" for number in range(100)], "DATA")
    part = "--b\r\nContent-Type: application/x\r\n\r\n" + ("y" * 98 + "\r\n") * 20
    client.say("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 900 + "--b--", ".")
    play.loop.finish_thread()
    assert client.hear() == ["552 5.3.4 The mail has too many large parts for so many recipients"] * 100
