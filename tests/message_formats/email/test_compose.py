"""The bytes of a mail to send."""

from __future__ import annotations

import re
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest

from trunkline.message_formats import get
from trunkline.message_formats.email import parse_mail
from trunkline.message_formats.email.compose import CompositionError, compose_mail, envelope, mailbox, seven_bit
from trunkline.message_formats.email.reply_mail import compose

PLAIN = {"to": ["bob@example.net"], "from": "ann@example.com", "text": "hello"}


def made(**message: Any) -> bytes:
    return compose_mail({**PLAIN, **message}, id="1", date=1e9)


def read(mail: bytes) -> EmailMessage:
    return message_from_bytes(mail, policy=default)


def test_a_plain_mail() -> None:
    mail = made(subject="Hi", cc=["Cy <c@example.net>"], reply_to=["help@example.com"], headers={"X-A": "1"})
    parsed = read(mail)
    assert (parsed["From"], parsed["To"], parsed["Cc"]) == ("ann@example.com", "bob@example.net", "Cy <c@example.net>")
    assert (parsed["Subject"], parsed["Reply-To"], parsed["X-A"]) == ("Hi", "help@example.com", "1")
    assert parsed["Date"] == "Sun, 09 Sep 2001 01:46:40 +0000"
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.com>", parsed["Message-ID"])
    assert parsed.get_content() == "hello\r\n"
    assert b"\n" not in mail.replace(b"\r\n", b"")


def test_the_same_mail_has_the_same_bytes_and_another_one_another_id() -> None:
    everything = {"html": "<p>x</p>", "attachments": [{"filename": "a", "content-type": "a/b", "content": b"\0"}]}
    assert made(**everything) == made(**everything)
    other = compose_mail(PLAIN, id="2", date=1e9)
    assert read(other)["Message-ID"] != read(made())["Message-ID"]


def test_all_of_it_is_seven_bit_and_its_lines_are_short() -> None:
    mail = made(
        subject="Grüße " * 30,
        text="ü" * 5000 + "\nx" + "y" * 5000 + "\n.\n..\nFrom me",
        html="<p>" + "z" * 5000,
        attachments=[{"filename": "Übersicht.txt", "content-type": "text/plain", "content": bytes(range(256)) * 40}],
        headers={"X-Long": "wörd " * 200},
        **{"from": '"Lee, Änn" <ann@bücher.example>'},
    )
    assert mail.isascii()
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    parsed = read(mail)
    assert parsed["Subject"] == ("Grüße " * 30)
    assert parsed["From"].addresses[0].display_name == "Lee, Änn"
    assert parsed["From"].addresses[0].domain == "xn--bcher-kva.example"
    [attachment] = parsed.iter_attachments()
    assert attachment.get_filename() == "Übersicht.txt"
    assert attachment.get_payload(decode=True) == bytes(range(256)) * 40
    body = cast(EmailMessage, parsed.get_body(("plain",)))
    assert body.get_content().replace("\r\n", "\n") == "ü" * 5000 + "\nx" + "y" * 5000 + "\n.\n..\nFrom me\n"


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"text": "a"}, "text/plain"),
        ({"text": None, "html": "<p>a"}, "text/html"),
        ({"html": "<p>a"}, "multipart/alternative"),
        ({"text": None}, "text/plain"),
        ({"attachments": [{"filename": "a", "content-type": "message/rfc822", "content": b"x"}]}, "multipart/mixed"),
    ],
)
def test_its_parts(parts: dict[str, Any], kind: str) -> None:
    assert read(made(**parts)).get_content_type() == kind


def test_a_text_cannot_end_its_part() -> None:
    boundary = read(made(html="x")).get_boundary()
    assert boundary is not None
    again = made(text=f"--{boundary}\n--{boundary}--", html="x")
    assert len(list(read(again).iter_parts())) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "a\r\nBcc: eve@example.org"},
        {"subject": "a\nb"},
        {"headers": {"X-A": "a\r\n\r\nbody"}},
        {"headers": {"X-A": "a\rb"}},
        {"headers": {"X-A: b\r\nX-B": "c"}},
        {"headers": {"X A": "c"}},
        {"headers": {"Bcc": "eve@example.org"}},
        {"headers": {"to": "eve@example.org"}},
        {"headers": {"Content-Transfer-Encoding": "8bit"}},
        {"headers": {"MIME-Version": "2"}},
        {"headers": {"Message-ID": "<a@b>\r\nX: y"}},
        {"headers": {"Date": "x\r\nY: z"}},
        {"from": "ann@example.com\r\nX: y"},
        {"from": "Ann\r\nX: y <ann@example.com>"},
        {"from": "ann"},
        {"reply_to": ["x"]},
        {"attachments": [{"filename": "a\r\nX: y", "content-type": "a/b", "content": b""}]},
        {"attachments": [{"filename": "a", "content-type": "a/b", "body_key": "k"}]},
        {"text": "\udc80"},
    ],
)
def test_what_would_be_another_mail_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CompositionError) as refused:
        made(**wrong)
    assert "\n" not in str(refused.value)


