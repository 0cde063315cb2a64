"""What tests need: the reactor in a thread, a transport in memory, a layer that records, an IRC network, a Slack.

`IrcNetwork` is for the tests of consumers, `SlackService` for those of whatever speaks with Slack, the others are for
those of protocol servers.
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
    from .slack import SlackService, SlackWorkspace

__all__ = [
    "IrcNetwork",
    "IrcRealm",
    "MemoryTransport",
    "ReactorThread",
    "Sent",
    "SlackService",
    "SlackWorkspace",
    "StubInbox",
    "StubLayer",
]

_WITH_EXTRAS = {
    "IrcNetwork": "irc_network",
    "IrcRealm": "irc_realm",
    "SlackService": "slack",
    "SlackWorkspace": "slack",
}


def __getattr__(name: str) -> Any:
    """Import IRC's and Slack's only where they are used: they need the extras `irc` and `slack`."""
    if name not in _WITH_EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WITH_EXTRAS[name]}", __name__), name)
