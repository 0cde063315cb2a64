"""What a message of Slack's says, in Slack's text, wherever it stands: its text, else its blocks, else attachments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .text import escape

_DEEPEST = 20
_MOST = 2000  # blocks and elements that are looked at
_LONGEST = 100_000  # characters


class _Writer:
    """Writes blocks as text, as many as are looked at.

    Source: https://docs.slack.dev/reference/block-kit/blocks
    """

    def __init__(self) -> None:
        self._left = _MOST

    def blocks(self, blocks: Any, depth: int = 0) -> Iterator[str]:
        """Yield the lines of blocks."""
        for block in _objects(blocks):
            self._left -= 1
            if self._left < 0 or depth > _DEEPEST:
                return
            match block.get("type"):
                case "rich_text":
                    yield from self._rich(block.get("elements"), depth + 1)
                case "context":
                    yield " ".join(filter(None, map(_words, _objects(block.get("elements")))))
                case "section" | "header" | "markdown" | "image" | "video":
                    yield from (_words(block), *map(_words, _objects(block.get("fields"))))

    def _rich(self, elements: Any, depth: int, mark: str = "") -> Iterator[str]:
        """Yield the lines of rich text."""
        for number, element in enumerate(_objects(elements), 1):
            self._left -= 1
            if self._left < 0 or depth > _DEEPEST:
                return
            inner = element.get("elements")
            match element.get("type"):
                case "rich_text_section":
                    yield mark.format(number) + self._inline(inner)
                case "rich_text_preformatted":
                    yield f"```{self._inline(inner)}```"
                case "rich_text_quote":
                    yield "\n".join(f"&gt; {line}" for line in self._inline(inner).splitlines())
                case "rich_text_list":
                    indent = element.get("indent")
                    spaces = "  " * min(indent, _DEEPEST) if isinstance(indent, int) else ""
                    numbered = element.get("style") == "ordered"
                    yield from self._rich(inner, depth + 1, spaces + ("{}. " if numbered else "• "))

    def _inline(self, elements: Any) -> str:
        """Return what stands in a line."""
        pieces: list[str] = []
        for element in _objects(elements):
            self._left -= 1
            if self._left < 0:
                break
            pieces.append(_inline(element))
        return "".join(pieces)


def text_of(message: Mapping[str, Any]) -> str:
    """Return what a message says, as Slack carries text: its text, or what its blocks or attachments say instead."""
    text = _string(message.get("text"))
    if text.strip():
        return text
    said = _joined(_Writer().blocks(message.get("blocks")))
    return said or _joined(_attached(message.get("attachments")))


def _attached(attachments: Any) -> Iterator[str]:
    """Yield the lines of attachments: what there is to see, else what stands for it elsewhere."""
    for attachment in list(_objects(attachments))[:100]:
        parts = [_string(attachment.get(key)) for key in ("pretext", "title", "text")]
        written = _joined(iter(parts)) or _joined(_Writer().blocks(attachment.get("blocks")))
        yield written or _string(attachment.get("fallback"))


def _inline(element: Mapping[str, Any]) -> str:
    """Return an element of rich text."""
    name = _string(element.get("name"))
    match element.get("type"):
        case "text":
            text = escape(_string(element.get("text")))
            style = element.get("style")
            return f"`{text}`" if isinstance(style, dict) and style.get("code") else text
        case "link":
            label = _string(element.get("text"))
            url = escape(_string(element.get("url")))
            return f"<{url}|{escape(label)}>" if label else f"<{url}>"
        case "user":
            return f"<@{_string(element.get('user_id'))}>"
        case "channel":
            return f"<#{_string(element.get('channel_id'))}>"
        case "usergroup":
            return f"<!subteam^{_string(element.get('usergroup_id'))}>"
        case "broadcast":
            return f"<!{_string(element.get('range'))}>"
        case "emoji":
            tone = element.get("skin_tone")
            return f":{name}::skin-tone-{tone}:" if isinstance(tone, int) else f":{name}:"
        case "date":
            return escape(_string(element.get("fallback")))
        case "color":
            return escape(_string(element.get("value")))
    return ""


def _words(block: Mapping[str, Any]) -> str:
    """Return the text of a block or of a text object."""
    if block.get("type") == "mrkdwn":
        return _string(block.get("text"))
    if block.get("type") == "image":
        return escape(_string(block.get("alt_text")))
    for key in ("text", "title"):
        text = block.get(key)
        if isinstance(text, dict):
            return _words(text) if isinstance(text.get("text"), str) else ""
        if isinstance(text, str):
            return escape(text)
    return ""


def _joined(lines: Iterator[str]) -> str:
    found, length = [], 0
    for line in lines:
        if line.strip():
            found.append(line)
            length += len(line)
        if length > _LONGEST:
            break
    return "\n".join(found)[:_LONGEST]


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
