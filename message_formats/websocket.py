"""WebSocket: connections, frames, closed connections, and replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from .format import Composed, Format, Message
from .kinds import Range
from .rules import at_most_one, exactly_one
from .typed import Default, record_of
from .vocabulary import TOKEN, Address, LowerHeaders

# What an endpoint may put into a close frame (RFC 6455, 7.4.1, and the IANA registry).
_SENT_CODES = Range(1000, 4999, without=(range(1004, 1007), range(1015, 3000)))

_ORDER = "The place of this message among those of its connection."


class WebsocketConnect(TypedDict):
    """A client asks for a WebSocket; the handshake waits for the answer."""

    reply_channel: Annotated[str, "The connection: the answer and everything else that is sent to it."]
    scheme: NotRequired[Annotated[str, Default("ws"), 'The scheme of the URL, "ws" or "wss".']]
    path: Annotated[str, "The path of the URL, percent- and UTF-8-decoded."]
    query_string: NotRequired[Annotated[bytes, Default(b""), "The part of the URL after the `?`, raw."]]
    root_path: NotRequired[Annotated[str, Default(""), "The path that the application is mounted at."]]
    headers: Annotated[LowerHeaders, "The headers, order and duplicates kept, names in lower case."]
    client: NotRequired[Annotated[Address, "The client's host and port."]]
    server: NotRequired[Annotated[Address, "The host and port that the request came in on."]]
    order: NotRequired[Annotated[int, Range(0), Default(0), _ORDER]]


class WebsocketReceive(TypedDict):
    """A frame from a client, text or bytes."""

    reply_channel: Annotated[str, "The connection."]
    path: Annotated[str, "The path of the connection's URL."]
    text: NotRequired[Annotated[str, "The content of a text frame."]]
    bytes: NotRequired[Annotated[bytes, "The content of a binary frame."]]
    order: Annotated[int, Range(1), _ORDER]


class WebsocketDisconnect(TypedDict):
    """A connection ended, whoever ended it."""

    reply_channel: Annotated[str, "The connection; nothing sent there arrives any more."]
    path: Annotated[str, "The path of the connection's URL."]
    code: Annotated[int, Range(1000, 4999), "The close code; 1006 where the connection broke off (RFC 6455, 7.4.1)."]
    order: Annotated[int, Range(0), _ORDER]


class WebsocketReply(TypedDict):
    """Something for one connection, or, sent to a group, for many.

    Before the handshake is answered, `accept` or data answers it, and `close` alone refuses it; messages to groups
    wait for the answer. After it, data is sent, then `close` closes. A message with both `text` and `bytes` is ignored.
    """

    accept: NotRequired[
        Annotated[bool, "Answers the handshake: True accepts, False refuses with 403. Later it means nothing."]
    ]
    text: NotRequired[Annotated[str, "Sent as a text frame; before the handshake is answered it accepts first."]]
    bytes: NotRequired[Annotated[bytes, "Sent as a binary frame, as `text` is."]]
    close: NotRequired[
        Annotated[
            bool | Annotated[int, _SENT_CODES],
            Default(False),
            "Closes after the data was sent, with this code; True is 1000. Without data, before the handshake is "
            "answered, it refuses.",
        ]
    ]
    subprotocol: NotRequired[Annotated[str, TOKEN, "The subprotocol to choose when accepting."]]


def compose(message: Mapping[str, Any], data: str | bytes) -> Composed:
    """Make the frame of `message.reply(...)`.

    Args:
        message: a message of the connection.
        data: text for a text frame, bytes for a binary one.

    Raises:
        TypeError: data of another type.
    """
    if not isinstance(data, (str, bytes)):
        raise TypeError(f"data: allowed is str or bytes, not {type(data).__name__}")
    frame: Message = {"text" if isinstance(data, str) else "bytes": data}
    # Nothing can be wrong with it but a lone surrogate in a text; that ASCII holds none costs one look at a flag.
    return Composed(message["reply_channel"], [frame], False, isinstance(data, bytes) or data.isascii())


REPLY = Format("websocket reply", record_of(WebsocketReply, at_most_one("text", "bytes")))

_CHANNELS = ("websocket.connect", "websocket.receive", "websocket.disconnect")
_FAILURE: Message = {"close": 1011}


def _limited(seconds: float) -> Message:
    return {"close": 1008}  # it violates a policy (RFC 6455, 7.4.1); before the handshake is answered it refuses


FORMATS = (
    Format(
        "websocket.connect",
        record_of(WebsocketConnect),
        reply=REPLY,
        default={"accept": True},
        failure=_FAILURE,
        unrouted={"close": True},
        limited=_limited,
        together=_CHANNELS,
        judged_by="websocket.receive",
        compose=compose,
    ),
    Format(
        "websocket.receive",
        record_of(WebsocketReceive, exactly_one("text", "bytes")),
        reply=REPLY,
        failure=_FAILURE,
        denied={"close": 1008},
        limited=_limited,
        together=_CHANNELS,
        compose=compose,
    ),
    Format("websocket.disconnect", record_of(WebsocketDisconnect), notification=True, together=_CHANNELS),
)
