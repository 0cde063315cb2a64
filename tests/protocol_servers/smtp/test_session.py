"""The SMTP session byte by byte: whole conversations, and what is refused in them.

Each conversation is fed as a whole and one byte at a time. In a script `C` is what the client sends, `S` are the
beginnings of the lines that the server says to it, in order.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp import replies
from trunkline.protocol_servers.smtp.commands import LMTP
from trunkline.protocol_servers.smtp.content import Content, Room
from trunkline.protocol_servers.smtp.envelope import Limits
from trunkline.protocol_servers.smtp.events import (
    Closed,
    LoginAsked,
    Mail,
    MailReceived,
    Recipient,
    RecipientAsked,
    TlsWanted,
)
from trunkline.protocol_servers.smtp.replies import Reply
from trunkline.protocol_servers.smtp.session import MAX_BUFFERED, MAX_REPLIES, Session

LIMITS = Limits(
    hostname="mx.example.org",
    max_size=5000,
    max_recipients=3,
    max_line=1000,
    max_errors=5,
    postmaster="boss@example.org",
)
NOBODY = Reply(550, "5.1.1 No such recipient here")


class Driver:
    """Answer a session's questions at once: recipients called "nobody…" are refused, all mails are taken, and Ann may
    log in with the password "secret".
    """

    def __init__(self, limits: Limits = LIMITS, **options: Any) -> None:
        self.session = Session(limits, **options)
        self.session.begin()
        self.mails: list[Mail] = []
        self.contents: list[bytes] = []
        self.closed = False
        self.tls = 0

    def feed(self, data: bytes, step: int | None = None) -> list[str]:
        said = self.work()
        step = step or len(data) or 1
        for position in range(0, len(data), step):
            self.session.receive_data(data[position : position + step])
            said += self.work()
        return said.decode("ascii").split("\r\n")[:-1]

    def work(self) -> bytes:
        said = b""
        while True:
            events = self.session.events()
            for event in events:
                if isinstance(event, RecipientAsked):
                    refused = event.recipient.address.startswith("nobody")
                    self.session.answer_recipient(event.recipient, NOBODY if refused else replies.RECIPIENT_OK)
                elif isinstance(event, MailReceived):
                    self.mails.append(event.mail)
                    content = event.mail.take_content()
                    self.contents.append(content.read(0, content.size))
                    content.close()
                    self.answer(event.mail)
                elif isinstance(event, LoginAsked):
                    known = (event.user, event.password) == ("ann", "secret")
                    self.session.answer_login(*([replies.LOGGED_IN, event.user] if known else [replies.AUTH_FAILED]))
                elif isinstance(event, TlsWanted):
                    said += self.session.data_to_send()
                    self.tls += 1
                    self.session.tls_started()
                elif isinstance(event, Closed):
                    self.closed = True
            said += self.session.data_to_send()
            if self.session.is_behind:
                self.session.go_on()
            elif not events:
                return said

    def answer(self, mail: Mail) -> None:
        self.session.answer_mail(replies.MAIL_TAKEN)


GREETING = ["220 mx.example.org ESMTP"]
EHLO = [
    "250-mx.example.org",
    "250-PIPELINING",
    "250-SIZE 5000",
    "250-8BITMIME",
    "250-SMTPUTF8",
    "250-ENHANCEDSTATUSCODES",
    "250-CHUNKING",
    "250 BINARYMIME",
]
HELLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<a@example.org>\r\n"
RCPT = b"RCPT TO:<you@example.org>\r\n"
OK, SENDER, RECIPIENT, GO, TAKEN, BYE = "250 2.0.0", "250 2.1.0", "250 2.1.5", "354 ", "250 2.6.0", "221 2.0.0"

CONVERSATIONS: list[tuple[str, bytes, list[str]]] = [
    (
        "a mail",
        HELLO + MAIL + RCPT + b"DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
        [*EHLO, SENDER, RECIPIENT, GO, TAKEN, BYE],
    ),
    ("two mails", HELLO + (MAIL + RCPT + b"DATA\r\n.\r\n") * 2, [*EHLO, *[SENDER, RECIPIENT, GO, TAKEN] * 2]),
    ("HELO and small letters", b"helo x\r\nmail from:<>\r\nrcpt to:<a@b>\r\n",
     ["250 mx.example.org", SENDER, RECIPIENT]),
    ("spaces after the colon", HELLO + b"MAIL FROM:  <>\r\nRCPT TO: <a@b>\r\n", [*EHLO, SENDER, RECIPIENT]),
    ("short commands", b"NOOP\r\nNOOP any thing\r\nRSET\r\nHELP\r\nHELP MAIL\r\nVRFY ann\r\nQUIT\r\n",
     [OK, OK, OK, "214 2.0.0", "214 2.0.0", "252 2.5.0", BYE]),
    ("nothing after QUIT", b"QUIT\r\nNOOP\r\n", [BYE]),
    ("unknown", b"HLEO x\r\n\r\nGETS\r\n", ["500 5.5.1"] * 3),
    ("a browser", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + HELLO + MAIL, ["421 4.7.0"]),
    ("not offered", b"EXPN x\r\nAUTH PLAIN\r\nLHLO x\r\nETRN x\r\n", ["502 5.5.1"] * 4),
    ("STARTTLS without a certificate", b"STARTTLS\r\n", ["502 5.5.1"]),
    ("unwanted arguments", HELLO + b"RSET x\r\nQUIT x\r\n" + MAIL + RCPT + b"DATA x\r\nSTARTTLS x\r\n",
     [*EHLO, "501 5.5.4", "501 5.5.4", SENDER, RECIPIENT, "501 5.5.4", "501 5.5.4"]),
    ("HELO without a name", b"HELO\r\nEHLO \r\nEHLO a\x01b\r\nEHLO " + b"x" * 256 + b"\r\n", ["501 5.5.4"] * 4),
    ("out of order", MAIL + b"RCPT TO:<a@b>\r\nDATA\r\n", ["503 5.5.1"] * 3),
    ("MAIL twice, DATA too early", HELLO + MAIL + MAIL + b"DATA\r\n", [*EHLO, SENDER, "503 5.5.1", "503 5.5.1"]),
    ("RSET forgets the mail", HELLO + MAIL + RCPT + b"RSET\r\nDATA\r\n", [*EHLO, SENDER, RECIPIENT, OK, "503 5.5.1"]),
    ("EHLO forgets the mail", HELLO + MAIL + HELLO + RCPT, [*EHLO, SENDER, *EHLO, "503 5.5.1"]),
    ("MAIL syntax", HELLO + b"MAIL\r\nMAIL TO:<a@b>\r\nMAIL FROM:a@b\r\nMAIL FROM:<a>\r\nMAIL FROM:<a@b>x\r\n",
     [*EHLO, "501 5.5.4", "501 5.5.4", "501 5.1.7", "501 5.1.7", "501 5.5.4"]),
    ("RCPT syntax", HELLO + MAIL + b"RCPT\r\nRCPT FROM:<a@b>\r\nRCPT TO:<>\r\n"
     b"RCPT TO:<a@b>x\r\nRCPT TO:<a@b> SIZE=1\r\n",
     [*EHLO, SENDER, "501 5.5.4", "501 5.5.4", "501 5.1.3", "501 5.5.4", "555 5.5.4"]),
    ("known parameters", HELLO + b"MAIL FROM:<a@b> SIZE=5000 BODY=8bitmime SMTPUTF8\r\n", [*EHLO, SENDER]),
    ("unknown parameters", HELLO + b"MAIL FROM:<a@b> AUTH=<>\r\nMAIL FROM:<a@b> HOLDFOR=1\r\n",
     [*EHLO, "555 5.5.4", "555 5.5.4"]),
    ("odd parameters", HELLO + b"".join(b"MAIL FROM:<a@b> %b\r\n" % one for one in
     (b"SIZE", b"SIZE=x", b"SIZE=-1", b"BODY=9BIT", b"SMTPUTF8=1")), [*EHLO, *["501 5.5.4"] * 5]),
    ("delivery reports", HELLO + b"MAIL FROM:<a@b> RET=hdrs ENVID=x+2By\r\n" +
     b"RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;e@f\r\nRCPT TO:<g@h> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;i@j\r\n",
     [*EHLO, SENDER, RECIPIENT, RECIPIENT]),
    ("odd ones of the mail", HELLO + b"".join(b"MAIL FROM:<a@b> %b\r\n" % one for one in
     (b"RET=ALL", b"RET", b"ENVID", b"ENVID=+0A", b"ENVID=" + b"x" * 101)), [*EHLO, *["501 5.5.4"] * 5]),
    ("odd ones of recipients", HELLO + MAIL + b"".join(b"RCPT TO:<a@b> %b\r\n" % one for one in
     (b"NOTIFY=NEVER,DELAY", b"NOTIFY", b"ORCPT=x", b"ORCPT=rfc822;+0D+0A", b"ORCPT=;x@y")),
     [*EHLO, SENDER, *["501 5.5.4"] * 5]),
    ("chunks", HELLO + MAIL + RCPT + b"BDAT 4\r\na\r\n.BDAT 0\r\nBDAT 3 LAST\r\n\r\nbQUIT\r\n",
     [*EHLO, SENDER, RECIPIENT, OK, OK, TAKEN, BYE]),
    ("nothing in chunks", HELLO + MAIL + RCPT + b"BDAT 0 LAST\r\n" + MAIL + RCPT + b"bdat 2\r\nhibdat 0 last\r\n",
     [*EHLO, SENDER, RECIPIENT, TAKEN, SENDER, RECIPIENT, OK, TAKEN]),
    ("a chunk without a mail", b"BDAT 5\r\nNOOP\n" + HELLO + b"BDAT 12\r\nMAIL FROM:<>" + MAIL + b"BDAT 6 LAST\r\n"
     b"NOOP\r\nRSET\r\n", ["503 5.5.1", *EHLO, "503 5.5.1", SENDER, "503 5.5.1", OK]),
    ("a chunk for nobody", HELLO + MAIL + b"RCPT TO:<nobody@b>\r\nBDAT 6\r\nQUIT\r\nRSET\r\n",
     [*EHLO, SENDER, "550 5.1.1", "554 5.5.1", OK]),
    ("chunks and DATA", HELLO + MAIL + RCPT + b"BDAT 2\r\nhiDATA\r\n" + RCPT + MAIL + b"NOOP\r\nBDAT 0 LAST\r\n",
     [*EHLO, SENDER, RECIPIENT, OK, "503 5.5.1", "503 5.5.1", "503 5.5.1", OK, TAKEN]),
    ("chunks after a refused one", HELLO + MAIL + RCPT + b"BDAT 3\r\na\nbBDAT 6\r\nRSET\r\nBDAT 2 LAST\r\nhi" + MAIL,
     [*EHLO, SENDER, RECIPIENT, "550 5.6.0", "503 5.5.1", "503 5.5.1", SENDER]),
    ("RSET after a refused chunk", HELLO + MAIL + RCPT + b"BDAT 3\r\na\nbRSET\r\n" + MAIL + RCPT + b"BDAT 1 LAST\r\nx",
     [*EHLO, SENDER, RECIPIENT, "550 5.6.0", OK, SENDER, RECIPIENT, TAKEN]),
    ("a refused last chunk", HELLO + MAIL + RCPT + b"BDAT 3 LAST\r\na\rb" + MAIL,
     [*EHLO, SENDER, RECIPIENT, "550 5.6.0", SENDER]),
    ("a CR at the end of a chunk", HELLO + MAIL + RCPT + b"BDAT 2 LAST\r\na\r\n" + MAIL,
     [*EHLO, SENDER, RECIPIENT, "550 5.6.0", "500 5.5.2"]),
    ("a chunk that is too large", HELLO + MAIL + RCPT + b"BDAT 6000 LAST\r\n" + b"xxxx\r\n" * 1000 + b"NOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, "552 5.3.4", OK]),
    ("a line over two chunks", HELLO + MAIL + RCPT + (b"BDAT 600\r\n" + b"x" * 600) * 2 + b"RSET\r\n",
     [*EHLO, SENDER, RECIPIENT, OK, "500 5.5.2", OK]),
    ("nobody knows where it ends", HELLO + MAIL + RCPT + b"BDAT\r\nQUIT\r\n", [*EHLO, SENDER, RECIPIENT, "421 4.5.4"]),
    ("nor here", HELLO + MAIL + RCPT + b"BDAT 1x LAST\r\nQUIT\r\n", [*EHLO, SENDER, RECIPIENT, "421 4.5.4"]),
    ("nor here either", b"BDAT -1\r\nQUIT\r\n", ["421 4.5.4"]),
    ("a chunk without end", b"BDAT 99999999999999999999\r\n" + b"x" * 50_000, ["421 4.7.0"]),

        ("binary", HELLO + b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n" + RCPT + b"DATA\r\nBDAT 5 LAST\r\n\r\0\n.\nNOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, "503 5.5.1", TAKEN, OK]),
    ("names that are none", b"EHLO a b\r\nEHLO <x>\r\nHELO [1.2.3.4]\r\nHELO MY_PC\r\nEHLO \r\n",
     ["501 5.5.4", "501 5.5.4", "250 mx", "250 mx", "501 5.5.4"]),
    ("guessing", HELLO + MAIL + b"".join(b"RCPT TO:<nobody%d@b>\r\n" % n for n in range(10)),
     [*EHLO, SENDER, "550 5.1.1", "550 5.1.1", "550 5.1.1", *["452 4.5.3"] * 7]),
    ("guessing on", HELLO + (MAIL + b"".join(b"RCPT TO:<nobody%d@b>\r\n" % n for n in range(3)) + b"RSET\r\n") * 3,
     [*EHLO, *[SENDER, *["550 5.1.1"] * 3, OK], SENDER, *["550 5.1.1"] * 3, "421 4.7.0"]),
    ("a size beyond counting", HELLO + b"MAIL FROM:<a@b> SIZE=" + b"9" * 30 + b"\r\n", [*EHLO, "501 5.5.4"]),
    ("declared too large", HELLO + b"MAIL FROM:<a@b> SIZE=5001\r\n" + MAIL, [*EHLO, "552 5.3.4", SENDER]),
    ("too large after all", HELLO + MAIL + RCPT + b"DATA\r\n" + b"x\r\n" * 2000 + b".\r\nNOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, GO, "552 5.3.4", OK]),
    ("a long line in the mail", HELLO + MAIL + RCPT + b"DATA\r\n" + b"x" * 1001 + b"\r\n.\r\nNOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, GO, "500 5.5.2", OK]),
    ("a bare LF in the mail", HELLO + MAIL + RCPT + b"DATA\r\na\n.\nMAIL FROM:<evil@example.org>\r\n.\r\nNOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, GO, "550 5.6.0", OK]),
    ("non-ASCII without SMTPUTF8", HELLO + "MAIL FROM:<ä@b>\r\n".encode() + MAIL + "RCPT TO:<ä@b>\r\n".encode(),
     [*EHLO, "553 5.6.7", SENDER, "553 5.6.7"]),
    ("non-ASCII with SMTPUTF8", HELLO + "MAIL FROM:<ä@ö.example> SMTPUTF8\r\nRCPT TO:<ü@b>\r\n".encode(),
     [*EHLO, SENDER, RECIPIENT]),
    ("not UTF-8", HELLO + b"MAIL FROM:<\xe4@b> SMTPUTF8\r\n", [*EHLO, "500 5.5.2"]),
    ("all recipients refused", HELLO + MAIL + b"RCPT TO:<nobody@b>\r\nDATA\r\nRSET\r\n",
     [*EHLO, SENDER, "550 5.1.1", "554 5.5.1", OK]),
    ("some recipients refused", HELLO + MAIL + b"RCPT TO:<nobody@b>\r\n" + RCPT + b"DATA\r\n.\r\n",
     [*EHLO, SENDER, "550 5.1.1", RECIPIENT, GO, TAKEN]),
    ("too many recipients", HELLO + MAIL + b"".join(b"RCPT TO:<r%d@b>\r\n" % n for n in range(1000)) + b"DATA\r\n.\r\n",
     [*EHLO, SENDER, *[RECIPIENT] * 3, *["452 4.5.3"] * 997, GO, TAKEN]),
    ("DATA that is refused, and the mail behind it", HELLO + MAIL + b"DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n" + RCPT,
     [*EHLO, SENDER, "503 5.5.1", "500 5.5.1", "500 5.5.1", "500 5.5.1", "500 5.5.1", RECIPIENT]),
    ("too many errors", b"x\r\n" * 10, [*["500 5.5.1"] * 5, "421 4.7.0"]),
    ("a long command", b"NOOP " + b"x" * 1020 + b"\r\nNOOP " + b"x" * 1019 + b"\r\n", ["500 5.5.2", OK]),
    ("a very long command", b"x" * 15_000 + b"\r" + b"x" * 15_000 + b"\r\nNOOP\r\n", ["500 5.5.2", OK]),
    ("a bare LF ends nothing", b"NOOP\nNOOP\r\nNOOP\r\n", ["500 5.5.2", OK]),
    ("only bare LFs", b"EHLO x\nMAIL FROM:<a@b>\nQUIT\n", ["500 5.5.2"] * 3),
    ("a bare CR ends nothing", b"NOOP\rNOOP\r\nNOOP\r\n\r\r\nNOOP\r\n", ["500 5.5.2", OK, "500 5.5.2", OK]),
    ("NUL", b"NOOP \0\r\nNO\0OP\r\n", [OK, "500 5.5.1"]),
]  # fmt: skip


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    ("client", "server"), [row[1:] for row in CONVERSATIONS], ids=[row[0] for row in CONVERSATIONS]
)
def test_conversations(client: bytes, server: list[str], step: int | None) -> None:
    driver = Driver()
    said = driver.feed(client, step)
    for line, beginning in zip(said, GREETING + server, strict=True):
        assert line.startswith(beginning)
        assert len(line) <= 510
    for mail in driver.mails:
        assert mail.sender != "evil@example.org"


@pytest.mark.parametrize("step", [None, 1])
def test_what_arrives(step: int | None) -> None:
    driver = Driver()
    recipients = [b"Ann@EXAMPLE.org", b"Ann@example.ORG", b"nobody@example.org", b'"postmaster"@x.example']
    script = HELLO + b"MAIL FROM:<> SMTPUTF8\r\n" + b"".join(b"RCPT TO:<%b>\r\n" % one for one in recipients)
    said = driver.feed(script + b"DATA\r\n..a\r\n.\r\n", step)
    assert [line[:3] for line in said[-7:]] == ["250", "250", "250", "550", "250", "354", "250"]
    (mail,) = driver.mails
    assert mail.sender is None
    assert mail.smtputf8
    assert mail.accepted == ["Ann@example.org", "boss@example.org"]
    assert driver.contents == [b".a\r\n"]
    assert driver.session.helo == "client.example.org"


@pytest.mark.parametrize("name", ["postmaster", "POSTMASTER", "Postmaster@Example.ORG", "<not>"])
def test_postmaster(name: str) -> None:
    for postmaster, address in (
        (None, f"postmaster@{name.partition('@')[2].lower() or 'mx.example.org'}"),
        ("b@c", "b@c"),
    ):
        driver = Driver(Limits(hostname="MX.example.org", postmaster=postmaster))
        driver.feed(HELLO + MAIL + f"RCPT TO:<{name}>\r\n".encode() + b"DATA\r\n.\r\n")
        assert [mail.accepted[0].lower() for mail in driver.mails] == ([] if name == "<not>" else [address])


def test_starttls_begins_anew_and_believes_nothing_that_was_read_before() -> None:
    driver = Driver(offers_tls=True)
    assert "250 STARTTLS" in driver.feed(HELLO)
    said = driver.feed(MAIL + b"STARTTLS\r\nRSET\r\nEHLO injected\r\n" + MAIL)
    assert [line[:9] for line in said] == ["250 2.1.0", "220 2.0.0"]
    assert driver.tls == 1
    assert driver.session.helo == ""
    assert driver.session.tls
    assert driver.feed(MAIL)[0].startswith("503 5.5.1")
    said = driver.feed(HELLO + b"STARTTLS\r\n")
    assert "250 BINARYMIME" in said
    assert "250 STARTTLS" not in said
    assert said[-1].startswith("503 5.5.1")


def test_bytes_between_starttls_and_tls_are_thrown_away() -> None:
    session = Session(LIMITS, offers_tls=True)
    session.receive_data(HELLO + b"STARTTLS\r\n")
    session.receive_data(b"NOOP\r\n")
    assert [type(event) for event in session.events()] == [TlsWanted]
    session.data_to_send()
    session.tls_started()
    session.receive_data(b"RSET\r\n")
    assert session.data_to_send().startswith(b"250 2.0.0")


def test_a_connection_on_tls_is_offered_no_starttls() -> None:
    driver = Driver(offers_tls=True, tls=True)
    assert driver.feed(HELLO)[-1] == "250 BINARYMIME"


def asked(session: Session) -> list[Recipient]:
    return [event.recipient for event in session.events() if isinstance(event, RecipientAsked)]


def test_pipelined_recipients_are_asked_at_once_and_answered_in_order() -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL)
    session.data_to_send()
    session.receive_data(b"RCPT TO:<a@b>\r\nRCPT TO:<bad>\r\nRCPT TO:<c@d>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
    first, second = asked(session)
    assert session.is_waiting
    session.answer_recipient(second, NOBODY)
    assert session.data_to_send() == b""
    session.answer_recipient(first, replies.RECIPIENT_OK)
    session.answer_recipient(first, NOBODY)
    said = session.data_to_send().decode().splitlines()
    assert [line[:9] for line in said] == ["250 2.1.5", "501 5.1.3", "550 5.1.1", "250 2.1.5", "354 End d"]
    assert not session.is_waiting


def test_commands_behind_an_open_question_wait_and_their_number_is_bounded() -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL + RCPT)
    (recipient,) = asked(session)
    session.data_to_send()
    session.receive_data(b"NOOP\r\n" * 10)
    assert not session.is_full
    session.receive_data(b"NOOP\r\n" * (MAX_BUFFERED // 6))
    assert session.is_full
    assert session.data_to_send() == b""
    session.answer_recipient(recipient, replies.RECIPIENT_OK)
    said = session.data_to_send()
    while session.is_behind:
        session.go_on()
        more = session.data_to_send()
        assert more.count(b"\r\n") <= MAX_REPLIES
        said += more
    assert not session.is_full
    assert said.count(b"250 2.0.0") == 10 + MAX_BUFFERED // 6


def test_a_recipient_said_over_and_over_takes_no_room_while_its_answer_is_open() -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL)
    session.data_to_send()
    session.receive_data(RCPT * 100_000)
    (recipient,) = asked(session)
    assert session.is_full
    assert not session.is_behind
    session.go_on()
    assert session.data_to_send() == b""
    session.answer_recipient(recipient, replies.RECIPIENT_OK)
    assert session.data_to_send().count(b"250 2.1.5") == MAX_REPLIES


@pytest.mark.parametrize(
    ("answers", "reply"),
    [
        ([Reply(450, "4.2.0 Later")], "451 4.5.1"),
        ([NOBODY, Reply(451, "4.3.0 Later")], "451 4.5.1"),
        ([NOBODY, NOBODY], "554 5.5.1"),
    ],
)
def test_data_without_recipients_is_refused_for_good_only_if_all_of_them_were(answers: list[Reply], reply: str) -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL + b"".join(b"RCPT TO:<r%d@b>\r\n" % number for number in range(len(answers))))
    for recipient, answer in zip(asked(session), answers, strict=True):
        session.answer_recipient(recipient, answer)
    session.data_to_send()
    session.receive_data(b"DATA\r\n")
    assert session.data_to_send().decode().startswith(reply)


def test_a_mail_is_answered_when_it_is_answered() -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL + RCPT)
    session.answer_recipient(asked(session)[0], replies.RECIPIENT_OK)
    session.receive_data(b"DATA\r\nhi")
    assert session.incoming is not None
    assert session.incoming.content.size == 2
    session.receive_data(b"\r\n.\r\nNOOP\r\n")
    session.data_to_send()
    assert session.is_waiting
    (received,) = [event for event in session.events() if isinstance(event, MailReceived)]
    assert received.mail.take_content().size == 4
    session.answer_mail(Reply(451, "4.3.0 Later"))
    assert session.data_to_send() == b"451 4.3.0 Later\r\n250 2.0.0 OK\r\n"
    session.answer_mail(replies.MAIL_TAKEN)
    assert session.data_to_send() == b""


def test_a_mail_that_there_is_no_room_for_is_refused_at_its_end() -> None:
    room = Room(10, 0)
    driver = Driver(open_content=lambda: Content(room))
    driver.feed(HELLO + MAIL + RCPT + b"DATA\r\nsome data")
    assert room.memory == 9
    assert driver.feed(b"\r\nmore\r\n.\r\n") == [replies.NO_ROOM.encode().decode().strip()]
    assert driver.feed(MAIL + RCPT + b"BDAT 20\r\n" + b"x" * 20)[-1].startswith("451 4.3.1")
    assert (room.memory, driver.mails) == (0, [])


@pytest.mark.parametrize("how", ["RSET", "EHLO", "STARTTLS", "421", "lost"])
def test_a_mail_that_is_given_up_leaves_nothing(how: str) -> None:
    room = Room(1000, 0)
    driver = Driver(open_content=lambda: Content(room), offers_tls=True)
    driver.feed(HELLO + MAIL + RCPT + b"BDAT 5\r\n12345")
    assert room.memory == 5
    if how == "lost":
        driver.session.lost()
    elif how == "421":
        driver.session.close(replies.IDLE)
    else:
        driver.feed(f"{how}{' x' if how == 'EHLO' else ''}\r\n".encode())
    assert room.memory == 0


def test_far_too_much_data_ends_the_session() -> None:
    room = Room(LIMITS.max_size, 0)
    chunk = b"BDAT 9999999\r\n"
    for flood in (HELLO + MAIL + RCPT + b"DATA\r\n", b"", chunk, HELLO + MAIL + RCPT + chunk):
        driver = Driver(open_content=lambda: Content(room))
        driver.feed(flood)
        sent = 0
        while not driver.closed:
            driver.session.receive_data(b"x" * 5000)
            said = driver.work()
            assert room.memory <= LIMITS.max_size
            sent += 5000
            assert sent < 20 * LIMITS.max_size
        assert said.startswith(b"421 4.7.0")
        assert room.memory == 0


def test_ending_waits_for_the_open_mail() -> None:
    driver = Driver()
    driver.feed(HELLO + MAIL)
    driver.session.end(replies.STOPPING)
    assert driver.feed(RCPT + b"DATA\r\n.\r\n")[-2:] == [
        replies.MAIL_TAKEN.encode().decode().strip(), replies.STOPPING.encode().decode().strip()
    ]  # fmt: skip
    assert driver.closed
    assert driver.feed(b"NOOP\r\n") == []


def test_ending_without_an_open_mail() -> None:
    driver = Driver()
    driver.feed(HELLO)
    driver.session.end(replies.STOPPING)
    assert driver.work() == replies.STOPPING.encode()
    driver.session.end(replies.STOPPING)
    assert driver.work() == b""
    waiting = Driver()
    waiting.feed(HELLO + MAIL)
    waiting.session.end(replies.STOPPING)
    assert waiting.feed(HELLO + b"NOOP\r\n")[-1].startswith("421 4.3.2")


def test_ending_now() -> None:
    session = Session(LIMITS)
    session.receive_data(HELLO + MAIL + RCPT)
    session.data_to_send()
    session.close(replies.IDLE)
    assert session.data_to_send() == replies.IDLE.encode()
    assert session.closed


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (550, "5.1.1 No such person", "550 5.1.1 No such person"),
        (550, "No such person", "550 5.0.0 No such person"),
        (550, "", "550 5.0.0 Refused"),
        (550, "5.1.1", "550 5.1.1 Refused"),
        (451, "5.1.1 Mismatched", "451 4.0.0 Mismatched"),
        (451, "5.1.1", "451 4.0.0 Refused"),
        (250, "a\r\n.\r\nb", "250 2.0.0 a . b"),
        (550, "5.1.1 ünknown", "550 5.1.1 ?nknown"),
    ],
)
def test_replies_made_of_what_others_say(code: int, text: str, reply: str) -> None:
    assert replies.made_reply(code, text, "Refused").encode().decode() == reply + "\r\n"


def test_a_long_reply_takes_several_lines() -> None:
    lines = replies.made_reply(550, "5.1.1 " + "word " * 1000, "").encode().decode().split("\r\n")[:-1]
    assert len(lines) > 3
    assert all(line.startswith("550-5.1.1 ") and len(line) <= 510 for line in lines[:-1])
    assert lines[-1].startswith("550 5.1.1 ")


# Logging in


def encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


def login(response: str) -> bytes:
    return b"AUTH PLAIN " + encoded(response) + b"\r\n"


NAME, PASSWORD, EMPTY = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "334 "
IN, OUT = "235 2.7.0", "535 5.7.8"
USERS = dataclasses.replace(LIMITS, offers_auth=True)

LOGINS: list[tuple[str, bytes, list[str], str | None]] = [
    ("PLAIN at once", HELLO + login("\0ann\0secret"), [IN], "ann"),
    ("PLAIN after a challenge", HELLO + b"auth plain\r\n" + encoded("ann\0ann\0secret") + b"\r\n", [EMPTY, IN], "ann"),
    ("LOGIN", HELLO + b"AUTH LOGIN\r\n" + encoded("ann") + b"\r\n" + encoded("secret") + b"\r\n",
     [NAME, PASSWORD, IN], "ann"),
    ("LOGIN with a name", HELLO + b"AUTH LOGIN " + encoded("ann") + b"\r\n" + encoded("secret") + b"\r\n",
     [PASSWORD, IN], "ann"),
    ("a mail after it", HELLO + login("\0ann\0secret") + b"MAIL FROM:<a@b> AUTH=<>\r\n", [IN, SENDER], "ann"),
    ("in somebody's name", HELLO + b"MAIL FROM:<a@b> AUTH=c+40d\r\nRSET\r\nMAIL FROM:<a@b> AUTH=+zz\r\n",
     [SENDER, OK, "501 5.5.4"], None),
    ("wrong", HELLO + login("\0ann\0wrong") + login("\0bob\0secret") + b"NOOP\r\n", [OUT, OUT, OK], None),
    ("wrong too often", HELLO + login("\0ann\0x") * 3 + login("\0ann\0secret"), [OUT, OUT, OUT, "421 4.7.0"], None),
    ("as somebody else", HELLO + login("bob\0ann\0secret"), ["501 5.5.2"], None),
    ("nobody", HELLO + login("\0\0secret"), ["501 5.5.2"], None),
    ("half of it", HELLO + login("ann\0secret"), ["501 5.5.2"], None),
    ("a long name", HELLO + login("\0" + "a" * 400 + "\0secret"), ["501 5.5.2"], None),
    ("a NUL in LOGIN", HELLO + b"AUTH LOGIN " + encoded("ann") + b"\r\n" + encoded("a\0b") + b"\r\n",
     [PASSWORD, "501 5.5.2"], None),
    ("an empty response", HELLO + b"AUTH PLAIN =\r\nNOOP\r\n", ["501 5.5.2", OK], None),
    ("no base64", HELLO + b"AUTH PLAIN a!b\r\nAUTH PLAIN\r\nMAIL FROM:<a@b>\r\nNOOP\r\n",
     ["501 5.5.2", EMPTY, "501 5.5.2", OK], None),
    ("no UTF-8", HELLO + b"AUTH PLAIN AP8A/w==\r\nAUTH PLAIN\r\n\xff\r\n", ["501 5.5.2", EMPTY, "501 5.5.2"], None),
    ("cancelled", HELLO + b"AUTH LOGIN\r\n*\r\nAUTH LOGIN YW5u\r\n*\r\nNOOP\r\n",
     [NAME, "501 5.7.0", PASSWORD, "501 5.7.0", OK], None),
    ("unknown", HELLO + b"AUTH CRAM-MD5\r\nAUTH\r\nAUTH PLAIN x y\r\n", ["504 5.5.4", "501 5.5.4", "501 5.5.4"], None),
    ("twice", HELLO + login("\0ann\0secret") * 2, [IN, "503 5.5.1"], "ann"),
    ("in a mail", HELLO + MAIL + login("\0ann\0secret"), [SENDER, "503 5.5.1"], None),
    ("before EHLO", login("\0ann\0secret") + b"HELO x\r\n" + login("\0ann\0secret"),
     ["503 5.5.1", "250 mx", "503 5.5.1"], None),
    ("a long response", HELLO + b"AUTH PLAIN\r\n" + b"A" * 12_289 + b"\r\nNOOP\r\n", [EMPTY, "500 5.5.6", OK], None),
    ("a bare LF", HELLO + b"AUTH PLAIN\r\n" + encoded("\0ann\0secret") + b"\nNOOP\r\nNOOP\r\n",
     [EMPTY, "500 5.5.2", OK], None),
    ("pipelined behind it", HELLO + login("\0ann\0secret") + MAIL + RCPT + b"DATA\r\n.\r\n",
     [IN, SENDER, RECIPIENT, GO, TAKEN], "ann"),
]  # fmt: skip


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(("client", "server", "user"), [row[1:] for row in LOGINS], ids=[row[0] for row in LOGINS])
def test_logins(client: bytes, server: list[str], user: str | None, step: int | None) -> None:
    driver = Driver(USERS, tls=True)
    said = [line for line in driver.feed(client, step) if not line.startswith(("220 ", "250-", "250 AUTH"))]
    for line, beginning in zip(said, server, strict=True):
        assert line.startswith(beginning)
    assert driver.session.user == user
    assert driver.session.trusted is (user is not None)


def test_nobody_can_log_in_without_tls() -> None:
    driver = Driver(USERS, offers_tls=True)
    assert not [line for line in driver.feed(HELLO) if "AUTH" in line]
    assert driver.feed(login("\0ann\0secret")) == ["538 5.7.11 Say STARTTLS first"]
    assert driver.feed(b"MAIL FROM:<a@b> AUTH=<>\r\n")[0].startswith("555 ")
    driver.feed(b"STARTTLS\r\n")
    assert driver.feed(HELLO)[-1] == "250 AUTH PLAIN LOGIN"
    assert driver.feed(login("\0ann\0secret"))[0].startswith(IN)


def test_nothing_is_read_while_a_login_is_checked() -> None:
    session = Session(USERS, tls=True)
    session.receive_data(HELLO + login("\0ann\0secret") + b"NOOP\r\n")
    session.data_to_send()
    (event,) = session.events()
    assert isinstance(event, LoginAsked)
    assert "secret" not in repr(event)
    assert session.is_waiting
    session.answer_recipient(Recipient("x"), replies.GOOD)
    assert session.data_to_send() == b""
    session.answer_login(replies.AUTH_LATER)
    assert session.data_to_send() == b"454 4.7.0 Nobody can be logged in now, try again later\r\n250 2.0.0 OK\r\n"
    session.answer_login(replies.LOGGED_IN, "ann")
    assert (session.user, session.data_to_send()) == (None, b"")


def test_who_is_trusted_may_ask_for_anybody() -> None:
    driver = Driver(dataclasses.replace(LIMITS, max_recipients=100))
    driver.session.trusted = True
    said = driver.feed(HELLO + MAIL + b"".join(b"RCPT TO:<nobody%d@b>\r\n" % number for number in range(50)))
    assert said.count("550 5.1.1 No such recipient here") == 50
    assert not driver.closed


# LMTP


LHLO = b"LHLO client.example.org\r\n"


class Post(Driver):
    """The same for LMTP: each recipient has an answer, those called "full…" another one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dialect=LMTP, **options)

    def answer(self, mail: Mail) -> None:
        for address in reversed(mail.accepted):
            taken = replies.MAIL_TAKEN if not address.startswith("full") else Reply(452, "4.2.2 Mailbox full")
            self.session.answer_copy(address, taken)


