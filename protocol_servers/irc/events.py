"""What happens on a network, as `Session.events` returns it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["message", "action", "notice"]
Overflow: TypeAlias = Literal["split", "truncate", "multiline"]
Status: TypeAlias = Literal["sent", "split", "dropped", "failed"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, as far as it is known.

    Attributes:
        nick, user, host: The parts of the mask; a server that speaks for itself has its name as `nick`.
        account: The services account that the person is logged in to; None: none, or the network does not say.
    """

    nick: str
    user: str = ""
    host: str = ""
    account: str | None = None

    @property
    def mask(self) -> str:
        """``nick!user@host``."""
        return self.nick + (f"!{self.user}" if self.user else "") + (f"@{self.host}" if self.host else "")

    @property
    def id(self) -> str:
        """What permissions compare: the account, or else the whole mask, which nobody's account can look like."""
        return self.account or f"{self.nick}!{self.user}@{self.host}"


@dataclass(frozen=True, slots=True)
class Registered:
    """The network took us, by the name of ``nick``."""

    nick: str


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing more will be said: the connection is to be closed, once what is to be sent was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone; the next one is to be tried in ``retry_after`` seconds, None: never, for we left."""

    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class RoomJoined:
    """We are in a room."""

    room: str


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """We may not come into a room; ``final``: it is not tried again until somebody asks for it."""

    room: str
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody came into a room that we are in."""

    room: str
    person: Person


@dataclass(frozen=True, slots=True)
class Parted:
    """Somebody, or we, left a room."""

    room: str
    person: Person
    reason: str
    own: bool


@dataclass(frozen=True, slots=True)
class Kicked:
    """``target`` was thrown out of a room."""

    room: str
    person: Person
    target: Person
    reason: str
    own: bool


@dataclass(frozen=True, slots=True)
class Quit:
    """Somebody left the network, and with it ``rooms`` of ours."""

    person: Person
    rooms: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """Somebody has a new nick; `person` has the old one."""

    person: Person
    nick: str
    rooms: tuple[str, ...]
    own: bool


@dataclass(frozen=True, slots=True)
class PersonChanged:
    """Something else about somebody changed: ``what`` is "account", "host", "away" or "realname".

    ``value`` is "" where there is none any more; a host is ``user@host``, and `person` has the new one.
    """

    person: Person
    what: Literal["account", "host", "away", "realname"]
    value: str


@dataclass(frozen=True, slots=True)
class TopicChanged:
    """A room has a new topic."""

    room: str
    person: Person
    topic: str


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """Modes of a room or of ourselves changed; ``modes`` as the server wrote them."""

    target: str
    person: Person
    modes: str


@dataclass(frozen=True, slots=True)
class Invited:
    """Somebody invited us into a room."""

    room: str
    person: Person


@dataclass(frozen=True, slots=True)
class Heard:
    """Something was said.

    Attributes:
        person: Who said it.
        target: Where: a room (without the status it was addressed to), or our own nick.
        text: What, with its formatting.
        kind: How.
        direct: Whether it was said to us alone.
        id: Names it for ever where the server has message ids; elsewhere unique, and the same for the same message.
        time: When, in Unix seconds.
        replayed: Whether it was fetched after a gap.
        tags: The message's tags.
    """

    person: Person
    target: str
    text: str
    kind: Kind
    direct: bool
    id: str
    time: float
    replayed: bool = False
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of something that was to be said with a ``receipt``.

    Attributes:
        receipt: As it was given to `Session.say`.
        status: "sent" in one piece, "split" into several, "dropped" by us, "failed" at the server.
        ids: The server's ids of the pieces, where it has them.
        error: Why, when it was not said, or not all of it.
        retry_after: Seconds after which it may be tried again.
    """

    receipt: Hashable
    status: Status
    ids: tuple[str, ...] = ()
    error: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Numeric:
    """A numeric reply; only where they are asked for."""

    command: str
    name: str
    params: tuple[str, ...]


Event: TypeAlias = (
    Registered
    | Closed
    | Disconnected
    | RoomJoined
    | JoinFailed
    | Joined
    | Parted
    | Kicked
    | Quit
    | Renamed
    | PersonChanged
    | TopicChanged
    | ModeChanged
    | Invited
    | Heard
    | Receipt
    | Numeric
)
