"""Mail by SMTP, through Redis, to a worker process: 250 once its consumer is done. Side by side in interleaved rounds.

    python benchmarks/mail.py [--rounds 5] [--seconds 3] [--sessions 20] [--size 10240]

trunkline         `trunkline serve smtp`, Redis, a `trunkline work`; each mail is taken apart, claimed, its outcome kept
rcpt any          the same, and nobody is asked at RCPT whether there is such a recipient
aiosmtpd, parsed  on uvloop, in one process without a bus; Python's parser takes every mail apart
aiosmtpd          the same; mails are taken and forgotten

Each is loaded twice: with many mails a session, and with a new session for each mail. Only the ratios of one run mean
anything: client, servers, worker and Redis share the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from comparison import Goal, Round, arguments, compare
from processes import HERE, Running, free_port, peers_python, redis_server
from smtp_data import Sender, load, mail
from systems import PEERS, System

NAMES = ("trunkline", "rcpt any", "aiosmtpd, parsed", "aiosmtpd")
GOALS = (
    Goal("mails/s", "trunkline", "aiosmtpd, parsed", least=1),
    Goal("mails/s", "trunkline", "aiosmtpd", least=2, word="aim"),
    Goal("mails/s", "rcpt any", "aiosmtpd, parsed"),
    Goal("mails/s", "rcpt any", "aiosmtpd"),
)


@contextmanager
def running(name: str) -> Iterator[System]:
    """Run a mail server, and whatever belongs to it."""
    port = free_port()
    with ExitStack() as stack:
        if name.startswith("aiosmtpd"):
            kind = "parsed" if name.endswith("parsed") else "taken"
            server = stack.enter_context(Running("server", [peers_python(), PEERS / "mail.py", str(port), kind]))
            processes = [server]
        else:
            redis, url = stack.enter_context(redis_server())
            settings = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "trunkline.toml"
            rcpt = "any" if name == "rcpt any" else "route"
            table = f'[smtp]\nendpoints = ["tcp:{port}"]\nhostname = "mx.example.org"\nrcpt = "{rcpt}"\n'
            settings.write_text(f'layer = "{url}"\n{table}', encoding="utf-8")
            trunkline = [sys.executable, "-m", "trunkline"]
            worker = Running("worker", [*trunkline, "work", "mail_consumers", "-c", settings], folder=HERE)
            server = Running("server", [*trunkline, "serve", "smtp", "-c", settings], folder=HERE)
            processes = [stack.enter_context(server), stack.enter_context(worker), redis]
        server.wait_for_greeting(port, b"220")
        yield System(port, processes)


def measure(name: str, options: argparse.Namespace, once: bool) -> Round:
    """Start a server, load it, end it."""
    import uvloop

    with running(name) as system:
        while not uvloop.run(load(system.port, 1, 0.3, once)):
            pass  # the worker has just begun
        before, own = system.cpu(), time.process_time()
        times = uvloop.run(load(system.port, options.sessions, options.seconds, once))
        cpu = {each: seconds - before[each] for each, seconds in system.cpu().items()}
        cpu["client"] = time.process_time() - own
    p50, p99 = (1000 * times[len(times) * percent // 100] for percent in (50, 99))
    values = {"mails/s": len(times) / options.seconds, "p50 ms": p50, "p99 ms": p99}
    return Round(values, len(times), options.seconds, cpu)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=10 * 1024, help="bytes of a mail")
    options = parser.parse_args()
    Sender.content = mail(options.size)
    for once in (False, True):
        subjects = {name: partial(measure, name, options, once) for name in NAMES}
        kind = "one mail" if once else "many mails"
        title = f"{kind} a session, {options.sessions} sessions, {options.size} bytes, {options.seconds:g} s"
        compare(title, subjects, options, GOALS, "mail")


if __name__ == "__main__":
    main()