def rcpt(*names: str) -> bytes:
    return b"".join(f"RCPT TO:<{name}@example.org>\r\n".encode() for name in names)


POST: list[tuple[str, bytes, list[str]]] = [
    ("a mail", LHLO + MAIL + rcpt("a", "full", "b") + b"DATA\r\nhi\r\n.\r\nQUIT\r\n",
     [*EHLO, SENDER, *[RECIPIENT] * 3, GO, TAKEN, "452 4.2.2", TAKEN, BYE]),
    ("one of them refused at once", LHLO + MAIL + rcpt("nobody", "full", "b") + b"BDAT 2 LAST\r\nhi",
     [*EHLO, SENDER, "550 5.1.1", RECIPIENT, RECIPIENT, "452 4.2.2", TAKEN]),
    ("one named twice has two answers", LHLO + MAIL + rcpt("a", "full", "a") + b"DATA\r\nhi\r\n.\r\n" + MAIL,
     [*EHLO, SENDER, *[RECIPIENT] * 3, GO, TAKEN, "452 4.2.2", TAKEN, SENDER]),
    ("the limit counts them", LHLO + MAIL + rcpt("a", "a", "a", "a"), [*EHLO, SENDER, *[RECIPIENT] * 3, "452 4.5.3"]),
    ("refused data", LHLO + MAIL + rcpt("a", "b") + b"DATA\r\na\nb\r\n.\r\nNOOP\r\n",
     [*EHLO, SENDER, RECIPIENT, RECIPIENT, GO, "550 5.6.0", "550 5.6.0", OK]),
    ("no recipient", LHLO + MAIL + b"DATA\r\n" + rcpt("nobody") + b"DATA\r\n",
     [*EHLO, SENDER, "503 5.5.1", "550 5.1.1", "554 5.5.1"]),
    ("SMTP's hello", HELLO + b"HELO x\r\n" + MAIL, ["502 5.5.1", "502 5.5.1", "503 5.5.1"]),
    ("two mails at once", LHLO + (MAIL + rcpt("a", "b") + b"DATA\r\n.\r\n") * 2,
     [*EHLO, *[SENDER, RECIPIENT, RECIPIENT, GO, TAKEN, TAKEN] * 2]),
]  # fmt: skip


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(("client", "server"), [row[1:] for row in POST], ids=[row[0] for row in POST])
def test_lmtp(client: bytes, server: list[str], step: int | None) -> None:
    said = Post().feed(client, step)
    assert said[0] == "220 mx.example.org LMTP Trunkline"
    for line, beginning in zip(said[1:], server, strict=True):
        assert line.startswith(beginning)


