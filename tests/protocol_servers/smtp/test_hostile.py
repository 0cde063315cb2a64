"""Clients that mean harm on real sockets, while normal mail flows beside them."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

PATIENCE = 60  # seconds; a bound against hanging, never waited for
OPEN = b"EHLO x\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<you@example.org>\r\n"

HIDDEN = b"MAIL FROM:<>\r\nRCPT TO:<you@example.org>\r\nDATA\r\nevil\r\n.\r\n"


class Enemy:
    """Says what it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.file = self.socket.makefile("rb")
        self.line()

    def line(self) -> str:
        return self.file.readline().decode().rstrip("\r\n")

    def hear(self) -> list[str]:
        """Return everything that is said until the end."""
        return [line.decode().rstrip("\r\n") for line in self.file]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def enemy(port: int) -> Iterator[Enemy]:
    made = Enemy(port)
    try:
        yield made
    finally:
        made.close()


def normal_mail(home: Any, count: int = 3) -> None:
    with home.smtp() as client:
        for number in range(count):
            client.sendmail("friend@example.org", ["you@example.org"], f"Subject: {number}\r\n\r\nhi".encode())
    taken = [mail["subject"] for mail in home.mails if mail["from"] == "friend@example.org"]
    assert taken == [str(number) for number in range(count)]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        # A mail hidden in a mail, by whatever somebody else may take for its end.
        *[
            (OPEN + b"DATA\r\nhi" + end + HIDDEN, "550 5.6.0")
            for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n", b"\r\r\n.\r")
        ],
        # The same by BDAT, whose size leaves no doubt.
        (OPEN + b"BDAT 30 LAST\r\nhi\r\n.\r\nMAIL FROM:<a@b.example>QUIT\r\n", "221 2.0.0"),
        (OPEN + b"BDAT 8\r\nhi\n.\r\n\r\nBDAT 0 LAST\r\nQUIT\r\n", "221 2.0.0"),
        (OPEN + b"BDAT 2 LAST\nhiQUIT\r\n", "500 5.5.2"),
        (OPEN + b"BDAT 0x5 LAST\r\nhello\r\nMAIL FROM:<>\r\n", "421 4.5.4"),
        (OPEN + b"BDAT +5 LAST\r\nhello\r\nMAIL FROM:<>\r\n", "421 4.5.4"),
        # Bytes that no command has.
        (b"EHLO \xff\xfe\r\nMAIL FROM:<\xe4@b>\r\nRC\0PT\r\n\x80\x81\r\nQUIT\r\n", "221 2.0.0"),
    ],
)  # fmt: skip
def test_nothing_is_smuggled_in(house: Any, sent: bytes, said: str) -> None:
    home = house()
    with enemy(home.port) as client:
        client.socket.sendall(sent + b"\r\nQUIT\r\n")
        heard = client.hear()
    assert any(line.startswith(said) for line in heard)
    assert heard[-1].startswith(("221 ", "421 "))
    assert all(message["from"] == "evil@example.org" for message in home.mails)
    assert len(home.mails) <= 1
    normal_mail(home)


@pytest.mark.parametrize(
    "extra", [b"MAIL FROM:<evil@example.org>\r\n", b"RSET\r\nEHLO evil\r\n" + OPEN + b"DATA\r\nhi\r\n.\r\n"]
)
def test_what_follows_starttls_in_plain_text_never_happened(house: Any, certificate: Any, extra: bytes) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    with enemy(home.port) as client:
        client.socket.sendall(b"EHLO x\r\nSTARTTLS\r\n" + extra)
        while not client.line().startswith("220 "):
            pass
        context = ssl.create_default_context(cafile=str(certificate.certificate))
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.file = client.socket.makefile("rb")
        client.socket.sendall(b"RCPT TO:<you@example.org>\r\nMAIL FROM:<a@b>\r\nQUIT\r\n")
        assert [line[:9] for line in client.hear()] == ["503 5.5.1", "503 5.5.1", "221 2.0.0"]
    assert home.mails == []


