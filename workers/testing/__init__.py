"""Testing consumers in memory: no sockets, no threads, no sleeping, and time that the test moves."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .client import Client
    from .rooms import Room
    from .sockets import Closed, Refused, WebSocket

__all__ = ["Client", "Closed", "Refused", "Room", "WebSocket"]

__getattr__ = lazily(
    __name__, {"client": ("Client",), "rooms": ("Room",), "sockets": ("Closed", "Refused", "WebSocket")}
)
