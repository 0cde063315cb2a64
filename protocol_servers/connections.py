"""What can be answered: one `Connection` for each, found by its unguessable id."""

from __future__ import annotations

import base64
import enum
import math
import secrets
from typing import TYPE_CHECKING, Any

from .timers import Timer

if TYPE_CHECKING:
    from .base import ProtocolServer

_BYTES = 12  # 96 bits: not to be guessed, and 16 characters of base64 without padding
_CHARACTERS = 16
_BULK = 256


class Refusal(enum.Enum):
    """Why the layer did not take a message; the protocol says it in its own words."""

    FULL = "the channel is full"
    UNAVAILABLE = "the channel layer is unavailable"
    TOO_LARGE = "the message is too large"

    @property
    def text(self) -> str:
        """The reason as people read it."""
        return self.value


class Connection(Timer):
    """Something that can be answered: a request, a socket, one recipient of a mail, a UDP peer.

    Attributes:
        id: Its local name in the server's inbox, unguessable.
        reply_channel: The channel that consumers answer on.
        state: The protocol's own object; None once the connection was closed.
    """

    __slots__ = ("id", "reply_channel", "server", "state")

    def __init__(self, server: ProtocolServer, id: str, reply_channel: str, state: Any) -> None:
        self.deadline = math.inf  # what Timer's own does, without a call of it: there is one of these for each request
        self._slot = None
        self.server = server
        self.id = id
        self.reply_channel = reply_channel
        self.state = state

    def __repr__(self) -> str:
        return f"<Connection {self.reply_channel}>"

    def fire(self) -> None:
        """Tell the server that the connection's time is up."""
        self.server.timer_fired(self)

    def sent(self, outcome: object) -> None:
        """Take the layer's word on a message published for this connection."""
        if isinstance(outcome, Exception):
            self.server.not_sent(outcome, self)


class Ids:
    """Draw unguessable ids: random bytes come from the system in bulk, since asking for each is what costs."""

    __slots__ = ("_ready",)

    def __init__(self) -> None:
        self._ready: list[str] = []

    def draw(self) -> str:
        """Return 16 characters that are fit for a channel name and hold 96 random bits."""
        ready = self._ready
        if ready:
            return ready.pop()
        text = base64.urlsafe_b64encode(secrets.token_bytes(_BYTES * _BULK)).decode("ascii")
        ready += [text[i : i + _CHARACTERS] for i in range(0, len(text), _CHARACTERS)]
        return ready.pop()
