"""HTTP: requests, the rest of their bodies, clients that leave early, and replies."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from .format import Composed, Format, Message
from .kinds import Range
from .rules import OnlyWith, at_least_one
from .typed import Default, record_of
from .vocabulary import CHUNK, UPPER_TOKEN, Address, BodyChunk, Headers, LowerHeaders

_HELD_AT_ONCE = 4 * 1024 * 1024
_WITHOUT_CONTENT = (204, 205, 304)


class HttpRequest(TypedDict):
    """An HTTP request: its head and the beginning of its body, often all of it."""

    reply_channel: Annotated[str, "Where the response goes."]
    http_version: Annotated[Literal["1.0", "1.1", "2"], "The version that the client speaks."]
    method: Annotated[str, UPPER_TOKEN, "The method, in upper case."]
    scheme: NotRequired[Annotated[str, Default("http"), 'The scheme of the URL, "http" or "https".']]
    path: Annotated[str, "The path of the URL, percent- and UTF-8-decoded."]
    query_string: Annotated[bytes, "The part of the URL after the `?`, raw."]
    root_path: NotRequired[Annotated[str, Default(""), "The path that the application is mounted at."]]
    headers: Annotated[LowerHeaders, "The headers, order and duplicates kept, names in lower case."]
    body: NotRequired[Annotated[bytes, Default(b""), "The body; where `body_channel` is set, its first 64 KiB."]]
    body_channel: NotRequired[Annotated[str, "A single-reader channel that holds the rest of the body."]]
    client: NotRequired[Annotated[Address, "The client's host and port."]]
    server: NotRequired[Annotated[Address, "The host and port that the request came in on."]]


class HttpReply(TypedDict):
    """A response, then any number of further chunks of its content.

    The first message has a `status`, the following ones have only `content` and `more_content`. The first without
    `more_content` ends the response; everything after that is ignored. A second `status` before the end closes the
    connection (HTTP/2: resets the stream).
    """

    status: NotRequired[Annotated[int, Range(200, 599), "The status; in the first message, and only there."]]
    headers: NotRequired[Annotated[Headers, Default([]), "The headers, order and duplicates kept."]]
    content: NotRequired[
        Annotated[bytes, Default(b""), "The content, or a chunk of it, which every later message has."]
    ]
    more_content: NotRequired[Annotated[bool, Default(False), "Whether more messages of this response follow."]]


class HttpDisconnect(TypedDict):
    """A client left before its response had ended."""

    reply_channel: Annotated[str, "The reply channel of the request; nothing sent there arrives any more."]
    path: Annotated[str, "The path of the request."]


def compose(
    message: Mapping[str, Any],
    content: str | bytes | dict[str, Any] | Iterable[bytes],
    status: int = 200,
    headers: Iterable[tuple[bytes | str, bytes | str]] = (),
) -> Composed:
    """Make the response of `message.reply(...)`.

    Args:
        message: the `http.request`.
        content: text (sent as text/plain in UTF-8), bytes (application/octet-stream), a dict (JSON), or an iterable
            of bytes, which is sent piece by piece as it yields.
        status: the status.
        headers: names and values; str is taken as Latin-1. A content-type among them replaces ours.

    Raises:
        TypeError: an argument of another type.
        ValueError: a dict that JSON cannot hold, text that is not Unicode.
    """
    if type(status) is not int and (not isinstance(status, int) or isinstance(status, bool)):
        raise TypeError(f"status: allowed is an int, not {type(status).__name__}")
    pairs = [] if headers == () else _header_pairs(headers)
    body, content_type = _body_of(content)
    if status not in _WITHOUT_CONTENT and not (pairs and any(name.lower() == b"content-type" for name, _ in pairs)):
        pairs.append([b"content-type", content_type])
    head: Message = {"status": status, "headers": pairs}
    if not isinstance(body, bytes):
        return Composed(message["reply_channel"], _streamed(head, body), stream=True)
    if len(body) <= CHUNK:  # as most are
        head["content"] = body
        # Without headers of the consumer's own only its status can be wrong, and nearly all replies are of this kind.
        return Composed(message["reply_channel"], [head], False, headers == () and 200 <= status <= 599)
    if len(body) > _HELD_AT_ONCE:
        return Composed(message["reply_channel"], _cut(head, body), stream=True)
    return Composed(message["reply_channel"], list(_cut(head, body)))


def _body_of(content: object) -> tuple[bytes | Iterable[bytes], bytes]:
    """Return what is to be sent, and its media type."""
    if isinstance(content, str):
        return content.encode(), b"text/plain; charset=utf-8"
    if isinstance(content, bytes):
        return content, b"application/octet-stream"
    if isinstance(content, dict):
        return json.dumps(content, allow_nan=False).encode(), b"application/json"
    if isinstance(content, (list, tuple)):
        for piece in content:  # while nothing is sent yet
            _bytes_only(piece)
    if isinstance(content, Iterable) and not isinstance(content, (bytearray, memoryview)):
        return content, b"application/octet-stream"
    raise TypeError(f"content: allowed is str, bytes, a dict or an iterable of bytes, not {type(content).__name__}")


def _bytes_only(piece: object) -> None:
    if not isinstance(piece, bytes):
        raise TypeError(f"content: an iterable must yield bytes, not {type(piece).__name__}")


def _header_pairs(headers: Iterable[tuple[bytes | str, bytes | str]]) -> list[list[bytes]]:
    wrong = TypeError("headers: allowed is a list of (name, value) pairs, each str or bytes")
    if isinstance(headers, (str, bytes, Mapping)) or not isinstance(headers, Iterable):
        raise wrong
    pairs = []
    for pair in headers:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(p, (str, bytes)) for p in pair):
            raise wrong
        pairs.append([part.encode("latin-1") if isinstance(part, str) else part for part in pair])
    return pairs


def _cut(head: Message, body: bytes) -> Iterator[Message]:
    message = head
    for start in range(0, len(body), CHUNK):
        message["content"] = body[start : start + CHUNK]
        if start + CHUNK < len(body):
            message["more_content"] = True
        yield message
        message = {}


def _streamed(head: Message, pieces: Iterable[bytes]) -> Iterator[Message]:
    # The head leaves before the first piece is there: a client that reads events waits for it.
    yield {**head, "content": b"", "more_content": True}
    for piece in pieces:
        _bytes_only(piece)
        for start in range(0, len(piece), CHUNK):
            yield {"content": piece[start : start + CHUNK], "more_content": True}
    yield {"content": b""}


REPLY = Format("http reply", record_of(HttpReply, at_least_one("status", "content"), OnlyWith("headers", "status")))


def _answer(status: int, text: str) -> Message:
    return {"status": status, "headers": [[b"content-type", b"text/plain; charset=utf-8"]], "content": text.encode()}


def _limited(seconds: float) -> Message:
    answer = _answer(429, "Too Many Requests\n")  # RFC 6585, 4
    answer["headers"].append([b"retry-after", b"%d" % math.ceil(seconds)])
    return answer


FORMATS = (
    Format(
        "http.request",
        record_of(HttpRequest),
        reply=REPLY,
        failure=_answer(500, "Internal Server Error\n"),
        unrouted=_answer(404, "Not Found\n"),
        denied=_answer(403, "Forbidden\n"),
        limited=_limited,
        alone=True,
        compose=compose,
    ),
    Format("http.request.body?", record_of(BodyChunk), published=False),
    Format("http.disconnect", record_of(HttpDisconnect), notification=True),
)
