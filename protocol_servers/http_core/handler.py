"""What an HTTP connection asks of the server behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..timers import TimerWheel
    from .limits import HttpLimits
    from .request import Request

CLIENT_LEFT = 499  # what access logs show, since nginx began it, when the client left before there was an answer


class ResponseStream(Protocol):
    """What a request is answered by: a connection of HTTP/1 while it has the request, or a stream of HTTP/2."""

    def start(self, status: Any, headers: Any = (), content: Any = b"", more: Any = False) -> bool:
        """Begin the response.

        Args:
            status: 200 to 599.
            headers: pairs of bytes; those about the connection are ours and left out.
            content: bytes.
            more: whether further content follows, through `write`.

        Returns:
            True when it is over: nothing more may be written.

        Raises:
            BadResponse: an argument is not what it should be; nothing was sent.
        """

    def write(self, content: Any, more: Any = False) -> bool:
        """Write further content.

        Returns:
            True when the response is over.

        Raises:
            BadResponse: the content is no bytes.
        """

    @property
    def left(self) -> int:
        """Count the bytes of the response that the client has not taken, as far as it is known here."""

    def when_taken(self, call: Callable[[], None]) -> None:
        """Call in a later turn of the loop, when the client has room for more; never once the exchange is `lost`."""

    def cut(self) -> None:
        """Break off at once: close the connection, reset the stream."""

    def pause_body(self) -> None:
        """Hand no more of the body to the exchange, and take none from the client soon."""

    def resume_body(self) -> None:
        """Hand on the body again."""


class Exchange(Protocol):
    """A request in a handler's hands. It answers by the `ResponseStream` that it was begun with."""

    def body(self, data: bytes) -> None:
        """Take the next bytes of the body, at most 64 KiB."""

    def end(self) -> None:
        """Take note that the request is complete."""

    def lost(self) -> None:
        """Take note that the client is gone, or was refused, before the response ended: nothing can be answered."""


class Upgraded(Protocol):
    """What took a connection over."""

    def data_received(self, data: bytes) -> None:
        """Take bytes."""

    def connection_lost(self) -> None:
        """Take note of the connection's end."""


class HttpHandler(Protocol):
    """What stands behind the connections of a server.

    Attributes:
        limits: what a connection may ask.
        timers: the server's wheel.
        clock: a monotonic clock in seconds.
        stats: the server's counters.
    """

    limits: HttpLimits
    timers: TimerWheel
    clock: Callable[[], float]
    stats: Counter[str]

    def call_soon(self, function: Callable[[], None], /) -> object:
        """Call a function in the next turn of the loop."""

    def begin(self, request: Request, stream: ResponseStream) -> Exchange:
        """Take a request. Its answer may start once this has returned."""

    def upgrade(self, request: Request, transport: Any) -> Upgraded | None:
        """Take a connection over for a WebSocket, or return None to see the request as any other.

        Over HTTP/2 (`request.http_version` is "2") the transport is that of one stream, and also has
        `accept(fields)` and `refuse(status, headers, content)`: there a handshake is answered by a header list.
        """

    def answered(self, request: Request | None, client: str, status: int, size: int, began: float) -> None:
        """Take note of a response, for the access log.

        Args:
            request: the request, None where not even its head could be read.
            client: the client's address, "-" on sockets without.
            status: the response's status; 499 where the client left before there was one.
            size: bytes of content.
            began: when the request's head was complete, by the handler's clock.
        """
