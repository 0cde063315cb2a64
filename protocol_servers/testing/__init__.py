"""What tests need: the reactor in a thread, a transport in memory, a layer that records, an IRC network in memory.

`IrcNetwork` is for the tests of consumers, the others are for those of protocol servers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .memory_transport import MemoryTransport
from .reactor_thread import ReactorThread
from .stub_layer import Sent, StubInbox, StubLayer

if TYPE_CHECKING:
    from .irc_network import IrcNetwork
    from .irc_realm import IrcRealm

__all__ = ["IrcNetwork", "IrcRealm", "MemoryTransport", "ReactorThread", "Sent", "StubInbox", "StubLayer"]

_IRC = {"IrcNetwork": "irc_network", "IrcRealm": "irc_realm"}


def __getattr__(name: str) -> Any:
    """Import IRC's only where it is used: it needs the extra `irc`."""
    if name not in _IRC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_IRC[name]}", __name__), name)
