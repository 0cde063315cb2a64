"""A client's WebSocket, as the HTTP server would keep it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client


class Refused(Exception):
    """Tell that the handshake of a WebSocket was refused.

    Attributes:
        status: The HTTP status: 403, or 500 where the consumer failed.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the WebSocket was refused with {status}")
        self.status = status


class Closed(Exception):
    """Tell that a WebSocket is closed.

    Attributes:
        code: The close code (RFC 6455 section 7.4.1).
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the WebSocket is closed with {code}")
        self.code = code


class WebSocket:
    """An open WebSocket; made by `Client.websocket`.

    Attributes:
        subprotocol: The one that was chosen, or None.
        closed: The close code once it is closed, else None.
    """

    def __init__(self, client: Client, local: str, path: str) -> None:
        self._client = client
        self._local = local
        self._path = path
        self._order = 0
        self._frames: deque[str | bytes] = deque()
        self._waiting: list[dict[str, Any]] = []  # group messages wait for the handshake's answer
        self.refused: int | None = None
        self.accepted = False
        self.subprotocol: str | None = None
        self.closed: int | None = None

    def send(self, data: str | bytes) -> None:
        """Send a frame, and let the consumers finish.

        Raises:
            Closed: the socket is closed.
        """
        self._client.settle()
        if self.closed is not None:
            raise Closed(self.closed)
        self._publish("websocket.receive", {"text" if isinstance(data, str) else "bytes": data})
        self._client.settle()

    def receive(self) -> str | Any:
        """Return the next frame: str, or bytes of a binary one.

        Raises:
            Closed: there is none, and the socket is closed.
            TimeoutError: there is none; `Client.advance` lets time pass.
        """
        self._client.settle()
        if self._frames:
            return self._frames.popleft()
        if self.closed is not None:
            raise Closed(self.closed)
        raise TimeoutError("no frame was sent to this WebSocket")

    def close(self, code: int = 1000) -> None:
        """Close the socket, and let the consumers finish."""
        if self.closed is None:
            self._end(code)
            self._client.settle()

    def deliver(self, message: dict[str, Any], grouped: bool) -> None:
        """Take a message from the bus: of a consumer, or of a group."""
        if self.closed is not None or self.refused is not None:
            return
        if grouped and not self.accepted:
            self._waiting.append(message)
            return
        text, binary, close = message.get("text"), message.get("bytes"), message.get("close", False)
        if text is not None and binary is not None:
            return
        frame = text if text is not None else binary
        if not self.accepted and not self._answer(message, frame, close):
            return
        if frame is not None:
            self._frames.append(frame)
        if close is not False and close is not None:
            self._end(1000 if close is True else close)

    def _answer(self, message: dict[str, Any], frame: str | bytes | None, close: bool | int | None) -> bool:
        """Answer the handshake; say whether the message goes on to be delivered."""
        accept = message.get("accept")
        if frame is None and close is not False and close is not None:
            self.refused = 500 if close == 1011 else 403
        elif accept is False:
            self.refused = 403
        if self.refused is not None or (accept is None and frame is None):
            return False
        self.accepted = True
        self.subprotocol = message.get("subprotocol")
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self.deliver(one, True)
        return self.closed is None

    def _end(self, code: int) -> None:
        self.closed = code
        self._client.forget(self._local)
        self._publish("websocket.disconnect", {"code": code})

    def _publish(self, channel: str, content: dict[str, Any]) -> None:
        self._order += 1
        self._client.publish(channel, {"path": self._path, "order": self._order, **content}, self._local)