def test_nobody_sees_bcc() -> None:
    mail = made(bcc=["secret@example.net"])
    assert b"secret" not in mail
    assert b"bcc" not in mail.lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b.example", ("", "a@b.example")),
        (" Ann Lee <ann@B.Example> ", ("Ann Lee", "ann@b.example")),
        ('"Lee, \\"Ann\\"" <ann@b.example>', ('Lee, "Ann"', "ann@b.example")),
        ('"a b"@c.example', ("", '"a b"@c.example')),
        ("a@[127.0.0.1]", ("", "a@[127.0.0.1]")),
        ("a@bücher.example", ("", "a@xn--bcher-kva.example")),
        ("ä@bücher.example", ("", "ä@bücher.example")),
    ],
)
def test_addresses(text: str, expected: tuple[str, str]) -> None:
    assert mailbox(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b c", "a@b, c@d", "x <a@b> y", "<a@b", "a@b>", 'x"y" <a@b>', "a@b\r\n",
     "<>", "a@b\0", "<a@b> <c@d>", "x" * 2000 + "@y"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(CompositionError):
        mailbox(text)


def test_hostile_addresses_take_no_time() -> None:
    began = time.thread_time()
    for text in (" " * 10**6, "<" * 10**6, '"' * 10**6, '"\\' * 10**6, "a@" * 10**6, "x " * 10**6 + "<a@b"):
        with pytest.raises(CompositionError):
            mailbox(text)
    assert time.thread_time() - began < 5


def test_the_envelope() -> None:
    message = {
        "from": "Ann <ann@example.com>",
        "to": ["Bob <bob@example.net>", "bob@EXAMPLE.net", "wrong"],
        "cc": ["c@example.net"],
        "bcc": ["d@example.net"],
    }
    assert envelope(message) == ("ann@example.com", ["bob@example.net", "c@example.net", "d@example.net"], ["wrong"])
    assert envelope({"from": "", "to": ["a@b.example"], "raw": b""}) == (None, ["a@b.example"], [])


def test_a_finished_mail_is_sent_as_it_is() -> None:
    raw = b"Subject: x\nX: \xff\n\n.body\rmore"
    assert made(raw=raw) == b"Subject: x\r\nX: \xff\r\n\r\n.body\r\nmore"
    with pytest.raises(CompositionError, match="loop"):
        made(raw=b"Received: by a\r\n" * 51 + b"\r\n")
    assert made(raw=b"Received: by a\r\n" * 50 + b"\r\n" + b"Received: x\r\n" * 100)


def test_eight_bit_mail_for_a_server_that_takes_none() -> None:
    raw = (
        "Subject: Grüße\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\n"
    ).encode()
    mail = seven_bit(raw)
    assert mail.isascii()
    one, two = read(mail).iter_parts()
    assert (one.get_content(), two.get_content()) == ("Grüße", "plain")
    assert seven_bit(made()) == made()
    assert seven_bit(b"Subject: x\r\n\r\nGr\xfc\xdfe").isascii()


def test_a_reply_joins_the_thread() -> None:
    """Answered over and over, a thread keeps its first and its latest ids, each line short enough for any server."""
    fields = parse_mail(
        b"From: Bob <bob@example.net>\r\nSubject: RE: Help\r\nMessage-ID: <%s@example.net>\r\nReferences:%s\r\n\r\nhi"
        % (b"q" * 200, b"".join(b"\r\n <%d.%s@example.net>" % (n, b"r" * 200) for n in range(40)))
    ).fields
    received = {**fields, "from": "bob@example.net", "address": "help+7@example.com", "id": "x"}
    [message] = compose(received, "Done.").messages
    form = get("email.send")
    assert form is not None
    form.validate(message)
    mail = compose_mail(message, id="1", date=1e9)
    parsed = read(mail)
    references = parsed["References"].split()
    assert parsed["In-Reply-To"] == f"<{'q' * 200}@example.net>"
    assert references[-1] == parsed["In-Reply-To"]
    assert len(references) <= 40
    assert all(re.fullmatch(r"<[^<>]+>", each) for each in references), "none of them encoded or cut"
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    assert (parsed["Subject"], parsed["From"], parsed["To"]) == ("RE: Help", "help+7@example.com", "bob@example.net")
    assert parsed["Auto-Submitted"] == "auto-replied"
