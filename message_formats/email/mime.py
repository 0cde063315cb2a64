"""A received mail's bytes, taken apart: the fields of ``email.receive`` that do not depend on the recipient.

Written here because Python's own parser raises on real mail and its cost explodes on hostile mail (in a trial: 100 000
headers 4.3 s, 3 000 nested parts RecursionError, 300 nested parts with 20 000 lines 0.65 s, 5 000 RFC 2231 sections 1
s), while a server parses every mail it takes.

Work is bounded by the mail's size: a part's body is found with ``bytes.find``, never line by line, and one budget pays
for all searching, so that deep nesting of large parts ends in a raw part with a defect instead of hours. Memory is
bounded by what a message may hold: a large part is a place in the mail, or is decoded piece by piece into a store, and
the mail itself may be a file mapped into memory. RFC 2045, 2046, 5322; what breaks them is kept raw.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import headers
from .bounces import MAX_BOUNCE, read_bounce
from .charsets import cut, decode
from .html_text import html_to_text
from .parts import Kept, LargePart, Memory, Source, Store
from .replies import reply_text
from .transfer import decoded

Node = dict[str, Any]

MAX_DEPTH = 100  # as postfix' mime_nesting_limit
MAX_PARTS = 1000
MAX_HEADERS = 128 * 1024  # of the mail, and again of all its parts together
MAX_FIELDS = 2000
MAX_PART_HEADERS = 16 * 1024
MAX_PART_FIELDS = 100
MAX_TEXT = 256 * 1024
MAX_INLINE_LEAF = 64 * 1024
MAX_INLINE = 512 * 1024
MAX_DEFECTS = 50

_SEARCH_ALLOWANCE = 32 * 1024 * 1024
_SEARCH_PER_BYTE = 8
_COST_OF_A_BOUNDARY = 1024
_WEIGHT_OF_A_PART = 256
_WINDOW = 1024 * 1024
_MAX_BOUNDARY = 998  # RFC 2046 says 70, RFC 5322's longest line bounds what is ever written

_REST_OF_BOUNDARY_LINE = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\Z)")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,998}>")

_log = logging.getLogger("trunkline.email")


@dataclass(slots=True)
class ParsedMail:
    """One mail, taken apart once for all its recipients.

    Attributes:
        fields: the keys of ``email.receive`` that are the same for every recipient; absent ones are left out.
        large: (node of ``fields["content"]``, its content) of every leaf that does not travel in the message. Its
            ``body_channel`` is its index in this list, until `receive_message` puts what a recipient reads it by there.
        digest: SHA-256 of the received bytes.
        weight: about how many bytes each recipient's message takes, without its body channels.
    """

    fields: dict[str, Any]
    large: list[tuple[Node, LargePart]]
    digest: bytes
    weight: int


def parse_mail(raw: bytes | mmap.mmap, *, source: Source | None = None, store: Store | None = None) -> ParsedMail:
    """Take a mail apart. Never raises by itself, whatever the bytes are; bounded in time and memory by their number.

    Args:
        raw: the mail as received, dots unstuffed; line ends CRLF or LF.
        source: where the same bytes can be read as long as large parts are read; they are kept here when None.
        store: where large parts go that have to be decoded; they are kept here when None.

    Returns:
        The parsed mail. Whatever was found wrong stands in ``fields["defects"]``.

    Raises:
        OSError: `store` took no more.
    """
    digest = hashlib.sha256(raw).digest()
    try:
        parser = _Parser(raw, source, store)
        return ParsedMail(parser.parse(), parser.large, digest, parser.weight)
    except OSError:
        raise
    except Exception:
        _log.exception("a mail could not be parsed and is passed on raw")
        parser = _Parser(raw, source, store)
        parser.defect("this mail could not be parsed")
        return ParsedMail(parser.raw_fields(), parser.large, digest, parser.weight)


class _Parser:
    def __init__(self, raw: bytes | mmap.mmap, source: Source | None, store: Store | None) -> None:
        self._raw = raw
        self._source = source or Kept(raw)
        self._store = store or Memory()
        self.large: list[tuple[Node, LargePart]] = []
        self.weight = 0
        self._defects: dict[str, None] = {}
        self._parts_left = MAX_PARTS
        self._mail_headers: dict[str, str] = {}
        self._search_left = _SEARCH_ALLOWANCE + _SEARCH_PER_BYTE * len(raw)
        self._description_left = MAX_HEADERS
        self._inline_left = MAX_INLINE
        self._text_left = {"text/plain": MAX_TEXT, "text/html": MAX_TEXT}
        self._attachments: list[dict[str, Any]] = []
        self._texts: dict[int, str] = {}  # by the id of the leaf, of those that are the mail's text and no attachment

    def defect(self, what: str) -> None:
        if len(self._defects) < MAX_DEFECTS:
            self._defects[what] = None

    # The mail as a whole

    def parse(self) -> dict[str, Any]:
        found, body = headers.fields(self._raw, 0, len(self._raw), MAX_HEADERS, MAX_FIELDS, self.defect)
        header_list = [[name, headers.text_value(name, value, self.defect)] for name, value in found]
        if body > MAX_HEADERS // 3:  # a replacement character takes up to three times the room of what it replaces
            header_list = self._within_limit(header_list)
        by_name: dict[str, str] = {}
        for name, value in header_list:
            by_name.setdefault(name.lower(), value)
        self._mail_headers = by_name
        content = self._part(by_name, body, len(self._raw), (), "text/plain")
        return self._fields(header_list, by_name, content)

    def _within_limit(self, header_list: list[list[str]]) -> list[list[str]]:
        left = MAX_HEADERS
        for number, (name, value) in enumerate(header_list):
            left -= len(name) + len(value.encode())
            if left < 0:
                self.defect(f"headers over {MAX_HEADERS} bytes, the rest left out")
                return header_list[:number]
        return header_list

    def raw_fields(self) -> dict[str, Any]:
        return self._fields([], {}, self._leaf({}, "application/octet-stream", {}, 0, len(self._raw), ()))

    def _fields(self, header_list: list[list[str]], by_name: dict[str, str], content: Node) -> dict[str, Any]:
        plain, pages = self._collect(content)
        text = "\n".join(plain)
        if not text.strip():
            text = "\n".join(html_to_text(page, MAX_TEXT) for page in pages)
        text = cut(text, MAX_TEXT)
        fields: dict[str, Any] = {
            "headers": by_name,
            "header_list": header_list,
            "subject": by_name.get("subject", ""),
            "message_id": _message_id(by_name.get("message-id", "")),
            "text": text,
            "reply_to_text": reply_text(text),
            "content": content,
            "attachments": self._attachments,
            "size": len(self._raw),
            "auto_submitted": _is_automatic(by_name, content["content-type"]),
            "defects": list(self._defects),
        }
        if pages:
            fields["html"] = pages[0]
        bounce = read_bounce(content, by_name, self.large)
        if bounce is not None:
            fields["bounce"] = bounce
            fields["auto_submitted"] = True
        self.weight = (
            2 * sum(len(name) + len(value) for name, value in header_list)  # once more by name
            + len(text)
            + len(fields["reply_to_text"])
            + len(fields.get("html", ""))
            + MAX_INLINE
            - max(self._inline_left, 0)
            + MAX_HEADERS
            - self._description_left
            + _WEIGHT_OF_A_PART * (MAX_PARTS - self._parts_left)
            + (MAX_BOUNCE if bounce is not None else 0)
        )
        return fields

    # The tree

    def _part(self, own: dict[str, str], start: int, end: int, path: tuple[int, ...], default_type: str) -> Node:
        """Build the node of one part, its header already read, its body standing at raw[start:end]."""
        self._parts_left -= 1
        kind, parameters = headers.content_type(own.get("content-type"), self.defect, default_type)
        if kind.startswith("multipart/"):
            node = self._multipart(own, kind, parameters.get("boundary"), start, end, path)
            if node is not None:
                return node
            kind, parameters = "text/plain", {}  # as RFC 2045 section 5.2 says of a type that cannot be read
        return self._leaf(own, kind, parameters, start, end, path)

    def _multipart(
        self, own: dict[str, str], kind: str, boundary: str | None, start: int, end: int, path: tuple[int, ...]
    ) -> Node | None:
        """Build the node of a multipart, or return None where its body cannot be divided."""
        marker = (boundary or "").rstrip().encode()
        if not marker or len(marker) > _MAX_BOUNDARY:
            self.defect("multipart without a usable boundary")
            return None
        if len(path) >= MAX_DEPTH:
            self.defect(f"parts nested over {MAX_DEPTH} deep, the rest left raw")
            return None
        node: Node = {"content-type": kind, "parts": []}
        self._describe(node, own)
        default_type = "message/rfc822" if kind == "multipart/digest" else "text/plain"  # RFC 2046 section 5.1.5
        begin = -1
        for boundary_start, boundary_end, is_last in self._boundaries(b"--" + marker, start, end):
            if begin >= 0:
                self._child(node, begin, boundary_start, path, default_type)
            begin = boundary_end
            if is_last:
                begin = -1
                break
            if self._parts_left <= 0:
                break
        else:
            if begin < 0:
                self.defect("multipart without any boundary line")
                return None
            self.defect("multipart without its closing boundary")
        if begin >= 0:
            self._child(node, begin, end, path, default_type)
        return node

    def _child(self, node: Node, start: int, end: int, path: tuple[int, ...], default_type: str) -> None:
        path = (*path, len(node["parts"]))
        if self._parts_left <= 0:
            self.defect(f"over {MAX_PARTS} parts, the rest left raw")
            child = self._leaf({}, "application/octet-stream", {}, start, end, path)
        else:
            found, body = headers.fields(self._raw, start, end, MAX_PART_HEADERS, MAX_PART_FIELDS, self.defect)
            own: dict[str, str] = {}
            for name, value in found:
                own.setdefault(name.lower(), headers.text_value(name, value, self.defect))
            child = self._part(own, min(body, end), end, path, default_type)
        node["parts"].append(child)

    def _boundaries(self, marker: bytes, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the boundary lines in raw[start:end]: where the part before one ends, where the next part begins, and
        whether it is the last.
        """
        raw = self._raw
        needle = b"\n" + marker
        position = start - 1  # the line end before the first boundary line may belong to the header
        while self._search_left > 0:
            at = find(raw, needle, position, end)
            self._search_left -= (at if at >= 0 else end) - position + _COST_OF_A_BOUNDARY
            if at < 0:
                return
            line = _REST_OF_BOUNDARY_LINE.match(raw, at + len(needle), end)
            if line is None:  # the boundary of another multipart that begins with this one's
                position = at + len(needle)
                continue
            before = at - 1 if raw[at - 1 : at] == b"\r" else at  # the CRLF before a boundary line belongs to it
            position = line.end()
            yield max(before, start), position, line[1] is not None
            position -= 1
        self.defect("too much to search for boundaries, the rest left raw")

    def _leaf(
        self, own: dict[str, str], kind: str, parameters: dict[str, str], start: int, end: int, path: tuple[int, ...]
    ) -> Node:
        body = self._body(own.get("content-transfer-encoding", ""), start, end)
        size = len(body) if isinstance(body, bytes) else body.size
        placing, placing_parameters = headers.disposition(own.get("content-disposition"), self.defect)
        filename = headers.file_name(placing_parameters.get("filename") or parameters.get("name"), self.defect)
        node: Node = {"content-type": kind, "size": size}
        self._describe(
            node,
            own,
            charset=parameters.get("charset"),
            filename=filename,
            disposition=placing,
            content_id=own.get("content-id", "").strip(" \t<>") or None,
        )
        if isinstance(body, bytes) and size <= min(MAX_INLINE_LEAF, max(self._inline_left, 0)):
            self._inline_left -= size
            node["body"] = body
        else:
            if size <= MAX_INLINE_LEAF:
                self._inline_left = -1  # from here on every leaf
            node["body_channel"] = len(self.large)
            self.large.append((node, self._keep([body]) if isinstance(body, bytes) else body))
        kind_of_text = kind in self._text_left or (not path and kind.startswith("text/"))
        if placing == "attachment" or not kind_of_text or (filename and path):
            self._attachments.append(
                {
                    "filename": node.get("filename", ""),
                    "content-type": kind,
                    "size": size,
                    "path": list(path),
                }
            )
        else:
            self._texts[id(node)] = self._text(kind, body, parameters.get("charset"))
        return node

    def _body(self, encoding: str, start: int, end: int) -> bytes | LargePart:
        """Undo a leaf's transfer encoding: its content, or where it is where that is large."""
        pieces = decoded(self._raw, start, end, encoding, self.defect)
        if pieces is None:
            if end - start <= MAX_INLINE_LEAF:
                return self._raw[start:end]
            return LargePart(self._source, start, end - start)
        beginning = next(pieces, b"")
        if (second := next(pieces, None)) is None and len(beginning) <= MAX_INLINE_LEAF:
            return beginning
        part = self._keep([beginning] if second is None else [beginning, second], pieces)
        return part if part.size > MAX_INLINE_LEAF else part.read()

    def _keep(self, *sources: Iterable[bytes]) -> LargePart:
        """Put the pieces of a part into the store."""
        start = self._store.size
        for piece in itertools.chain(*sources):
            self._store.write(piece)
        return LargePart(self._store, start, self._store.size - start)

    def _describe(self, node: Node, own: dict[str, str], **more: str | None) -> None:
        """Add a part's own header and what stands in it, as long as those of all parts together stay within bounds."""
        described = {name: value for name, value in more.items() if value is not None}
        if own is self._mail_headers:
            own = {name: value for name, value in own.items() if name.startswith("content-")}
        cost = sum(2 * len(value.encode()) for value in described.values())  # once more in the list of attachments
        cost += sum(len(name) + len(value.encode()) for name, value in own.items())
        if cost > self._description_left:
            self.defect(f"headers of parts over {MAX_HEADERS} bytes, the rest left out")
            return
        self._description_left -= cost
        node.update(described)
        if own:
            node["headers"] = own

    # Its text

    def _text(self, kind: str, body: bytes | LargePart, charset: str | None) -> str:
        kind = "text/html" if kind == "text/html" else "text/plain"
        left = self._text_left[kind]
        most = 4 * left  # no character set takes more than four bytes for what is one in UTF-8
        if isinstance(body, bytes):
            beginning, size = body[:most], len(body)
        else:
            beginning, size = body.read(0, most), body.size
        text = decode(beginning, charset, self.defect, whole=len(beginning) == size)
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            text = text.replace("\r", "\n")
        text = cut(text, left)
        self._text_left[kind] -= len(text)
        return text

    def _collect(self, node: Node) -> tuple[list[str], list[str]]:
        """Find the mail's text: (plain texts, HTML pages) in order, of alternatives the best of each."""
        if "parts" not in node:
            text = self._texts.get(id(node), "")
            if not text.strip():
                return [], []
            return ([], [text]) if node["content-type"] == "text/html" else ([text], [])
        found = [self._collect(part) for part in node["parts"]]
        plain = [texts for texts, _ in found if texts]
        pages = [texts for _, texts in found if texts]
        if node["content-type"] == "multipart/alternative":  # RFC 2046 section 5.1.4: the last is the richest
            plain, pages = plain[:1], pages[-1:]
        return [text for texts in plain for text in texts], [page for texts in pages for page in texts]


