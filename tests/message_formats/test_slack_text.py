"""Slack's text and plain text, each from the other."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.message_formats.slack import mentioned, names_in, to_plain, to_slack

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "slack-text.md"
NAMES = {"U024BE7LH": "Ann Smith", "U0BOT0001": "bot", "C024BE91L": "general"}
IDS = {"Ann Smith": "U024BE7LH", "ann": "U024BE7LH", "general": "C024BE91L", "ops": "S024BE7LH"}


def plain(text: str) -> str:
    return to_plain(text, user=NAMES.get, room=NAMES.get, own="U0BOT0001").text


def notifying(text: str) -> str:
    return to_slack(text, notify=True, user=IDS.get, room=IDS.get)


def rows(heading: str) -> list[tuple[str, str]]:
    """Return the first two columns of a table of the documentation, with "⏎" for a line's end."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    found = []
    for line in section.split("| --- | --- |\n")[1].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 2 and cells[0].startswith("`"):
            left, right = (re.sub(r"^(`+) ?(.*?) ?\1$", r"\2", cell).replace("\\|", "|") for cell in cells[:2])
            found.append((left.replace("⏎", "\n"), right.replace("⏎", "\n")))
    assert found
    return found


@pytest.mark.parametrize(("slack", "expected"), rows("What people say, as plain text"))
def test_the_table_of_what_people_say(slack: str, expected: str) -> None:
    assert plain(slack) == expected


@pytest.mark.parametrize(("text", "expected"), rows("Plain text, as Slack carries it"))
def test_the_table_of_what_is_said(text: str, expected: str) -> None:
    assert to_slack(text).replace("\u2060", "◦") == expected


@pytest.mark.parametrize(("text", "expected"), rows("With `notify`"))
def test_the_table_of_mentions(text: str, expected: str) -> None:
    assert notifying(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<@U0BOT0001> deploy", "deploy"),
        ("<@U0BOT0001>: deploy", "deploy"),
        ("  <@U0BOT0001|bot> <@U0BOT0001>, deploy", "deploy"),
        ("thanks, <@U0BOT0001>!", "thanks!"),
        ("hey <@U0BOT0001> deploy", "hey deploy"),
        ("ask <@U0BOT0001>, please", "ask, please"),
        ("<@U0BOT0001>", ""),
        ("one\n<@U0BOT0001> two", "one\n two"),
    ],
)
def test_who_reads_it_is_addressed_and_its_name_left_out(text: str, expected: str) -> None:
    assert to_plain(text, user=NAMES.get, room=NAMES.get, own="U0BOT0001") == (expected, True)


def test_others_are_not_addressed() -> None:
    read = to_plain("<@U024BE7LH> <!here>", user=NAMES.get, room=NAMES.get, own="U0BOT0001")
    assert read == ("@Ann Smith @here", False)
    assert to_plain("<@U0BOT0001>", user=NAMES.get, room=NAMES.get) == ("@bot", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("<", "<"),
        ("<>", "<>"),
        ("< >", "< >"),
        ("<@>", "@"),
        ("<@|>", "@"),
        ("<!>", "@"),
        ("<!date^1>", ""),
        ("<|x>", "<|x>"),
        ("a <b> c", "a <b> c"),
        ("&amp;amp; &lt;!here&gt; &nbsp; &#38;", "&amp; <!here> &nbsp; &#38;"),
        ("``", "``"),
        ("``````", ""),
        ("```", "```"),
        ("`a\nb`", "`a\nb`"),
        ("*a\nb*", "*a\nb*"),
        ("*a _b* c_", "a b c"),
        ("_*", "_*"),
        ("\0\1a", "a"),
        ("10:30:45 :nope: ::", "10:30:45 :nope: ::"),
        (":+1::skin-tone-9:", "👍:skin-tone-9:"),
        (":smile::skin-tone-3:", "😄"),
        ("<javascript:alert(1)|click>", "click (javascript:alert(1))"),
        ("```<https://x.test/|x> &amp; <@U024BE7LH>```", "x (https://x.test/) & @Ann Smith"),
        ("`<nothing>`", "<nothing>"),
    ],
)
def test_odd_texts(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_ids_that_are_mentioned() -> None:
    assert mentioned("<@U> <@U222> <@W333|w> <#C444|x> <!here> <@ <@u555> U666 <@" + "A" * 50 + ">") == {
        "U222",
        "W333",
        "C444",
    }


def test_names_to_look_up() -> None:
    assert names_in("hi @Ann Smith, and #general! `@code` https://x.test/@path a@b.test @here @everyone") == (
        {"Ann", "Ann Smith,", "Ann Smith", "Ann Smith, and"},
        {"general", "general!"},
    )


def test_an_id_may_stand_for_a_name() -> None:
    assert to_slack("@U024BE7LH #C024BE91L", notify=True) == "<@U024BE7LH> <#C024BE91L>"
    assert to_slack("@U024BE7LH #C024BE91L") == "@U024BE7LH #C024BE91L"


def test_names_are_looked_up_a_bounded_number_of_times() -> None:
    asked: list[str] = []

    def lookup(name: str) -> None:
        asked.append(name)

    text = "@a b c " * 10_000
    assert to_slack(text, notify=True, user=lookup) == text
    assert len(asked) <= 210


# What Slack makes a call of people, groups or everybody of, whatever the arguments of the method.
CALLS = re.compile(r"<[@!]|(?<![\w./@])@(here|channel|everyone|group)(?!\w)", re.IGNORECASE)
PIECES = ["<", ">", "@", "!", "here", "channel", "|", "&", "lt;", "U024BE7LH", "#", " ", "\n", "`", "\u2060", "a", ":"]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_nothing_calls_anybody_unless_it_may(text: str) -> None:
    assert not CALLS.search(to_slack(text))


@given(
    st.lists(st.sampled_from(["<", ">", "&", "&lt;", "@here", "#", " ", "a", "B", "1", "ä", "€", "\n"])).map("".join)
)
def test_there_and_back(text: str) -> None:
    assert plain(to_slack(text)) == text


@given(st.lists(st.sampled_from(["<", ">", "@U1", "|", "`", "```", "*", "_", "~", ":", "smile", "\n", " ", "a", "&"])))
def test_anything_is_read_and_said(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert isinstance(plain(text), str)
    assert isinstance(notifying(text), str)


HOSTILE = [
    "`",
    "<",
    "<@",
    ":a",
    "*a ",
    "_*~",
    "@a ",
    "```a",
    "` ",
    "&",
    "&lt",
    "\u2060@",
    "http://",
    "@.",
    "<@A|",
    "#@",
    " ",
    ", ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_length_alone(piece: str) -> None:
    def seconds(count: int) -> float:
        text = piece * (count // len(piece))
        started = time.process_time()
        for one in (text, "```" + text, "<" + text, ":" + text, "<@U0BOT0001>a" + text + "a"):
            plain(one)
            to_slack(one)
            notifying(one)
            mentioned(one)
        return time.process_time() - started

    # Ten times as long a text may take thirty times as long; squared would be a hundred.
    small, large = (min(seconds(count) for _ in range(3)) for count in (4_000, 40_000))
    assert large < max(small, 0.002) * 30
