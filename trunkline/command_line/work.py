"""`trunkline work`: workers without servers, in one process or several, on a layer that servers share with them."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from ..operations.errors import UsageError
from ..operations.settings import OPERATIONS
from . import configuration as configured
from . import running
from .telling import telling

if TYPE_CHECKING:
    from ..layer import Layer
    from ..operations.parent import Parent
    from ..operations.settings import Configuration
    from ..workers import Routing, Worker

SUMMARY = "Run workers; the protocol servers are other processes on the same layer (trunkline serve)."
EXAMPLES = (
    "trunkline work helpdesk.routing --layer redis://localhost:6379/0",
    "trunkline work helpdesk.routing --processes 4 --max-messages 100000",
    "trunkline work --only 'email.*' --threads 8 -c trunkline.toml",
    "trunkline work helpdesk.routing --reload",
)

log = logging.getLogger("trunkline.work")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    configured.add_routing(parser)
    running.add_arguments(
        parser,
        layer="the channel layer, such as redis://localhost:6379/0",
        processes="worker processes; one that dies is replaced where there are several (1)",
    )
    parser.add_argument("--threads", metavar="N", type=int, help="consumers at a time in a process (1)")
    parser.add_argument("--prefetch", metavar="N", type=int, help="messages taken at once; by the worker's own speed")
    parser.add_argument(
        "--only", metavar="GLOB", action="append", default=[], help="channels to take from; may be repeated"
    )
    parser.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="channels not to take from; may be repeated"
    )
    parser.add_argument(
        "--max-messages",
        metavar="N",
        type=int,
        help="end a process after so many; where there are several, another takes its place",
    )
    parser.add_argument("--reload", action="store_true", help="new workers when the code changes, while it is written")
    running.add_child(parser)
    parser.add_argument("--servers-beside", action="store_true", help=argparse.SUPPRESS)


def execute(arguments: argparse.Namespace) -> int:
    """Work until a signal, and return the exit code."""
    return running.execute(arguments, _execute)


def _execute(arguments: argparse.Namespace, parent: Parent | None) -> int:
    from ..operations.process import end_within
    from ..operations.worker_process import WorkerProcess

    configuration = configured.load_configuration(arguments, (OPERATIONS,))
    name = configured.require_routing(configuration)
    running.require_shared_layer(configuration, "work")
    wanted = configuration.worker
    if parent is None and (arguments.reload or wanted.processes > 1):
        what = f"{wanted.processes} worker{'s' * (wanted.processes > 1)} of {name}"
        return running.supervise(
            arguments, configuration, wanted.processes, kind="worker", what=what, reload=arguments.reload
        )
    running.start_logging(arguments, parent, twisted=False)
    if arguments.servers_beside:  # they tell what becomes of the layer: one terminal needs it once
        logging.getLogger("trunkline.layer").setLevel(logging.ERROR)
    if parent is not None and arguments.reload:
        routing = _reloadable(name, configuration, parent)
    else:
        routing = configured.routing_of(configuration)
    if parent is None or parent.number == 1:
        for problem in routing.problems():
            log.warning("%s", problem)
    layer = running.open_layer(configuration)
    try:
        worker = _worker(arguments, configuration, routing, layer)
        what = f"a worker of {name}"
        with telling(arguments, configuration, lambda: layer, kind="worker", command=what, parent=parent) as told:
            told.of(worker=worker)
            voice = running.Voice(arguments, configuration, told, parent)

            def ready() -> None:
                running.settle()
                voice.begin(what, [f"taking from {', '.join(worker.channels)}"])

            return WorkerProcess(
                worker, grace=wanted.grace, ready=ready, stopping=voice.stopping, supervised=parent is not None
            ).main()
    finally:
        layer.close()
        end_within(wanted.grace)


def _worker(arguments: argparse.Namespace, configuration: Configuration, routing: Routing, layer: Layer) -> Worker:
    from ..workers import Worker, set_layer

    set_layer(layer)
    wanted = configuration.worker
    return Worker(
        layer,
        routing,
        only=arguments.only,
        exclude=arguments.exclude,
        threads=wanted.threads or 1,
        prefetch=wanted.prefetch,
        max_messages=wanted.max_messages,
        stream_timeout=wanted.stream_timeout,
    )


def _reloadable(name: str, configuration: Configuration, parent: Parent) -> Routing:
    """Import the routing and have its files watched; where it does not import, those that are to blame."""
    from ..operations.reloading import blamed_files, imported_files

    # Python takes bytecode for that of any file of the same second and length: also of one that was saved once more.
    sys.dont_write_bytecode = True
    try:
        routing = configured.routing_of(configuration)
    except UsageError as error:
        parent.files(imported_files() | blamed_files(error))
        log.error("the code does not import", exc_info=error.__context__)
        raise
    module = sys.modules[name.partition(":")[0]]
    parent.files(filter(None, [getattr(module, "__file__", None)]))  # wherever it is
    parent.follow_imports()
    return routing
