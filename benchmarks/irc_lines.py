"""Lines of IRC rooms through Redis to one worker: how late they are; and what a further network costs.

    python benchmarks/irc_lines.py [--rounds 5] [--seconds 10] [--rooms 200] [--rate 1000] [--networks 50]

lines      a scripted IRC server says `rate` lines a second, spread over the rooms; the lag of a line is from before the
           server writes it until a consumer of `chat.message` has it. "last fifth" is the median lag of the last fifth
           of the lines: where lines queue, it is far above p50.
networks   memory of `trunkline serve irc` with `networks` more networks of one room each than one, for each of them

No line may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import HERE, Running, free_port, redis_server

TICK = 0.01  # seconds between the lines that the server says at once
WARM = 1.0  # seconds of lines before the measurement
GOALS = (
    Goal("last fifth ms", "lines", most=50),
    Goal("MB a network", "networks", most=0.5),
)


class Talker(asyncio.Protocol):
    """A connection of the scripted server: it takes every nick and every JOIN, and remembers the rooms."""

    def __init__(self) -> None:
        self.rooms: list[str] = []
        self._rest = b""
        self._nick = "*"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self._hear(line.decode())

    def _hear(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        if command == "NICK":
            self._nick = rest
        elif command == "USER":
            self.say(f":irc 001 {self._nick} :Welcome", f":irc 422 {self._nick} :There is no MOTD")
        elif command == "CAP" and rest.startswith("LS"):
            self.say(":irc CAP * LS :")
        elif command == "PING":
            self.say(f":irc PONG irc {rest}")
        elif command == "JOIN":
            for room in rest.split(" ")[0].split(","):
                self.say(
                    f":{self._nick}!~bot@host JOIN {room}",
                    f":irc 353 {self._nick} = {room} :{self._nick} ann",
                    f":irc 366 {self._nick} {room} :End of NAMES",
                )
                self.rooms.append(room)

    def say(self, *lines: str) -> None:
        self.transport.write("".join(line + "\r\n" for line in lines).encode())


async def talk(port: int, connections: int, rooms: int, rate: int, seconds: float) -> None:
    """Be the IRC server: print "joined" once everybody is in all rooms; then, told to, say lines and print how many."""
    loop = asyncio.get_running_loop()
    talkers: list[Talker] = []

    def accept() -> Talker:
        talkers.append(Talker())
        return talkers[-1]

    await loop.create_server(accept, "127.0.0.1", port)
    while len(talkers) < connections or any(len(each.rooms) < rooms for each in talkers):
        await asyncio.sleep(TICK)
    print("joined", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    began, said = loop.time(), 0
    while said < rate * seconds:
        due = int(min(loop.time() - began, seconds) * rate)
        now = time.monotonic()
        talkers[0].say(*(f":ann!~ann@host PRIVMSG #room{n % rooms} :{now} {'x' * 80}" for n in range(said, due)))
        said = due
        await asyncio.sleep(TICK)
    print(said, flush=True)
    await asyncio.Event().wait()


@contextmanager
def serve(networks: int, rooms: int, rate: int, seconds: float) -> Iterator[tuple[dict[str, Running], Path]]:
    """Run the scripted server, ours, a worker and Redis until all rooms are joined; yield them and where lags are."""
    with ExitStack() as stack:
        redis, url = stack.enter_context(redis_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, lags = free_port(), folder / "lags"
        settings = folder / "trunkline.toml"
        names = [f"#room{number}" for number in range(rooms)]
        table = f'servers = ["irc://127.0.0.1:{port}"]\nnick = "bot"\npace = 1000.0\njoin = {names}\n'
        settings.write_text(f'layer = "{url}"\n' + "".join(f"[irc.net{n}]\n{table}" for n in range(networks)))
        lags.touch()

        def start(name: str, *words: str | Path, talks: bool = False) -> Running:
            environment = {"BENCHMARK_LAGS": str(lags)}
            command = [sys.executable, *words]
            return stack.enter_context(Running(name, command, folder=HERE, environment=environment, talks=talks))

        script = [str(each) for each in (port, networks, rooms, rate, seconds)]
        talker = start("irc", Path(__file__).resolve(), "--talk", *script, talks=True)
        worker = start("worker", "-m", "trunkline", "work", "irc_consumers", "-c", settings)
        server = start("server", "-m", "trunkline", "serve", "irc", "-c", settings)
        talker.hear()
        yield {"server": server, "worker": worker, "redis": redis, "irc": talker}, lags


def measure_lines(rooms: int, rate: int, seconds: float) -> Round:
    """Have lines said, and see when the worker had them."""
    with serve(1, rooms, rate, seconds + WARM) as (processes, lags):
        talker = processes["irc"]
        time.sleep(WARM)  # what the consumers of chat.ready do
        before = {name: each.cpu() for name, each in processes.items()}
        talker.tell("")
        said = int(talker.hear())
        processes["worker"].wait_for(lambda: lags.read_bytes().count(b"\n") >= said)
        cpu = {name: each.cpu() - before[name] for name, each in processes.items()}
        found = [1000 * float(each) for each in lags.read_text().split()]
    if len(found) != said:
        raise SystemExit(f"{said} lines were said, {len(found)} arrived")
    found = found[int(rate * WARM) :]
    cuts = statistics.quantiles(found, n=100)
    values = {
        "p50 ms": cuts[49],
        "p99 ms": cuts[98],
        "longest ms": max(found),
        "last fifth ms": statistics.median(found[-len(found) // 5 :]),
    }
    return Round(values, said, seconds + WARM, cpu)


def measure_networks(networks: int) -> Round:
    """Compare the memory of a server of many networks with one of a single one."""
    single, many = resident(1), resident(1 + networks)
    return Round({"MB of one": single, f"MB of {1 + networks}": many, "MB a network": (many - single) / networks})


def resident(networks: int) -> float:
    """Return the memory, in MB, of the server process, once all its networks are connected."""
    with serve(networks, 1, 0, 0) as (processes, _):
        time.sleep(WARM)
        return processes["server"].memory() / 1e6


def main() -> None:
    parser = arguments(__doc__, seconds=10.0)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--rate", type=int, default=1000, help="lines a second")
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--talk", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.talk:
        port, connections, rooms, rate, seconds = options.talk
        asyncio.run(talk(int(port), int(connections), int(rooms), int(rate), float(seconds)))
        return
    lines = {"lines": partial(measure_lines, options.rooms, options.rate, options.seconds)}
    networks = {"networks": partial(measure_networks, options.networks)}
    title = f"{options.rate} lines a second in {options.rooms} rooms, through Redis to one worker"
    if options.only is None or "lines" in options.only:
        compare(title, lines, options, GOALS, "line")
    if options.only is None or "networks" in options.only:
        compare("memory of networks", networks, options, GOALS)


if __name__ == "__main__":
    main()
