"""What belongs to one connection, shared by the parts of a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from .capabilities import Capabilities
from .events import Event, Person
from .isupport import ISupport
from .message import Source
from .rooms import Rooms


@dataclass(slots=True)
class Link:
    """One connection to a network.

    Attributes:
        own: Ourselves, as others see us; user and host are "" until the server showed them.
        capabilities: What was negotiated.
        isupport: The server's features.
        rooms: The rooms we are in.
        stats: The session's counters.
        emit: Takes an event.
        clock: Monotonic seconds.
        wall: Unix seconds.
    """

    own: Person
    capabilities: Capabilities
    isupport: ISupport
    rooms: Rooms
    stats: Counter[str]
    emit: Callable[[Event], None]
    clock: Callable[[], float]
    wall: Callable[[], float]

    def has(self, capability: str) -> bool:
        """Say whether a capability is switched on."""
        return capability in self.capabilities.active

    def is_own(self, nick: str) -> bool:
        """Say whether ``nick`` is us."""
        fold = self.isupport.fold
        return fold(nick) == fold(self.own.nick)

    def see_own(self, source: Source) -> None:
        """Learn from a message of our own how others see us."""
        if source.host:
            self.own = replace(self.own, user=source.user, host=source.host)
