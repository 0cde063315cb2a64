"""The helpdesk as its users meet it: `trunkline run`, Chromium, swaks and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "helpdesk"
WAIT = 60  # seconds until a test that hangs is called failed; nothing is measured by it


class Demo:
    """A running `trunkline run` on free ports: where it listens, and what it printed."""

    def __init__(self, swaks: str = "") -> None:
        self._swaks = swaks
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trunkline", "run"],
            cwd=DEMO,
            env={**os.environ, "TRUNKLINE_HTTP_ENDPOINTS": "tcp:0", "TRUNKLINE_SMTP_ENDPOINTS": "tcp:0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("http://")
        self.wait_for("smtp://")
        self.http = self._port("http")
        self.smtp = self._port("smtp")

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.printed.append(line)
                self._news.notify_all()

    def _port(self, scheme: str) -> int:
        found = re.search(rf"{scheme}://127\.0\.0\.1:(\d+)", self.output)
        assert found, self.output
        return int(found[1])

    @property
    def output(self) -> str:
        return "".join(self.printed)

    def wait_for(self, text: str) -> None:
        """Wait until something was printed: the log may come a moment after the answer."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.output, WAIT), self.output

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(WAIT)
        finally:
            self.process.kill()
            self._reader.join(WAIT)

    def mail(self, to: str, *options: str, body: str = "My printer is on fire.") -> subprocess.CompletedProcess[str]:
        server = ["--server", "127.0.0.1", "--port", str(self.smtp)]
        mail = ["--to", to, "--from", "eve@example.org", "--header", "Subject: Fire", "--body", body]
        return subprocess.run(
            [self._swaks, *server, *mail, *options],
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )


@pytest.fixture(scope="module")
def demo(peer: Callable[[str], str]) -> Iterator[Demo]:
    running = Demo(peer("swaks"))
    yield running
    assert running.end() == 0, running.output


@pytest.fixture(scope="module")
def chromium(peer: Callable[[str], str]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=peer("chromium"), headless=True, args=quiet)
        yield browser
        browser.close()


def visitor(chromium: Any, demo: Demo) -> Any:
    """Open the page in a browser profile of its own and wait until its WebSocket is open."""
    page = chromium.new_context().new_page()
    page.set_default_timeout(WAIT * 1000)
    page.goto(f"http://127.0.0.1:{demo.http}/")
    page.wait_for_function("document.getElementById('state').textContent === 'connected'")
    return page


def test_chat_and_mail_meet_in_one_room(chromium: Any, demo: Demo) -> None:
    """What one browser says appears in all, and so does a mail to support+42@example.com."""
    ann, bob = visitor(chromium, demo), visitor(chromium, demo)
    ann.fill("#name", "Ann")
    ann.fill("#text", "Hello <b>all</b>")
    ann.click("#send")
    for page in (ann, bob):
        line = page.locator("li.chat").last
        line.wait_for()
        assert line.inner_text().split("\n") == ["Ann", "Hello <b>all</b>"]

    told = demo.mail("support+42@example.com")
    assert told.returncode == 0, told.stdout
    assert re.search(r"<-  250 ", told.stdout), told.stdout
    for page in (ann, bob):
        line = page.locator("li.mail").last
        line.wait_for()
        assert line.inner_text().split("\n") == ["✉ eve@example.org", "#42 Fire", "My printer is on fire."]

    late = visitor(chromium, demo)
    late.locator("li.mail").wait_for()
    assert late.locator("li").count() == 2


def test_unknown_address_is_refused_at_rcpt(demo: Demo) -> None:
    told = demo.mail("nobody@example.com")
    assert told.returncode == 24, told.stdout  # swaks: no recipient was accepted
    assert re.search(r"-> RCPT TO:<nobody@example\.com>\n<\*\* 550 5\.1\.1 ", told.stdout), told.stdout
    assert "DATA" not in told.stdout


def test_failing_consumer_leaves_the_mail_with_its_sender(demo: Demo) -> None:
    told = demo.mail("broken@example.com")
    assert told.returncode == 26, told.stdout  # swaks: the mail was not taken after DATA
    assert re.search(r"\n<\*\* 451 4\.3\.0 ", told.stdout), told.stdout
    demo.wait_for("the ticket database is away")
    assert demo.mail("support+7@example.com").returncode == 0


def test_ctrl_c_ends_with_0() -> None:
    """Ctrl-C ends everything by itself, with an open WebSocket and an open SMTP session."""
    import socket
    import time

    running = Demo()
    held = [socket.create_connection(("127.0.0.1", port), WAIT) for port in (running.http, running.smtp)]
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    host = f"Host: 127.0.0.1:{running.http}\r\n".encode()
    held[0].sendall(b"GET /room HTTP/1.1\r\n" + host + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + key + b"\r\n")
    assert held[0].recv(100).startswith(b"HTTP/1.1 101 ")
    assert held[1].recv(100).startswith(b"220 ")
    started = time.monotonic()
    assert running.end() == 0, running.output
    assert time.monotonic() - started < 20, "not the grace of 30 s; a quiet machine needs less than 2"
    for peer in held:
        peer.close()


def test_users_own_test_passes() -> None:
    """`pytest` in the example's folder, as its reader would run it."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_helpdesk.py"],
        cwd=DEMO,
        capture_output=True,
        text=True,
        timeout=WAIT * 2,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
