"""The mailing list as its members meet it: `trunkline run`, swaks, curl, and an SMTP server of ours as the relay."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.workers import Message, Reject, Worker, route

from ..trunkline.conftest import Program

EXAMPLE = Path(__file__).parents[2] / "examples" / "mailing_list"
WAIT = 60  # seconds until a test that hangs is called failed; nothing is measured by it
LIST = "garden@lists.example.com"
HOSTILE = "<script>alert(1)</script>"


class Relay:
    """A mail server that keeps what it takes; nobody is at gone@.

    Attributes:
        mails: What it took: dicts as consumers see them.
        refused: How many mails it did not take.
    """

    def __init__(self, place: ReactorThread) -> None:
        self.mails: list[dict[str, Any]] = []
        self.refused = 0
        self._place = place
        layer = MemoryLayer()
        settings = SmtpSettings(endpoints=["tcp:0"], hostname="relay.example.net", rcpt="any")
        self._server = place.run(lambda: SmtpServer(layer, settings, reactor=place.reactor))
        place.call(self._server.start())
        self.port = int(self._server.ports[0].rpartition(":")[2])
        self._worker = Worker(layer, [route("email.receive", self._take)])
        self._thread = threading.Thread(target=self._worker.run, daemon=True)
        self._thread.start()

    def _take(self, message: Message) -> None:
        if message["address"].startswith("gone@"):
            self.refused += 1
            raise Reject(550, "5.1.1 Nobody is here")
        self.mails.append(message.content)

    def wait(self, to: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the mails to an address, as soon as there are so many."""
        until(lambda: len(self._to(to)) >= count)
        return self._to(to)

    def _to(self, to: str) -> list[dict[str, Any]]:
        return [mail for mail in self.mails if mail["address"] == to]

    def close(self) -> None:
        self._place.call(self._server.stop(1.0))
        self._worker.stop()
        self._thread.join(WAIT)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def relay(reactor_thread: ReactorThread) -> Iterator[Relay]:
    made = Relay(reactor_thread)
    yield made
    made.close()


@pytest.fixture
def program(relay: Relay, tmp_path: Path) -> Iterator[Program]:
    """`trunkline run` in a copy of the example's folder, on free ports."""
    folder = copytree(EXAMPLE, tmp_path / "list")
    environ = {
        "TRUNKLINE_HTTP_ENDPOINTS": "tcp:0",
        "TRUNKLINE_SMTP_ENDPOINTS": "tcp:0",
        "TRUNKLINE_SMTP_RELAY": f"smtp://127.0.0.1:{relay.port}",
    }
    running = Program(("run",), folder, environ)
    running.ready()
    yield running
    running.kill()


def test_a_list_from_the_first_mail_to_the_last(program: Program, relay: Relay, peer: Callable[[str], str]) -> None:
    """Two subscribe and confirm, a post reaches them and the archive, and one of them leaves."""
    swaks, curl = peer("swaks"), peer("curl")

    def mail(sender: str, to: str, subject: str = "Hello", body: str = "Is anybody here?") -> str:
        server = ["--server", "127.0.0.1", "--port", str(program.port("smtp"))]
        words = [*server, "--from", sender, "--to", to, "--header", f"Subject: {subject}", "--body", body]
        told = subprocess.run([swaks, *words], capture_output=True, text=True, timeout=WAIT, check=False)
        found: list[str] = re.findall(r"^<(?:\*\*|~~|-) +(\d\d\d .*)", told.stdout, re.MULTILINE)
        return found[-2]  # the last one answers QUIT

    def page(path: str, *options: str) -> str:
        words = [curl, "-sS", *options, f"http://127.0.0.1:{program.port('http')}{path}"]
        return subprocess.run(words, capture_output=True, text=True, timeout=WAIT, check=True).stdout

    for member in ("ann@example.org", "bob@example.net"):
        assert mail(member, "garden-subscribe@lists.example.com").startswith("250")
        [asked] = relay.wait(member)
        assert asked["auto_submitted"] is True
        assert mail(member, asked["from"]).startswith("250")
        assert relay.wait(member, 2)[1]["text"].strip() == "Welcome to the list."

    assert mail("eve@example.org", LIST).startswith("550 5.7.2 ")
    assert mail("ann@example.org", LIST, HOSTILE, f"</pre>{HOSTILE}").startswith("250")
    copies = [relay.wait(member, 3)[2] for member in ("ann@example.org", "bob@example.net")]
    for copy in copies:
        assert copy["subject"] == f"[garden] {HOSTILE}"
        assert copy["headers"]["list-id"] == "The garden <garden.lists.example.com>"
        assert copy["headers"]["precedence"] == "list"
        assert copy["from"].startswith("garden-bounces+")
    assert copies[0]["from"] != copies[1]["from"]

    for path in ("/", "/posts/1"):
        shown = page(path)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
        assert "<script" not in shown
        assert "example.org" not in shown
    found = re.search(r"<http://127\.0\.0\.1:8000(/leave/\w+)>", copies[1]["headers"]["list-unsubscribe"])
    assert found is not None
    assert "Leave" in page(found[1])
    assert "no more mails" in page(found[1], "-d", "List-Unsubscribe=One-Click")
    assert mail("bob@example.net", LIST).startswith("550 5.7.2 ")


def test_whom_the_relay_refuses_is_no_member_for_long(
    program: Program, relay: Relay, peer: Callable[[str], str], tmp_path: Path
) -> None:
    """Two members who did not change their mind, but one of whom has no mailbox any more."""
    swaks = peer("swaks")

    def refused(count: int) -> bool:
        return relay.refused >= count

    add = (
        "from mailing_list import store\n"
        "for address in ('ann@example.org', 'gone@example.net'): store.confirm(store.ask(address, 'subscribe'))\n"
    )
    subprocess.run([sys.executable, "-c", add], cwd=tmp_path / "list", timeout=WAIT, check=True)
    server = ["--server", "127.0.0.1", "--port", str(program.port("smtp"))]
    for number in range(4):
        words = [*server, "--from", "ann@example.org", "--to", LIST, "--header", f"Subject: {number}"]
        subprocess.run([swaks, *words], capture_output=True, timeout=WAIT, check=True)
        relay.wait("ann@example.org", number + 1)
        until(partial(refused, min(number + 1, 3)))
        if number == 2:
            until(lambda: "somebody is unsubscribed" in "".join(program.err + program.out))
    assert relay.refused == 3


def test_users_own_test_passes() -> None:
    """`pytest` in the example's folder, as its reader would run it."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mailing_list.py"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=WAIT * 2,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
