"""One route table decides at RCPT who exists, and afterwards who consumes: tags, cases, and addresses in any script."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.testing import ReactorThread
from trunkline.workers import Message, Worker, route

PATIENCE = 60  # seconds; a bound against hanging, never waited for


@pytest.fixture
def consumed() -> list[tuple[str, str, str | None, dict[str, str]]]:
    """What was consumed: by whom, for which address, its tag, and what the route captured."""
    return []


@pytest.fixture
def client(reactor_thread: ReactorThread, consumed: list[Any]) -> Iterator[smtplib.SMTP]:
    """Connects to a server whose worker has these routes."""

    def taker(name: str) -> Any:
        def consume(message: Message, **captures: str) -> None:
            consumed.append((name, message["address"], message.get("tag"), captures))

        return consume

    routing = [
        route("email.receive", taker("ticket"), address=r"^support\+(?P<ticket>\d+)@example\.com$"),
        route("email.receive", taker("support"), address=r"^support(\+.*)?@example\.com$"),
        route("email.receive", taker("unicode"), address=r"^(?P<name>\w+)@例え\.jp$"),
        route("email.receive", taker("quoted"), address=r'^"john doe"@example\.com$'),
        route("email.receive", taker("boss"), address=r"^admin@example\.com$"),
        route("email.receive", taker("urgent"), address=r"^list@example\.com$", subject="urgent"),
    ]
    layer = MemoryLayer()
    settings = SmtpSettings(endpoints=["tcp:0"], hostname="mx.example.com", postmaster="admin@example.com")
    server = reactor_thread.run(lambda: SmtpServer(layer, settings, reactor=reactor_thread.reactor))
    reactor_thread.call(server.start())
    worker = Worker(layer, routing)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        with smtplib.SMTP("127.0.0.1", int(server.ports[0].rpartition(":")[2]), timeout=PATIENCE) as connected:
            connected.ehlo()
            yield connected
    finally:
        reactor_thread.call(server.stop(1.0))
        worker.stop()
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("support+42@example.com", ("ticket", "support+42@example.com", "42", {"ticket": "42"})),
        ("Support+42@EXAMPLE.com", ("ticket", "Support+42@example.com", "42", {"ticket": "42"})),
        ("support+a+b@example.com", ("support", "support+a+b@example.com", "a+b", {})),
        ("support@example.com", ("support", "support@example.com", None, {})),
        ('"support"@example.com', ("support", "support@example.com", None, {})),
        ("@relay.example,@other.example:support@example.com", ("support", "support@example.com", None, {})),
        ("jürgen@例え.jp", ("unicode", "jürgen@例え.jp", None, {"name": "jürgen"})),
        ('"john doe"@example.com', ("quoted", '"john doe"@example.com', None, {})),
        ("postmaster", ("boss", "admin@example.com", None, {})),
        ("POSTMASTER@anywhere.example", ("boss", "admin@example.com", None, {})),
    ],
)
def test_who_consumes(client: smtplib.SMTP, consumed: list[Any], address: str, expected: tuple[Any, ...]) -> None:
    assert client.docmd("MAIL", "FROM:<> SMTPUTF8")[0] == 250
    client.command_encoding = "utf-8"
    assert client.docmd("RCPT", f"TO:<{address}>")[0] == 250
    assert client.data(b"Subject: x\r\n\r\nhi")[0] == 250
    assert consumed == [expected]


@pytest.mark.parametrize(
    "address",
    [
        "nobody@example.com",
        "support@example.org",
        "supportx@example.com",
        "support@exampleXcom",
        "support@example.com.x",
    ],
)
def test_who_does_not_exist(client: smtplib.SMTP, consumed: list[Any], address: str) -> None:
    client.docmd("MAIL", "FROM:<>")
    assert client.docmd("RCPT", f"TO:<{address}>") == (550, b"5.1.1 No such recipient here")
    assert client.docmd("DATA")[0] == 554
    assert consumed == []


def test_what_only_the_mail_decides_is_accepted_at_rcpt(client: smtplib.SMTP, consumed: list[Any]) -> None:
    for subject, code in (("urgent", 250), ("other", 550)):
        client.docmd("MAIL", "FROM:<>")
        assert client.docmd("RCPT", "TO:<list@example.com>")[0] == 250
        assert client.data(f"Subject: {subject}\r\n\r\nhi".encode())[0] == code
    assert [name for name, *_ in consumed] == ["urgent"]
