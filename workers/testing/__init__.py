"""Testing consumers in memory: no sockets, no threads, no sleeping, and time that the test moves."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .client import Client
    from .sockets import Closed, Refused, WebSocket

__all__ = ["Client", "Closed", "Refused", "WebSocket"]

__getattr__ = lazily(__name__, {"client": ("Client",), "sockets": ("Closed", "Refused", "WebSocket")})
