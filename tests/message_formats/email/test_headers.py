"""Header values, encoded words and parameters, as strangers write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.message_formats.email import headers

Received = Callable[[bytes], dict[str, Any]]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"plain", "plain"),
        (b" trimmed \t", "trimmed"),
        (b"folded\r\n twice\r\n\there", "folded twice\there"),
        ("ünïcode".encode(), "ünïcode"),
        (b"=?utf-8?q?J=C3=BCrgen_x?=", "Jürgen x"),
        (b"=?UTF-8?B?w7w=?= and =?iso-8859-1?Q?=FC?=", "ü and ü"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?B?ww==?= =?utf-8?B?vA==?=", "ü"),  # a character split over two words: broken and common
        (b"=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
        (b"=?utf-8*en?q?language?=", "language"),
        (b"a =?utf-8?q?b?=c", "a bc"),
        (b"=?utf-8?x?not a word?=", "=?utf-8?x?not a word?="),
        (b"=?utf-8?q?open", "=?utf-8?q?open"),
        (b"=?us-ascii?q?a=0D=0AEvil:_header?=", "a Evil: header"),
        (b"nul\0 and bare\rcr", "nul  and bare cr"),
        (b"=?gb2312?B?1tDOxA==?=", "中文"),
        (b"=?windows-1251?B?z/Do4uXy?=", "Привет"),
        (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?utf-7?q?+2AA-x?=", "?x"),
    ],
)
def test_values(raw: bytes, value: str) -> None:
    defects: list[str] = []
    assert headers.text_value("Subject", raw, defects.append) == value
    value.encode()


@pytest.mark.parametrize(
    ("raw", "value", "defect"),
    [
        (b"gr\xfc\xdfe \x81", "grüße \ufffd", "text is not UTF-8, read as Windows-1252"),
        (b"=?x-martian?q?hello?=", "hello", "unknown character set 'x-martian'"),
        (b"=?unicode_escape?q?=5Cud800?=", "\\ud800", "unknown character set 'unicode_escape'"),
        (b"=?utf-8?q?=E4?=", "ä", "text is not UTF-8, read as Windows-1252"),
        (b"=?iso-2022-jp?q?=FF?=", "\ufffd", "text is not in its character set 'iso-2022-jp'"),
        (b"=?utf-8?b?aGVsbG8?=", "hello", "base64 is cut off"),
    ],
)
def test_broken_values(raw: bytes, value: str, defect: str) -> None:
    defects: list[str] = []
    assert headers.text_value("Subject", raw, defects.append) == value
    assert defects == [defect]


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        ("text/plain", {}),
        ('a; b="c d"; E=f ', {"b": "c d", "e": "f"}),
        (r'a; b="c\"d\\"', {"b": 'c"d\\'}),
        ("a; b=c d; b=e", {"b": "c d"}),
        ('a; b="open', {"b": "open"}),
        ("a;;; =x; b; c=", {"c": ""}),
        ("a; n*=utf-8'en'%e2%82%ac%20x", {"n": "€ x"}),
        ("a; n*0*=utf-8''%e2%82; n*1*=%ac; n*2=\".txt\"", {"n": "€.txt"}),
        ("a; n*2=c; n*0=a; n*1=b", {"n": "abc"}),
        ("a; n*=no-quotes", {"n": "no-quotes"}),
        ("a; n*=''empty", {"n": "empty"}),
        ("a; n*=latin1'%fc'%fc", {"n": "ü"}),
        ("a; n=plain; n*=utf-8''better", {"n": "better"}),
        ("a; n*=utf-8''%0d%0aEvil", {"n": " Evil"}),
    ],
)
def test_parameters(value: str, parameters: dict[str, str]) -> None:
    defects: list[str] = []
    assert headers.parameters(value, defects.append) == parameters
    assert defects == []


def test_parameters_are_bounded() -> None:
    defects: list[str] = []
    assert len(headers.parameters("a" + "".join(f";p{n}=x" for n in range(1000)), defects.append)) == 200
    assert headers.parameters("a;b=" + "x" * 100_000, defects.append)["b"].startswith("xxx")
    assert headers.parameters("a;n*0=x;n*5=y", defects.append) == {"n": "xy"}
    assert defects == [
        "over 200 parameters, the rest left out",
        "parameters over 16384 characters, the rest left out",
        "a section of a parameter is missing",
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, None),
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        (r"C:\temp\x.exe", "x.exe"),
        ("..", None),
        ("a/", None),
        ("tab\tand\x7fmore", "tabandmore"),
        ("=?utf-8?q?=E2=82=AC.txt?=", "€.txt"),
        ("ü" * 200, "ü" * 127),
    ],
)
def test_file_names(value: str | None, name: str | None) -> None:
    assert headers.file_name(value, lambda _: None) == name


def test_encoded_words_in_parameters_are_no_syntax(received: Received) -> None:
    head = b'Content-Disposition: attachment; filename="=?utf-8?q?a=22=3B_b=3D.txt?="\r\n'
    message = received(head + b"Content-Type: text/plain\r\nContent-Description: =?utf-8?q?=C3=BC?=\r\n\r\nhi")
    assert message["attachments"][0]["filename"] == 'a"; b=.txt'
    assert message["headers"]["content-description"] == "ü"


def test_dispositions() -> None:
    assert headers.disposition(None, print) == (None, {})
    assert headers.disposition("INLINE; filename=x", print) == ("inline", {"filename": "x"})
    assert headers.disposition("; filename=x", print) == (None, {"filename": "x"})


@pytest.mark.parametrize(
    ("charset", "body", "text", "defective"),
    [
        (None, b"\xc3\xa4", "ä", False),
        (None, b"\xe4", "ä", True),
        (b"us-ascii", b"\xe4", "ä", True),
        (b"iso-8859-1", b"\x80", "€", False),  # labelled Latin-1, meant as Windows-1252
        (b"ISO_8859-15", b"\xa4", "€", False),
        (b"'utf-8'", b"\xc3\xa4", "ä", False),
        (b"utf-16", b"\xff\xfea\0b\0", "ab", False),
        (b"utf-16", b"\xff\xfea\0b", "a\ufffd", True),
        (b"koi8-r", b"\xf0", "П", False),
        (b"cp1252", b"\x81", "\ufffd", True),
        (b"shift_jis", b"\x93\xfa", "日", False),
        (b"idna", b"xn--", "xn--", True),
        (b"zip", b"hi", "hi", True),
        (b"gb18030", "中文𠀀".encode("gb18030"), "中文𠀀", False),
        (b"GB2312", "中文镕".encode("gbk"), "中文镕", False),
        (b"iso-2022-jp", "日本語".encode("iso-2022-jp"), "日本語", False),
        (b"windows-1252", b"\x93quoted\x94", "“quoted”", False),
        (b"utf-7", b"Gr+APwA3w-e", "Grüße", False),
        (b"koi8-u", b"\xa6", "і", False),
        (b"win-1251", b"\xcf", "П", False),
        (b"x-cp1251", b"\xcf", "П", False),
        (b"windows-874", b"\xe4\xb7\xc2", "ไทย", False),
        (b"x-euc-jp", "日本".encode("euc-jp"), "日本", False),
        (b"iso-8859-8-i", b"\xf9", "ש", False),
        (b"utf-8", b"\xef\xbb\xbfmarked", "marked", False),
    ],
)
def test_character_sets(received: Received, charset: bytes | None, body: bytes, text: str, defective: bool) -> None:
    parameter = b"" if charset is None else b"; charset=" + charset
    message = received(b"Content-Type: text/plain" + parameter + b"\r\n\r\n" + body)
    assert message["text"] == text
    assert bool(message["defects"]) is defective


def test_unknown_character_sets_are_not_remembered() -> None:
    """`codecs.lookup` keeps every name it was ever asked for; a stranger could fill the memory with them."""
    import encodings

    before = len(encodings._cache)
    for number in range(100):
        headers.text_value("Subject", b"=?x-%d?q?a?=" % number, lambda _: None)
    assert len(encodings._cache) == before


def test_a_text_cut_inside_a_character_is_no_defect(received: Received) -> None:
    message = received(b"Content-Type: text/plain; charset=utf-8\r\n\r\nx" + "ä".encode() * 600_000)
    assert message["defects"] == []
    assert message["text"].strip("ä") == "x"