def test_large_mails_that_do_not_end_take_no_memory_and_nobody_s_place(house: Any) -> None:
    home = house()
    body = (b"x" * 998 + b"\r\n") * 1000
    with contextlib.ExitStack() as stack:
        for _ in range(25):
            client = stack.enter_context(enemy(home.port))
            client.socket.sendall(OPEN + b"DATA\r\n" + body)
        while home.server.room.disk < 25 * len(body) - 25 * 5:
            home.place.turns()
        assert home.server.room.memory == 0
        normal_mail(home)
    while home.server.room.disk:
        home.place.turns()


def test_when_the_disk_is_used_up_mail_is_for_later(house: Any) -> None:
    home = house(max_spool=1024 * 1024)
    body = (b"x" * 998 + b"\r\n") * 900
    with enemy(home.port) as client, home.smtp() as other:
        client.socket.sendall(OPEN + b"DATA\r\n" + body)
        while home.server.room.disk < len(body) - 5:
            home.place.turns()
        with pytest.raises(smtplib.SMTPDataError) as caught:
            other.sendmail("a@b", ["c@d"], body)
        assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (451, b"4.3.1")
        other.sendmail("a@b", ["c@d"], b"a small one")
    while home.server.room.disk:
        home.place.turns()
    with home.smtp() as other:
        assert other.sendmail("a@b", ["c@d"], body) == {}


def test_nobody_takes_the_room_of_everybody_else(house: Any) -> None:
    """From one address come mails without an end, as many as find room; from another mail comes as before."""
    home = house(max_spool=4 * 1024 * 1024, max_size=1024 * 1024)
    body = (b"x" * 998 + b"\r\n") * 1000
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            client = stack.enter_context(enemy(home.port))
            client.socket.sendall(OPEN + b"DATA\r\n" + body)
        while home.server.room.disk < 2 * len(body) - 10 or home.server.stats["connections"] < 6:
            home.place.turns()
        with smtplib.SMTP("127.0.0.1", home.port, source_address=("127.0.0.2", 0), timeout=PATIENCE) as other:
            assert other.sendmail("a@b", ["c@d"], body) == {}
        assert home.server.room.disk <= home.server.room.max_disk // 2
    while home.server.room.disk:
        home.place.turns()
    assert len(home.mails) == 1


def test_a_mail_whose_parts_find_no_room_is_for_later(house: Any) -> None:
    home = house(max_spool=1024 * 1024)
    encoded = b"Content-Transfer-Encoding: base64\r\n\r\n" + (b"A" * 76 + b"\r\n") * 9000
    with home.smtp() as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("a@b", ["c@d"], b"Content-Type: application/x\r\n" + encoded)
    assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (451, b"4.3.1")
    assert (home.server.room.memory, home.server.room.disk, home.mails) == (0, 0, [])


BOMBS = {
    "headers": b"X: y\r\n" * 200_000 + b"\r\nhi",
    "one header": b"X: " + (b"y" * 900 + b"\r\n ") * 2000 + b"\r\n\r\nhi",
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 50_000 + b"--b--",
    "nested": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number) for number in range(5000)
    ),
    "parameters": b"Content-Type: text/plain" + b";\r\n a*%d*=x" % 1 * 20_000 + b"\r\n\r\nhi",
    "encoded words": b"Subject: " + b"=?utf-8?b?" * 5000 + b"\r\n\r\nhi",
    "NULs": b"\0" * 900 + b"\r\n" + (b"\0" * 900 + b"\r\n") * 1000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(house: Any, name: str) -> None:
    home = house()
    with enemy(home.port) as client:
        client.socket.sendall(OPEN + b"DATA\r\n" + BOMBS[name] + b"\r\n.\r\nQUIT\r\n")
        normal_mail(home)
        heard = client.hear()
    assert heard[-1].startswith("221 ")
    assert "250 2.6.0 Mail taken" in heard
    assert home.server.stats["failures"] == 0


def test_a_hundred_connections_that_say_nothing(house: Any) -> None:
    home = house()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(enemy(home.port)).socket.sendall(b"EH")
        normal_mail(home)
