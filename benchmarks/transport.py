"""The same Twisted protocol on Twisted's own TCP transport and on ours, side by side in interleaved rounds.

    python benchmarks/transport.py [--rounds 5] [--seconds 2] [--connections 50] [--sockets 1000]

Two jobs: answering small requests (requests per second, CPU per request), and writing one frame to many sockets (CPU
per socket until the last byte is with the kernel). The load comes from wrk (Debian package wrk). Only the ratios mean
anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from http_load import load
from twisted.internet.protocol import Factory, Protocol

RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nHello world"
FRAME = b"\x81\x7e\x00\xc8" + b"x" * 200


class Answering(Protocol):
    """Answer each request; the word BROADCAST instead has a frame written to every connection."""

    transport: Any
    everyone: list[Answering] = []
    requests = 0
    broadcasts: list[float] = []

    def connectionMade(self) -> None:
        self.everyone.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.everyone.remove(self)

    def dataReceived(self, data: bytes) -> None:
        if data.startswith(b"BROADCAST"):
            from twisted.internet import reactor

            call_later: Any = reactor.callLater
            began = time.process_time()
            for each in self.everyone:
                each.transport.write(FRAME)
            # Twisted's transport writes in the next turn, the loop at the end of this one: count both.
            call_later(0.05, lambda: self.broadcasts.append(time.process_time() - began))
            return
        type(self).requests += 1
        self.transport.write(RESPONSE)


def serve(mode: str) -> None:
    """Serve until standard input ends, then print what it cost."""
    from trunkline.operations.event_loop import install_reactor, run
    from trunkline.protocol_servers.endpoints import listen_all

    reactor = install_reactor()
    factory = Factory.forProtocol(Answering)

    async def main() -> None:
        if mode == "ours":
            port = (await listen_all(reactor, ["tcp:0"], factory))[0].number
        else:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=1024).getHost().port
        print(port, flush=True)
        began = time.process_time()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        cpu = time.process_time() - began
        print(json.dumps({"requests": Answering.requests, "cpu": cpu, "broadcasts": Answering.broadcasts}))

    run(reactor, main())


async def broadcast(port: int, sockets: int, times: int) -> None:
    """Have a frame written to ``sockets`` connections, ``times`` over."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(asyncio.Protocol, "127.0.0.1", port) for _ in range(sockets)]
    for _ in range(times):
        made[0][0].write(b"BROADCAST")
        await asyncio.sleep(0.15)
    for transport, _ in made:
        transport.close()


def measure(mode: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Return requests per second, microseconds of CPU a request, and microseconds of CPU a broadcast socket."""
    figures: list[Any] = []
    for job in ("requests", "broadcast"):
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())
        if job == "requests":
            rate = load(port, options.connections, options.seconds).rate
        else:
            asyncio.run(broadcast(port, options.sockets, 8))
        figures.append(json.loads(server.communicate()[0]))
    first, second = figures
    per_socket = statistics.median(second["broadcasts"]) / options.sockets
    return rate, 1e6 * first["cpu"] / first["requests"], 1e6 * per_socket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--sockets", type=int, default=1000, help="twice as many open files are needed")
    parser.add_argument("--serve", choices=("twisted", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    found: dict[str, list[tuple[float, float, float]]] = {"twisted": [], "ours": []}
    for _ in range(options.rounds):
        for mode, results in found.items():
            results.append(measure(mode, options))
    print(f"{'':10}{'requests/s':>22}{'CPU µs/request':>22}{'CPU µs/broadcast socket':>28}")
    medians = {}
    for mode, results in found.items():
        columns = list(zip(*results, strict=True))
        medians[mode] = [statistics.median(column) for column in columns]
        cells = [f"{statistics.median(c):,.1f} ({min(c):,.1f}-{max(c):,.1f})" for c in columns]
        print(f"{mode:10}{cells[0]:>22}{cells[1]:>22}{cells[2]:>28}")
    ratios = [ours / theirs for ours, theirs in zip(medians["ours"], medians["twisted"], strict=True)]
    print(f"{'ratio':10}{ratios[0]:>22.2f}{ratios[1]:>22.2f}{ratios[2]:>28.2f}")


if __name__ == "__main__":
    main()
