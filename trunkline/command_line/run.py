"""`trunkline run`: the configured servers and a worker, in one process on the memory layer."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

from . import configuration as configured
from . import running

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

log = logging.getLogger("trunkline.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_routing(parser)
    running.add_arguments(
        parser,
        layer=f"the channel layer; default {configured.DEFAULT_LAYER}",
        processes="worker processes; needs the ipc engine",
    )
    parser.add_argument("--reload", action="store_true", help="restart workers on changes; needs the ipc engine")


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal, and return the exit code."""
    from ..operations import event_loop
    from ..operations.process import end_within

    configuration = configured.load_configuration(arguments)
    configured.refuse_processes(configuration, arguments.reload)
    running.start_logging(arguments)
    # Before the routing is imported: it may import Twisted's reactor, and whoever comes first chooses.
    reactor = event_loop.install_reactor()
    routing = configured.routing_of(configuration)
    servers = configured.servers_of(configuration, routing)
    for problem in [*map(str, routing.problems()), *configured.unserved(routing, servers)]:
        log.warning("%s", problem)
    layer = running.open_layer(configuration)
    try:
        voice = running.Voice(arguments, configuration)
        return event_loop.run(reactor, _serve(configuration, routing, servers, layer, reactor, voice))
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
    voice: running.Voice,
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
        voice.begin(configuration.routing or "", running.addresses(servers))
        running.settle()

    process = Process(servers, worker, drain=DRAIN, grace=wanted.grace, ready=ready, stopping=voice.stopping)
    return await process.main()
