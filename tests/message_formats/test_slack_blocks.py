"""What a message says, wherever it stands in it."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline.message_formats.slack import text_of


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def bare(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


SECTION = {"type": "section", "text": mrkdwn("*Deployed* <@U1>")}
IMAGE = {"type": "image", "alt_text": "a cat"}


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"blocks": [{"type": "rich_text", "elements": list(elements)}]}


def section(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": list(elements)}


def words(text: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": style} if style else {})}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"text": "hi", "blocks": [SECTION]}, "hi"),
        ({"text": " ", "blocks": [SECTION]}, "*Deployed* <@U1>"),
        ({"blocks": [{"type": "header", "text": bare("1 < 2")}, SECTION]}, "1 &lt; 2\n*Deployed* <@U1>"),
        ({"blocks": [{"type": "markdown", "text": "a & b"}]}, "a &amp; b"),
        ({"blocks": [{"type": "section", "fields": [mrkdwn("*a*"), bare("<b>")]}]}, "*a*\n&lt;b&gt;"),
        ({"blocks": [{"type": "context", "elements": [IMAGE, mrkdwn("by ann")]}]}, "a cat by ann"),
        ({"blocks": [IMAGE, {"type": "divider"}, {"type": "actions"}]}, "a cat"),
        ({"blocks": [{"type": "video", "title": bare("cats")}]}, "cats"),
        ({"attachments": [{"pretext": "p", "title": "t", "text": "x", "fallback": "f"}]}, "p\nt\nx"),
        ({"attachments": [{"fallback": "f"}, {"text": "x"}]}, "f\nx"),
        ({"attachments": [{"blocks": [SECTION], "fallback": "[no preview]"}]}, "*Deployed* <@U1>"),
        ({}, ""),
    ],
)
def test_where_the_words_are(message: dict[str, Any], expected: str) -> None:
    assert text_of(message) == expected


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (words("1 < 2 & <@U1>"), "1 &lt; 2 &amp; &lt;@U1&gt;"),
        (words("rm *", code=True), "`rm *`"),
        (words("big", bold=True), "big"),
        ({"type": "link", "url": "https://x.test/?a&b"}, "<https://x.test/?a&amp;b>"),
        ({"type": "link", "url": "https://x.test/", "text": "<x>"}, "<https://x.test/|&lt;x&gt;>"),
        ({"type": "user", "user_id": "U1"}, "<@U1>"),
        ({"type": "channel", "channel_id": "C1"}, "<#C1>"),
        ({"type": "usergroup", "usergroup_id": "S1"}, "<!subteam^S1>"),
        ({"type": "broadcast", "range": "here"}, "<!here>"),
        ({"type": "emoji", "name": "wave", "skin_tone": 3}, ":wave::skin-tone-3:"),
        ({"type": "emoji", "name": "wave"}, ":wave:"),
        ({"type": "date", "timestamp": 1, "fallback": "1970"}, "1970"),
        ({"type": "color", "value": "#ff0000"}, "#ff0000"),
        ({"type": "hologram"}, ""),
        ({"type": "text", "text": 5}, ""),
    ],
)
def test_elements_of_rich_text(element: dict[str, Any], expected: str) -> None:
    assert text_of(rich(section(words("["), element, words("]")))) == f"[{expected}]"


def test_lists_quotes_and_code_of_rich_text() -> None:
    inner = [section(words("one")), section(words("two"))]
    message = rich(
        section(words("See:\n")),
        {"type": "rich_text_list", "style": "bullet", "elements": inner},
        {"type": "rich_text_list", "style": "ordered", "indent": 1, "elements": inner},
        {"type": "rich_text_quote", "elements": [words("said\nthus")]},
        {"type": "rich_text_preformatted", "elements": [words("a < b")]},
    )
    assert text_of(message) == "See:\n\n• one\n• two\n  1. one\n  2. two\n&gt; said\n&gt; thus\n```a &lt; b```"


def nested(depth: int) -> dict[str, Any]:
    block: dict[str, Any] = section(words("deep"))
    for _ in range(depth):
        block = {"type": "rich_text_list", "style": "bullet", "elements": [block]}
    return rich(block)


@pytest.mark.parametrize(
    "message",
    [
        {"text": None, "blocks": None, "attachments": None},
        {"text": 5, "blocks": 5, "attachments": 5},
        {"blocks": [None, 1, "x", [], {}, {"type": []}, {"type": "section", "text": {"text": {"text": {}}}}]},
        {"blocks": [{"type": "rich_text", "elements": {"a": 1}}, {"type": "context", "elements": [1, {}]}]},
        {"blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_list", "indent": -5, "elements": "x"}]}]},
        {"attachments": [None, {}, {"blocks": "x"}]},
        nested(1000),
    ],
)
def test_nonsense_says_nothing(message: dict[str, Any]) -> None:
    assert text_of(message) == ""


def test_few_levels_are_read() -> None:
    assert text_of(nested(5)) == "• deep"


def test_no_more_is_read_than_fits() -> None:
    many = {"blocks": [SECTION] * 100_000}
    assert text_of(many).count("Deployed") <= 2000
    long = {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 1_000_000}}] * 3}
    assert len(text_of(long)) == 100_000
    wide = rich(section(*[words("x")] * 100_000))
    assert len(text_of(wide)) <= 2000
    assert len(text_of({"attachments": [{"text": "x" * 10}] * 100_000})) < 2000
