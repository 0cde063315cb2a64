"""Real clients on real sockets: Python's smtplib, swaks, and raw bytes that no client would send."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from trunkline.message_formats.email import parse_mail
from trunkline.operations.errors import StartError, UsageError
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings, delivery
from trunkline.protocol_servers.smtp import server as server_module

PATIENCE = 60  # seconds; a bound against hanging, never waited for


def mail(**headers: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"], made["Message-ID"] = "a@example.org", "b@example.org", "Hello", "<1@x>"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content("Ünicode\n.dots\n..and more\n")
    return made


def trust(certificate: Any) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate.certificate))


class Raw:
    """A socket for bytes as they are."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.file = self.socket.makefile("rb")
        assert self.line().startswith("220 mx.example.org")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> str:
        return self.file.readline().decode().rstrip("\r\n")

    def say(self, data: bytes) -> str:
        """Send a line and return the last line of its reply."""
        self.send(data)
        while True:
            line = self.line()
            if line[3:4] != "-":
                return line

    def begin(self) -> None:
        """Go on to the data of a mail."""
        self.say(b"EHLO x\r\n")
        self.say(b"MAIL FROM:<a@b>\r\n")
        self.say(b"RCPT TO:<c@d>\r\n")
        assert self.say(b"DATA\r\n").startswith("354")

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def raw(port: int) -> Any:
    client = Raw(port)
    try:
        yield client
    finally:
        client.close()


def test_smtplib(house: Any) -> None:
    home = house()
    assert re.fullmatch(r"smtp://127\.0\.0\.1:\d+", home.server.ports[0])
    with home.smtp() as client:
        for _ in range(3):
            assert client.send_message(mail()) == {}
        assert client.vrfy("x")[0] == 252
        assert client.noop()[0] == client.rset()[0] == 250
        assert client.help().startswith(b"2.0.0 EHLO")
    assert len(home.mails) == 3
    message = home.mails[0]
    assert message["subject"] == "Hello"
    assert message["text"] == "Ünicode\n.dots\n..and more\n"
    assert message["from"] == "a@example.org"
    assert message["address"] == "b@example.org"
    assert message["client"][0] == "127.0.0.1"
    assert home.mails[1]["id"] == message["id"]


def test_internationalised_mail(house: Any) -> None:
    home = house()
    with home.smtp() as client:
        client.send_message(mail(Reply_To="jürgen@example.org"), "jürgen@example.org", "用户@例え.jp", ["SMTPUTF8"])
    message = home.mails[0]
    assert (message["from"], message["address"]) == ("jürgen@example.org", "用户@例え.jp")
    assert message["headers"]["reply-to"] == "jürgen@example.org"


def test_a_consumer_refuses_with_its_own_words(house: Any) -> None:
    home = house(lambda house, message: {"accept": False, "code": 552, "text": "5.2.2 Mailbox full"})
    with home.smtp() as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.send_message(mail())
    assert (caught.value.smtp_code, caught.value.smtp_error) == (552, b"5.2.2 Mailbox full")


def test_starttls(house: Any, certificate: Any) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    with home.smtp() as client:
        client.ehlo()
        assert client.has_extn("starttls")
        client.starttls(context=trust(certificate))
        client.ehlo()
        assert not client.has_extn("starttls")
        client.send_message(mail())
    assert home.mails[0]["tls"] is True


