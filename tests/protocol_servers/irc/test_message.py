"""Lines and messages, with the public vectors, and that no bytes raise."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import parser_tests.data as vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.lines import MAX_BODY, MAX_TAGS, LineReader
from trunkline.protocol_servers.irc.message import MAX_PARAMETERS, Message, Source, decode, encode, parse, parse_source
from trunkline.protocol_servers.irc.names import mask_pattern


def named(cases: dict[str, Any], key: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases["tests"], ids=lambda case: repr(case.get(key, "")))


@named(vectors.msg_split, "input")
def test_vectors_of_splitting(case: dict[str, Any]) -> None:
    atoms = case["atoms"]
    message = parse(case["input"].encode())
    assert message is not None
    assert message.tags == {key: value or "" for key, value in atoms.get("tags", {}).items()}
    assert message.source.mask == atoms.get("source", "")
    assert message.command == atoms["verb"]
    assert list(message.params) == atoms.get("params", [])


@named(vectors.msg_join, "desc")
def test_vectors_of_joining(case: dict[str, Any]) -> None:
    atoms = case["atoms"]
    line = encode(atoms["verb"], *atoms.get("params", []), tags=atoms.get("tags"), source=atoms.get("source"))
    assert line.endswith(b"\r\n")
    assert line[:-2].decode() in case["matches"]


@named(vectors.userhost_split, "source")
def test_vectors_of_sources(case: dict[str, Any]) -> None:
    source = parse_source(case["source"])
    found = {"nick": source.nick, "user": source.user, "host": source.host}
    assert {key: value for key, value in found.items() if value} == case["atoms"]


@named(vectors.mask_match, "mask")
def test_vectors_of_masks(case: dict[str, Any]) -> None:
    pattern = re.compile(mask_pattern(case["mask"]))
    assert [each for each in case["matches"] if not pattern.fullmatch(each)] == []
    assert [each for each in case["fails"] if pattern.fullmatch(each)] == []


def test_a_mask_takes_no_time_not_to_match() -> None:
    assert not re.fullmatch(mask_pattern("*a*!*a*@*a*?b"), "a" * 3000 + "!" * 3000 + "@" * 3000)


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_masks_match_as_file_names_do(mask: str, text: str) -> None:
    assert bool(re.fullmatch(mask_pattern(mask), text)) == fnmatch.fnmatchcase(text, mask)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", None),
        (b"   ", None),
        (b":only.a.source", None),
        (b"@only=tags", None),
        (b"@tags :and.source ", None),
        (b": :x", None),
        (b"PING", Message("PING")),
        (b"PING\0\r\n", Message("PING")),
        (b"@=x;;a PING", Message("PING", tags={"a": ""})),
        (b":andr\xe9!u@h PRIVMSG #x :\xc3\xa4", Message("PRIVMSG", ("#x", "ä"), Source("andré", "u", "h"))),
        (b"PRIVMSG #x :caf\xe9", Message("PRIVMSG", ("#x", "café"))),
        (b"PRIVMSG #x :\x80 \x81", Message("PRIVMSG", ("#x", "€ \x81"))),
        (b"PRIVMSG #x :\xc3\xa4\xe2\x82", Message("PRIVMSG", ("#x", "ä"))),
        (b"@a=\xff X", Message("X", tags={"a": "ÿ"})),
    ],
)
def test_odd_lines(line: bytes, expected: Message | None) -> None:
    assert parse(line) == expected


def test_sources_longer_than_any_real_one_are_not_remembered() -> None:
    parse_source.cache_clear()
    for length in (100, 8000):
        message = parse(b":joe!" + b"u" * length + b"@h PRIVMSG #a :hi")
        assert message is not None
        assert message.source == Source("joe", "u" * length, "h")
    assert parse_source.cache_info().currsize == 1


def test_parameters_have_a_bound() -> None:
    message = parse(b"X " + b"y " * 4000)
    assert message is not None
    assert len(message.params) <= MAX_PARAMETERS + 1


@pytest.mark.parametrize(
    "parts",
    [
        ("PRIVMSG", "#x", "a\r\nQUIT"),
        ("PRIVMSG", "#x", "a\0"),
        ("PRIVMSG", "#x y", "a"),
        ("PRIVMSG", ":x", "a"),
        ("PRIVMSG", "", "a"),
        ("", "a"),
        (":x",),
        ("@x", "a"),
        ("A B", "a"),
    ],
)
def test_nothing_is_encoded_that_reads_as_something_else(parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        encode(*parts)


def test_a_line_end_in_a_tag_is_escaped() -> None:
    assert encode("X", tags={"a": "1;2 \r\n\\"}) == b"@a=1\\:2\\s\\r\\n\\\\ X\r\n"


@given(st.binary(max_size=600))
def test_no_bytes_raise(line: bytes) -> None:
    message = parse(line)
    decode(line)
    if message is not None:
        assert message.command
        assert not any(each in text for each in "\r\n\0" for text in (message.command, *message.params))


words = st.text(st.characters(exclude_characters=" \r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: text[0] not in ":@"
)
texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    words, st.lists(words, max_size=10), texts, st.dictionaries(st.from_regex(r"[a-z/+-]{1,10}", fullmatch=True), texts)
)
def test_what_is_encoded_is_parsed(command: str, middle: list[str], last: str, tags: dict[str, str]) -> None:
    line = encode(command, *middle, last, tags=tags)
    assert parse(line.removesuffix(b"\r\n")) == Message(command, (*middle, last), tags=tags)


class TestLines:
    @given(st.lists(st.binary(max_size=50)))
    def test_come_whole_however_the_bytes_come(self, chunks: list[bytes]) -> None:
        reader = LineReader()
        lines = [line for chunk in chunks for line in reader.feed(chunk)]
        assert lines + reader.feed(b"\n") == LineReader().feed(b"".join(chunks) + b"\n")

    def test_one_byte_at_a_time(self) -> None:
        reader = LineReader()
        data = b"one\r\ntwo\nthree\r\r\n\n\nfour\r\n"
        assert [line for each in data for line in reader.feed(bytes([each]))] == [b"one", b"two", b"three", b"four"]

    def test_a_line_without_end_takes_no_memory(self) -> None:
        reader = LineReader()
        for _ in range(100):
            assert reader.feed(b"x" * 10_000) == []
            assert len(reader._buffer) <= MAX_BODY + MAX_TAGS
        assert reader.feed(b"rest\r\nPING") == []
        assert reader.feed(b"\r\n") == [b"PING"]
        assert reader.cut == 1

    def test_tags_of_8191_bytes_are_taken_and_longer_ones_left_out(self) -> None:
        reader = LineReader()
        most = b"@" + b"a" * (MAX_TAGS - 2) + b" "
        assert reader.feed(most + b"PING\r\n") == [most + b"PING"]
        assert reader.feed(b"@a" + most[1:] + b"PING\r\n") == [b"PING"]
        assert reader.cut == 1

    def test_a_line_that_is_too_long_is_left_out(self) -> None:
        reader = LineReader()
        assert reader.feed(b"x" * (MAX_BODY + 1) + b"\r\nPING\r\n") == [b"PING"]
        assert reader.feed(b"x" * MAX_BODY + b"\r\n") == [b"x" * MAX_BODY]
        assert reader.cut == 1
