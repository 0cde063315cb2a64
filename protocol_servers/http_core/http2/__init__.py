"""HTTP/2 (RFC 9113) on `h2`, and WebSockets over it (RFC 8441), for the same handlers as HTTP/1.

One idea a module: `opening` (`h2` set up, and what a client is granted), `engine` (frames in and out, and what a client
may not do with them), `tables` (their header blocks), `requests` and `responses` (messages as header lists), `flow`
(the bytes of a stream, as its windows allow), `stream` (a request and its response), `tunnel` (a stream as the
transport of a WebSocket), `turns` (whose turn it is to write), `connection` (all of it on a transport).
"""

from __future__ import annotations

from .connection import Http2Connection
from .opening import PREFACE

__all__ = ["PREFACE", "Http2Connection"]
