"""Delivery reports, written and read."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.message_formats import get
from trunkline.message_formats.email import Outcome, delivery_report, parse_mail, receive_message

ORIGINAL = b"From: ann@example.com\r\nSubject: Hi\r\nMessage-ID: <1@example.com>\r\n\r\nbody"


def report(*outcomes: Outcome, **options: Any) -> bytes:
    return delivery_report(
        **{
            "reporting_mta": "mx.example.org",
            "to": "ann@example.com",
            "outcomes": outcomes,
            "original": ORIGINAL,
            "date": 1e9,
            **options,
        }
    )


def bounce(mail: bytes) -> dict[str, Any] | None:
    fields = parse_mail(mail).fields
    found: dict[str, Any] | None = fields.get("bounce")
    assert found is None or fields["auto_submitted"] is True
    return found


def recipients(mail: bytes) -> list[tuple[Any, ...]]:
    found = bounce(mail)
    assert found is not None
    return [(each["address"], each["action"], each["status"], each.get("code")) for each in found["recipients"]]


def test_what_is_written_is_read() -> None:
    mail = report(
        Outcome("bob@example.net", 550, "5.1.1 No such user"),
        Outcome("eve@example.net", 554, "spam"),
        Outcome("dan@example.net", 451, "4.2.0 later", "delayed"),
        arrival=9e8,
        envelope_id="QQ1",
    )
    assert recipients(mail) == [
        ("bob@example.net", "failed", "5.1.1", 550),
        ("eve@example.net", "failed", "5.0.0", 554),
        ("dan@example.net", "delayed", "4.2.0", 451),
    ]
    found = bounce(mail)
    assert found is not None
    assert found["recipients"][0]["text"] == "550 5.1.1 No such user"
    assert (found["reporting_mta"], found["envelope_id"]) == ("mx.example.org", "QQ1")
    assert (found["message_id"], found["headers"]["subject"]) == ("<1@example.com>", "Hi")


def test_others_read_it_too() -> None:
    parsed = message_from_bytes(report(Outcome("b@example.net", 550, "5.1.1 no")), policy=default)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert parsed["Auto-Submitted"] == "auto-replied"
    text, status, headers = parsed.iter_parts()
    assert "<b@example.net>: 550 5.1.1 no" in text.get_content()
    of_message, of_recipient = cast(list[EmailMessage], status.get_payload())
    assert of_message["Reporting-MTA"] == "dns; mx.example.org"
    assert (of_recipient["Final-Recipient"], of_recipient["Status"]) == ("rfc822; b@example.net", "5.1.1")
    assert headers.get_content_type() == "text/rfc822-headers"
    assert not parsed.defects


def test_addresses_that_are_not_ascii() -> None:
    mail = report(Outcome("jürgen@example.net", 550, "5.1.1 keiner da: Jürgen"))
    assert b"report-type=global-delivery-status" in mail
    assert b"Final-Recipient: utf-8; " in mail
    assert recipients(mail) == [("jürgen@example.net", "failed", "5.1.1", 550)]


@given(st.text(max_size=300), st.text(max_size=300), st.binary(max_size=300))
def test_nothing_from_outside_breaks_it(address: str, text: str, original: bytes) -> None:
    hostile = Outcome(f"b\r\n\r\nX: y{address}@example.net", 550, f"5.1.1 no\r\n--report\r\nStatus: 2.0.0\r\n{text}")
    mail = report(hostile, Outcome("last@example.net", 550, "no"), original=b"A: b\n" + original, to="a\r\nBcc: x@y")
    head = mail.partition(b"\r\n\r\n")[0]
    assert b"\nBcc" not in head
    parsed = parse_mail(mail)
    assert len(parsed.fields["content"]["parts"]) == 3
    assert parsed.fields["bounce"]["recipients"][-1]["address"] == "last@example.net"
    assert not [each for each in parsed.fields["bounce"]["recipients"] if each["status"].startswith("2")]


def test_a_huge_header_goes_back_in_part() -> None:
    original = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 2000) for n in range(200)) + b"\r\nbody"
    mail = report(Outcome("b@example.net", 550, "no"), original=original)
    assert len(mail) < 80_000
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    assert b"body" not in mail.partition(b"X-0:")[2]


def written(
    status: str, *, kind: str = "message/delivery-status", top: str = "multipart/report", more: str = ""
) -> bytes:
    """A report of somebody else's."""
    return (
        f"From: MAILER-DAEMON@mx.example.net\r\nContent-Type: {top}; boundary=b\r\n{more}\r\n"
        f"--b\r\n\r\nIt failed.\r\n--b\r\nContent-Type: {kind}\r\n\r\n{status}\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n--b--\r\n"
    ).encode()


FAILED = ("bob@example.net", "failed", "5.1.1", 550)


