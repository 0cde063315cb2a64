"""A request as it was read, and the one way in which reading one fails."""

from __future__ import annotations

from dataclasses import dataclass

Header = tuple[bytes, bytes]


class BadRequest(Exception):
    """A request that is answered by the HTTP core itself, and never reaches a consumer.

    Args:
        status: the status code of the refusal (RFC 9110 section 15).
        reason: what was wrong, one line for the person who reads the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Request:
    """The head of a request, checked.

    Args:
        method: upper-case method.
        target: the request target as it was sent, ASCII (RFC 9112 section 3.2).
        path: percent- and UTF-8-decoded path, or "*" (asterisk-form).
        query_string: raw bytes after the first `?`.
        headers: (lower-case name, value) in order; names with an underscore and `proxy` are left out. Nobody alters the
            list: other requests may have the same.
        http_version: "1.0", "1.1" or "2".
        length: bytes of the body; None where nobody knows before its end.
        keep_alive: whether the client lets the connection stay open.
        expects_continue: whether the client waits for `100 Continue` before it sends the body.
        upgrade: whether this asks to become a WebSocket (RFC 6455 section 4.1, RFC 8441 section 4).
        scheme: "http" or "https".
        client: address and port of the other end, None on sockets without.
        server: address and port of our end, None on sockets without.
    """

    method: str
    target: bytes
    path: str
    query_string: bytes
    headers: list[Header]
    http_version: str
    length: int | None
    keep_alive: bool
    expects_continue: bool = False
    upgrade: bool = False
    scheme: str = "http"
    client: list[str | int] | None = None
    server: list[str | int] | None = None

    @property
    def client_name(self) -> str:
        """The address of the other end, "-" on sockets without."""
        return "-" if self.client is None else str(self.client[0])

    @property
    def has_body(self) -> bool:
        """Tell whether body bytes follow the head."""
        return self.length != 0

    def header(self, name: bytes) -> bytes | None:
        """Find the first header of a name.

        Args:
            name: lower-case name.

        Returns:
            Its value, or None where there is no such header.
        """
        for key, value in self.headers:
            if key == name:
                return value
        return None
