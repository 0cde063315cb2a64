"""Emoji between their names in Slack and Unicode."""

from __future__ import annotations

import pytest

from trunkline.message_formats.slack import emoji_name, emoji_of, emoji_text
from trunkline.message_formats.slack.emoji import _table


@pytest.mark.parametrize(
    ("name", "emoji"),
    [
        ("smile", "😄"),
        ("+1", "👍"),
        ("thumbsup", "👍"),
        ("heart", "❤️"),
        ("flag-de", "🇩🇪"),
        ("de", "🇩🇪"),
        ("hash", "#️⃣"),
        ("male-technologist", "👨‍💻"),
        ("man-woman-girl-boy", "👨‍👩‍👧‍👦"),
        ("party_parrot", None),
        ("", None),
    ],
)
def test_names(name: str, emoji: str | None) -> None:
    assert emoji_of(name) == emoji


@pytest.mark.parametrize(
    ("name", "tone", "emoji"),
    [
        ("wave", "2", "👋🏻"),
        ("wave", "6", "👋🏿"),
        ("male-technologist", "4", "👨🏽‍💻"),
        ("v", "3", "✌🏼"),
        ("smile", "3", "😄"),
        ("party_parrot", "3", None),
    ],
)
def test_skin_tones(name: str, tone: str, emoji: str | None) -> None:
    assert emoji_of(name, tone) == emoji


@pytest.mark.parametrize(
    ("reaction", "name"),
    [
        ("👍", "+1"),
        ("👍🏽", "+1::skin-tone-4"),
        ("👨🏽‍💻", "male-technologist::skin-tone-4"),
        ("❤", "heart"),
        ("❤️", "heart"),
        ("#️⃣", "hash"),
        ("😄🏽", "smile"),
        (" 🎉 ", "tada"),
        (":tada:", "tada"),
        ("tada", "tada"),
        ("party_parrot", "party_parrot"),
        (":+1::skin-tone-2:", "+1::skin-tone-2"),
        ("no emoji", "no emoji"),
        ("🏽", "skin-tone-4"),
        ("", ""),
    ],
)
def test_what_a_reaction_is_called(reaction: str, name: str) -> None:
    assert emoji_name(reaction) == name


@pytest.mark.parametrize(
    ("reaction", "text"),
    [
        ("thumbsup", "👍"),
        ("thumbsup::skin-tone-4", "👍🏽"),
        ("party_parrot", ":party_parrot:"),
        (":party_parrot:", ":party_parrot:"),
        ("a" * 500, f":{'a' * 500}:"),
    ],
)
def test_a_reaction_as_people_see_it(reaction: str, text: str) -> None:
    assert emoji_text(reaction) == text


def test_every_emoji_there_and_back() -> None:
    table = _table()
    assert len(table.names) > 1800
    for emoji in table.emoji.values():
        name = emoji_name(emoji)
        assert emoji_of(name) == emoji
        if name in table.toned:
            toned = emoji_of(name, "5")
            assert toned is not None
            assert emoji_name(toned) == f"{name}::skin-tone-5"