@pytest.mark.parametrize(
    "status",
    [
        # RFC 3464 as postfix writes it
        "Reporting-MTA: dns; mx\r\nX-Postfix-Queue-ID: 1\r\n\r\nFinal-Recipient: rfc822; bob@example.net\r\n"
        "Original-Recipient: rfc822;bob@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; r\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <bob@example.net>: no",
        # no types, brackets, upper case, comments
        "Reporting-MTA: mx\r\n\r\nFINAL-RECIPIENT: <bob@EXAMPLE.net>\r\nACTION: Failed (oh)\r\nStatus: 5.1.1 (no)\r\n"
        "Diagnostic-Code: SMTP; 550 no",
        # one group for all
        "Reporting-MTA: dns; mx\r\nFinal-Recipient: rfc822; bob@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550-no\r\n such user",
        # only the original recipient, and no action
        "Reporting-MTA: dns; mx\r\n\r\nOriginal-Recipient: rfc822; bob@example.net\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp;550 x",
        # no status: it stands in the text
        "\r\n\r\nReporting-MTA: dns; mx\r\n \r\n\r\n\r\nFinal-Recipient: rfc822;bob@example.net\r\nAction: failed\r\n"
        "Diagnostic-Code: smtp; 550 #5.1.1 x",
        # a final recipient that is no address
        "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: x-local; bob\r\nOriginal-Recipient: rfc822; bob@example.net\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: x-unix; 550 5.1.1",
        # LF only, a long diagnostic folded
        "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550\n 5.1.1\n x",
    ],
)
def test_as_others_write_it(status: str) -> None:
    assert recipients(written(status)) == [FAILED]


@pytest.mark.parametrize("top", ["multipart/mixed", "multipart/report; report-type=delivery-status"])
@pytest.mark.parametrize("kind", ["message/delivery-status", "message/global-delivery-status; charset=utf-8"])
def test_wherever_it_stands(top: str, kind: str) -> None:
    status = (
        "Reporting-MTA: dns; m\r\n\r\nFinal-Recipient: rfc822; bob@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 x"
    )
    mail = written(status, top=top, kind=kind)
    assert recipients(mail) == [FAILED]
    assert (bounce(mail) or {})["message_id"] == "<1@x>"


def test_several_recipients_and_actions() -> None:
    groups = [
        f"Final-Recipient: rfc822; u{number}@example.net\r\nAction: {action}\r\nStatus: {status}"
        for number, (action, status) in enumerate(
            [("failed", "5.7.1"), ("delayed", "4.2.2"), ("delivered", "2.0.0"), ("relayed", "2.0.0"), ("odd", "4.4.1")]
        )
    ]
    found = recipients(written("Reporting-MTA: dns; m\r\n\r\n" + "\r\n\r\n".join(groups)))
    assert [each[1:3] for each in found] == [
        ("failed", "5.7.1"),
        ("delayed", "4.2.2"),
        ("delivered", "2.0.0"),
        ("relayed", "2.0.0"),
        ("delayed", "4.4.1"),
    ]


def test_a_header_alone() -> None:
    mail = b"X-Failed-Recipients: Bob@Example.net,\r\n eve@example.net\r\nSubject: Mail delivery failed\r\n\r\nsorry"
    assert recipients(mail) == [
        ("Bob@example.net", "failed", "5.0.0", None),
        ("eve@example.net", "failed", "5.0.0", None),
    ]


def test_a_text_of_qmail() -> None:
    mail = (
        b"Subject: failure notice\r\n\r\nHi. This is the qmail-send program at example.org.\r\nI'm afraid I wasn't able"
        b"\r\nto deliver.\r\n\r\n<bob@example.net>:\r\n10.0.0.1 does not like recipient.\r\n"
        b"Remote host said: 550 5.1.1 no\r\n"
        b"\r\n--- Below this line is a copy of the message.\r\n\r\nReturn-Path: <a@b>\r\n"
    )
    assert recipients(mail) == [("bob@example.net", "failed", "5.1.1", 550)]


@pytest.mark.parametrize(
    "mail",
    [
        b"Subject: hello\r\n\r\n<bob@example.net>:\r\nsaid hi",
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b\r\n\r\nread\r\n"
        b"--b\r\nContent-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; a@b\r\n--b--\r\n",
        b"",
    ],
)
def test_what_is_no_bounce(mail: bytes) -> None:
    assert bounce(mail) is None


def test_a_hostile_report_stays_small() -> None:
    group = (
        "Final-Recipient: rfc822; u@example.net\r\nAction: failed\r\nDiagnostic-Code: smtp; " + "x" * 900 + "\r\n\r\n"
    )
    found = bounce(written("Reporting-MTA: dns; m\r\n\r\n" + group * 5000))
    assert found is not None
    assert len(found["recipients"]) <= 1000
    assert sum(len(each["text"]) for each in found["recipients"]) <= 64 * 1024


def test_the_message_is_valid_and_shares_nothing() -> None:
    parsed = parse_mail(report(Outcome("b@example.net", 550, "5.1.1 no")))
    made = [
        receive_message(
            parsed, reply_channel="r!1", id="i", address="a@b", sender=None, to=["a@b"], client=["::1", 1], helo="x"
        )
        for _ in range(2)
    ]
    form = get("email.receive")
    assert form is not None
    form.validate(made[0])
    made[0]["bounce"]["recipients"][0]["address"] = "x"
    made[0]["bounce"]["headers"].clear()
    assert made[1]["bounce"]["recipients"][0]["address"] == "b@example.net"
    assert made[1]["bounce"]["headers"]
