"""What `trunkline run` says that nobody asked for, because it would cost hours to find out otherwise."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

Start = Callable[..., Any]

ROUTING = """
from trunkline import Channel, route


def page(message):
    for number in range(20):
        Channel("my.work").send({"number": number})
    message.reply("sent")


def mail(message): ...


routing = [
    route("http.request", page),
    route("email.receive", mail, address=r"^support@example.com$"),
]
"""


def test_routes_without_a_server_and_messages_without_a_consumer(start: Start, folder: Path) -> None:
    """Mail routes where only HTTP is configured, a suspicious pattern, and what is lost with the memory layer."""
    (folder / "app" / "routing.py").write_text(ROUTING, encoding="utf-8")
    program = start("run")
    port = program.port("http")
    program.until("routes listen to email.receive, and no \\[smtp\\] or \\[lmtp\\] is configured: nothing will come")
    program.until("an unescaped dot matches any character")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        assert response.read() == b"sent"
    program.signal(signal.SIGINT)
    assert program.ended() == 0
    assert "20 messages that nobody took end with memory://" in program.printed


def test_says_nothing_where_all_is_well(start: Start) -> None:
    program = start("run")
    program.ready()
    program.signal(signal.SIGINT)
    assert program.ended() == 0
    assert "WARNING" not in program.printed
