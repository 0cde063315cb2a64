"""From arguments to what a command works with: settings, routing, layer, servers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Container, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..operations.errors import UsageError
from ..operations.settings import DEFAULT_FILE, Configuration, load

if TYPE_CHECKING:
    from ..layer import Layer
    from ..workers import Routing

DEFAULT_LAYER = "memory://"


class ServerTables(Mapping[str, type[Any]]):
    """The settings class of each server by its table's name; a server is imported when it is looked up."""

    def __init__(self) -> None:
        from ..protocol_servers import SERVERS

        self._names = list(SERVERS)

    def __getitem__(self, name: str) -> type[Any]:
        from ..protocol_servers import load_server

        if name not in self._names:
            raise KeyError(name)
        return load_server(name).Settings

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE`."""
    parser.add_argument("-c", "--config", metavar="FILE", help=f"settings; ./{DEFAULT_FILE} where it exists")


# Who publishes what, by the names of the servers' tables
_PUBLISHED = {
    "http": ("http.", "websocket."),
    "smtp": ("email.receive", "email.recipient"),
    "lmtp": ("email.receive", "email.recipient"),
    "udp": ("udp.",),
    "irc": ("chat.", "irc-client."),
    "slack": ("chat.", "slack."),
}


def add_routing(parser: argparse.ArgumentParser) -> None:
    """Add `ROUTING`."""
    parser.add_argument(
        "routing", metavar="ROUTING", nargs="?", help="package.module (its attribute `routing`) or module:attribute"
    )


def sources(
    arguments: argparse.Namespace,
) -> tuple[str | None, Mapping[str, str], dict[str, Any], Mapping[str, type[Any]]]:
    """Return where settings come from, as `operations.settings.load` takes it: file, environment, flags, tables."""
    path = arguments.config or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else None)
    given = vars(arguments)
    worker = {key: given.get(key) for key in ("processes", "threads", "prefetch", "max_messages", "grace")}
    flags = {"layer": given.get("layer"), "routing": given.get("routing"), "worker": worker}
    if given.get("endpoints") is not None:
        flags[arguments.server] = {"endpoints": arguments.endpoints}
    return path, os.environ, flags, ServerTables()


def load_configuration(arguments: argparse.Namespace, servers: Collection[str] | None = None) -> Configuration:
    """Read the settings from flags, environment and file.

    Args:
        arguments: The command's arguments.
        servers: Whose tables are read; None: those of all.

    Raises:
        SettingsError: something in them is wrong.
    """
    return load(*sources(arguments), servers)


def routing_of(configuration: Configuration) -> Routing:
    """Import the routing.

    Raises:
        UsageError: none is named, or it does not import.
    """
    from ..workers import load_routing

    return load_routing(require_routing(configuration))


def require_routing(configuration: Configuration) -> str:
    """Return the routing's name.

    Raises:
        UsageError: none is named.
    """
    if configuration.routing is None:
        raise UsageError(f"no routing is named: write it as package.module after the command, or in {DEFAULT_FILE}")
    return configuration.routing


def servers_of(configuration: Configuration, routing: Routing) -> dict[str, Any]:
    """Return the settings of the servers to start: the configured ones, or else HTTP, and SMTP for email routes.

    Raises:
        UsageError: one of them would listen to nothing, or needs an extra that is not installed.
    """
    for name, settings in configuration.servers.items():
        refuse_no_endpoint(name, settings)
    if configuration.servers:
        return configuration.servers
    names = ["http"]
    if any(name in ("email.receive", "email.recipient") for name in routing.channel_names()):
        names.append("smtp")
    tables = ServerTables()
    return {name: tables[name]() for name in names}


def refuse_no_endpoint(name: str, settings: Any) -> None:
    """Refuse a server's settings with an empty list of endpoints.

    Raises:
        UsageError: it is empty.
    """
    if getattr(settings, "endpoints", None) == []:
        raise UsageError(f"[{name}] endpoints: the list is empty, so nothing could connect")


def unserved(routing: Routing, servers: Container[str]) -> Iterator[str]:
    """Say which channels of a routing no server among these publishes, where others of ours would."""
    silent: dict[str, list[str]] = {}
    for channel in sorted(routing.channel_names()):
        publishers = [server for server, prefixes in _PUBLISHED.items() if channel.startswith(prefixes)]
        if publishers and not any(server in servers for server in publishers):
            silent.setdefault(" or ".join(f"[{server}]" for server in publishers), []).append(channel)
    for tables, channels in silent.items():
        yield f"routes listen to {', '.join(channels)}, and no {tables} is configured: nothing will come there"


def in_memory(configuration: Configuration) -> bool:
    """Tell whether the layer is one that no other process reaches."""
    return configuration.layer is None or configuration.layer.startswith(DEFAULT_LAYER)


def shown_layer(configuration: Configuration) -> str:
    """Return the layer's URL for people, without user and password."""
    from ..layer.options import shown

    return shown(configuration.layer or DEFAULT_LAYER)


def on_private_bus(configuration: Configuration, reload: bool = False) -> bool:
    """Tell whether `trunkline run` has to start a bus, as it has worker processes and no layer is shared with them."""
    return in_memory(configuration) and (reload or configuration.worker.processes > 1)


def open_layer_of(configuration: Configuration) -> Layer:
    """Open the layer, with what `[channels.PATTERN]` says.

    Raises:
        UsageError: there is no such layer.
    """
    from ..layer import open_layer

    url = configuration.layer or DEFAULT_LAYER
    channels = configuration.channels
    options: dict[str, dict[str, Any]] = {
        "channel_capacity": {pattern: each.capacity for pattern, each in channels.items() if each.capacity is not None},
        "channel_expiry": {pattern: each.expiry for pattern, each in channels.items() if each.expiry is not None},
        "durable": {pattern: each.durable for pattern, each in channels.items() if each.durable is not None},
    }
    try:
        return open_layer(url, **{name: patterns for name, patterns in options.items() if patterns})
    except (ValueError, TypeError) as error:
        raise UsageError(f"layer: {error}") from error
