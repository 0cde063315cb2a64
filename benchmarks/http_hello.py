"""HTTP hello, side by side in interleaved rounds: through Redis to a worker, and by servers without a bus.

    python benchmarks/http_hello.py [--rounds 5] [--seconds 3] [--connections 50 200]

trunkline       `trunkline serve http`, Redis, and one `trunkline work` with one route
in one process  `trunkline run`: the memory layer
core            our HTTP core answering by itself: what the bus and the worker add is the difference
uvicorn         with httptools and uvloop, no bus
daphne          no bus
gunicorn        one sync worker, no bus

The load comes from wrk (Debian package wrk). Only the ratios of one run mean anything: client and servers share the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from comparison import Goal, Round, arguments, compare
from http_load import load
from processes import HELLO, Running, free_port
from systems import Start, System, daphne, gunicorn, trunkline, trunkline_alone, uvicorn

GOALS = (
    Goal("requests/s", "trunkline", "daphne"),
    Goal("requests/s", "trunkline", "gunicorn", least=2),
    Goal("requests/s", "trunkline", "uvicorn", least=0.5),
    Goal("requests/s", "trunkline", "uvicorn", least=0.8, word="aim"),
    Goal("requests/s", "in one process", "uvicorn"),
    Goal("requests/s", "core", "uvicorn"),
)
WARM = 1.0  # seconds


def serve_core(port: int) -> None:
    """Answer with the HTTP core alone until the process is ended."""
    from trunkline.operations.event_loop import install_reactor, run
    from trunkline.protocol_servers.endpoints import listen_all
    from trunkline.protocol_servers.http_core import HttpFactory, HttpLimits, Request, ResponseStream
    from trunkline.protocol_servers.timers import TimerWheel

    reactor = install_reactor()

    async def answer() -> None:
        class Hello:
            __slots__ = ("stream",)

            def __init__(self, stream: ResponseStream) -> None:
                self.stream = stream

            def body(self, data: bytes) -> None:
                pass

            def end(self) -> None:
                self.stream.start(200, [(b"content-type", b"text/plain")], HELLO)

            def lost(self) -> None:
                pass

        class Handler:
            limits = HttpLimits()
            clock = staticmethod(time.monotonic)
            call_soon = asyncio.get_running_loop().call_soon
            timers = TimerWheel(asyncio.get_running_loop().call_later, time.monotonic)
            stats: Counter[str] = Counter()

            def begin(self, request: Request, stream: ResponseStream) -> Hello:
                return Hello(stream)

            def upgrade(self, request: Request, transport: Any) -> None:
                return None

            def answered(self, *about: Any) -> None:
                pass

        await listen_all(reactor, [f"tcp:{port}"], HttpFactory(Handler()))
        await asyncio.Event().wait()

    run(reactor, answer())


@contextmanager
def core() -> Iterator[System]:
    """Run this program as the server."""
    port = free_port()
    with Running("server", [sys.executable, Path(__file__).resolve(), "--serve-core", str(port)]) as server:
        server.wait_for_hello(port)
        yield System(port, [server])


SUBJECTS: dict[str, Start] = {
    "trunkline": trunkline,
    "in one process": trunkline_alone,
    "core": core,
    "uvicorn": uvicorn,
    "daphne": daphne,
    "gunicorn": gunicorn,
}


def measure(start: Start, connections: int, seconds: float) -> Round:
    """Start a system, load it, end it."""
    with start() as system:
        load(system.port, connections, WARM)
        before = {**system.cpu(), "client": _cpu_of_wrk()}
        met = load(system.port, connections, seconds)
        cpu = {name: used - before[name] for name, used in {**system.cpu(), "client": _cpu_of_wrk()}.items()}
    values = {"requests/s": met.rate, "p50 ms": met.p50, "p99 ms": met.p99}
    return Round(values, met.answers, met.seconds, cpu)


def _cpu_of_wrk() -> float:
    # Of the children that have ended: none but wrk ends between two calls of this.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--serve-core", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_core:
        serve_core(options.serve_core)
        return
    for connections in options.connections:
        subjects = {name: partial(measure, start, connections, options.seconds) for name, start in SUBJECTS.items()}
        title = f"HTTP hello, {connections} connections, {options.seconds:g} s"
        compare(title, subjects, options, GOALS, "request")


if __name__ == "__main__":
    main()
