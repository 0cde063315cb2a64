"""What ends a connection, and what ends a stream (RFC 9113 section 5.4)."""

from __future__ import annotations

from h2.errors import ErrorCodes

__all__ = ["ConnectionFault", "ErrorCodes", "Malformed"]


class ConnectionFault(Exception):
    """Something after which the connection cannot be read on: it ends with GOAWAY (RFC 9113 section 5.4.1).

    Args:
        code: the error code.
        reason: what was wrong, one line for the person who looks at the frames.
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Malformed(Exception):
    """A message that breaks RFC 9113 section 8.1.1: its stream is reset with PROTOCOL_ERROR; the text says why."""