def test_an_answer_for_all_who_have_none() -> None:
    session = Session(LIMITS, dialect=LMTP)
    session.receive_data(LHLO + MAIL + rcpt("a", "b", "c"))
    for recipient in asked(session):
        session.answer_recipient(recipient, replies.RECIPIENT_OK)
    session.receive_data(b"DATA\r\nhi\r\n.\r\nNOOP\r\n")
    session.data_to_send()
    session.answer_copy("b@example.org", replies.MAIL_TAKEN)
    assert session.data_to_send() == b""
    session.answer_mail(replies.TRY_AGAIN)
    assert [line[:9] for line in session.data_to_send().decode().splitlines()] == [
        "451 4.3.0", "250 2.6.0", "451 4.3.0", "250 2.0.0"
    ]  # fmt: skip
    session.answer_copy("c@example.org", replies.MAIL_TAKEN)
    session.answer_mail(replies.MAIL_TAKEN)
    assert session.data_to_send() == b""


COMMANDS = st.sampled_from(
    [HELLO, MAIL, RCPT, b"DATA\r\n", b".\r\n", b"RSET\r\n", b"QUIT\r\n", b"NOOP\r\n", b"STARTTLS\r\n", b"\r\n", b"\n",
     b"\r", b"x", b" ", b"\0", b"\xff", b"BDAT 3\r\n", b"BDAT 9 LAST\r\n", b"BDAT 0 LAST\r\n",
     b"AUTH PLAIN\r\n", b"AUTH LOGIN YQ==\r\n", b"*\r\n", b"RCPT TO:<nobody@b>\r\n",
     b"MAIL FROM:<>", b"RCPT TO:", b"hi\r\n", b"x" * 600]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(COMMANDS, max_size=30).map(b"".join), st.integers(1, 7))
def test_any_conversation(client: bytes, step: int) -> None:
    """Nothing raises, memory stays bounded, and how the bytes are cut makes no difference."""
    limits = Limits(max_errors=1000, max_size=5000, max_line=500, offers_auth=True)
    whole, parts = (Driver(limits, tls=True) for _ in range(2))
    # A line with several faults may be refused for another one of them.
    assert [line[:9] for line in parts.feed(client, step)] == [line[:9] for line in whole.feed(client)]
    assert parts.contents == whole.contents
    assert not whole.session.is_full
