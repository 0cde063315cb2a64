"""`trunkline run` as several processes: servers in the command's own, workers as its children, a bus between them."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import configuration as configured
from . import running
from .telling import Telling, telling

if TYPE_CHECKING:
    from ..layer import Layer
    from ..operations.settings import Configuration

THREADS = 4  # of the one process that has all consumers: a slow mail consumer does not keep the answer to RCPT waiting
DRAIN = 1.0  # seconds for the servers' open work: whoever presses Ctrl-C wants the prompt back

_BUS_GRACE = 1.0  # seconds: when it is told to end, nobody needs it any more
_MEBIBYTE = 1 << 20


def execute(
    arguments: argparse.Namespace, configuration: Configuration, servers: Mapping[str, Any], reactor: Any
) -> int:
    """Run until a signal, and return the exit code.

    Args:
        arguments: The command's arguments.
        configuration: Its settings.
        servers: The settings of the servers to start.
        reactor: What they run on.
    """
    from ..operations.process import exit_now

    worker = _worker(arguments, configuration)
    if not configured.on_private_bus(configuration, arguments.reload):
        layer = running.open_layer(configuration)
        return _run(arguments, configuration, servers, reactor, layer, [worker], exit_now)
    # Only this user may enter it. Where this process is killed, the bus removes it at its end.
    folder = tempfile.TemporaryDirectory(prefix="trunkline-", ignore_cleanup_errors=True)

    def now(code: int) -> None:
        folder.cleanup()
        exit_now(code)

    with folder as name:
        path = os.path.join(name, "bus.sock")
        _, question, options = (configuration.layer or "").partition("?")
        url = f"ipc://{quote(path)}{question}{options}"
        configuration = dataclasses.replace(configuration, layer=url)
        layer = configured.open_layer_of(configuration)
        size = -(-layer.options.max_size // _MEBIBYTE)
        bus = ["bus", f"unix:{path}", f"--max-size={size}", *_logging(arguments)]
        commands = [[*worker, f"--layer={url}"], bus]
        return _run(arguments, configuration, servers, reactor, layer, commands, now)


def _run(
    arguments: argparse.Namespace,
    configuration: Configuration,
    settings: Mapping[str, Any],
    reactor: Any,
    layer: Layer,
    commands: Sequence[Sequence[str]],
    now: Callable[[int], None],
) -> int:
    """Run the servers here, and as children the workers and perhaps a bus, whose commands these are."""
    from ..operations import event_loop
    from ..operations.reloading import Watch
    from ..operations.serving_parent import ServingParent
    from ..operations.supervision import Supervisor
    from ..protocol_servers import make_servers

    wanted = configuration.worker
    what = f"{configuration.routing} with {wanted.processes} worker process{'es' * (wanted.processes > 1)}"

    async def main(told: Telling) -> int:
        voice = running.Voice(arguments, configuration, told)
        servers = make_servers(settings, layer, reactor=reactor)
        work, *buses = [running.child_command(arguments.argv, command) for command in commands]
        watch = Watch() if arguments.reload else None

        def ready() -> None:
            voice.begin(what, running.addresses(servers))
            running.settle()

        workers = Supervisor(work, wanted.processes, what="worker", grace=wanted.grace, watch=watch)
        bus = Supervisor(buses[0], 1, what="bus", grace=_BUS_GRACE) if buses else None
        crews = [workers] if bus is None else [workers, bus]
        told.of(servers=servers, crews=crews, loop=asyncio.get_running_loop())
        return await ServingParent(
            servers,
            workers,
            bus,
            drain=min(DRAIN, wanted.grace),
            ready=ready,
            stopping=voice.stopping,
            now=now,
        ).main()

    with (
        layer,
        telling(arguments, configuration, lambda: layer, kind="servers", command=f"trunkline run {what}") as told,
    ):
        return event_loop.run(reactor, main(told))


def _worker(arguments: argparse.Namespace, configuration: Configuration) -> list[str]:
    """Return the command of a worker: it has the flags of this one, and finds all other settings as this one did."""
    flags = {name: getattr(arguments, name) for name in ("config", "layer", "grace")}
    if configuration.worker.processes == 1 and configuration.worker.threads is None:
        flags["threads"] = THREADS
    return [
        "work",
        "--servers-beside",
        *filter(None, [arguments.routing]),
        *(f"--{name}={value}" for name, value in flags.items() if value is not None),
        *(["--reload"] if arguments.reload else []),
        *_logging(arguments),
    ]


def _logging(arguments: argparse.Namespace) -> list[str]:
    return [f"--log-format={arguments.log_format}", f"--log-level={arguments.log_level}"]
