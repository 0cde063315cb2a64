"""HTTP/1.0 and 1.1 for every server that speaks it: a strict parser, a response writer, and the connection around them.

`RequestReader` and `ResponseWriter` do no I/O. `HttpFactory` serves them on Twisted transports to an `HttpHandler`.
`hooks` stands on it for paths that other services post to.
"""

from __future__ import annotations

from .factory import HttpFactory
from .handler import Exchange, HttpHandler, Upgraded
from .head import HeadParser
from .limits import HttpLimits
from .reader import RequestReader
from .request import BadRequest, Header, Request
from .response import BadResponse, DateHeader, ResponseWriter, plain
from .stream import HttpStream

__all__ = [
    "BadRequest",
    "BadResponse",
    "DateHeader",
    "Exchange",
    "HeadParser",
    "Header",
    "HttpFactory",
    "HttpHandler",
    "HttpLimits",
    "HttpStream",
    "Request",
    "RequestReader",
    "ResponseWriter",
    "Upgraded",
    "plain",
]
