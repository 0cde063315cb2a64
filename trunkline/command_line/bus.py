"""`trunkline bus`: the broker of one machine."""

from __future__ import annotations

import argparse
import asyncio
import glob
import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..operations.errors import ExitError, StartError, UsageError
from ..operations.logging import FORMATS, LEVELS
from ..operations.process import exit_now, to_handle
from . import running
from .telling import Telling
from .terminal import say

if TYPE_CHECKING:
    from ..operations.parent import Parent

SUMMARY = "Run the bus of one machine: a broker on a Unix socket, for layers that are named ipc://PATH."
EXAMPLES = (
    "trunkline bus",
    "trunkline bus unix:/run/app/bus.sock",
    "trunkline bus --memory 4096 --log-format json",
)

_SPARE = 64  # file descriptors that are no clients
_UNBOUNDED = 1 << 20  # of them, where the system has no limit

log = logging.getLogger("trunkline.bus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "place",
        metavar="unix:PATH",
        nargs="?",
        help="its socket, in a folder that only you may enter; default $XDG_RUNTIME_DIR/trunkline/bus.sock, "
        "or /tmp/trunkline-UID/bus.sock where that is not set",
    )
    parser.add_argument(
        "--memory", metavar="MIB", type=running.positive, help="what all waiting messages may take (1024)"
    )
    parser.add_argument(
        "--max-size", metavar="MIB", type=running.positive, help="what the largest message may have (2)"
    )
    parser.add_argument("--durable", metavar="FILE", help="where durable channels are kept; beside the socket, PATH.db")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="log lines for people or for machines")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="the least important lines shown")
    running.add_child(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal, or the end of the process that started it as its own; return the exit code."""
    return running.execute(arguments, _execute)


def _execute(arguments: argparse.Namespace, parent: Parent | None) -> int:
    from ..operations.event_loop import new_loop

    path = _path(arguments.place)
    running.start_logging(arguments, twisted=False)
    loop = new_loop()
    try:
        return loop.run_until_complete(_serve(path, arguments, parent, loop))
    finally:
        loop.close()


def default_path() -> str:
    """Return where the bus of this user is, if nothing else is said."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/trunkline/bus.sock" if runtime else f"/tmp/trunkline-{os.geteuid()}/bus.sock"


async def _serve(
    path: str, arguments: argparse.Namespace, parent: Parent | None, loop: asyncio.AbstractEventLoop
) -> int:
    from ..layer import LayerError
    from ..layer.ipc.service import CLIENTS, Bus

    tell: Callable[[str], None] = log.info if arguments.log_format == "json" else _say
    given = {"memory": arguments.memory, "max_size": arguments.max_size}
    options = {name: mebibytes << 20 for name, mebibytes in given.items() if mebibytes is not None}
    ended = asyncio.Event()
    code = 0

    def failed() -> None:
        nonlocal code
        code = ExitError.code
        ended.set()

    def signalled() -> None:
        if parent is not None and not parent.dismissed:
            return  # from who ends a whole group: those that still drain need their bus, and the parent says when not
        if parent is None and ended.is_set():
            exit_now(ExitError.code)
        ended.set()

    try:
        clients = min(CLIENTS, _descriptors() - _SPARE)
        bus = Bus(path, loop, clients=clients, journal=arguments.durable, failed=failed, **options)
        await bus.start()
    except ValueError as error:
        raise UsageError(str(error)) from error
    except LayerError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"{path}: {error.strerror or error}") from error
    for number in to_handle(supervised=parent is not None):
        loop.add_signal_handler(number, signalled)
    if bus.lost and parent is None:  # the parent learns it as any client does
        log.warning("the bus before this one was killed: %d messages at most that waited there are lost", bus.lost)
    if bus.kept:
        log.info("%d messages of durable channels are here from before", bus.kept)
    running.settle()
    if parent is None:
        tell(f"Trunkline {__version__}: the bus runs; use it with --layer ipc://{path} (Ctrl-C ends)")
    else:
        told = Telling("bus", parent)
        told.of()
        parent.ready([f"ipc://{path}"])
    await ended.wait()
    if parent is None:
        tell("stopping; a second Ctrl-C ends at once")
    lost = await bus.stop()
    if lost:
        log.warning("%d messages that nobody took end with the bus", lost)
    if parent is not None:
        leave(path)
    return code


def leave(path: str) -> None:
    """Remove what is left of a bus whose folder is for it alone; a folder that holds anything else stays."""
    socket = Path(path)
    try:
        for left in socket.parent.glob(f"{glob.escape(socket.name)}.*"):
            left.unlink()
        socket.parent.rmdir()
    except OSError:
        pass


def _path(place: str | None) -> str:
    """Return the socket's path.

    Raises:
        UsageError: the place is none.
    """
    if place is None:
        return default_path()
    kind, _, path = place.partition(":")
    if kind != "unix" or not path:
        raise UsageError(f"{place}: write where the bus is as unix:PATH, such as unix:/run/app/bus.sock")
    return os.path.abspath(path)


def _descriptors() -> int:
    """Have as many file descriptors as the system allows; return how many these are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else _UNBOUNDED


def _say(text: str) -> None:
    try:
        say(text)
    except (BrokenPipeError, ExitError):
        pass  # that nobody reads it is no reason to stop
