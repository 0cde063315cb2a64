"""`trunkline run`: the configured servers and a worker, in one process on the memory layer."""

from __future__ import annotations

import argparse
import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..operations.errors import ExitError
from ..operations.logging import FORMATS, LEVELS
from . import configuration as configured
from .terminal import say

if TYPE_CHECKING:
    from ..layer import Layer
    from ..operations.settings import Configuration
    from ..workers import Routing

SUMMARY = "Run the configured servers and the workers, in one process on the memory layer."
EXAMPLES = (
    "trunkline run helpdesk.routing",
    "trunkline run -c trunkline.toml --grace 5 --log-format json",
    "TRUNKLINE_HTTP_ENDPOINTS=tcp:8080 trunkline run helpdesk.routing",
)

THREADS = 4  # a slow mail consumer does not keep the answer to RCPT waiting
DRAIN = 1.0  # seconds: whoever presses Ctrl-C wants the prompt back

_LOCAL = " (this machine only; interface=0.0.0.0 in the endpoint opens it)"

log = logging.getLogger("trunkline.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_routing(parser)
    configured.add_file(parser)
    parser.add_argument("--layer", metavar="URL", help=f"the channel layer; default {configured.DEFAULT_LAYER}")
    parser.add_argument("--processes", metavar="N", type=int, help="worker processes; needs the ipc engine")
    parser.add_argument("--reload", action="store_true", help="restart workers on changes; needs the ipc engine")
    parser.add_argument("--grace", metavar="S", type=float, help="seconds that consumers may need at the end (30)")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="log lines for people or for machines")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="the least important lines shown")


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal, and return the exit code."""
    from ..operations import event_loop
    from ..operations.logging import setup
    from ..operations.process import end_within

    configuration = configured.load_configuration(arguments)
    configured.refuse_processes(configuration, arguments.reload)
    setup(arguments.log_format, arguments.log_level)
    # Before the routing is imported: it may import Twisted's reactor, and whoever comes first chooses.
    reactor = event_loop.install_reactor()
    routing = configured.routing_of(configuration)
    servers = configured.servers_of(configuration, routing)
    for problem in [*map(str, routing.problems()), *configured.unserved(routing, servers)]:
        log.warning("%s", problem)
    layer = configured.open_layer_of(configuration)
    try:
        return event_loop.run(reactor, _serve(configuration, routing, servers, layer, reactor, _teller(arguments)))
    finally:
        waiting = layer.global_statistics()["messages_pending"]
        if waiting:
            log.warning("%d messages that nobody took end with %s", waiting, configured.shown_layer(configuration))
        layer.close()
        end_within(configuration.worker.grace)


async def _serve(
    configuration: Configuration,
    routing: Routing,
    settings: dict[str, Any],
    layer: Layer,
    reactor: Any,
    tell: Callable[[str], None],
) -> int:
    from ..operations.process import Process
    from ..protocol_servers import load_server
    from ..workers import Worker, set_layer

    set_layer(layer)
    servers = [load_server(name)(layer, each, reactor=reactor) for name, each in settings.items()]
    wanted = configuration.worker
    worker = Worker(
        layer,
        routing,
        threads=wanted.threads or THREADS,
        prefetch=wanted.prefetch,
        max_messages=wanted.max_messages,
        stream_timeout=wanted.stream_timeout,
    )

    def ready() -> None:
        tell(f"Trunkline {__version__}: {configuration.routing} on {configured.shown_layer(configuration)}")
        for address in (address for server in servers for address in server.ports):
            local = "://127." in address or "://[::1]:" in address
            tell(f"listening on {address}{_LOCAL if local else ''}")
        tell("Ctrl-C ends")
        # What was imported and set up stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()

    def stopping() -> None:
        tell("stopping; a second Ctrl-C ends at once")

    return await Process(servers, worker, drain=DRAIN, grace=wanted.grace, ready=ready, stopping=stopping).main()


def _teller(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Return how people are told: on stdout, or as log lines where a machine reads those."""
    return log.info if arguments.log_format == "json" else _say


def _say(text: str) -> None:
    try:
        say(text)
    except (BrokenPipeError, ExitError):
        pass  # that nobody reads it is no reason to stop serving
