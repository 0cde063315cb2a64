"""`trunkline serve`: one protocol server, its workers being other processes on the same layer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..operations.errors import UsageError
from ..operations.settings import OPERATIONS
from ..protocol_servers import SERVERS, load_server, make_servers
from . import configuration as configured
from . import running
from .telling import Telling, telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..operations.parent import Parent
    from ..operations.settings import Configuration
    from ..protocol_servers.base import ProtocolServer

SUMMARY = "Run one protocol server; its workers are other processes on the same layer (trunkline work)."
_CLIENTS = frozenset({"irc"})  # they connect, and do not listen
_NAMED = {
    "irc": "a network: a table [irc.NETWORK] with servers and nick",
    "slack": "a workspace: a table [slack.WORKSPACE] with bot_token and app_token",
}

EXAMPLES = (
    "trunkline serve http --layer redis://localhost:6379/0",
    "trunkline serve http -e tcp:8000:interface=0.0.0.0 --processes 2",
    "trunkline serve smtp -c trunkline.toml --grace 60",
    "trunkline serve udp -e udp:9999",
    "trunkline serve irc -c trunkline.toml",
    "trunkline serve slack -c trunkline.toml",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "server",
        metavar="SERVER",
        choices=list(SERVERS),
        help=f"one of {', '.join(SERVERS)}; irc serves all networks of the settings, [irc.NETWORK], and slack all "
        "workspaces, [slack.WORKSPACE]",
    )
    parser.add_argument(
        "-e",
        "--endpoint",
        metavar="ENDPOINT",
        dest="endpoints",
        action="append",
        help="where to listen, such as tcp:8000; may be repeated; not for irc and slack",
    )
    running.add_arguments(
        parser,
        layer="the channel layer, such as redis://localhost:6379/0",
        processes="processes that share the ports (1)",
    )
    running.add_child(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Serve until a signal, and return the exit code."""
    return running.execute(arguments, _execute)


def _execute(arguments: argparse.Namespace, parent: Parent | None) -> int:
    from ..operations import event_loop
    from ..operations.process import end_within

    name = arguments.server
    if name in _CLIENTS:
        _refuse_listening(arguments)
    elif name in _NAMED and arguments.endpoints is not None:
        raise UsageError(f"serve {name} has endpoints in its tables, [{name}.WORKSPACE], and not after -e")
    configuration = configured.load_configuration(arguments, (name, OPERATIONS))
    settings = _settings_of(name, configuration)
    running.require_shared_layer(configuration, f"serve {name}")
    processes = arguments.processes or 1
    if processes > 1 and parent is None:
        from ..protocol_servers.sharing import check_shared

        check_shared(settings.endpoints)
        what = f"{processes} processes of {name}"
        return running.supervise(arguments, configuration, processes, kind=f"{name} server", what=what)
    running.start_logging(arguments, parent)
    reactor = event_loop.install_reactor()
    layer = running.open_layer(configuration)
    try:
        servers = make_servers({name: settings}, layer, reactor=reactor)
        for server in servers:
            server.reuse_port = processes > 1
        kind = f"{name} server"
        with telling(arguments, configuration, lambda: layer, kind=kind, command=kind, parent=parent) as told:
            voice = running.Voice(arguments, configuration, told, parent)
            serving = _serve(servers, voice, told, configuration.worker.grace, parent is not None)
            return event_loop.run(reactor, serving)
    finally:
        layer.close()
        end_within(configuration.worker.grace)


async def _serve(
    servers: Sequence[ProtocolServer], voice: running.Voice, told: Telling, grace: float, supervised: bool
) -> int:
    import asyncio

    from ..operations.process import Process

    told.of(servers=servers, loop=asyncio.get_running_loop())

    def ready() -> None:
        running.settle()
        voice.begin(servers[0].name, running.addresses(servers))

    process = Process(
        servers, None, drain=grace, grace=grace, ready=ready, stopping=voice.stopping, supervised=supervised
    )
    return await process.main()


def _settings_of(name: str, configuration: Configuration) -> Any:
    """Return the server's settings, the defaults where nobody gave any.

    Raises:
        UsageError: it would listen to nothing, or needs an extra that is not installed.
    """
    if name in configuration.servers:
        configured.refuse_no_endpoint(name, configuration.servers[name])
        return configuration.servers[name]
    if name == "udp":  # there is no port that everybody would expect
        raise UsageError("serve udp needs an endpoint: -e udp:PORT, TRUNKLINE_UDP_ENDPOINTS, or [udp] in a file")
    if name in _NAMED:
        raise UsageError(f"serve {name} needs {_NAMED[name]} in a file (-c FILE)")
    return load_server(name).Settings()


def _refuse_listening(arguments: argparse.Namespace) -> None:
    """Refuse what a server cannot do that connects to others.

    Raises:
        UsageError: it is to listen, or several processes are to hold its connections.
    """
    if arguments.endpoints is not None:
        raise UsageError(
            f"serve {arguments.server} listens to nothing: its servers stand in the settings, not after -e"
        )
    if arguments.processes is not None:
        raise UsageError(f"serve {arguments.server} is one process, which holds all its connections: no --processes")
