"""Splitting, exact to the byte."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from trunkline.protocol_servers.irc.formatting import plain
from trunkline.protocol_servers.irc.splitting import lines_of, pieces_of, split, truncate

FAMILY = "👨‍👩‍👧‍👦"  # 25 bytes, one grapheme
FLAG = "🇩🇪"  # 8 bytes, one grapheme
ACUTE = "\N{COMBINING ACUTE ACCENT}"
ACCENTED = "e" + ACUTE  # 3 bytes, one grapheme
SYLLABLE = "\N{DEVANAGARI LETTER NA}\N{DEVANAGARI VOWEL SIGN I}"  # 6 bytes, one grapheme
ATOMS = ["a", "bc", "1", " ", "  ", "ä", FAMILY, FLAG, ACCENTED]
ATOMS += ["\x02", "\x1f", "\x0304,12", "\x033", "\x03", "\x04ff00aa", "\x0f"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("   ", []),
        ("\x02 \x02", []),
        ("one", ["one"]),
        ("x" * 64, ["x" * 64]),
        ("x" * 65, ["x" * 64, "x"]),
        ("x" * 64 + " y", ["x" * 64, "y"]),
        ("x" * 63 + " y", ["x" * 63, "y"]),
        ("x" * 62 + " y", ["x" * 62 + " y"]),
        ("x" * 62 + " yz", ["x" * 62, "yz"]),
        ("x" * 62 + "     yz", ["x" * 62, "yz"]),
        ("x " + "y" * 64, ["x", "y" * 64]),
        ("x " + "y" * 65, ["x", "y" * 64, "y"]),
        ("  x", ["  x"]),
        ("a\nb\r\nc\rd\n\n e ", ["a", "b", "c", "d", " e"]),
        ("ä" * 33, ["ä" * 32, "ä"]),
        ("x" + "ä" * 32, ["x" + "ä" * 31, "ä"]),
        ("€" * 22, ["€" * 21, "€"]),
        (FAMILY * 3, [FAMILY * 2, FAMILY]),
        (FLAG * 9, [FLAG * 8, FLAG]),
        ("x" + FLAG * 8, ["x" + FLAG * 7, FLAG]),
        (ACCENTED * 22, [ACCENTED * 21, ACCENTED]),
        ("xy" + ACCENTED * 21, ["xy" + ACCENTED * 20, ACCENTED]),
        (SYLLABLE * 11, [SYLLABLE * 10, SYLLABLE]),
        ("x" + ACUTE * 40, ["x" + ACUTE * 31, ACUTE * 9]),  # longer than a piece: there is no better place
        ("\x02" + "x" * 64, ["\x02" + "x" * 63, "\x02x"]),
        ("\x02" + "x" * 60 + "\x02 yyyyy", ["\x02" + "x" * 60 + "\x02", "yyyyy"]),
        ("\x0304" + "5 " * 40, ["\x0304" + "5 " * 30 + "5", "\x0304\x02\x02" + "5 " * 8 + "5"]),
        ("\x0304,12" + "x" * 60, ["\x0304,12" + "x" * 58, "\x0304,12xx"]),
        ("\x0304,12" + "x" * 50 + "\x0f" + "y" * 10, ["\x0304,12" + "x" * 50 + "\x0f" + "y" * 7, "yyy"]),
        ("a\x01b\0c\x1bd\x7fe\tf\x0b\x0c", ["abcde\tf"]),
        ("\ud800x", ["?x"]),
        ("x" * 64 + "\x0f y", ["x" * 64, "\x0f y"]),
    ],
)  # fmt: skip
def test_pieces_of_64_bytes(text: str, pieces: list[str]) -> None:
    assert split(text, 64) == pieces


def test_a_limit_has_a_least() -> None:
    with pytest.raises(ValueError, match="at least 64 bytes, not 63"):
        split("x", 63)


def test_no_more_is_made_than_is_wanted() -> None:
    assert split("x" * 1_000_000, 64, most=2) == ["x" * 64] * 2


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", ""),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 77 + "…"),
        ("word " * 20, "word " * 14 + "word…"),
        ("one\ntwo", "one…"),
        (FAMILY * 4, FAMILY * 3 + "…"),
    ],
)
def test_truncates(text: str, cut: str) -> None:
    assert truncate(text, 80) == cut
    assert len(cut.encode()) <= 80


parts = st.lists(st.sampled_from(ATOMS), max_size=200).map("".join)


@given(st.one_of(parts, st.text(max_size=400)), st.integers(64, 120))
def test_every_piece_fits_and_nothing_is_lost(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(len(piece.encode()) <= limit for piece in pieces)
    assert not any(each in piece for each in "\r\n\0\x01" for piece in pieces)
    whole = "".join(plain(line) for line in lines_of(text))
    assert "".join(map(plain, pieces)).replace(" ", "") == "".join(whole.split(" ")) or not whole.strip()


@given(parts, st.integers(64, 120))
def test_no_grapheme_is_torn(text: str, limit: int) -> None:
    pieces = [plain(piece) for piece in pieces_of(text, limit, keep_spaces=True)]
    joined = "".join(pieces)
    ends = {found.end() for found in regex.finditer(r"\X", joined)} | {0}
    place = 0
    for piece in pieces:
        place += len(piece)
        assert place in ends
    assert joined == plain(text)
