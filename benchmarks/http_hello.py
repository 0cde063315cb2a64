"""HTTP hello, side by side in interleaved rounds: through the bus to a worker, and by servers without a bus.

    python benchmarks/http_hello.py [--rounds 5] [--seconds 3] [--connections 50] [--peers PYTHON]

trunkline   HTTP server, memory layer and a worker thread with one route, in one process
core        our HTTP core answering by itself: what the bus and the worker add is the difference
uvicorn     with httptools and uvloop, no bus        (peers are run by PYTHON, an interpreter that has them;
gunicorn    one sync worker, no bus                   what it has not is left out)

The load comes from wrk (Debian package wrk). Only the ratios of one run mean anything: client and servers share the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from http_load import load

BODY = b"hello world\n"

PEERS = """
async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello world\\n"})

def wsgi(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", "12")])
    return [b"hello world\\n"]
"""


class Figures(NamedTuple):
    """One round of one server."""

    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float  # milliseconds
    cpu: float  # microseconds of the server's processes for each request


def serve(name: str, port: int, access_log: Any) -> None:
    """Run one of our own servers until the process is ended."""
    from trunkline.operations.event_loop import install_reactor, run
    from trunkline.protocol_servers.endpoints import listen_all
    from trunkline.protocol_servers.timers import TimerWheel

    reactor = install_reactor()

    async def through_the_bus() -> None:
        from trunkline.layer import MemoryLayer
        from trunkline.protocol_servers.http import HttpServer, HttpSettings
        from trunkline.workers import Message, Worker, route

        def hello(message: Message) -> None:
            message.reply("hello world\n")

        layer = MemoryLayer()
        settings = HttpSettings(endpoints=[f"tcp:{port}"], access_log=access_log)
        server = HttpServer(layer, settings, reactor=reactor)
        await server.start()
        worker = Worker(layer, [route("http.request", hello)])
        threading.Thread(target=worker.run, daemon=True).start()
        await asyncio.Event().wait()

    async def without_a_bus() -> None:
        from trunkline.protocol_servers.http_core import HttpFactory, HttpLimits, HttpStream, Request

        class Hello:
            __slots__ = ("stream",)

            def __init__(self, stream: HttpStream) -> None:
                self.stream = stream

            def body(self, data: bytes) -> None:
                pass

            def end(self) -> None:
                self.stream.start(200, [(b"content-type", b"text/plain")], BODY)

            def lost(self) -> None:
                pass

        class Handler:
            limits = HttpLimits()
            clock = staticmethod(time.monotonic)
            call_soon = asyncio.get_running_loop().call_soon
            timers = TimerWheel(asyncio.get_running_loop().call_later, time.monotonic)
            stats: Counter[str] = Counter()

            def begin(self, request: Request, stream: HttpStream) -> Hello:
                return Hello(stream)

            def upgrade(self, request: Request, transport: Any) -> None:
                return None

            def answered(self, *about: Any) -> None:
                pass

        await listen_all(reactor, [f"tcp:{port}"], HttpFactory(Handler()))
        await asyncio.Event().wait()

    run(reactor, through_the_bus() if name == "trunkline" else without_a_bus())


def command(name: str, port: int, options: argparse.Namespace) -> list[str]:
    """Return what starts a server."""
    if name == "uvicorn":
        quiet = ["--no-access-log", "--log-level", "error"]
        return [options.peers, "-m", "uvicorn", "peers:asgi", "--port", str(port), *quiet]
    if name == "gunicorn":
        return [options.peers, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "peers:wsgi"]
    serving = ["--serve", name, "--port", str(port), "--access-log", options.access_log]
    return [sys.executable, str(Path(__file__).resolve()), *serving]


def processes(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in processes(int(child)))]


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process and its children have used."""
    ticks = 0
    for each in processes(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(name: str, port: int, options: argparse.Namespace, folder: str) -> Figures:
    """Start a server, load it, end it."""
    server = subprocess.Popen(
        command(name, port, options), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port, server)
        load(port, options.connections, 0.5)  # warm
        before = cpu_of(server.pid)
        rate, p50, p99 = load(port, options.connections, options.seconds)
        return Figures(rate, p50, p99, 1e6 * (cpu_of(server.pid) - before) / (rate * options.seconds))
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    import http.client

    for _ in range(200):
        if server.poll() is not None:
            raise SystemExit(f"a server ended with {server.returncode}: {server.args!r}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/hello")
            if connection.getresponse().read() == BODY:
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers: {server.args!r}")


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def installed(python: str, module: str) -> bool:
    """Tell whether an interpreter has a module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers")
    parser.add_argument("--access-log", choices=("common", "json", "off"), default="off")
    parser.add_argument("--serve", choices=("trunkline", "core"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port, options.access_log)
        return
    peers = [name for name in ("uvicorn", "gunicorn") if installed(options.peers, name)]
    found: dict[str, list[Figures]] = {name: [] for name in ("trunkline", "core", *peers)}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "peers.py").write_text(PEERS)
        for _ in range(options.rounds):
            for name, rounds in found.items():
                rounds.append(measure(name, free_port(), options, folder))
    print(f"{'':12}{'requests/s':>28}{'p50 ms':>10}{'p99 ms':>10}{'CPU µs/request':>18}{'trunkline is':>15}")
    ours = statistics.median(figures.rate for figures in found["trunkline"])
    for name, rounds in found.items():
        rate, p50, p99, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        low, high = min(figures.rate for figures in rounds), max(figures.rate for figures in rounds)
        spread = f"{rate:,.0f} ({low:,.0f}-{high:,.0f})"
        print(f"{name:12}{spread:>28}{p50:>10.2f}{p99:>10.2f}{cpu:>18.1f}{ours / rate:>14.2f}x")


if __name__ == "__main__":
    main()
