"""Mail taken by SMTP, side by side in interleaved rounds: our session of our own beside aiosmtpd.

    python benchmarks/smtp_data.py [--rounds 5] [--seconds 3] [--sessions 20] [--size 10240]

trunkline         SMTP server, memory layer and a worker thread with one route: 250 once the consumer is done
core              our session and transport; mails are taken and forgotten
core, parsed      the same, and every mail is taken apart
aiosmtpd          on uvloop; mails are taken and forgotten
aiosmtpd, parsed  the same, and Python's parser takes every mail apart

Each is loaded twice: with many mails a session, and with a new session for each mail. The client sends command by
command, as most do. Only the ratios of one run mean anything: client and servers share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from comparison import Goal, Round, arguments, compare
from processes import Running, free_port, peers_python
from systems import PEERS

NAMES = ("trunkline", "core", "core, parsed", "aiosmtpd", "aiosmtpd, parsed")
GOALS = (
    Goal("mails/s", "trunkline", "aiosmtpd, parsed", least=1),
    Goal("mails/s", "trunkline", "aiosmtpd", least=2, word="aim"),
    Goal("mails/s", "core", "aiosmtpd"),
    Goal("mails/s", "core, parsed", "aiosmtpd, parsed"),
)


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
        from trunkline.protocol_servers.smtp.commands import SMTP
        from trunkline.protocol_servers.smtp.content import Content, Room
        from trunkline.protocol_servers.smtp.envelope import Limits
        from trunkline.protocol_servers.smtp.events import LoginAsked, Mail, Recipient
        from trunkline.protocol_servers.smtp.protocol import SmtpConnection, SmtpFactory
        from trunkline.protocol_servers.smtp.replies import Reply
        from trunkline.protocol_servers.timers import TimerWheel

        room = Room(1 << 30, 1 << 30)

        class Host:
            dialect = SMTP
            limits = Limits(hostname="mx.example.org")
            tls_context: ssl.SSLContext | None = None
            idle_timeout = 300.0
            min_data_rate = 500
            clock = time.monotonic
            loop = asyncio.get_running_loop()
            timers = TimerWheel(loop.call_later, time.monotonic)
            stopping = False

            def opened(self, client: SmtpConnection) -> None:
                pass

            def gone(self, client: SmtpConnection) -> None:
                pass

            def trusts(self, client: SmtpConnection) -> bool:
                return False

            def admit_mail(self, client: SmtpConnection) -> Reply | None:
                return None

            def admit_commands(self, client: SmtpConnection, count: int) -> bool:
                return True

            def open_content(self, client: SmtpConnection) -> Content:
                return Content(room)

            def log_in(self, client: SmtpConnection, login: LoginAsked) -> None:
                pass

            def ask(self, client: SmtpConnection, mail: Mail, recipient: Recipient) -> None:
                client.answer_recipient(recipient, replies.RECIPIENT_OK)

            def take(self, client: SmtpConnection, mail: Mail) -> None:
                content = mail.take_content()
                if name == "core, parsed":
                    parse_mail(content.whole())
                content.close()
                client.answer_mail(replies.MAIL_TAKEN)

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


async def load(port: int, sessions: int, seconds: float, once: bool) -> list[float]:
    """Return the seconds that each mail took, sorted."""
    loop = asyncio.get_running_loop()
    Sender.times, Sender.sending = [], True
    for _ in range(sessions):
        await loop.create_connection(lambda: Sender(once), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    Sender.sending = False
    return sorted(Sender.times)


def measure(name: str, options: argparse.Namespace, once: bool) -> Round:
    """Start a server, load it, end it."""
    import uvloop

    port = free_port()
    command: list[str | Path]
    if name.startswith("aiosmtpd"):
        command = [peers_python(), PEERS / "mail.py", str(port), "parsed" if name.endswith("parsed") else "taken"]
    else:
        command = [sys.executable, Path(__file__).resolve(), "--serve", name, "--port", str(port)]
    with Running("server", command) as server:
        server.wait_for_greeting(port, b"220")
        uvloop.run(load(port, options.sessions, 0.5, once))  # warm
        before, own = server.cpu(), time.process_time()
        times = uvloop.run(load(port, options.sessions, options.seconds, once))
        cpu = {"server": server.cpu() - before, "client": time.process_time() - own}
    p50, p99 = (1000 * times[len(times) * percent // 100] for percent in (50, 99))
    values = {"mails/s": len(times) / options.seconds, "p50 ms": p50, "p99 ms": p99}
    return Round(values, len(times), options.seconds, cpu)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=10 * 1024, help="bytes of a mail")
    parser.add_argument("--serve", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    Sender.content = mail(options.size)
    for once in (False, True):
        subjects = {name: partial(measure, name, options, once) for name in NAMES}
        kind = "one mail" if once else "many mails"
        title = f"{kind} a session, {options.sessions} sessions, {options.size} bytes, {options.seconds:g} s"
        compare(title, subjects, options, GOALS, "mail")


if __name__ == "__main__":
    main()
