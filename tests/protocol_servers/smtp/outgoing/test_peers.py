"""Mail out to servers that others wrote, and to our own, with TLS and a login."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.protocol_servers.smtp import SmtpServer, SmtpSettings
from trunkline.protocol_servers.testing import ReactorThread

from .conftest import PATIENCE, FakeRelay, House, wait_for

Make = Callable[..., House]


class Sink:
    """postfix' smtp-sink, which keeps what it takes in files.

    Args:
        program: Where it is.
        folder: For the files.
        port: Where it listens; None: any free port.
        options: Its own.
    """

    def __init__(self, program: str, folder: Path, *options: str, port: int | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        if port is None:
            with socket.socket() as held:
                held.bind(("127.0.0.1", 0))
                port = int(held.getsockname()[1])
        self.port = port
        # As root it wants to be told whom to run as.
        user = ["-u", "root"] if Path("/proc/self").stat().st_uid == 0 else []
        self._process = subprocess.Popen(
            [program, *user, *options, "-d", f"{folder}/mail.", f"127.0.0.1:{port}", "100"], stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, "smtp-sink listens")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "smtp-sink has ended"
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def taken(self) -> Counter[str]:
        """How often it took a mail for each recipient."""
        found: Counter[str] = Counter()
        for path in self.folder.iterdir():
            text = path.read_text("utf-8", "replace")
            if "\nhello" in text:
                found.update(re.findall(r"^X-Rcpt-Args: <([^>]*)>", text, re.MULTILINE))
        return found

    def end(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait(PATIENCE)


@pytest.fixture
def sink(peer: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[..., Sink]]:
    """Starts smtp-sink."""
    program, made, numbers = peer("smtp-sink"), list[Sink](), count()

    def make(*options: str, port: int | None = None) -> Sink:
        made.append(Sink(program, tmp_path / f"mails{next(numbers)}", *options, port=port))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_smtp_sink_takes_all(sink: Callable[..., Sink], house: Make) -> None:
    there = sink()
    own = house(there.port)
    expected = {f"u{number}@example.net" for number in range(300)}
    for begin in range(0, 300, 3):
        own.send(to=[f"u{number}@example.net" for number in range(begin, begin + 3)])
    own.settled()
    wait_for(lambda: there.taken() == Counter(expected), "all are on disk")


@pytest.mark.parametrize(
    "wrong",
    [
        ("-r", "RCPT"),
        ("-r", "MAIL"),
        ("-r", "DATA"),
        ("-r", "."),
        ("-r", "CONNECT"),
        ("-r", "EHLO,HELO"),
        ("-q", "RCPT"),
        ("-q", "DATA"),
        ("-q", "CONNECT"),
        ("-Q", "RCPT"),
        ("-Q", "."),
        ("-p",),
    ],
    ids=" ".join,
)
def test_after_errors_all_of_it_arrives_once(sink: Callable[..., Sink], house: Make, wrong: tuple[str, ...]) -> None:
    broken = sink(*wrong)
    own = house(broken.port)
    expected = {f"u{number}@example.net" for number in range(20)}
    for address in sorted(expected):
        own.send(to=[address])
    if wrong != ("-p",):  # it offers no pipelining, which is no error
        wait_for(lambda: own.server.stats["mails_delayed"] >= 3, "it goes wrong")
        assert own.pending == 20
        broken.end()
        healthy = sink(port=broken.port)
    else:
        healthy = broken
    own.settled()
    wait_for(lambda: healthy.taken() == Counter(expected), "each is there once")


@pytest.mark.parametrize("command", ["RCPT", "MAIL", "DATA", "."])
def test_what_is_refused_for_good_fails(sink: Callable[..., Sink], house: Make, command: str) -> None:
    own = house(sink("-f", command).port)
    for number in range(10):
        own.send(to=[f"u{number}@example.net"], headers={"Auto-Submitted": "auto-generated"})
    own.hear(10)
    own.settled()
    assert {(channel, message["code"] // 100, message["permanent"]) for channel, message in own.results} == {
        ("email.failed", 5, True)
    }


# Our own server as the relay


class Peer:
    """Our own server, which takes any mail for its consumers."""

    def __init__(self, place: ReactorThread, **settings: Any) -> None:
        self.place = place
        self.layer = MemoryLayer()
        table = SmtpSettings(**{"endpoints": ["tcp:0"], "hostname": "relay.example.org", "rcpt": "any", **settings})
        self.server = place.run(lambda: SmtpServer(self.layer, table, reactor=place.reactor))
        place.call(self.server.start())
        self.port = int(self.server.ports[0].rpartition(":")[2])

    def take(self) -> dict[str, Any]:
        """Wait for a mail, and take it."""
        [delivery] = self.layer.receive_batch(["email.receive"], 1, PATIENCE)
        self.layer.send(delivery.message["reply_channel"], {"accept": True})
        return delivery.message


@pytest.fixture
def peers(reactor_thread: ReactorThread) -> Iterator[Callable[..., Peer]]:
    made: list[Peer] = []

    def make(**settings: Any) -> Peer:
        made.append(Peer(reactor_thread, **settings))
        return made[-1]

    yield make
    for each in made:
        reactor_thread.call(each.server.stop(2.0))


def check(user: str, password: str) -> bool:
    """Know one user."""
    return (user, password) == ("ann@example.com", "s3cret ü")


@pytest.fixture
def trusting(certificate: Any) -> ssl.SSLContext:
    """What trusts the test's certificate."""
    return ssl.create_default_context(cafile=str(certificate.certificate))


