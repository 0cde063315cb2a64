"""HTTP/1.0, 1.1 and 2 for every server that speaks it: a strict parser, a response writer, the connection around them.

`RequestReader` and `ResponseWriter` do no I/O, nor does the engine of `http2`. `HttpFactory` serves them on Twisted
transports to an `HttpHandler`.
`hooks` stands on it for paths that other services post to.
"""

from __future__ import annotations

from .factory import HttpFactory
from .handler import CLIENT_LEFT, Exchange, HttpHandler, ResponseStream, Upgraded
from .head import HeadParser
from .http2 import Http2Connection
from .limits import HttpLimits
from .reader import RequestReader
from .request import BadRequest, Header, Request
from .response import BadResponse, DateHeader, ResponseWriter, plain
from .stream import HttpStream

__all__ = [
    "CLIENT_LEFT",
    "BadRequest",
    "BadResponse",
    "DateHeader",
    "Exchange",
    "HeadParser",
    "Header",
    "Http2Connection",
    "HttpFactory",
    "HttpHandler",
    "HttpLimits",
    "HttpStream",
    "Request",
    "RequestReader",
    "ResponseStream",
    "ResponseWriter",
    "Upgraded",
    "plain",
]
