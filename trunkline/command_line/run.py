"""`trunkline run`: the configured servers and the workers in one command, in one process or several."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from . import configuration as configured
from . import processes, running
from .telling import Telling, telling

if TYPE_CHECKING:
    from ..layer import Layer
    from ..operations.settings import Configuration
    from ..workers import Routing

SUMMARY = "Run the configured servers and the workers: in one process, or with --processes in several."
EXAMPLES = (
    "trunkline run helpdesk.routing",
    "trunkline run helpdesk.routing --processes 4",
    "trunkline run helpdesk.routing --reload",
    "trunkline run -c trunkline.toml --grace 5 --log-format json",
    "TRUNKLINE_HTTP_ENDPOINTS=tcp:8080 trunkline run helpdesk.routing",
)

log = logging.getLogger("trunkline.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_routing(parser)
    running.add_arguments(
        parser,
        layer=f"the channel layer; default {configured.DEFAULT_LAYER}, with --processes or --reload a bus of its own",
        processes="worker processes beside the one of the servers; one that dies is replaced (1: none)",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="new workers when the code changes, while it is written; sockets stay open",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal, and return the exit code."""
    from ..operations import event_loop
    from ..operations.process import end_within

    configuration = configured.load_configuration(arguments)
    running.start_logging(arguments)
    # Before the routing is imported: it may import Twisted's reactor, and whoever comes first chooses.
    reactor = event_loop.install_reactor()
    routing = configured.routing_of(configuration)
    servers = configured.servers_of(configuration, routing)
    for problem in configured.unserved(routing, servers):
        log.warning("%s", problem)
    if arguments.reload or configuration.worker.processes > 1:
        return processes.execute(arguments, configuration, servers, reactor)
    for fault in routing.problems():
        log.warning("%s", fault)
    layer = running.open_layer(configuration)
    try:
        what = f"trunkline run {configuration.routing}"
        with telling(arguments, configuration, lambda: layer, kind="servers and worker", command=what) as told:
            voice = running.Voice(arguments, configuration, told)
            return event_loop.run(reactor, _serve(configuration, routing, servers, layer, reactor, voice, told))
    finally:
        if configured.in_memory(configuration):
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
    voice: running.Voice,
    told: Telling,
) -> int:
    import asyncio

    from ..operations.process import Process
    from ..protocol_servers import make_servers
    from ..workers import Worker, set_layer

    set_layer(layer)
    servers = make_servers(settings, layer, reactor=reactor)
    wanted = configuration.worker
    worker = Worker(
        layer,
        routing,
        threads=wanted.threads or processes.THREADS,
        prefetch=wanted.prefetch,
        max_messages=wanted.max_messages,
        stream_timeout=wanted.stream_timeout,
    )

    told.of(servers=servers, worker=worker, loop=asyncio.get_running_loop())

    def ready() -> None:
        voice.begin(configuration.routing or "", running.addresses(servers))
        running.settle()

    process = Process(servers, worker, drain=processes.DRAIN, grace=wanted.grace, ready=ready, stopping=voice.stopping)
    return await process.main()
