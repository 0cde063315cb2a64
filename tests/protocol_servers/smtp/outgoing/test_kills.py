"""Mails counted while the sending process and the relay are killed, again and again.

Nobody is lost. Who got a mail twice is one of those that cannot be told from a mail that was not sent: at most one for
each connection of a process that was killed, the sender's or the relay's.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.layer import Layer, LayerUnavailable, open_layer
from trunkline.layer.testing.ipc import BusThread
from trunkline.protocol_servers.smtp.outgoing.outbox import CONNECTIONS

from .conftest import PATIENCE, wait_for

MAILS = 500
KILLS = 4  # half of them the sender's
VISIBILITY = 3.0  # seconds until what a killed sender had in hand goes on; one that lives asks for more in time

# A relay that notes each mail down before it says 250.
RELAY = """
import asyncio, os, sys

notes = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def serve(reader, writer):
    writer.write(b"220 relay\\r\\n")
    recipients = []
    try:
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-relay\\r\\n250 PIPELINING\\r\\n")
            elif verb == b"DATA":
                writer.write(b"354 go\\r\\n")
                content = await reader.readuntil(b"\\r\\n.\\r\\n")
                name = content.partition(b"Subject: ")[2].partition(b"\\r\\n")[0]
                os.write(notes, b"".join(b"%b %b\\n" % (name, each) for each in recipients))
                recipients = []
                writer.write(b"250 ok\\r\\n")
            else:
                if verb == b"RCPT":
                    recipients.append(line.partition(b"<")[2].partition(b">")[0])
                writer.write(b"250 ok\\r\\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), reuse_address=True)
    await server.serve_forever()


asyncio.run(main())
"""

# `trunkline`, with tries that follow each other quickly.
SENDER = """
import sys
from trunkline.command_line import main
from trunkline.protocol_servers.smtp.outgoing import outbox
from trunkline.protocol_servers.smtp.outgoing.mail import Schedule

schedule = Schedule(first=0.1, longest=0.5)
outbox.Schedule = lambda: schedule
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(params=["ipc", "redis"])
def url(request: pytest.FixtureRequest, peer: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """A layer that processes share."""
    if request.param == "ipc":
        bus = BusThread()
        yield f"ipc://{bus.path}?durable=email.send:{VISIBILITY}"
        bus.close()
        return
    path = tmp_path / "redis.sock"
    program = [peer("redis-server"), "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([*program, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    wait_for(path.exists, "Redis runs")
    yield f"unix://{path}?prefix={secrets.token_hex(4)}&durable=email.send:{VISIBILITY}"
    server.kill()
    server.wait(PATIENCE)


class Process:
    """A program that is killed and started anew."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self._arguments = arguments
        self._environ = os.environ | environ
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._arguments, env=self._environ, stdout=subprocess.DEVNULL)

    def restart(self) -> None:
        """Kill it, and start it again once it has ended."""
        self.kills += 1
        self.end()
        self._start()

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(PATIENCE)


def pending(layer: Layer) -> int:
    """How many mails are not settled."""
    try:
        return int(layer.channel_statistics("email.send")["messages_pending"])
    except LayerUnavailable:
        return -1


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_nobody_is_lost_and_few_are_doubled(url: str, tmp_path: Path, tell: Callable[[str], None], scale: int) -> None:
    chance = random.Random(7)
    notes, count = tmp_path / "notes", MAILS * scale
    held = socket.socket()  # keeps the port from others while there is no relay
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = str(held.getsockname()[1])
    relay = Process(sys.executable, "-c", RELAY, port, str(notes))
    sender = Process(
        sys.executable, "-c", SENDER, "serve", "smtp", "--layer", url, "-e", "tcp:0",
        TRUNKLINE_SMTP_RELAY=f"smtp://127.0.0.1:{port}", TRUNKLINE_SMTP_RELAY_TLS="none",
        TRUNKLINE_SMTP_HOSTNAME="mx.example.org",
    )  # fmt: skip
    try:
        with open_layer(url, channel_capacity={"email.send": count + 1}) as layer:
            expected = set()
            for number in range(count):
                to = [f"u{number}.{one}@example.net" for one in range(1 + number % 3)]
                layer.send(
                    "email.send", {"to": to, "from": "ann@example.com", "subject": f"m{number}", "text": "hello"}
                )
                expected |= {f"m{number} {address}" for address in to}
            for step in range(KILLS):
                # Once some more were sent, so that each process is killed at work.
                goal = count - (step + 1) * count // (KILLS + 2)
                wait_for(lambda goal=goal: pending(layer) < goal, "mails are sent")  # type: ignore[misc]
                time.sleep(chance.random() * 0.05)  # anywhere in what it does
                (sender, relay)[step % 2].restart()
            wait_for(lambda: pending(layer) == 0, "all mails are settled")
    finally:
        sender.end()
        relay.end()
        held.close()
    got = Counter(notes.read_text("ascii").split("\n")[:-1])
    lost = expected - got.keys()
    doubled = len({name.partition(" ")[0] for name, times in got.items() if times > 1})
    kills = sender.kills + relay.kills
    allowed = CONNECTIONS * kills
    tell(
        f"{count} mails to {len(expected)} recipients, {sender.kills} kills of the sender, {relay.kills} of the relay: "
        f"{len(lost)} lost, {doubled} mails doubled, {allowed} may be"
    )
    assert not got.keys() - expected
    assert not lost
    assert kills == KILLS
    assert doubled <= allowed
    assert max(got.values()) <= 1 + kills