def find(raw: bytes | mmap.mmap, needle: bytes, start: int, end: int) -> int:
    """Find `needle` in raw[start:end], or return -1. That of a mapped file, done by the map itself, has no bound."""
    if isinstance(raw, bytes):
        return raw.find(needle, start, end)
    while start < end:
        window = raw[start : min(start + _WINDOW, end)]
        at = window.find(needle)
        if at >= 0:
            return start + at
        if start + len(window) == end:
            break
        start += len(window) - len(needle) + 1
    return -1


def _message_id(value: str) -> str:
    found = _MESSAGE_ID.search(value)
    if found:
        return found[0]
    return value if value.strip("<> ") else ""  # brackets around nothing name nothing, and are in many mails


def _is_automatic(by_name: dict[str, str], kind: str) -> bool:
    """Tell mail that must never be answered: automatic answers (RFC 3834), reports (RFC 6522), mailing lists (RFC 2369,
    RFC 2919).
    """
    return (
        by_name.get("auto-submitted", "no").partition(";")[0].strip().lower() not in ("no", "")
        or by_name.get("precedence", "").strip().lower() in ("bulk", "list", "junk", "auto_reply")
        or kind == "multipart/report"
        or any(name.startswith("list-") or name in ("x-autoreply", "x-autorespond", "x-loop") for name in by_name)
    )
