"""A mail made anew of what a provider took apart, so that all mail is read in one way.

The same pieces make the same bytes, for the identity of a mail is made of them. Nothing is encoded: the parts are
binary, and stand as they are between lines that occur in none of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

_NAME = re.compile(r"[!-9;-~]{1,200}")
_FORBIDDEN = re.compile(r"[\r\n\0]+")
_OWN = ("mime-version", "content-type", "content-transfer-encoding", "content-disposition")
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}", re.IGNORECASE)
_CHARSET = re.compile(r"[A-Za-z0-9._:+-]{1,60}")


class Text(NamedTuple):
    """A text, in a character set."""

    content: bytes
    charset: str = "utf-8"


class Attachment(NamedTuple):
    """A file.

    Attributes:
        filename: Its name.
        content_type: Its type.
        content: What it holds.
        content_id: What the HTML calls it, or "".
    """

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""


def rebuilt_mail(
    headers: Iterable[tuple[str, str]], text: Text | None, html: Text | None, attachments: Sequence[Attachment]
) -> bytes:
    """Make a mail.

    Args:
        headers: Its header; what says how its body is made is left out.
        text: Its text.
        html: The same as HTML.
        attachments: Its files.
    """
    head = [_line(name, value) for name, value in headers if _NAME.fullmatch(name) and name.lower() not in _OWN]
    texts = [_text("plain", text)] if text is not None else []
    texts += [_text("html", html)] if html is not None else []
    body = _multipart("alternative", texts) if len(texts) > 1 else texts[0] if texts else _text("plain", Text(b""))
    if attachments:
        body = _multipart("mixed", [body, *map(_attachment, attachments)])
    return b"".join([*head, b"MIME-Version: 1.0\r\n", body])


def _line(name: str, value: str) -> bytes:
    return f"{name}: {_FORBIDDEN.sub(' ', value).strip()}\r\n".encode("utf-8", "replace")


def _text(kind: str, text: Text) -> bytes:
    charset = text.charset if _CHARSET.fullmatch(text.charset) else "utf-8"
    return b'Content-Type: text/%b; charset="%b"\r\nContent-Transfer-Encoding: binary\r\n\r\n%b' % (
        kind.encode(),
        charset.encode(),
        text.content,
    )


def _attachment(file: Attachment) -> bytes:
    kind = file.content_type if _TYPE.fullmatch(file.content_type) else "application/octet-stream"
    if kind.lower().startswith("multipart/"):  # its boundary is not known any more
        kind = "application/octet-stream"
    head = _line("Content-Type", kind) + _line("Content-Transfer-Encoding", "binary")
    name = quote(file.filename.encode("utf-8", "replace"), safe="")
    head += _line("Content-Disposition", f"{'inline' if file.content_id else 'attachment'}; filename*=utf-8''{name}")
    if file.content_id:
        head += _line("Content-ID", f"<{file.content_id.strip(' <>')}>")
    return head + b"\r\n" + file.content


def _multipart(kind: str, parts: list[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    boundary = b"=_" + digest.hexdigest()[:48].encode()
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (kind.encode(), boundary)
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary
