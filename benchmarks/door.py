"""What limits and proxies cost a connection: server CPU from accept to close, with one small question and answer.

    python benchmarks/door.py [--rounds 5] [--connections 3000]

no door       the transport alone
limits        max_connections and max_per_address, as every server has them
a proxy list  the same, and clients that are not on it
PROXY header  the same, and each connection begins with a header of the PROXY protocol
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

from comparison import Goal, Round, arguments, compare

HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n"
SETTINGS: dict[str, dict[str, Any] | None] = {
    "no door": None,
    "limits": {},
    "a proxy list": {"trusted_proxies": ["10.0.0.0/8", "2001:db8::/32"]},
    "PROXY header": {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True},
}


def serve(subject: str) -> None:
    """Answer until standard input ends, then print what it cost."""
    from twisted.internet.protocol import Factory, Protocol

    from trunkline.operations.event_loop import install_reactor, run
    from trunkline.protocol_servers.door import Door
    from trunkline.protocol_servers.endpoints import listen_all
    from trunkline.protocol_servers.listening import ListeningSettings

    class Answering(Protocol):
        transport: Any

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    reactor = install_reactor()
    factory = Factory.forProtocol(Answering)
    door = None
    settings = SETTINGS[subject]
    if settings is not None:
        log = logging.getLogger("door")
        door = Door(ListeningSettings(**settings), factory, stats=Counter(), log=log, clock=time.monotonic)

    async def main() -> None:
        print((await listen_all(reactor, ["tcp:0"], factory, door=door))[0].number, flush=True)
        waiting = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        began = time.process_time()
        await waiting
        print(json.dumps(time.process_time() - began))

    run(reactor, main())


def measure(subject: str, connections: int) -> Round:
    """Start a server, connect so often, end it."""
    command = [sys.executable, __file__, "--serve", subject]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        began = time.monotonic()
        question = HEADER + b"hello" if subject == "PROXY header" else b"hello"
        for _ in range(connections):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(question)
                client.recv(100)
        seconds = time.monotonic() - began
        cpu = float(server.communicate()[0])
    return Round({"CPU µs": 1e6 * cpu / connections}, connections, seconds)


def main() -> None:
    parser = arguments(__doc__, seconds=None)
    parser.add_argument("--connections", type=int, default=3000)
    parser.add_argument("--serve", choices=SETTINGS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    goals = [Goal("CPU µs", name, "no door", most=1.1 if name == "limits" else None) for name in list(SETTINGS)[1:]]
    subjects = {name: partial(measure, name, options.connections) for name in SETTINGS}
    compare("a connection, a question and an answer", subjects, options, goals)


if __name__ == "__main__":
    main()
