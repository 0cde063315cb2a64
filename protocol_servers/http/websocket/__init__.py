"""WebSockets of the HTTP server (RFC 6455): from a checked upgrade request to frames, messages and the close code.

`websockets` does the framing, without input or output; here is what makes a bus member of a socket. Five ideas, one
module each: `origins` (which pages may connect), `handshake` (what the request must say, and what is offered back),
`frames` (a reply of a consumer as the bytes of a frame), `inflow` (what the client says, in order and bounded, to the
workers), `socket` (the life of one connection).
"""

from .broadcast import broadcast, close_all
from .connection import WebSocket
from .origins import OriginPolicy

__all__ = ["OriginPolicy", "WebSocket", "broadcast", "close_all"]
