"""A corpus of mails as they come, odd and hostile ones among them: each gives a valid `email.receive`, and says what is
wrong with it.

The fixture `received` checks the format and the size of each message. Mails of CPython's own tests are among them.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from trunkline.message_formats.email import mime, parse_mail

from .test_against_python import collection

Received = Callable[[bytes], dict[str, Any]]


class Case(NamedTuple):
    """A mail, and some of what is to be in its message.

    Attributes:
        mail: Its bytes, with LF, which become CRLF.
        fields: What these fields of the message are.
        defects: How those that it has begin, in any order.
    """

    mail: bytes
    fields: dict[str, Any]
    defects: tuple[str, ...] = ()


def mixed(*parts: bytes, kind: bytes = b"mixed", head: bytes = b"") -> bytes:
    return b"%bContent-Type: multipart/%b; boundary=b\n\n" % (head, kind) + b"".join(
        b"--b\n%b\n" % part for part in parts
    ) + b"--b--\n"  # fmt: skip


def file(name: bytes, content: bytes = b"x", kind: bytes = b"application/octet-stream") -> bytes:
    return b"Content-Type: %b\nContent-Disposition: attachment; %b\n\n%b" % (kind, name, content)


def nested(depth: int, inside: bytes = b"Content-Type: text/plain\n\ndeep") -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return head + inside + b"".join(b"\n--b%d--" % n for n in reversed(range(depth))) + b"\n"


TEXT = b"Content-Type: text/plain; charset=utf-8\n\nHello."
HTML = b"Content-Type: text/html; charset=utf-8\n\n<p>Hello.</p>"
CALENDAR = b"Content-Type: text/calendar; method=REQUEST; charset=utf-8\n\nBEGIN:VCALENDAR\nEND:VCALENDAR"
WORDS = {
    b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=": "Grüße",
    b"=?iso-8859-1?q?Gr=FC=DFe?= and =?UTF-8?B?w7w=?=": "Grüße and ü",
    b"=?utf-8?b?R3LDvA==?=\n =?utf-8?b?w59l?=": "Grüße",
    b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=": "ü",
    b"=?gb2312?b?xOO6ww==?=": "你好",
    b"=?iso-2022-jp?b?GyRCOjRGIxsoQg==?=": "佐藤",
    b"=?utf-8*en?q?a_b?=": "a b",
    b"=?utf-8?q?not closed": "=?utf-8?q?not closed",
    b"=?utf-8?x?a?=": "=?utf-8?x?a?=",
}
NAMES = {
    b"filename*=utf-8''%e2%82%ac%20rates.pdf": "€ rates.pdf",
    b"filename*0*=utf-8''Gr%C3%BC; filename*1*=%C3%9Fe; filename*2=.pdf": "Grüße.pdf",
    b"filename*0=long; filename*1=er.pdf": "longer.pdf",
    b"filename*1=b; filename*0=a": "ab",
    b"filename*=iso-8859-1'de'Gr%FC%DFe": "Grüße",
    b'filename="=?utf-8?q?Gr=C3=BC=C3=9Fe?="': "Grüße",
    b'filename="a\\"b.txt"': 'a"b.txt',
    b'filename="../../etc/passwd"': "passwd",
    b'filename="C:\\\\Windows\\\\a.exe"': "a.exe",
    b'filename="a\x00b\x1b[31m.txt"': "a b[31m.txt",
    b'filename=".."': "",
    b'filename="/"': "",
    b"filename=" + b"a" * 10_000: "a" * 255,
    b'filename="\xe2\x80\xaegpj.exe"': "\u202egpj.exe",  # shown backwards: "exe.jpg"; what it is called, it is called
}
CORPUS: dict[str, Case] = {
    **{
        f"a word of RFC 2047: {word[:20]!r}": Case(b"Subject: %b\n\n" % word, {"subject": value})
        for word, value in WORDS.items()
    },
    "a word that lies of its character set": Case(
        b"Subject: =?us-ascii?q?=FC?=\n\n", {"subject": "ü"}, ("text is not UTF-8",)
    ),
    "a word of an unknown character set": Case(
        b"Subject: =?x-unheard-of?q?a=FC?=\n\n", {"subject": "aü"}, ("unknown character set", "text is not UTF-8")
    ),
    "a word that is cut off": Case(
        b"Subject: =?utf-8?b?R3LDv?=\n\n", {"subject": "Gr\u00c3"}, ("base64 is cut off", "text is not")
    ),
    "a header of eight bits": Case(b"Subject: Gr\xc3\xbc\xc3\x9fe\n\n", {"subject": "Grüße"}),
    "a header of eight bits that are no UTF-8": Case(
        b"Subject: Gr\xfc\xdfe\n\n", {"subject": "Grüße"}, ("text is not UTF-8",)
    ),
    "a header with NUL": Case(b"Subject: a\0b\n\n", {"subject": "a b"}),
    "a header folded at will": Case(b"Subject: a\n b\n\tc\n \n d\n\n", {"subject": "a b\tc  d"}),
    "a text that lies of its character set": Case(
        b"Content-Type: text/plain; charset=us-ascii\n\nGr\xfc\xdfe", {"text": "Grüße"}, ("text is not UTF-8",)
    ),
    "a text of UTF-8 that says otherwise": Case(
        b"Content-Type: text/plain; charset=iso-2022-jp\n\nGr\xc3\xbc\xc3\x9fe", {"text": "Grüße"}
    ),
    "a text of no character set": Case(b"Content-Type: text/plain\n\nGr\xc3\xbc\xc3\x9fe", {"text": "Grüße"}),
    "a text of an unknown one": Case(
        b"Content-Type: text/plain; charset=klingon\n\nqapla'", {"text": "qapla'"}, ("unknown character set",)
    ),
    "a character set that is a codec of Python, and no character set": Case(
        b"Content-Type: text/plain; charset=unicode_escape\n\n\\u0041", {"text": "\\u0041"}, ("unknown character set",)
    ),
    "half of a pair in UTF-7": Case(b"Content-Type: text/plain; charset=utf-7\n\n+2AA-", {"text": "?"}),
    **{
        f"a file's name: {value[:24]!r} {number}": Case(mixed(TEXT, file(name)), {"attachments": [
            {"filename": value, "content-type": "application/octet-stream", "size": 1, "path": [1]}
        ]})
        for number, (name, value) in enumerate(NAMES.items())
    },
    "a name of which a piece is missing": Case(
        mixed(file(b"filename*0=a; filename*2=c")),
        {"attachments": [{"filename": "ac", "content-type": "application/octet-stream", "size": 1, "path": [0]}]},
        ("a section of a parameter is missing",),
    ),
    "an invitation": Case(
        mixed(TEXT, HTML, CALENDAR, kind=b"alternative"),
        {"text": "Hello.", "html": "<p>Hello.</p>",
         "attachments": [{"filename": "", "content-type": "text/calendar", "size": 30, "path": [2]}]},
    ),
    "signed by S/MIME": Case(
        mixed(TEXT, file(b"filename=smime.p7s", b"0\x82", b"application/pkcs7-signature"), kind=b"signed"),
        {"text": "Hello.", "attachments": [
            {"filename": "smime.p7s", "content-type": "application/pkcs7-signature", "size": 2, "path": [1]}
        ]},
    ),
    "signed by PGP": Case(
        mixed(TEXT, b"Content-Type: application/pgp-signature\n\n-----BEGIN PGP SIGNATURE-----", kind=b"signed"),
        {"text": "Hello.",
         "attachments": [{"filename": "", "content-type": "application/pgp-signature", "size": 29, "path": [1]}]},
    ),
    "encrypted by PGP": Case(
        mixed(b"Content-Type: application/pgp-encrypted\n\nVersion: 1", file(b"filename=a.asc"), kind=b"encrypted"),
        {"text": "", "attachments": [
            {"filename": "", "content-type": "application/pgp-encrypted", "size": 10, "path": [0]},
            {"filename": "a.asc", "content-type": "application/octet-stream", "size": 1, "path": [1]},
        ]},
    ),
    "encrypted by S/MIME": Case(
        b"Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIIB",
        {"text": "", "attachments": [
            {"filename": "smime.p7m", "content-type": "application/pkcs7-mime", "size": 3, "path": []}
        ]},
    ),
    "HTML and nothing else": Case(HTML, {"text": "Hello.\n", "html": "<p>Hello.</p>"}),
    "text and HTML": Case(mixed(TEXT, HTML, kind=b"alternative"), {"text": "Hello.", "html": "<p>Hello.</p>"}),
    "a mail in a mail": Case(
        mixed(TEXT, b"Content-Type: message/rfc822\n\nSubject: inner\n\nhi"),
        {"attachments": [{"filename": "", "content-type": "message/rfc822", "size": 20, "path": [1]}]},
    ),
    "base64 with junk": Case(
        b"Content-Transfer-Encoding: base64\n\nSGV!sbG8=\nafter", {"text": "Hello"}, ("something follows the end",)
    ),
    "quoted-printable that is cut off": Case(
        b"Content-Transfer-Encoding: quoted-printable\n\na=C3=BCb=", {"text": "aüb"}
    ),
    "an unknown transfer encoding": Case(
        b"Content-Transfer-Encoding: rot13\n\nUryyb", {"text": "Uryyb"}, ("unknown transfer encoding",)
    ),
    "100 levels": Case(nested(100), {"text": "deep"}),
    "101 levels": Case(nested(101), {}, ("parts nested over 100 deep",)),
    "1000 levels": Case(nested(1000), {}, ("parts nested over 100 deep",)),
    "a multipart that never ends": Case(
        nested(1).removesuffix(b"\n--b0--\n"), {"text": "deep"}, ("multipart without its closing",)
    ),
    "a multipart of nothing": Case(b"Content-Type: multipart/mixed; boundary=b\n\n--b--\n", {"text": ""}),
    "a multipart without a boundary": Case(
        b"Content-Type: multipart/mixed\n\nhi", {"text": "hi"}, ("multipart without a usable",)
    ),
    "no header": Case(b"\nhi", {"text": "hi"}),
    "no body": Case(b"Subject: hi", {"subject": "hi", "text": ""}),
    "nothing": Case(b"", {"text": "", "subject": ""}),
    "bytes of any kind": Case(bytes(range(256)) * 20, {}, ("headers end without", "text is not UTF-8")),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_the_corpus(received: Received, name: str) -> None:
    case = CORPUS[name]
    message = received(case.mail.replace(b"\n", b"\r\n"))
    assert {key: message.get(key) for key in case.fields} == case.fields
    assert "this mail could not be parsed" not in message["defects"]
    told = message["defects"]
    assert [each for each in told if not each.startswith(case.defects or ("nothing",))] == []
    assert [each for each in case.defects if not any(one.startswith(each) for one in told)] == []


@pytest.mark.parametrize("mail", collection())
def test_python_s_own_mails_are_valid(received: Received, mail: Any) -> None:
    for raw in (mail.read_bytes(), mail.read_bytes().replace(b"\n", b"\r\n")):
        assert "this mail could not be parsed" not in received(raw)["defects"]


BOMBS = {
    "10 000 parts": mixed(*[TEXT] * 10_000),
    "10 000 files": mixed(*[file(b"filename=%d.txt" % number) for number in range(10_000)]),
    "10 000 multiparts": b"Content-Type: multipart/mixed; boundary=b\n\n"
    + b"--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n" * 10_000,
    "100 000 headers": b"X: y\n" * 100_000 + b"\nhi",
    "a header of 5 MB": b"X: " + b"y" * 5_000_000 + b"\n\nhi",
    "a header folded 500 000 times": b"X: y" + b"\n z" * 500_000 + b"\n\nhi",
    "100 levels over 5 MB": nested(100, b"\n" + b"x\n" * 2_500_000),
    "base64 of 5 MB": b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(bytes(4_000_000)),
    "HTML of 5 MB": b"Content-Type: text/html\n\n" + b"<table><tr><td>" * 330_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_bounded_time(received: Received, name: str) -> None:
    """Seconds at the very most, on a slow machine; how cost grows is shown by test_hostile.py."""
    raw = BOMBS[name]
    began = time.thread_time()
    parsed = parse_mail(raw)
    assert time.thread_time() - began < 10
    message = received(raw)
    assert parsed.weight < 2 * 1024 * 1024
    assert len(message["attachments"]) <= mime.MAX_PARTS
    assert len(message["defects"]) <= mime.MAX_DEFECTS
    if name.startswith("10 000"):
        assert f"over {mime.MAX_PARTS} parts, the rest left raw" in message["defects"]
    if "header" in name:
        assert any(defect.startswith("headers over") for defect in message["defects"])
