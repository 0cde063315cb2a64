"""Other software's clients, by SMTP and by LMTP: postfix' smtp-source, swaks, and Python's smtplib."""

from __future__ import annotations

import smtplib
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.protocol_servers.smtp import LmtpServer

PATIENCE = 60  # seconds; a bound against hanging, never waited for
MIXED = {"full@example.org": {"accept": False, "code": 452, "text": "4.2.2 Mailbox full"}}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def answer(house: Any, message: dict[str, Any]) -> dict[str, Any]:
    return MIXED.get(message["address"], {"accept": True})


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_smtp_source(house: Any, tmp_path: Path, peer: Callable[[str], str], protocol: str, where: str) -> None:
    settings: dict[str, Any] = {"server": LmtpServer} if protocol == "lmtp" else {}
    home = house(endpoints=["tcp:0", f"unix:{tmp_path}/socket"], **settings)
    target = f"127.0.0.1:{home.port}" if where == "tcp" else f"unix:{tmp_path}/socket"
    command = [
        peer("smtp-source"),
        "-s",
        "10",
        "-m",
        "100",
        "-l",
        "10240",
        "-f",
        "a@example.org",
        "-t",
        "b@example.org",
    ]
    done = run(*command, *(["-L"] if protocol == "lmtp" else []), target)
    assert (done.returncode, done.stderr) == (0, "")
    assert home.server.stats["mails_taken"] == len(home.mails) == 100
    assert all(10_240 < mail["size"] < 10_700 for mail in home.mails)


def test_smtp_source_to_several_recipients(house: Any, peer: Callable[[str], str]) -> None:
    home = house(server=LmtpServer)
    command = [peer("smtp-source"), "-L", "-s", "5", "-m", "20", "-r", "7", "-f", "a@b.example", "-t", "c@d.example"]
    done = run(*command, f"127.0.0.1:{home.port}")
    assert (done.returncode, done.stderr) == (0, "")
    assert Counter(mail["address"] for mail in home.mails) == dict.fromkeys(
        ["c@d.example", *(f"{number}c@d.example" for number in range(2, 8))], 20
    )


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_smtplib_by_lmtp(house: Any, tmp_path: Path, where: str) -> None:
    home = house(answer, endpoints=["tcp:0", f"unix:{tmp_path}/socket"], server=LmtpServer)
    assert home.server.ports == [f"lmtp://127.0.0.1:{home.port}", f"lmtp://{tmp_path}/socket"]
    host, port = ("127.0.0.1", home.port) if where == "tcp" else (f"{tmp_path}/socket", 0)
    with smtplib.LMTP(host, port) as client:
        client.ehlo_or_helo_if_needed()
        assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 250
        for name in ("ann", "full", "bob"):
            assert client.docmd("RCPT", f"TO:<{name}@example.org>")[0] == 250
        client.docmd("DATA")
        client.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")
        said = [client.getreply() for _ in range(3)]
    assert said == [(250, b"2.6.0 Mail taken"), (452, b"4.2.2 Mailbox full"), (250, b"2.6.0 Mail taken")]
    assert sorted(mail["address"] for mail in home.mails) == ["ann@example.org", "bob@example.org", "full@example.org"]


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_swaks_by_lmtp(house: Any, tmp_path: Path, peer: Callable[[str], str], where: str) -> None:
    home = house(answer, endpoints=["tcp:0", f"unix:{tmp_path}/socket"], server=LmtpServer)
    command = [peer("swaks"), "--protocol", "LMTP", "--from", "a@example.org"]
    command += ["--to", "ann@example.org,full@example.org"]
    place = (
        ["--server", "127.0.0.1", "--port", str(home.port)] if where == "tcp" else ["--socket", f"{tmp_path}/socket"]
    )
    done = run(*command, *place)
    assert "250 2.6.0 Mail taken" in done.stdout
    assert "452 4.2.2 Mailbox full" in done.stdout
    assert len(home.mails) == 2


def test_swaks_in_pipelines_by_lmtp(house: Any, peer: Callable[[str], str]) -> None:
    home = house(server=LmtpServer)
    command = [peer("swaks"), "--protocol", "LMTP", "--from", "a@example.org", "--pipeline"]
    done = run(*command, "--to", "a@b.example,c@d.example", "--server", "127.0.0.1", "--port", str(home.port))
    assert done.returncode == 0, done.stdout
    assert len(home.mails) == 2


def test_a_large_mail_by_chunks_of_every_size(house: Any) -> None:
    """No client at hand says BDAT: chunks of 1 byte to 200 KB, pipelined as RFC 3030 has it."""
    parts: list[bytes] = []

    def consume(home: Any, message: dict[str, Any]) -> dict[str, Any]:
        parts.append(home.body(message["content"]["body_channel"]))
        return {"accept": True}

    home = house(consume)
    content = b"".join(b"%d line\r\n" % number for number in range(300_000))
    mail = b"Message-ID: <1>\r\nContent-Type: application/x\r\n\r\n" + content
    sizes = [1, 2, 3, 1000, 65_536, 65_537, 200_000]
    commands = [b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"]
    at, count = 0, 0
    while at < len(mail):
        chunk = mail[at : at + sizes[count % len(sizes)]]
        commands += [b"BDAT %d\r\n" % len(chunk), chunk]
        at, count = at + len(chunk), count + 1
    commands.append(b"BDAT 0 LAST\r\nQUIT\r\n")
    with socket.create_connection(("127.0.0.1", home.port), PATIENCE) as client, client.makefile("rb") as file:
        client.sendall(b"".join(commands))
        said = file.read().decode().splitlines()
    assert [line[:9] for line in said[-2:]] == ["250 2.6.0", "221 2.0.0"]
    assert sum(line.endswith(" bytes") for line in said) == count
    assert parts == [content]
    home.place.turns()
    assert (home.server.room.memory, home.server.room.disk) == (0, 0)


def test_a_client_on_a_unix_socket_may_be_trusted(house: Any, tmp_path: Path) -> None:
    home = house(endpoints=["tcp:0", f"unix:{tmp_path}/socket"], trusted=["unix"], rate=1)
    with socket.socket(socket.AF_UNIX) as unix, smtplib.SMTP() as client:
        unix.connect(f"{tmp_path}/socket")
        client.sock, client.file = unix, None
        client.getreply()
        client.docmd("EHLO", "x")
        for _ in range(5):
            assert client.docmd("MAIL", "FROM:<a@b>")[0] == 250
            assert client.rset()[0] == 250
    with home.smtp() as client:
        client.ehlo()
        assert client.docmd("MAIL", "FROM:<a@b>")[0] == 250
        client.rset()
        assert client.docmd("MAIL", "FROM:<a@b>")[0] == 451
