"""Readable plain text from the HTML of a mail.

Written here because the ready-made converter fell short in a trial: `html2text` took over 20 s for 64 KiB of ``<a ``,
made 67 MB of 64 KiB of ``<ul><li>``, and its GPL would pass on to our users. Mails need little: paragraphs, lists,
quotes, link addresses. One pass, linear in the input on every input, output bounded.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from .charsets import cut

_MARKUP = re.compile(r"<(?:(/?)([a-zA-Z][a-zA-Z0-9]*+)|[!?/])")
_TAG_END = re.compile(r"""[^>"']*+(?:(?:"[^"]*+"|'[^']*+')[^>"']*+)*>""")
_HREF = re.compile(r"""\shref\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE)
_ALT = re.compile(r"""\salt\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?")  # int() refuses long numbers
_UNSEEN = {
    name: re.compile(f"</{name}(?![a-zA-Z0-9])", re.IGNORECASE)
    for name in ("script", "style", "title", "template", "textarea", "select")
}
_PARAGRAPHS = frozenset(re.findall(r"\w+", "p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre"))
_LINES = frozenset(
    re.findall(
        r"\w+",
        "address article aside body br center dd div dt footer form header hr html li main nav section tr",
    )
)
_MAX_QUOTES = 10


def html_to_text(source: str, limit: int) -> str:
    """Turn HTML into plain text.

    Args:
        source: the HTML, decoded.
        limit: bytes of text, as UTF-8, after which the rest is left out.

    Returns:
        Text with LF line ends: one blank line between paragraphs, ``* `` before list items, ``> `` before quoted lines,
        the address of a link in brackets after its words; scripts, styles and comments left out.
    """
    page = _Page(limit)
    for name, closing, content in _tokens(source):
        if name is None:
            page.say(content)
        elif closing:
            page.end(name)
        else:
            page.begin(name, content)
        if page.full:
            break
    return page.text()


def _tokens(source: str) -> Iterator[tuple[str | None, bool, str]]:
    """Yield (None, False, text) and (tag name, is closing, attributes)."""
    position = 0
    while markup := _MARKUP.search(source, position):
        at = markup.start()
        if at > position:
            yield None, False, source[position:at]
        if markup[2] is None:
            is_comment = source.startswith("<!--", at)
            end = source.find("-->", at + 4) + 2 if is_comment else source.find(">", at)
            if end <= at:  # not closed: browsers hide the rest too
                return
            position = end + 1
            continue
        whole = _TAG_END.match(source, markup.end())
        end = whole.end() if whole else source.find(">", markup.end()) + 1  # an odd quote: the tag ends at the next ">"
        if not end:
            return
        name = markup[2].lower()
        yield name, bool(markup[1]), source[markup.end() : end - 1]
        position = end
        if name in _UNSEEN and not markup[1]:
            close = _UNSEEN[name].search(source, position)
            if close is None:
                return
            position = close.start()
    yield None, False, source[position:]


class _Page:
    """The text made so far: finished lines, and the line being made."""

    def __init__(self, limit: int) -> None:
        self.full = False
        self._limit = limit
        self._size = 0
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0
        self._preformatted = 0
        self._link: tuple[str, int] | None = None  # its address, and where its words begin in _line

    def say(self, text: str) -> None:
        if "&" in text:
            text = html.unescape(_LONG_REFERENCE.sub("\ufffd", text))
        text = text.replace("\xa0", " ")
        if self._preformatted:
            *lines, text = text.replace("\r\n", "\n").split("\n")
            for line in lines:
                self._line.append(line)
                self._break()
        else:
            text = _SPACE.sub(" ", text)
            if not self._line or self._line[-1].endswith(" "):
                text = text.removeprefix(" ")
        if text:
            self._line.append(text)

    def begin(self, name: str, attributes: str) -> None:
        if name in _PARAGRAPHS:
            self._paragraph()
            self._quotes += name == "blockquote"
            self._preformatted += name == "pre"
        elif name in _LINES:
            self._break(always=name == "br")
            if name == "li":
                self._line.append("* ")
        elif name in ("td", "th") and self._line:
            self.say(" ")
        elif name == "a":
            found = _HREF.search(attributes)
            if found:
                address = html.unescape(_LONG_REFERENCE.sub("", found[1] or found[2] or found[3] or ""))
                self._link = address.strip(), len(self._line)
        elif name == "img":
            found = _ALT.search(attributes)
            if found:
                self.say(found[1] or found[2] or "")

    def end(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._break()
            self._quotes = max(0, self._quotes - (name == "blockquote"))
            self._preformatted = max(0, self._preformatted - (name == "pre"))
            self._paragraph()
        elif name in _LINES:
            self._break()
        elif name == "a" and self._link:
            address, start = self._link
            self._link = None
            words = "".join(self._line[start:]).strip()
            if address.lower().startswith(("http://", "https://")) and words and words.rstrip("/") not in address:
                self._line.append(f" ({_SPACE.sub('', address)})")

    def _break(self, always: bool = False) -> None:
        line = "".join(self._line).rstrip()
        self._line.clear()
        if self._link:
            self._link = self._link[0], 0
        if line or always or self._preformatted:
            line = "> " * min(self._quotes, _MAX_QUOTES) + line
            self._lines.append(line)
            self._size += len(line) + 1
            self.full = self._size > self._limit

    def _paragraph(self) -> None:
        self._break()
        if self._lines and self._lines[-1].strip("> "):
            self._lines.append(("> " * min(self._quotes, _MAX_QUOTES)).rstrip())

    def text(self) -> str:
        self._break()
        text = "\n".join(self._lines).strip("\n")
        return cut(text + "\n", self._limit) if text else ""
