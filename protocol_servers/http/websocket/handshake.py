"""The opening handshake (RFC 6455, 4.2): what a request must say to become a WebSocket, and what we offer back.

`websockets` checks the request and negotiates; it is given the head that the HTTP core has parsed already. Compression
(RFC 7692) is agreed on without context takeover on either side: a context kept between messages costs 32 KiB a
connection for sending and 11 KiB for receiving, several times what all else of an idle connection takes. Without it
nothing is kept, a compressed frame is the same for every member of a group, and small messages go out as they are. A
window of 4 KiB (12 bits) bounds what one message needs while it is compressed.
"""

from __future__ import annotations

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeader
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import parse_subprotocol
from websockets.http11 import Request as HandshakeRequest
from websockets.http11 import Response

from ....message_formats.origins import OriginPolicy
from ...http_core import Header, Request, plain
from .reading import MessageProtocol

_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    # Level 1 takes a quarter of the time of level 6 for frames a third larger; the loop waits meanwhile.
    compress_settings={"level": 1, "memLevel": 5},
)
_SWITCHING_PROTOCOLS = 101
_UPGRADE_REQUIRED = 426
_IMPLIED = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
_HTTP1_ONLY = frozenset(("connection", "upgrade", "sec-websocket-accept"))
_MAX_REASON = 200  # it may quote a header
_READ = frozenset(
    (
        b"connection",
        b"upgrade",
        b"origin",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
    )
)


class Refused(Exception):
    """A request that does not become a WebSocket.

    Args:
        status: HTTP status code of the refusal.
        reason: why, one line for the person who reads the answer.
        names_version: the answer says which version of WebSockets is spoken.
    """

    def __init__(self, status: int, reason: str, *, names_version: bool = False) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.names_version = names_version

    @property
    def answer(self) -> tuple[int, list[Header], bytes]:
        """The HTTP response that says so, as the arguments of `ResponseWriter.start`."""
        status, headers, content = plain(self.status, self.reason)
        if status == _UPGRADE_REQUIRED:
            headers.append((b"upgrade", b"websocket"))  # RFC 9110, 15.5.22: say what to upgrade to
        if self.names_version:
            headers.append((b"sec-websocket-version", b"13"))  # RFC 6455, 4.4
        return status, headers, content


class Handshake:
    """A valid opening handshake that waits for its answer.

    Args:
        request: the request as the HTTP core parsed it, and told to be an upgrade: a GET of HTTP/1.1, or a CONNECT of
            HTTP/2.
        origins: which pages may connect.
        max_size: bytes of a message, also of an inflated one, that the client may send.

    Attributes:
        protocol: reads the client's frames, agreed with it on extensions.

    Raises:
        Refused: The request breaks RFC 6455, or its page may not connect.
    """

    __slots__ = ("_headers", "_over_http2", "_response", "protocol")

    def __init__(self, request: Request, origins: OriginPolicy, max_size: int) -> None:
        headers = self._headers = Headers()
        host = ""
        for name, value in request.headers:
            if name in _READ:
                headers[name.decode("ascii")] = value.decode("latin-1")
            elif name == b"host":
                host = value.decode("latin-1")
        self._over_http2 = request.http_version == "2"
        if self._over_http2:
            # What HTTP/2 has no use for, `:protocol` having said it (RFC 8441 section 5).
            headers.update(_IMPLIED)
        self.protocol = MessageProtocol([_DEFLATE], max_size)
        try:
            self._response = self._negotiate()
            if not origins.allows(self.protocol.origin, host, request.scheme == "https"):
                raise Refused(403, f"the origin {str(self.protocol.origin)[:_MAX_REASON]} may not connect")
        except Refused:
            self.protocol.stop()
            raise

    def offers(self, subprotocol: str) -> bool:
        """Tell whether the client offered ``subprotocol``."""
        return any(subprotocol in parse_subprotocol(line) for line in self._headers.get_all("sec-websocket-protocol"))

    def response(self, subprotocol: str | None) -> bytes:
        """Return the response of HTTP/1.1 that accepts, with the chosen subprotocol."""
        if subprotocol is not None:
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        return self._response.serialize()

    def fields(self, subprotocol: str | None) -> list[Header]:
        """Return the fields of the response of HTTP/2 that accepts, with the chosen subprotocol."""
        headers = self._response.headers
        if subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = subprotocol
        pairs = [(name.lower(), value) for name, value in headers.raw_items()]
        return [(name.encode(), value.encode("latin-1")) for name, value in pairs if name not in _HTTP1_ONLY]

    def _negotiate(self) -> Response:
        response = self.protocol.accept(HandshakeRequest("", self._headers))
        if response.status_code == _SWITCHING_PROTOCOLS:
            return response
        status = response.status_code
        error = self.protocol.handshake_exc
        reason = str(error)[:_MAX_REASON] if isinstance(error, InvalidHandshake) else "the handshake failed"
        _forget_frames(error)
        names_version = isinstance(error, InvalidHeader) and error.name.lower() == "sec-websocket-version"
        if names_version and not self._over_http2:
            status = _UPGRADE_REQUIRED
        raise Refused(status, reason, names_version=names_version)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of the frames that an error went through: they hold the request that holds the error, a circle."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
