"""Sockets to messages and back: one base class, one module or package per protocol."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ..operations.errors import UsageError

if TYPE_CHECKING:
    from ..layer import Layer
    from .base import ProtocolServer

__all__ = ["SERVERS", "load_server", "make_servers"]

SERVERS: dict[str, str] = {
    "http": "trunkline.protocol_servers.http:HttpServer",
    "irc": "trunkline.protocol_servers.irc.server:IrcServer",
    "lmtp": "trunkline.protocol_servers.smtp:LmtpServer",
    "slack": "trunkline.protocol_servers.slack.server:SlackServer",
    "smtp": "trunkline.protocol_servers.smtp:SmtpServer",
    "udp": "trunkline.protocol_servers.udp:UdpServer",
}
"""Where each server's class is, by the name of its settings table; loaded only when it is wanted."""

_EXTRAS = {"http": "http", "smtp": "email", "lmtp": "email", "irc": "irc", "slack": "slack"}


def load_server(name: str) -> type[ProtocolServer]:
    """Import and return the class of the server called ``name``.

    Raises:
        UsageError: There is no such server, or the extra it needs is not installed.
    """
    if name not in SERVERS:
        raise UsageError(f"there is no server called {name!r}; there are {', '.join(sorted(SERVERS))}")
    module, _, attribute = SERVERS[name].partition(":")
    try:
        return cast("type[ProtocolServer]", getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(name)
        if extra is None or error.name is None or error.name.partition(".")[0] == "trunkline":
            raise
        needed = f"trunkline[{extra}]"
        raise UsageError(f"{name.upper()} needs {needed}: pip install '{needed}' ({error.name} is missing)") from error


def make_servers(settings: Mapping[str, Any], layer: Layer, *, reactor: Any) -> list[ProtocolServer]:
    """Make the servers that tables of settings stand for.

    Args:
        settings: The tables, by the servers' names.
        layer: The channel layer.
        reactor: Twisted's asyncio reactor.

    Raises:
        UsageError: There is no such server, or the extra it needs is not installed.
    """
    return [
        server
        for name, table in settings.items()
        for server in load_server(name).instances(layer, table, reactor=reactor)
    ]
