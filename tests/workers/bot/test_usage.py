"""What a command takes: reading the usage, and reading what people write."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import CommandError
from trunkline.workers.bot.usage import Usage

DEPLOY = "<service> [region] [--now] [--env=<name>]"


@pytest.mark.parametrize(
    ("usage", "line", "arguments"),
    [
        ("", "", {}),
        ("<service>", "web", {"service": "web"}),
        ("[service]", "", {}),
        ("[<service>]", "web", {"service": "web"}),
        (DEPLOY, "web", {"service": "web", "now": False}),
        (DEPLOY, "web eu --now", {"service": "web", "region": "eu", "now": True}),
        (DEPLOY, "--now web", {"service": "web", "now": True}),
        (DEPLOY, "—now web", {"service": "web", "now": True}),
        (DEPLOY, "--NOW web", {"service": "web", "now": True}),
        (DEPLOY, "web --env=prod", {"service": "web", "now": False, "env": "prod"}),
        (DEPLOY, "web --env prod", {"service": "web", "now": False, "env": "prod"}),
        (DEPLOY, 'web --env="the big one"', {"service": "web", "now": False, "env": "the big one"}),
        (DEPLOY, "web --env 'the big one' eu", {"service": "web", "region": "eu", "now": False, "env": "the big one"}),
        (DEPLOY, "  web\n\teu ", {"service": "web", "region": "eu", "now": False}),
        (DEPLOY, "-- --now", {"service": "--now", "now": False}),
        (DEPLOY, "-5 don't", {"service": "-5", "region": "don't", "now": False}),
        (DEPLOY, '"two words" ""', {"service": "two words", "region": "", "now": False}),
        (DEPLOY, "“two words”", {"service": "two words", "now": False}),
        (DEPLOY, "«two words»", {"service": "two words", "now": False}),
        (DEPLOY, "'ello'ello", {"service": "'ello'ello", "now": False}),
        ("<who> <what...>", 'ann it\'s  "late"\nnow ', {"who": "ann", "what": 'it\'s  "late"\nnow'}),
        ("<what…>", "--so it is", {"what": "--so it is"}),
        ("[--loud] <what...>", "--loud --so it is", {"loud": True, "what": "--so it is"}),
        ("[--loud] <what...>", "-- --loud", {"loud": False, "what": "--loud"}),
        ("[what...]", " ", {}),
        ("[--loud] [a] [b]", "— b", {"loud": False, "a": "—", "b": "b"}),
        ("[--dry-run] <from>", "a --dry-run", {"from_": "a", "dry_run": True}),
        ("--to=<room>", "--to #ops", {"to": "#ops"}),
        ("--to <room>", "--to=#ops", {"to": "#ops"}),
    ],
)
def test_what_people_write(usage: str, line: str, arguments: dict[str, Any]) -> None:
    assert Usage(usage).parse(line) == arguments


@pytest.mark.parametrize(
    ("usage", "line", "wrong"),
    [
        ("", "web", "web is too much."),
        (DEPLOY, "", "<service> is missing."),
        (DEPLOY, "web eu west", "west is too much."),
        (DEPLOY, "web --later", "there is no --later."),
        (DEPLOY, f"web --{'x' * 99}", f"there is no --{'x' * 37}…."),
        (DEPLOY, "web --now=yes", "--now takes no value."),
        (DEPLOY, "web --env", "--env needs a value."),
        (DEPLOY, "web --env= prod", "--env needs a value."),
        (DEPLOY, 'web "eu', 'the quote "eu is not closed.'),
        ("<who> <what...>", "ann", "<what> is missing."),
        ("--to=<room>", "", "--to is missing."),
    ],
)
def test_what_does_not_fit(usage: str, line: str, wrong: str) -> None:
    with pytest.raises(CommandError) as told:
        Usage(usage).parse(line)
    assert str(told.value) == wrong


@pytest.mark.parametrize(
    ("usage", "wrong"),
    [
        ("service", "cannot read 'service'"),
        ("<a><b>", "cannot read '<a><b>'"),
        ("[<a]", "cannot read"),
        ("<a> [--a]", "one name twice"),
        ("[a] <b>", "<b> is needed, and [a] before it is not"),
        ("<a...> [b]", "nothing can follow <a>"),
        ("[--to=<x>", "cannot read"),
    ],
)
def test_a_usage_that_cannot_be(usage: str, wrong: str) -> None:
    with pytest.raises(ValueError) as told:
        Usage(usage)
    assert wrong in str(told.value)


@given(line=st.text())
def test_nothing_that_is_written_raises_anything_else(line: str) -> None:
    for usage in ("", DEPLOY, "<who> [--loud] [what...]"):
        with contextlib.suppress(CommandError):
            assert {*Usage(usage).parse(line)} <= {*Usage(usage).names}


@given(
    words=st.lists(st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="\"'“„‘«-—")), max_size=2)
)
def test_quoted_words_come_back(words: list[str]) -> None:
    line = " ".join(f'"{word}"' for word in words)
    found = Usage("[a] [b]").parse(line)
    assert [*found.values()] == words
