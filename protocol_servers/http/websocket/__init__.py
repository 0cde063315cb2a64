"""WebSockets of the HTTP server (RFC 6455): from a checked upgrade request to frames, messages and the close code.

`websockets` does the framing, without input or output; here is what makes a bus member of a socket. One idea a module:
`handshake` (what the request must say, and what is offered back), `reading` (what the client sends, as whole messages),
`inflow` (these, in order and bounded, to the workers), `frames` (a consumer's reply as the bytes of a frame),
`connection` (the life of one socket), `broadcast` (many sockets at once).
"""

from .broadcast import broadcast, close_all
from .connection import WebSocket

__all__ = ["WebSocket", "broadcast", "close_all"]