def test_bytes_sent_along_with_starttls_are_not_believed(house: Any, certificate: Any) -> None:
    """CVE-2011-0411: what an attacker in the middle puts behind STARTTLS must not be read as if it came over TLS."""
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    with raw(home.port) as client:
        client.say(b"EHLO x\r\n")
        assert client.say(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n").startswith("220")
        client.socket = trust(certificate).wrap_socket(client.socket, server_hostname="localhost")
        client.file = client.socket.makefile("rb")
        assert client.say(b"RCPT TO:<c@d>\r\n") == "503 5.5.1 Say MAIL first"


def test_tls_from_the_first_byte(house: Any, certificate: Any) -> None:
    endpoint = f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"
    home = house(endpoints=[endpoint], certificate=str(certificate.certificate), key=str(certificate.key))
    assert home.server.ports[0].startswith("smtps://")
    with smtplib.SMTP_SSL("127.0.0.1", home.port, context=trust(certificate), timeout=PATIENCE) as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        client.send_message(mail())
    assert home.mails[0]["tls"] is True


def test_a_unix_socket(house: Any, tmp_path: Path) -> None:
    home = house(endpoints=["tcp:0", f"unix:{tmp_path}/smtp"])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(f"{tmp_path}/smtp")
        client.sendall(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        file = client.makefile("rb")
        while not file.readline().startswith(b"354"):
            pass
        client.sendall(b"hi\r\n.\r\n")
        assert file.readline().startswith(b"250 2.6.0")
    assert home.mails[0]["client"] == ["", 0]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--pipeline"],
        ["--from", "<>"],
        ["--tls"],
        ["--to", "a@b,c@d,e@f", "--pipeline"],
        ["--attach-type", "image/png", "--attach", "@FILE"],
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_swaks(house: Any, certificate: Any, tmp_path: Path, peer: Callable[[str], str], options: list[str]) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(bytes(range(256)) * 2000)
    received: list[bytes] = []

    def consume(home: Any, message: dict[str, Any]) -> dict[str, Any]:
        for part in message["content"].get("parts", ()):
            if "body_channel" in part:
                received.append(home.body(part["body_channel"]))
        return {"accept": True}

    home = house(consume, certificate=str(certificate.certificate), key=str(certificate.key))
    command = [peer("swaks"), "--server", "127.0.0.1", "--port", str(home.port), "--timeout", str(PATIENCE)]
    command += ["--from", "me@example.org", "--to", "you@example.org", "--h-Subject", "Hello"]
    command += [option.replace("FILE", str(picture)) for option in options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"<[-~]+ +250 2\.6\.0 Mail taken", done.stdout)
    assert len(home.mails) == (3 if "c@d" in str(options) else 1)
    assert home.mails[0]["subject"] == "Hello"
    assert home.mails[0]["tls"] is ("--tls" in options)
    assert ("from" in home.mails[0]) is ("<>" not in options)
    assert received == ([picture.read_bytes()] if "--attach" in options else [])


def test_large_mails_to_several_recipients_each_at_its_own_pace(house: Any) -> None:
    """Two recipients read a 5 MB part, the second only after the first; the third does not read it at all."""
    content = bytes(range(256)) * 20_000
    bodies: dict[str, bytes] = {}

    def consume(home: Any, message: dict[str, Any]) -> dict[str, Any]:
        (attachment,) = message["attachments"]
        node = message["content"]["parts"][attachment["path"][0]]
        if message["address"] != "lazy@example.org":
            bodies[message["address"]] = home.body(node["body_channel"])
        return {"accept": True}

    home = house(consume)
    made = mail()
    made.add_attachment(content, "application", "octet-stream", filename="large.bin")
    with home.smtp() as client:
        client.send_message(made, to_addrs=["one@example.org", "two@example.org", "lazy@example.org"])
    assert bodies == {"one@example.org": content, "two@example.org": content}
    home.place.turns()
    assert (home.server.room.memory, home.server.room.disk) == (0, 0)


# The list of bad input


@pytest.mark.parametrize("line", [b"NOOP\n", b"NOOP\rNOOP\r\n", b"\n"])
def test_bare_line_ends_in_commands(house: Any, line: bytes) -> None:
    home = house()
    with raw(home.port) as client:
        assert client.say(line) == "500 5.5.2 A bare CR or LF: only CR LF ends a command"
        assert client.say(b"\r\nNOOP\r\n" if line.endswith(b"P\n") or line == b"\n" else b"NOOP\r\n").startswith("250")


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n\n.\r\n", b"\r\r\n.\r\r\n"]
)
def test_no_mail_is_smuggled_in(house: Any, end: bytes) -> None:
    """Every sequence that some server takes for an end of the data (SMTP smuggling): one refusal, no second mail."""
    home = house()
    with raw(home.port) as client:
        client.begin()
        client.send(
            b"Subject: first\r\n\r\nhi" + end + b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: second\r\n"
        )
        assert client.say(b"\r\n.\r\n") == "550 5.6.0 The mail has a bare CR or LF: only CR LF ends a line"
        assert client.say(b"NOOP\r\n").startswith("250")
    assert home.mails == []


def test_a_line_of_10_mb(house: Any) -> None:
    home = house()
    with raw(home.port) as client:
        client.send(b"x" * 10_000_000)
        assert client.say(b"\r\n").startswith("500 5.5.2")
        client.begin()
        client.send(b"y" * 10_000_000)
        assert client.say(b"\r\n.\r\n").startswith("500 5.5.2")
        assert client.say(b"NOOP\r\n").startswith("250")
    assert home.mails == []


def test_a_thousand_recipients(house: Any) -> None:
    home = house()
    with raw(home.port) as client:
        client.say(b"EHLO x\r\n")
        client.say(b"MAIL FROM:<a@b>\r\n")
        client.send(b"".join(b"RCPT TO:<r%d@b>\r\n" % number for number in range(1000)))
        replies = [client.line()[:9] for _ in range(1000)]
        assert replies == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 900
        client.say(b"DATA\r\n")
        assert client.say(b"hi\r\n.\r\n").startswith("250")
    assert sorted(message["address"] for message in home.mails) == sorted(f"r{number}@b" for number in range(100))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no header at all",
        b"Subject: \xff\xfe\xe4\r\nX: =?x?q?=FF?=\r\n\r\n\x00\xff",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b",
        b"Content-Type: text/plain; charset=unicode_escape\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!",
        b"From nobody\r\n: :\r\n\r\n\r\n",
    ],
    ids=range(6),
)  # fmt: skip
def test_broken_mime_is_delivered_with_its_defects(house: Any, content: bytes) -> None:
    home = house()
    with raw(home.port) as client:
        client.begin()
        assert client.say(content + b"\r\n.\r\n").startswith("250")
    (message,) = home.mails
    assert message["size"] == len(content) + 2
    assert message["content"]["content-type"]


