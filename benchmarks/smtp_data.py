"""Mail taken by SMTP, side by side in interleaved rounds: our session of our own beside aiosmtpd.

    python benchmarks/smtp_data.py [--rounds 5] [--seconds 3] [--sessions 20] [--size 10240] [--peers PYTHON]

trunkline         SMTP server, memory layer and a worker thread with one route: 250 once the consumer is done
core              our session and transport; mails are taken and forgotten
core, parsed      the same, and every mail is taken apart
aiosmtpd          on uvloop; mails are taken and forgotten        (run by PYTHON, an interpreter that has it)
aiosmtpd, parsed  the same, and Python's parser takes every mail apart

Each is loaded twice: with many mails a session, and with a new session for each mail. The client sends command by
command, as most do. Only the ratios of one run mean anything: client and servers share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

PEER = """
import asyncio, email, email.policy, sys, uvloop
from aiosmtpd.smtp import SMTP

class Handler:
    async def handle_DATA(self, server, session, envelope):
        if sys.argv[2] == "parsed":
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            mail["subject"], mail.get_body(("plain", "html")).get_content()
        return "250 OK"

async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(Handler(), hostname="mx.example.org"), "127.0.0.1", int(sys.argv[1]))
    await asyncio.Event().wait()

uvloop.install()
asyncio.run(main())
"""
NAMES = ("trunkline", "core", "core, parsed", "aiosmtpd", "aiosmtpd, parsed")


class Figures(NamedTuple):
    """One round of one server."""

    rate: float  # mails a second
    p50: float  # milliseconds for a mail
    p99: float
    cpu: float  # microseconds of the server for each mail


def mail(size: int) -> bytes:
    """Return a mail of about `size` bytes, as it is sent: two alternatives, dots stuffed."""
    head = (
        b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Date: Thu, 1 Jan 2026 12:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/alternative; boundary="=_part"\r\n\r\n'
    )
    line = b"The quick brown fox jumps over the lazy dog, and nothing else happens.\r\n"
    half = line * (size // 2 // len(line))
    plain = b"--=_part\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + half
    page = b"--=_part\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>" + half
    return head + plain + page + b"--=_part--\r\n.\r\n"


def serve(name: str, port: int) -> None:
    """Run one of our own servers until the process is ended."""
    from trunkline.operations.event_loop import install_reactor, run

    reactor = install_reactor()

    async def through_the_bus() -> None:
        from trunkline.layer import MemoryLayer
        from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
        from trunkline.workers import Message, Worker, route

        def consume(message: Message) -> None:
            pass

        layer = MemoryLayer()
        settings = SmtpSettings(endpoints=[f"tcp:{port}"], hostname="mx.example.org")
        server = SmtpServer(layer, settings, reactor=reactor)
        await server.start()
        worker = Worker(layer, [route("email.receive", consume)])
        threading.Thread(target=worker.run, daemon=True).start()
        await asyncio.Event().wait()

    async def without_a_bus() -> None:
        from trunkline.message_formats.email import parse_mail
        from trunkline.protocol_servers.endpoints import listen_all
        from trunkline.protocol_servers.smtp import replies
        from trunkline.protocol_servers.smtp.events import Mail, Recipient
        from trunkline.protocol_servers.smtp.protocol import SmtpConnection, SmtpFactory
        from trunkline.protocol_servers.smtp.session import Limits
        from trunkline.protocol_servers.timers import TimerWheel

        class Host:
            limits = Limits(hostname="mx.example.org")
            tls_context: ssl.SSLContext | None = None
            idle_timeout = 300.0
            loop = asyncio.get_running_loop()
            timers = TimerWheel(loop.call_later, time.monotonic)
            stopping = False

            def opened(self, client: SmtpConnection) -> None:
                pass

            def gone(self, client: SmtpConnection) -> None:
                pass

            def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
                client.answer_recipient(recipient, replies.RECIPIENT_OK)

            def take(self, client: SmtpConnection, mail: Mail) -> None:
                if name == "core, parsed":
                    parse_mail(mail.content)
                client.answer_mail(replies.MAIL_TAKEN)

            def hold(self, count: int) -> bool:
                return True

        await listen_all(reactor, [f"tcp:{port}"], SmtpFactory(Host()))
        await asyncio.Event().wait()

    run(reactor, through_the_bus() if name == "trunkline" else without_a_bus())


class Sender(asyncio.Protocol):
    """Send mail after mail, one command at a time, on one session or on a new one each."""

    times: list[float] = []
    sending = True
    content = b""
    sent = 0

    def __init__(self, once: bool) -> None:
        self.once = once

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.received = b""
        self.began = time.perf_counter()
        self.steps = iter([b"EHLO client.example.org\r\n"])

    def data_received(self, data: bytes) -> None:
        self.received += data
        last = self.received[self.received.rfind(b"\n", 0, -1) + 1 :]
        if not last.endswith(b"\n") or last[3:4] != b" ":
            return
        if last[:1] not in b"23":
            raise SystemExit(f"a server said {last!r}")
        self.received = b""
        step = next(self.steps, None)
        if step is None:
            self.next_mail()
        else:
            self.transport.write(step)

    def next_mail(self) -> None:
        if self.sent:
            self.times.append(time.perf_counter() - self.began)
        if not self.sending or (self.sent and self.once):
            self.transport.close()
            return
        self.sent = 1
        if not self.once:
            self.began = time.perf_counter()
        Sender.count += 1
        self.steps = iter([b"RCPT TO:<bob@example.org>\r\n", b"DATA\r\n", self.content % Sender.count])
        self.transport.write(b"MAIL FROM:<ann@example.org>\r\n")

    count = 0

    def connection_lost(self, error: BaseException | None) -> None:
        if self.sending:
            host, port = self.transport.get_extra_info("peername")[:2]
            loop = asyncio.get_running_loop()
            self.again = loop.create_task(loop.create_connection(lambda: Sender(self.once), host, port))


async def load(port: int, sessions: int, seconds: float, once: bool) -> tuple[float, float, float]:
    loop = asyncio.get_running_loop()
    Sender.times, Sender.sending = [], True
    for _ in range(sessions):
        await loop.create_connection(lambda: Sender(once), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    Sender.sending = False
    times = sorted(Sender.times)
    return len(times) / seconds, 1000 * times[len(times) // 2], 1000 * times[len(times) * 99 // 100]


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, options: argparse.Namespace, once: bool) -> Figures:
    """Start a server, load it, end it."""
    import uvloop

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    if name.startswith("aiosmtpd"):
        command = [options.peers, "-c", PEER, str(port), name.rpartition(" ")[2]]
    else:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", name, "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        wait_for(port, server)
        uvloop.run(load(port, options.sessions, 0.5, once))  # warm
        before = cpu_of(server.pid)
        rate, p50, p99 = uvloop.run(load(port, options.sessions, options.seconds, once))
        return Figures(rate, p50, p99, 1e6 * (cpu_of(server.pid) - before) / (rate * options.seconds))
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server greets."""
    for _ in range(200):
        if server.poll() is not None:
            raise SystemExit(f"a server ended with {server.returncode}: {server.args!r}")
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as found:
                if found.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers: {server.args!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=10 * 1024, help="bytes of a mail")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has aiosmtpd")
    parser.add_argument("--serve", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    Sender.content = mail(options.size)
    for once in (False, True):
        found: dict[str, list[Figures]] = {name: [] for name in NAMES}
        for _ in range(options.rounds):
            for name, rounds in found.items():
                rounds.append(measure(name, options, once))
        print(f"{'one mail' if once else 'many mails'} a session, {options.sessions} sessions, {options.size} bytes")
        print(f"{'':18}{'mails/s':>26}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/mail':>14}{'of aiosmtpd':>14}")
        peer = statistics.median(figures.rate for figures in found["aiosmtpd"])
        for name, rounds in found.items():
            rate, p50, p99, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            low, high = min(figures.rate for figures in rounds), max(figures.rate for figures in rounds)
            spread = f"{rate:,.0f} ({low:,.0f}-{high:,.0f})"
            print(f"{name:18}{spread:>26}{p50:>9.2f}{p99:>9.2f}{cpu:>14.0f}{rate / peer:>13.2f}x")


if __name__ == "__main__":
    main()
