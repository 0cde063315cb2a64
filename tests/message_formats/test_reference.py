"""The texts for people: everything that is known of a format is in them."""

from __future__ import annotations

import re

import pytest

from trunkline.message_formats import Format, describe, formats, get, markdown, names, summary


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def known(name: str) -> Format:
    format = get(name)
    assert format is not None
    return format


@pytest.mark.parametrize("name", names())
def test_describe_tells_everything(name: str) -> None:
    format = known(name)
    text = describe(format)
    assert text.startswith(f"{name}\n")
    told = flat(text)
    for part in (format, *([format.reply] if format.reply else [])):
        assert flat(part.doc) in told
        for field in part.fields:
            assert flat(field.doc) in told
            assert f" {field.name}: {field.type}" in told
    for answer in (format.default, format.failure, format.unrouted, format.busy):
        assert answer is None or flat(repr(answer)) in told


def test_describe_of_a_small_format() -> None:
    assert describe(known("udp.receive")) == (
        "udp.receive\n"
        "\n"
        "A datagram came in.\n"
        "\n"
        "  reply_channel: str\n"
        "      The peer: every reply is one datagram to it.\n"
        "  data: bytes\n"
        "      The content of the datagram.\n"
        "  client: [str, int]\n"
        "      The peer's host and port.\n"
        "  server: [str, int] = None\n"
        "      The host and port that it came in on.\n"
        "\n"
        "Reply\n"
        "\n"
        "A datagram to the peer.\n"
        "\n"
        "  data: bytes\n"
        "      The content of the datagram."
    )


def test_describe_tells_rules_defaults_and_inner_records() -> None:
    text = describe(known("email.receive"))
    assert "\n  content: MailNode\n" in text
    assert "\n  MailNode: A node of a MIME tree" in text
    assert "\n  Rule: exactly one of parts, size\n" in text
    assert '\n  subject: str (one line) = ""\n' in text
    assert "never becomes a dead letter" in text


def test_describe_fits_a_terminal() -> None:
    for format in formats():
        assert max(map(len, describe(format).splitlines())) <= 100


def test_summary_has_a_line_for_each_format() -> None:
    lines = summary().splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert "udp.receive            A datagram came in." in lines


def test_the_reference_page_has_everything_once() -> None:
    page = markdown()
    for format in formats():
        assert page.count(f"\n## `{format.name}`\n") == 1
        for field in format.fields:
            assert field.doc.replace("|", "\\|") in page
    for reply in (
        "http reply",
        "websocket reply",
        "chat reply",
        "irc-client reply",
        "slack reply",
        "email reply",
        "udp reply",
    ):
        assert page.count(f"\n## {reply}\n") == 1
        assert f"(#{reply.replace(' ', '-')})" in page


def test_the_reference_page_is_regular_markdown() -> None:
    page = markdown()
    assert "\n\n\n" not in page
    assert page.endswith("\n")
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5
