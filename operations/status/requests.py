"""Requests to the operations port, from bytes: as little of HTTP/1.1 as probes, scrapers and browsers need.

Nothing here does I/O. A request has a head and no body; what does not look right is refused, not mended (RFC 9112).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 16 * 1024
"""Bytes that a head may have: browsers bring cookies of everything else on this host."""

END = b"\r\n\r\n"

_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]{0,2000}) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)")
_MOST_FIELDS = 100
_MOST_PARAMETERS = 10


class Request(NamedTuple):
    """A request that looks right.

    Attributes:
        method: GET or HEAD.
        path: Without the query.
        query: Its parameters; the last one of a name counts.
        host: The Host header.
        authorization: The Authorization header, or "".
    """

    method: str
    path: str
    query: dict[str, str]
    host: str
    authorization: str


class Refused(Exception):
    """Say why a request is not answered.

    Args:
        status: The answer's status.
        text: One line for whoever sent it.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def parse(head: bytes) -> Request:
    """Read a head, without the empty line at its end.

    Raises:
        Refused: It makes no sense, or asks for what is not done here.
    """
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    if len(lines) > _MOST_FIELDS:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"over {_MOST_FIELDS} header fields")
    fields: dict[str, list[str]] = {}
    for each in lines:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "a header field makes no sense")
        fields.setdefault(field[1].decode().lower(), []).append(field[2].decode("latin-1").strip(" \t"))
    method = line[1].decode()
    if method not in ("GET", "HEAD"):
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "there is nothing to change here: GET and HEAD")
    if "transfer-encoding" in fields or fields.get("content-length", ["0"]) != ["0"]:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here")
    hosts, logins = fields.get("host", []), fields.get("authorization", [""])
    if len(hosts) != 1 or len(logins) != 1:
        raise Refused(HTTPStatus.BAD_REQUEST, "one Host header is needed, and one Authorization at most")
    path, _, query = line[2].decode().partition("?")
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f"over {_MOST_PARAMETERS} parameters") from None
    return Request(method, unquote(path), parameters, hosts[0], logins[0])
