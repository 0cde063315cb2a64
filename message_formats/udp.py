"""UDP: datagrams in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from .format import Composed, Format
from .typed import record_of
from .vocabulary import Address


class UdpReceive(TypedDict):
    """A datagram came in."""

    reply_channel: Annotated[str, "The peer: every reply is one datagram to it."]
    data: Annotated[bytes, "The content of the datagram."]
    client: Annotated[Address, "The peer's host and port."]
    server: NotRequired[Annotated[Address, "The host and port that it came in on."]]


class UdpReply(TypedDict):
    """A datagram to the peer."""

    data: Annotated[bytes, "The content of the datagram."]


def compose(message: Mapping[str, Any], data: bytes) -> Composed:
    """Make the datagram of `message.reply(...)`.

    Raises:
        TypeError: data is not bytes.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"data: allowed is bytes, not {type(data).__name__}")
    return Composed(message["reply_channel"], [{"data": data}])


REPLY = Format("udp reply", record_of(UdpReply))

FORMATS = (Format("udp.receive", record_of(UdpReceive), reply=REPLY, compose=compose),)
