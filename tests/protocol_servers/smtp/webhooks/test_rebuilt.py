"""Mails made anew of their pieces, and read as any other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.message_formats.email import parse_mail
from trunkline.protocol_servers.smtp.webhooks.rebuilt import Attachment, Text, rebuilt_mail

HEADERS = [("From", "Ann <ann@example.org>"), ("Subject", "Grüße"), ("Content-Type", "multipart/mixed; boundary=gone")]


def test_a_whole_mail() -> None:
    files = [
        Attachment("Grüße an Böb.pdf", "application/pdf", b"%PDF\r\n\0\xff"),
        Attachment("a.png", "image/png", b"\x89PNG", "pic@1"),
    ]
    raw = rebuilt_mail(HEADERS, Text("Hello, Böb.".encode("latin-1"), "iso-8859-1"), Text(b"<p>Hello</p>"), files)
    fields = parse_mail(raw).fields
    assert fields["defects"] == []
    assert (fields["subject"], fields["text"], fields["html"]) == ("Grüße", "Hello, Böb.", "<p>Hello</p>")
    assert fields["content"]["content-type"] == "multipart/mixed"
    assert [(each["filename"], each["content-type"], each["size"]) for each in fields["attachments"]] == [
        ("Grüße an Böb.pdf", "application/pdf", 8), ("a.png", "image/png", 4)
    ]  # fmt: skip
    assert [part.get("body") for part in fields["content"]["parts"][1:]] == [b"%PDF\r\n\0\xff", b"\x89PNG"]
    assert fields["content"]["parts"][2]["content_id"] == "pic@1"
    assert fields["content"]["parts"][2]["disposition"] == "inline"


def test_the_same_pieces_make_the_same_mail() -> None:
    files = [Attachment("a", "a/b", b"x")]
    assert rebuilt_mail(HEADERS, Text(b"x"), None, files) == rebuilt_mail(HEADERS, Text(b"x"), None, files)
    assert rebuilt_mail(HEADERS, Text(b"x"), None, files) != rebuilt_mail(HEADERS, Text(b"y"), None, files)


def test_nothing_breaks_out() -> None:
    headers = [("Subject", "a\r\nBcc: eve@example.net"), ("X\r\nY", "z"), ("a b", "c"), ("", "d")]
    files = [
        Attachment('"\r\nX: y\0', "text/plain\r\nX: y", b"", "c\r\nX: y"),
        Attachment("m", "multipart/mixed", b"--x"),
    ]
    fields = parse_mail(rebuilt_mail(headers, Text(b"", 'utf-8"; x="'), None, files)).fields
    assert [name for name, _ in fields["header_list"]] == ["Subject", "MIME-Version", "Content-Type"]
    assert [each["content-type"] for each in fields["attachments"]] == ["application/octet-stream"] * 2
    assert not any("x" in part.get("headers", {}) for part in fields["content"]["parts"])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=3))
def test_what_goes_in_comes_out(text: bytes, contents: list[bytes]) -> None:
    files = [Attachment(f"{number}.bin", "application/x-test", content) for number, content in enumerate(contents)]
    tree = parse_mail(rebuilt_mail([], Text(text), None, files)).fields["content"]
    parts = tree["parts"] if files else [tree]
    assert [part["body"] for part in parts] == [text, *contents]