def test_the_null_sender(house: Any) -> None:
    home = house()
    with home.smtp() as client:
        client.sendmail("", ["a@b"], b"Subject: Undeliverable\r\n\r\n")
    assert "from" not in home.mails[0]
    assert home.mails[0]["auto_submitted"] is True


def test_clients_that_vanish_hurt_nobody(house: Any) -> None:
    started, go_on = threading.Event(), threading.Event()

    def consume(home: Any, message: dict[str, Any]) -> dict[str, Any]:
        started.set()
        go_on.wait(PATIENCE)
        return {"accept": True}

    home = house(consume)
    with raw(home.port) as client:
        client.begin()
        client.send(b"hi\r\n.\r\n")
        assert started.wait(PATIENCE)
    go_on.set()
    with home.smtp() as client:
        client.send_message(mail())
    assert home.server.stats["failures"] == 0


OPEN = b"EHLO x\r\nMAIL FROM:<a@b>\r\n"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"EH",
        OPEN,
        OPEN + b"RCPT TO:<c@d>\r\n",
        OPEN + b"RCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
        OPEN + b"RCPT TO:<c@d>\r\nDATA\r\nhalf a mail\r\n" + b"x" * 100_000,
        OPEN + b"RCPT TO:<c@d>\r\nDATA\r\nhi\r\n.\r\n",
        OPEN + b"RCPT TO:<c@d>\r\nDATA\r\n" + b"long line\r\n" * 20_000 + b".\r\n",
        b"EHLO x\r\nSTARTTLS\r\n",
        b"EHLO x\r\nSTARTTLS\r\n\x16\x03\x01\x02\x00 no handshake",
        b"NOOP\r\n" * 20_000,
    ],
    ids=range(11),
)  # fmt: skip
def test_clients_that_vanish_at_any_stage_leave_nothing(house: Any, certificate: Any, sent: bytes, reset: bool) -> None:
    home = house(certificate=str(certificate.certificate), key=str(certificate.key))
    for _ in range(3):
        with raw(home.port) as client:
            client.send(sent)
            if reset:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with home.smtp() as client:
        client.send_message(mail())
    while home.server._clients or home.server._connections:
        home.place.turns()
    assert (home.server.room.memory, home.server.room.disk) == (0, 0)
    assert home.server.stats["failures"] == 0
    assert home.stop(PATIENCE)


