"""The MIME tree, the texts and the attachments of mails, ordinary and broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.message_formats.email import mime, parse_mail

Received = Callable[[bytes], dict[str, Any]]

HEAD = b"From: me@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"


def multipart(subtype: str, *parts: bytes, boundary: str = "=_b") -> bytes:
    """Build the header and body of a multipart."""
    line = b"--" + boundary.encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts)
    return f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode() + body + line + b"--\r\n"


def text(content: bytes, kind: bytes = b"plain") -> bytes:
    return b"Content-Type: text/" + kind + b"\r\n\r\n" + content


def attachment(content: bytes, name: bytes = b"a.bin") -> bytes:
    return (
        b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="
        + name
        + b"\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + content
    )


def test_a_plain_mail(received: Received) -> None:
    raw = HEAD + b"To: you@example.org\r\nReceived: one\r\nReceived: two\r\n\r\nHello\r\nworld\r\n"
    message = received(raw)
    assert message["subject"] == "hello"
    assert message["message_id"] == "<1@example.org>"
    assert message["text"] == message["reply_to_text"] == "Hello\nworld\n"
    assert "html" not in message
    assert message["content"] == {"content-type": "text/plain", "size": 14, "body": b"Hello\r\nworld\r\n"}
    assert message["headers"]["received"] == "one"
    assert [name for name, _ in message["header_list"]] == [
        "From", "Subject", "Message-ID", "MIME-Version", "To", "Received", "Received",
    ]  # fmt: skip
    assert message["defects"] == []
    assert message["attachments"] == []
    assert message["size"] == len(raw)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_may_be_lf_or_crlf(received: Received, end: bytes) -> None:
    raw = (HEAD + multipart("mixed", text(b"one\r\ntwo"), attachment(b"x"))).replace(b"\r\n", end)
    message = received(raw)
    assert message["text"] == "one\ntwo"
    assert message["content"]["parts"][0]["body"] == b"one" + end + b"two"
    assert message["content"]["parts"][1]["body"] == b"x"
    assert message["defects"] == []


def test_alternative_with_attachments_and_an_inline_picture(received: Received) -> None:
    picture = b"Content-Type: image/png\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw=="
    related = multipart("related", text(b"<p>Hello <img src=cid:p@x></p>", b"html"), picture, boundary="r")
    alternative = multipart("alternative", text(b"Hello"), related, boundary="a")
    message = received(HEAD + multipart("mixed", alternative, attachment(b"\0\1", b'"x y.bin"')))
    assert message["text"] == "Hello"
    assert message["html"] == "<p>Hello <img src=cid:p@x></p>"
    assert message["attachments"] == [
        {"filename": "", "content-type": "image/png", "size": 4, "path": [0, 1, 1]},
        {"filename": "x y.bin", "content-type": "application/octet-stream", "size": 2, "path": [1]},
    ]
    node = message["content"]
    for step in [0, 1, 1]:
        node = node["parts"][step]
    assert node["body"] == b"\x89PNG"
    assert node["content_id"] == "p@x"
    assert node["headers"]["content-id"] == "<p@x>"
    assert message["content"]["headers"] == {"content-type": 'multipart/mixed; boundary="=_b"'}
    assert message["content"]["parts"][1]["disposition"] == "attachment"


def test_text_from_html_where_that_is_all_there_is(received: Received) -> None:
    message = received(HEAD + text(b"<p>One</p><p>Two</p>", b"html"))
    assert message["text"] == "One\n\nTwo\n"
    assert message["html"] == "<p>One</p><p>Two</p>"
    empty = multipart("alternative", text(b" \r\n"), text(b"<p>Real</p>", b"html"))
    assert received(HEAD + empty)["text"] == "Real\n"
    two = multipart("mixed", text(b"<p>One</p>", b"html"), attachment(b"x"), text(b"<p>Two</p>", b"html"))
    assert received(HEAD + two)["text"] == "One\n\nTwo\n"
    assert received(HEAD + two)["html"] == "<p>One</p>"


def test_several_plain_texts_are_one_text(received: Received) -> None:
    message = received(HEAD + multipart("mixed", text(b"one\r\n"), attachment(b"x"), text(b"two")))
    assert message["text"] == "one\n\ntwo"


def test_a_text_that_is_attached_is_no_text_of_the_mail(received: Received) -> None:
    attached = b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached"
    named = b"Content-Type: text/plain; name=notes.txt\r\n\r\nnamed"
    calendar = text(b"BEGIN:VCALENDAR", b"calendar")
    message = received(HEAD + multipart("mixed", text(b"mine"), attached, named, calendar))
    assert message["text"] == "mine"
    assert [(found["filename"], found["content-type"]) for found in message["attachments"]] == [
        ("", "text/plain"), ("notes.txt", "text/plain"), ("", "text/calendar")
    ]  # fmt: skip


def test_a_mail_that_is_one_text_is_its_text_whatever_it_is_called(received: Received) -> None:
    assert received(HEAD + b"Content-Type: text/markdown; name=a.md\r\n\r\n# Hi")["text"] == "# Hi"
    assert received(HEAD + b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nx")["text"] == ""


@pytest.mark.parametrize(
    ("encoding", "encoded", "decoded", "defects"),
    [
        (b"7bit", b"plain", b"plain", []),
        (b"8BIT", b"\xe4", b"\xe4", []),
        (b"base64", b"aGVs\r\nbG8=\r\n", b"hello", []),
        (b'"base64" ; x', b"aGVs bG8=", b"hello", []),
        (b"base64", b"a!G*VsbG8", b"hello", ["base64 is cut off"]),
        (b"base64", b"aGVsbG8=a", b"hello", ["something follows the end of base64"]),
        (b"base64", b"A", b"", ["base64 is cut off"]),
        (b"quoted-printable", b"a=3Db=\r\nc=XX", b"a=bc=XX", []),
        (b"x-uuencode", b"begin 644 x\r\n#0V%T\r\n`\r\nend\r\nrest", b"Cat", []),
        (b"uuencode", b"begin 644 x\r\n#0V%T", b"Cat", ["uuencode is cut off"]),
        (b"uuencode", b"begin 644 x\r\n#0V%T!!!!!!!\r\nend", b"Cat", []),
        (b"uuencode", b"begin 644 x\r\n#\xff\xff\xff\xff\r\nend",
         b"begin 644 x\r\n#\xff\xff\xff\xff\r\nend", ["uuencode has an unreadable line"]),
        (b"uuencode", b"begin 644 x\r\n\r\n#0V%T\r\nend", b"Cat", []),
        (b"uuencode", b"no beginning", b"no beginning", ["uuencode without its beginning"]),
        (b"x-magic", b"as it is", b"as it is", ["unknown transfer encoding 'x-magic'"]),
    ],
)  # fmt: skip
def test_transfer_encodings(
    received: Received, encoding: bytes, encoded: bytes, decoded: bytes, defects: list[str]
) -> None:
    part = b"Content-Type: application/x\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + encoded
    message = received(HEAD + multipart("mixed", part))
    assert message["content"]["parts"][0]["body"] == decoded
    assert message["defects"] == defects


@pytest.mark.parametrize(
    ("body", "bodies", "defects"),
    [
        (b"--b\r\n\r\none\r\n--b--\r\nepilogue", [b"one"], []),
        (b"preamble\r\n--b \t\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--", [b"one", b"two"], []),
        (b"--b\r\n\r\none\r\n--bb\r\n--b--", [b"one\r\n--bb"], []),
        (b"--b\r\n\r\none", [b"one"], ["multipart without its closing boundary"]),
        (b"--b\r\n\r\none\r\n--b\r\n", [b"one", b""], ["multipart without its closing boundary"]),
        (b"--b\r\n--b\r\n\r\n\r\n--b--", [b"", b""], []),
        (b"--b--\r\n", [], []),
        (
            b"x --b\r\n--b\r\nno header\r\n\r\nz\r\n--b--",
            [b"no header\r\n\r\nz"],
            ["headers end without an empty line"],
        ),
    ],
)
def test_boundaries(received: Received, body: bytes, bodies: list[bytes], defects: list[str]) -> None:
    message = received(HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body)
    assert [part["body"] for part in message["content"]["parts"]] == bodies
    assert message["defects"] == defects


@pytest.mark.parametrize(
    ("kind", "body", "defect"),
    [
        (b"multipart/mixed", b"as it is", "multipart without a usable boundary"),
        (b'multipart/mixed; boundary=""', b"as it is", "multipart without a usable boundary"),
        (b"multipart/mixed; boundary=" + b"x" * 1000, b"as it is", "multipart without a usable boundary"),
        (b"multipart/mixed; boundary=b", b"as it is", "multipart without any boundary line"),
    ],
)
def test_a_multipart_that_cannot_be_divided_is_text(received: Received, kind: bytes, body: bytes, defect: str) -> None:
    message = received(HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + body)
    assert message["content"]["content-type"] == "text/plain"
    assert message["content"]["body"] == body
    assert message["text"] == "as it is"
    assert message["defects"] == [defect]


def test_the_parts_of_a_digest_are_mails(received: Received) -> None:
    message = received(HEAD + multipart("digest", b"\r\nSubject: inner\r\n\r\nhi"))
    assert message["content"]["parts"][0]["content-type"] == "message/rfc822"
    assert message["attachments"][0]["content-type"] == "message/rfc822"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"image/jpeg name=x.jpg", "image/jpeg"),
        (b"text/html, text/plain", "text/html"),
        (b"Text/HTML (a comment); charset=utf-8", "text/html"),
    ],
)
def test_a_content_type_is_read_as_far_as_it_goes(received: Received, value: bytes, kind: str) -> None:
    message = received(HEAD + b"Content-Type: " + value + b"\r\n\r\nhi")
    assert message["content"]["content-type"] == kind
    assert message["defects"] == []


@pytest.mark.parametrize("kind", [b"text", b"/", b"", b"text/<>", b"\xff"])
def test_an_unreadable_content_type_is_plain_text(received: Received, kind: bytes) -> None:
    message = received(HEAD + b"Content-Type: " + kind + b"\r\n\r\nhi")
    assert message["content"]["content-type"] == "text/plain"
    assert any("unreadable Content-Type" in defect for defect in message["defects"])


def test_no_more_than_128_kib_of_headers(received: Received) -> None:
    message = received(HEAD + b"X-Long: " + b"y" * 200_000 + b"\r\nX-Later: z\r\n\r\nbody")
    assert message["text"] == "body"
    assert [name for name, _ in message["header_list"]] == ["From", "Subject", "Message-ID", "MIME-Version"]
    assert any("headers over" in defect for defect in message["defects"])
    many = received(b"X-Many: y\r\n" * 100_000 + b"\r\nbody")
    assert len(many["header_list"]) == mime.MAX_FIELDS
    assert many["text"] == "body"
    junk = received(b"X-Junk: " + b"\xff" * 100_000 + b"\r\nX-Later: z\r\n\r\nbody")
    assert junk["header_list"] == []
    assert any("headers over" in defect for defect in junk["defects"])
    assert received(b"X: " + b"y" * 200_000)["text"] == ""


def test_headers_of_parts_are_bounded_together(received: Received) -> None:
    part = b"X: " + b"y" * 10_000 + b"\r\nContent-Type: text/plain; name=x\r\n\r\nhi"
    parts = received(HEAD + multipart("mixed", *[part] * 50))["content"]["parts"]
    assert len(parts) == 50
    assert "headers" in parts[0]
    assert "headers" not in parts[49]
    assert parts[49]["body"] == b"hi"


def test_over_1000_parts_the_rest_is_raw(received: Received) -> None:
    message = received(HEAD + multipart("mixed", *[b"\r\nhi"] * 3000))
    parts = message["content"]["parts"]
    assert len(parts) == mime.MAX_PARTS
    assert parts[-2]["body"] == b"hi"
    assert parts[-1]["content-type"] == "application/octet-stream"
    assert parts[-1]["body"].count(b"--=_b\r\n") == 3000 - len(parts)
    assert message["defects"] == ["over 1000 parts, the rest left raw"]


def test_nested_over_100_deep_the_rest_is_raw(received: Received) -> None:
    raw = b"\r\ninnermost"
    for depth in range(150):
        raw = multipart("mixed", raw, boundary=f"b{depth}")
    message = received(HEAD + raw)
    node, depth = message["content"], 0
    while "parts" in node:
        node, depth = node["parts"][0], depth + 1
    assert depth == mime.MAX_DEPTH
    assert b"innermost" in node["body"]
    assert "parts nested over 100 deep, the rest left raw" in message["defects"]


def test_large_leaves_have_a_body_channel(received: Received) -> None:
    message = received(HEAD + multipart("mixed", text(b"hi"), attachment(b"x" * 65_536), attachment(b"y" * 65_537)))
    small, just, large = message["content"]["parts"]
    assert small["body"] == b"hi"
    assert len(just["body"]) == 65_536
    assert large["body_channel"] == "email.body?0"
    assert "body" not in large
    assert large["size"] == message["attachments"][1]["size"] == 65_537


def test_once_512_kib_are_inline_every_further_leaf_has_a_body_channel(received: Received) -> None:
    sizes = [60_000] * 9 + [10, 60_000, 0, 200_000]
    message = received(HEAD + multipart("mixed", *[attachment(b"x" * size) for size in sizes]))
    inline = ["body" in part for part in message["content"]["parts"]]
    assert inline == [True] * 8 + [False, False, False, True, False]  # an empty leaf needs no channel
    assert sum(60_000 for one in inline[:9] if one) <= mime.MAX_INLINE


def test_a_large_text_is_the_text_too(received: Received) -> None:
    message = received(HEAD + b"\r\n" + b"word \r\n" * 100_000)
    assert message["content"]["body_channel"] == "email.body?0"
    assert len(message["text"].encode()) <= mime.MAX_TEXT
    assert message["text"].startswith("word \nword ")
    page = received(HEAD + text(b"<p>\xc3\xa4" * 300_000, b"html"))
    assert len(page["html"].encode()) <= mime.MAX_TEXT
    assert len(page["text"].encode()) <= mime.MAX_TEXT


@pytest.mark.parametrize(
    ("headers", "automatic"),
    [
        (b"", False),
        (b"Auto-Submitted: no\r\n", False),
        (b"Auto-Submitted: auto-replied; x\r\n", True),
        (b"Precedence: Bulk\r\n", True),
        (b"Precedence: first-class\r\n", False),
        (b"List-Id: <x>\r\n", True),
        (b"X-Autoreply: yes\r\n", True),
        (b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--", True),
    ],
)
def test_automatic_mail_is_told(received: Received, headers: bytes, automatic: bool) -> None:
    assert received(HEAD + headers + b"\r\n")["auto_submitted"] is automatic


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\n", b"\0", b"x", b"\xff" * 100, b"From me\r\n", b":", b" folded\r\n"])
def test_hardly_a_mail_at_all(received: Received, raw: bytes) -> None:
    assert received(raw)["content"]["content-type"] == "text/plain"


def test_a_mailbox_line_is_skipped(received: Received) -> None:
    message = received(b"From me@example.org Mon Jan  1\r\nSubject: x\r\n\r\nhi")
    assert (message["subject"], message["text"]) == ("x", "hi")


def test_what_cannot_be_parsed_is_passed_on_raw(
    received: Received, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr("trunkline.message_formats.email.headers.fields", fail)
    message = received(b"Subject: x\r\n\r\nhi")
    assert message["content"] == {
        "content-type": "application/octet-stream",
        "size": 16,
        "body": b"Subject: x\r\n\r\nhi",
    }
    assert message["defects"] == ["this mail could not be parsed"]
    assert "could not be parsed" in caplog.text


def test_defects_are_bounded() -> None:
    parts = [b"Content-Transfer-Encoding: x%d\r\n\r\nhi" % number for number in range(500)]
    assert len(parse_mail(HEAD + multipart("mixed", *parts)).fields["defects"]) == mime.MAX_DEFECTS