def test_starttls_and_a_login(
    peers: Callable[..., Peer], house: Make, certificate: Any, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("users_of_the_test")
    module.check = check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    there = peers(
        certificate=str(certificate.certificate), key=str(certificate.key), auth_callable="users_of_the_test:check"
    )
    own = house(
        there.port,
        context=trusting,
        relay=f"smtp://ann%40example.com@localhost:{there.port}",
        relay_password="s3cret ü",
        relay_tls="starttls",
    )
    own.send(subject="Grüße")
    message = there.take()
    own.settled()
    assert (message["tls"], message["auth_user"], message["subject"]) == (True, "ann@example.com", "Grüße")
    wrong = house(
        there.port,
        context=trusting,
        relay=f"smtp://ann%40example.com@localhost:{there.port}",
        relay_password="wrong",
        relay_tls="starttls",
    )
    wrong.send()
    wait_for(lambda: wrong.server.stats["mails_delayed"], "it is not let in")
    assert wrong.pending == 1


def test_tls_from_the_beginning(
    peers: Callable[..., Peer], house: Make, certificate: Any, trusting: ssl.SSLContext
) -> None:
    there = peers(endpoints=[f"ssl:0:privateKey={certificate.key}:certKey={certificate.certificate}"])
    own = house(there.port, context=trusting, relay=f"smtp://localhost:{there.port}", relay_tls="tls")
    own.send()
    assert there.take()["tls"] is True
    own.settled()


def test_bounces_come_back_to_our_own_parser(peers: Callable[..., Peer], house: Make) -> None:
    there = peers()
    own = house(there.port)
    own.send(id="m1", to=["bob@example.net", "not an address"])
    mails = [there.take(), there.take()]
    own.settled()
    [bounce] = [mail for mail in mails if "bounce" in mail]
    [sent] = [mail for mail in mails if "bounce" not in mail]
    assert "from" not in bounce
    assert bounce["bounce"]["message_id"] == sent["message_id"]
    assert bounce["auto_submitted"] is True


@pytest.mark.parametrize("what", ["not offered", "not trusted", "wrong name", "refused", "injected"])
def test_without_the_tls_that_it_should_have_nothing_is_sent(
    make_relay: Callable[..., FakeRelay],
    house: Make,
    certificate: Any,
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    # The certificate is one of localhost and 127.0.0.1.
    address = "127.0.0.2" if what == "wrong name" else "127.0.0.1"
    relay = make_relay(None if what == "not offered" else context, address=address)
    if what == "refused":
        relay.rule = lambda verb, rest: "454 4.7.0 not now" if verb == "STARTTLS" else None
    if what == "injected":
        relay.rule = lambda verb, rest: "220 go\r\n250 injected" if verb == "STARTTLS" else None
    strict = ssl.create_default_context() if what == "not trusted" else trusting
    with caplog.at_level(logging.WARNING, "trunkline.smtp"):
        own = house(relay.port, context=strict, relay=f"smtp://{address}:{relay.port}", relay_tls="starttls")
        own.send()
        wait_for(lambda: own.server.stats["mails_delayed"], "it is tried")
    assert own.pending == 1
    assert relay.mails == []
    assert not [line for line in relay.said if line[:4] in ("MAIL", "RCPT", "AUTH")]
    said = [record.message for record in caplog.records if "mail stays here" in record.message]
    assert len(said) == 1
    expected = {
        "not offered": "does not offer STARTTLS",
        "refused": "454 4.7.0 not now",
        "injected": "said more before",
    }
    assert expected.get(what, "TLS failed") in said[0]
