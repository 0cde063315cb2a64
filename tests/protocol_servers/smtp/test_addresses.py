"""Paths and parameters by the grammar of RFC 5321."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.smtp.addresses import is_domain, parse_parameters, parse_path


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("<a@b>", "a@b"),
        ("<Ann.Other+tag@EXAMPLE.Org>", "Ann.Other+tag@example.org"),
        ("<!#$%&'*+-/=?^_`{|}~@b>", "!#$%&'*+-/=?^_`{|}~@b"),
        ("<@one.example,@two:a@b>", "a@b"),
        ('<"a b"@c>', '"a b"@c'),
        ('<"a@b"@c>', '"a@b"@c'),
        (r'<"a\"b\\"@c>', r'"a\"b\\"@c'),
        (r'<"s\upport"@c>', "support@c"),
        ('<""@c>', '""@c'),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("<a@[IPv6:2001:DB8::1]>", "a@[ipv6:2001:db8::1]"),
        ("<a@x--y.z9>", "a@x--y.z9"),
        ("<用户@例え.jp>", "用户@例え.jp"),
        ("<a@नमस्ते.example>", "a@नमस्ते.example"),
        ("<" + "l" * 100 + "@b>", "l" * 100 + "@b"),
    ],
)
def test_paths(path: str, address: str) -> None:
    found = parse_path(path + " REST")
    assert found is not None
    assert (found.text, found.rest) == (address, " REST")


@pytest.mark.parametrize(
    "path",
    [
        "", "<>", "<", "a@b", "<a>", "<a@>", "<@b>", "<a@b", "<a b@c>", "<a@b c>", "< a@b>", "<a@b >",
        "<.a@b>", "<a.@b>", "<a..b@c>", "<a@b.>", "<a@.b>", "<a@b..c>", "<a@-b>", "<a@b->", "<a@b_c>",
        "<a@b@c>", "<a,b@c>", "<a:b@c>", "<(a)@b>", '<"a@b>', '<a"b"@c>', '<"a"b@c>', '<"\r\n"@c>', '<"\x00"@c>',
        "<a\r\nDATA@b>", "<a@b\x00>", "<a\x7f@b>", "<a\u2028@b>", "<a\u202e@b>", "<a\x85@b>",
        "<a@[192.0.2.256]>", "<a@[]>", "<a@[x]>", "<a@[ipv6:]>", "<a@[ipv6:fe80::1%eth0]>", "<a@[192.0.2.1>",
        "<a@" + "b" * 64 + ">", "<a@" + "b." * 128 + "c>", "<" + "l" * 319 + "@b>", "<postmaster>", "<@a:b>",
        "<@a,b@c>",
    ],
)  # fmt: skip
def test_what_is_no_path(path: str) -> None:
    assert parse_path(path) is None


def test_null_path_and_postmaster_only_where_they_are_allowed() -> None:
    assert parse_path("<> x", null=True) == (None, " x")
    assert parse_path("<PostMaster>x", postmaster=True) == ("postmaster", "x")
    assert parse_path("<postmaster@B>", postmaster=True) == ("postmaster@b", "")
    assert parse_path("<other>", postmaster=True) is None


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", {}),
        ("  ", {}),
        (" SIZE=10 body=8BITMIME  SMTPUTF8", {"SIZE": "10", "BODY": "8BITMIME", "SMTPUTF8": None}),
        (" x-y9=~!", {"X-Y9": "~!"}),
        ("SIZE=1", None),
        (" SIZE=1 size=2", None),
        (" SIZE=", None),
        (" =1", None),
        (" -x=1", None),
        (" a=b=c", None),
        (" ä=1", None),
        (" a=\x01", None),
    ],
)
def test_parameters(text: str, parameters: dict[str, str | None] | None) -> None:
    assert parse_parameters(text) == parameters


@pytest.mark.parametrize(
    ("text", "right"),
    [("mx.example.org", True), ("localhost", True), ("[192.0.2.1]", True), ("[x]", False), ("a b", False), ("", False),
     ("[192.0.2.1", False), ("a..b", False)],
)  # fmt: skip
def test_host_names(text: str, right: bool) -> None:
    assert is_domain(text) is right


@given(st.text(alphabet='<>@.:,"\\[]-ab \x00é', max_size=60))
def test_any_text(text: str) -> None:
    found = parse_path(f"<{text}>", null=True, postmaster=True)
    if found is not None and found.text is not None:
        assert found.text.isprintable()
        again = parse_path(f"<{found.text}>", postmaster=True)
        assert again is not None
        assert again.text == found.text


@pytest.mark.parametrize("piece", ["a.", "-", "a-", "@a,", '"', '\\"', "[", "é"])
def test_no_path_of_a_command_s_length_is_slow(piece: str) -> None:
    start = time.thread_time()
    for head in ("<", "<a@", "<@", '<"', "<@a:"):
        parse_path(head + piece * (1000 // len(piece)))
    assert time.thread_time() - start < 0.5