# Stopping


def test_stopping_finishes_open_mails_and_sends_idle_clients_away(house: Any) -> None:
    started, go_on = threading.Event(), threading.Event()

    def consume(home: Any, message: dict[str, Any]) -> dict[str, Any]:
        started.set()
        go_on.wait(PATIENCE)
        return {"accept": True}

    home = house(consume)
    with raw(home.port) as idle, raw(home.port) as busy:
        busy.begin()
        busy.send(b"hi\r\n.\r\n")
        assert started.wait(PATIENCE)
        stopped: list[bool] = []
        stopping = threading.Thread(target=lambda: stopped.append(home.stop(PATIENCE)))
        stopping.start()
        assert idle.line() == "421 4.3.2 The service is shutting down"
        assert idle.line() == ""
        go_on.set()
        assert busy.line().startswith("250 2.6.0")
        assert busy.line().startswith("421 4.3.2")
        stopping.join(PATIENCE)
        assert stopped == [True]


def test_stopping_cuts_off_what_does_not_finish(house: Any) -> None:
    home = house(lambda house, message: None)
    with raw(home.port) as client:
        client.begin()
        client.send(b"hi\r\n.\r\n")
        while not home.mails:
            home.place.turns()
        assert home.stop(0.1) is False
        assert client.line().startswith("421 4.3.2")


def test_a_mail_that_is_being_parsed_when_the_server_stops(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parsing, go_on = threading.Event(), threading.Event()

    def slow(raw: bytes, **places: Any) -> Any:
        parsing.set()
        go_on.wait(PATIENCE)
        return parse_mail(raw, **places)

    monkeypatch.setattr(delivery, "parse_mail", slow)
    home = house()
    with raw(home.port) as client, raw(home.port) as second:
        for one in (client, second):
            one.begin()
            one.send(b"x" * 50_000 + b"\r\n.\r\n")
        assert parsing.wait(PATIENCE)
        try:
            assert home.stop(0.1) is False
            assert client.line().startswith("421 4.3.2")
        finally:
            go_on.set()
    home.place.turns()
    assert home.mails == []


# Starting


def test_a_port_that_is_taken(house: Any) -> None:
    home = house()
    settings = SmtpSettings(endpoints=[f"tcp:{home.port}"], hostname="x")
    server = home.place.run(lambda: SmtpServer(home.layer, settings, reactor=home.place.reactor))
    with pytest.raises(StartError, match="already in use"):
        home.place.call(server.start())


def test_a_certificate_that_is_not_there(house: Any, tmp_path: Path) -> None:
    home = house()
    settings = SmtpSettings(endpoints=["tcp:0"], hostname="x", certificate=str(tmp_path / "none.pem"))
    server = home.place.run(lambda: SmtpServer(home.layer, settings, reactor=home.place.reactor))
    with pytest.raises(UsageError, match=r"\[smtp\] certificate .*none.pem cannot be used: No such file"):
        home.place.call(server.start())


@pytest.mark.parametrize(
    ("host", "full", "name"),
    [
        ("mx.example.org", None, "mx.example.org"),
        ("mx", "mx.example.org", "mx.example.org"),
        ("mx", "not a name", "localhost"),
        ("mx", "bücher.example", "localhost"),
        ("mx", TimeoutError, "localhost"),
    ],
)
def test_our_own_name(house: Any, monkeypatch: pytest.MonkeyPatch, host: str, full: Any, name: str) -> None:
    go_on = threading.Event()

    def resolve() -> Any:
        if full is TimeoutError:
            go_on.wait(PATIENCE)
        return full

    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(socket, "getfqdn", resolve)
    monkeypatch.setattr(server_module, "_NAME_TIMEOUT", 0.05)
    home = house(hostname="")
    go_on.set()
    assert home.server.limits.hostname == ("mx" if full is TimeoutError else name)
