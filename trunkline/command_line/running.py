"""What `run`, `serve` and `work` share: arguments, what people are told, and several processes of one command."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..operations.errors import ExitError, UsageError
from ..operations.logging import FORMATS, LEVELS, setup
from . import configuration as configured
from .terminal import say

if TYPE_CHECKING:
    from ..layer import Layer
    from ..operations.parent import Parent
    from ..operations.settings import Configuration
    from .telling import Telling

_LOCAL = " (this machine only; interface=0.0.0.0 in the endpoint opens it)"

log = logging.getLogger("trunkline.command")


def add_arguments(parser: argparse.ArgumentParser, layer: str, processes: str) -> None:
    """Add the arguments of a command that runs.

    Args:
        parser: The command's parser.
        layer: What the help says of the layer.
        processes: What the help says of several processes.
    """
    configured.add_file(parser)
    parser.add_argument("--layer", metavar="URL", help=layer)
    parser.add_argument("--processes", metavar="N", type=int, help=processes)
    parser.add_argument("--grace", metavar="S", type=float, help="seconds that open work may need at the end (30)")
    parser.add_argument(
        "--show-content", action="store_true", help="let the status page of [operations] show what messages hold"
    )
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="log lines for people or for machines")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="the least important lines shown")


def add_child(parser: argparse.ArgumentParser) -> None:
    """Add the mark of a supervised process; `ps` shows it, `--help` does not."""
    parser.add_argument("--child", help=argparse.SUPPRESS)


def positive(text: str) -> int:
    """Read a whole number above 0.

    Raises:
        ValueError, argparse.ArgumentTypeError: it is none.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def start_logging(arguments: argparse.Namespace, parent: Parent | None = None, *, twisted: bool = True) -> None:
    """Send log lines where the arguments say; those of a supervised process carry its number."""
    number = 0 if parent is None else parent.number
    setup(arguments.log_format, arguments.log_level, process=number, twisted=twisted)


class Voice:
    """Tells people what becomes of a command: on stdout, as log lines where a machine reads those, or by the parent.

    Args:
        arguments: The command's arguments.
        configuration: Its settings.
        told: Who else wants to know.
        parent: The parent of a supervised process.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        configuration: Configuration,
        told: Telling,
        parent: Parent | None = None,
    ):
        self._told = told
        self._tell = log.info if arguments.log_format == "json" else _say
        self._layer = configured.shown_layer(configuration)
        self._parent = parent

    def begin(self, what: str, told: Sequence[str]) -> None:
        """Say that everything runs.

        Args:
            what: What runs.
            told: What else people should know.
        """
        self._told.begin()
        if self._parent is not None:
            self._parent.ready(told)
            return
        port = [f"status on {self._told.address}"] if self._told.address else []
        for text in (f"Trunkline {__version__}: {what} on {self._layer}", *told, *port, "Ctrl-C ends"):
            self._tell(text)

    def stopping(self) -> None:
        """Say that the first signal came."""
        self._told.stopping()
        if self._parent is None:
            self._tell("stopping; a second Ctrl-C ends at once")


def addresses(servers: Iterable[Any]) -> list[str]:
    """Say where servers listen, and what they connect to."""
    servers = list(servers)
    ports = (address for server in servers for address in server.ports)
    peers = (peer for server in servers for peer in server.peers)
    return [
        *(f"listening on {port}{_LOCAL if '://127.' in port or '://[::1]:' in port else ''}" for port in ports),
        *(f"connecting to {peer}" for peer in peers),
    ]


def settle() -> None:
    """Exempt what was imported and set up from garbage collection: it stays for good."""
    gc.collect()
    gc.freeze()


def require_shared_layer(configuration: Configuration, command: str) -> None:
    """Refuse a layer that no other process could reach.

    Raises:
        UsageError: there is none, or it is in this process' memory.
    """
    if configuration.layer is None:
        raise UsageError(
            f"{command} needs a layer: --layer redis://localhost:6379/0, TRUNKLINE_LAYER, or layer in a file"
        )
    if configured.in_memory(configuration):
        raise UsageError(f"{command} cannot use {configuration.layer}: no other process reaches it; trunkline run can")


def open_layer(configuration: Configuration) -> Layer:
    """Open the layer, and wait some seconds for it where it is away.

    Raises:
        UsageError: there is no such layer.
        StartError: it is away.
    """
    from ..operations.reaching import reach

    layer = configured.open_layer_of(configuration)
    try:
        reach(layer)
    except BaseException:
        layer.close()
        raise
    return layer


def execute(arguments: argparse.Namespace, body: Callable[[argparse.Namespace, Parent | None], int]) -> int:
    """Execute a command that may be one of several processes; of those, the parent says what was wrong."""
    if arguments.child is None:
        return body(arguments, None)
    from ..operations.parent import Parent

    parent = Parent(arguments.child)
    try:
        return body(arguments, parent)
    except ExitError as error:
        parent.failed(str(error))
        return error.code


def supervise(
    arguments: argparse.Namespace,
    configuration: Configuration,
    processes: int,
    *,
    kind: str,
    what: str,
    reload: bool = False,
) -> int:
    """Be the parent of several processes of this command, and return the exit code.

    Args:
        arguments: The command's arguments.
        configuration: Its settings.
        processes: How many.
        kind: What people call one of them.
        what: What people call all of them.
        reload: New processes take over when a file of theirs changed.
    """
    import asyncio

    from ..operations.reloading import Watch
    from ..operations.supervision import Supervisor
    from .telling import telling

    start_logging(arguments, twisted=False)
    with ExitStack() as ending:

        def layer() -> Layer:
            return ending.enter_context(configured.open_layer_of(configuration))

        told = ending.enter_context(telling(arguments, configuration, layer, kind="supervisor", command=what))
        voice = Voice(arguments, configuration, told)

        async def main() -> int:
            supervisor = Supervisor(
                child_command(arguments.argv, arguments.argv),
                processes,
                what=kind,
                grace=configuration.worker.grace,
                ready=lambda said: voice.begin(what, said),
                stopping=voice.stopping,
                watch=Watch() if reload else None,
            )
            told.of(crews=[supervisor], loop=asyncio.get_running_loop())
            return await supervisor.main()

        return asyncio.run(main())


def child_command(argv: Sequence[str], child: Sequence[str]) -> Callable[[str], list[str]]:
    """Return how a supervised process is executed, as a function of its mark.

    Args:
        argv: What stands after `trunkline` in the command of this process.
        child: What is to stand there in that one's, the command's name first.
    """
    # As it was started itself: by the script, by -m, with options of the interpreter.
    own = sys.orig_argv[1 : -len(argv)] if sys.orig_argv[-len(argv) :] == list(argv) else ["-m", "trunkline"]
    return lambda marker: [sys.executable, *own, child[0], f"--child={marker}", *child[1:]]


def _say(text: str) -> None:
    try:
        say(text)
    except (BrokenPipeError, ExitError):
        pass  # that nobody reads it is no reason to stop serving
