"""What can be set of a session."""

from __future__ import annotations

from dataclasses import dataclass

from .names import is_target, may_be_joined
from .registration import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a session is to do; times in seconds.

    Attributes:
        identity: Who we are.
        join: Rooms to be in, each "#room" or "#room key".
        rejoin: Whether a room that threw us out is tried again.
        ignore: Masks of people who are not heard, such as ``*!*@spam.example``.
        numerics: Whether numeric replies become events.
        version: What the CTCP request VERSION is answered with.
        rate: Lines a second, and
        burst: lines at once after a silence, of what is said.
        max_waiting: Lines that wait for one room or person, and a quarter of those that wait in all.
        max_lines: Lines of one text; the rest is cut off.
        registration_timeout: From the connection to 001.
        ping_interval: Of silence, before the server is asked whether it is still there.
        ping_timeout: Of silence after that, before the connection is given up.
    """

    identity: Identity
    join: tuple[str, ...] = ()
    rejoin: bool = True
    ignore: tuple[str, ...] = ()
    numerics: bool = False
    version: str = "Trunkline"
    rate: float = 1.0
    burst: int = 4
    max_waiting: int = 250
    max_lines: int = 50
    registration_timeout: float = 60.0
    ping_interval: float = 90.0
    ping_timeout: float = 60.0

    def __post_init__(self) -> None:
        """Check what would break a line.

        Raises:
            ValueError: A room, its key or the version cannot be said.
        """
        for each in self.join:
            room, space, key = each.partition(" ")
            if not may_be_joined(room) or (space and not is_target(key)):
                raise ValueError(f"join: {each!r} is no room, or room and key")
        if not self.version.isprintable():
            raise ValueError(f"version: {self.version!r} is not one printable line")
