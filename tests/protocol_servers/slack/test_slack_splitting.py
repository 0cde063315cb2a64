"""Long texts in pieces that Slack takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.slack.splitting import LIMIT, cost_of, split, truncate

FAMILY = "👨‍👩‍👧‍👦"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \n\n \t", []),
        ("hello", ["hello"]),
        ("\n\nhello\n\n", ["hello"]),
        ("a\r\nb\rc", ["a\nb\nc"]),
        ("a\0b", ["ab"]),
        ("\ud800", ["?"]),
        ("x" * LIMIT, ["x" * LIMIT]),
        ("&" * (LIMIT // 5), ["&" * (LIMIT // 5)]),
    ],
)
def test_what_fits_stays_whole(text: str, pieces: list[str]) -> None:
    assert split(text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("one two " * 10, ["one two " * 7 + "one", "two " + "one two one two"]),
        ("a" * 40 + "\n\n" + "b " * 30, ["a" * 40, ("b " * 30).strip()]),
        ("a" * 40 + "\n" + "b " * 30, ["a" * 40, ("b " * 30).strip()]),
        ("a" * 100, ["a" * 60, "a" * 40]),
        (FAMILY * 8, [FAMILY * 5, FAMILY * 3]),
    ],
)
def test_borders(text: str, pieces: list[str]) -> None:
    assert split(text, 64) == pieces


def test_code_that_is_torn_stays_code() -> None:
    code = "```\n" + "\n".join(f"    line {number}" for number in range(12)) + "\n```"
    pieces = split(f"before\n{code}\nafter", 80)
    assert len(pieces) > 2
    assert all(piece.count("```") % 2 == 0 for piece in pieces)
    assert all(f"    line {number}\n" in "\n".join(pieces) for number in range(12)), "the indent remains"


def test_only_as_many_pieces_as_are_wanted() -> None:
    assert len(split("word " * 10_000, most=3)) == 3


def test_a_limit_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64"):
        split("text", 10)


@pytest.mark.parametrize(("text", "cut"), [("short", "short"), ("word " * 100, "word " * 11 + "word…"), ("", "")])
def test_truncate(text: str, cut: str) -> None:
    assert truncate(text, 64) == cut


@given(st.text(alphabet="ab &<>\n`\u0301😀" + FAMILY, max_size=600), st.integers(64, 200))
def test_nothing_is_too_long_and_nothing_is_lost(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(piece.strip() and cost_of(piece) <= limit for piece in pieces)
    assert cost_of(truncate(text, limit)) <= limit

    def letters(of: str) -> str:
        return "".join(each for each in of if not each.isspace() and each != "`")

    assert letters("".join(pieces)) == letters(text)
