"""A session whose clock stands still, real servers on loopback, a scripted one, and our own server on a bus."""

from __future__ import annotations

import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from trunkline.layer import Layer, MemoryLayer
from trunkline.protocol_servers.irc.events import Event
from trunkline.protocol_servers.irc.history import Mark
from trunkline.protocol_servers.irc.options import Options
from trunkline.protocol_servers.irc.registration import Identity
from trunkline.protocol_servers.irc.server import IrcServer
from trunkline.protocol_servers.irc.session import Session
from trunkline.protocol_servers.irc.settings import NetworkSettings
from trunkline.protocol_servers.testing import IrcRealm, ReactorThread
from trunkline.workers import Worker

from .realm_server import RealmServer

PATIENCE = 60  # seconds; a bound against hanging, never waited for
EPOCH = 1_700_000_000.0


class Driver:
    """A session, its clock, and the lines that came out of it."""

    def __init__(self, options: Options, marks: Mapping[str, Mark] | None = None) -> None:
        self.now = 1000.0
        self.session = Session(
            options,
            clock=lambda: self.now,
            wall=lambda: EPOCH + self.now,
            random=Random(7),
            make_token=lambda: "token",
            marks=marks,
        )

    def begin(self, *, secure: bool = True) -> list[str]:
        self.session.begin(secure=secure)
        return self.sent()

    def receive(self, *lines: str) -> list[str]:
        """Let the server say lines; return what is answered."""
        self.session.receive_data("".join(line + "\r\n" for line in lines).encode())
        return self.sent()

    def sent(self) -> list[str]:
        """Return the lines that are to be sent."""
        data = self.session.data_to_send()
        assert not data or data.endswith(b"\r\n")
        return data.decode().split("\r\n")[:-1]

    def events(self) -> list[Event]:
        return self.session.events()

    def only(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind; the others are forgotten."""
        return [event for event in self.session.events() if isinstance(event, kind)]

    def advance(self, seconds: float) -> list[str]:
        """Let time pass, and everything due in it happen at its time; return the lines that were sent."""
        until = self.now + seconds
        lines = []
        while (deadline := self.session.deadline) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.session.advance()
            lines += self.sent()
        self.now = until
        return lines

    def register(self, *caps: str, isupport: str = "", nick: str = "bot") -> list[str]:
        """Go through the registration; return the lines that were sent after it."""
        self.begin()
        if caps:
            self.receive(f":srv CAP * LS :{' '.join(caps)}")
            self.receive(":srv CAP * ACK :" + " ".join(cap.partition("=")[0] for cap in caps))
        else:
            self.receive(":srv CAP * LS :")
        self.receive(f":srv 001 {nick} :Welcome")
        if isupport:
            self.receive(f":srv 005 {nick} {isupport} :are supported by this server")
        lines = self.receive(f":srv 376 {nick} :End of MOTD")
        self.session.events()
        return lines

    def enter(self, *rooms: str) -> None:
        """Let us come into rooms, as ``bot!~bot@our.host``."""
        for room in rooms:
            self.receive(f":bot!~bot@our.host JOIN {room}")
        self.session.events()


@pytest.fixture(scope="session")
def make_driver() -> Callable[..., Driver]:
    """Makes sessions: ``make_driver(nick="bot", sasl=…, join=(…))``."""

    def make(
        nick: str = "bot",
        username: str = "bot",
        realname: str = "A bot",
        password: str | None = None,
        sasl: Any = None,
        marks: Mapping[str, Mark] | None = None,
        **options: Any,
    ) -> Driver:
        identity = Identity(nick, username, realname, password, sasl)
        return Driver(Options(identity=identity, **options), marks)

    return make


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    """A session with nothing special about it."""
    return make_driver()


# Real servers


class Prompt(Random):
    """Jitter that never keeps a test waiting."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Peer:
    """A session on a socket, to a real server, in real time; all the peers of a test run whenever one is waited for."""

    def __init__(self, port: int, options: Options, peers: list[Peer]) -> None:
        self.session = Session(
            options, clock=time.monotonic, wall=time.time, random=Prompt(), make_token=lambda: "c0ffee"
        )
        self.seen: list[Event] = []
        self.received = bytearray()
        self.lost = False
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._peers = peers
        self.session.begin(secure=True)

    def until(self, found: Callable[[list[Event]], Any], seconds: float = PATIENCE) -> Any:
        """Run until ``found`` returns something of the events so far, and return that."""
        end = time.monotonic() + seconds
        while not (result := found(self.seen)):
            assert time.monotonic() < end, (self.seen[-20:], bytes(self.received[-2000:]))
            self._run(end)
        return result

    def until_event(self, kind: type[Any]) -> Any:
        """Run until there is an event of a kind, and return it."""
        return self.until(lambda seen: next((each for each in seen if isinstance(each, kind)), None))

    def _run(self, end: float) -> None:
        """Let every peer send what it has, wait until something happens, and let every peer take it."""
        living = [peer for peer in self._peers if not peer.lost]
        for peer in living:
            peer.flush()
        now = time.monotonic()
        deadlines = [peer.session.deadline for peer in living]
        wait = min([end, *(each for each in deadlines if each is not None)]) - now
        ready, _, _ = select.select([peer.socket for peer in living], [], [], max(wait, 0.0))
        for peer in living:
            if peer.socket in ready:
                peer.read()
            if (deadline := peer.session.deadline) is not None and deadline <= time.monotonic():
                peer.session.advance()
            peer.flush()
            peer.seen += peer.session.events()

    def flush(self) -> None:
        """Send what is to be sent."""
        try:
            self.socket.sendall(self.session.data_to_send())
        except ConnectionError:
            pass  # reading tells

    def read(self) -> None:
        """Take what came."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.received += data
        if data:
            self.session.receive_data(data)
        else:
            self.lost = True
            self.session.connection_lost("closed by the server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < end, log.read_text("utf-8", "replace")
            time.sleep(0.02)


def _unprivileged() -> dict[str, Any]:
    """Servers refuse to run as root: then they run as nobody."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}


NGIRCD = """
[Global]
Name = irc.test
Info = test
Listen = 127.0.0.1
Ports = {port}
Password = {password}
MotdPhrase = hello
[Limits]
MaxConnectionsIP = 0
MaxJoins = 100
MaxNickLength = 30
PingTimeout = 600
{penalties}
[Options]
Ident = no
DNS = no
PAM = no
{tls}
"""

INSPIRCD = """
<server name="irc.test" description="test" network="Test">
<admin name="test" nick="test" email="test@test.example">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect allow="*" timeout="60" pingfreq="120" hardsendq="262144" softsendq="8192" recvq="8192"
    {limits} localmax="100" globalmax="100" resolvehostnames="no" useident="no">
<pid file="{folder}/inspircd.pid">
<options prefixquit="Quit: " syntaxhints="no">
<security maxtargets="20">
<performance quietbursts="yes" softlimit="1024" somaxconn="128" netbuffersize="10240">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/log">
<module name="ircv3"><module name="ircv3_accounttag"><module name="ircv3_batch"><module name="ircv3_capnotify">
<module name="ircv3_chghost"><module name="ircv3_ctctags"><module name="ircv3_echomessage">
<module name="ircv3_labeledresponse"><module name="ircv3_msgid"><module name="ircv3_servertime">
<module name="cap"><module name="namesx"><module name="setname"><module name="sethost">
{tls}
"""


def _server(
    folder: Path, program: str, package: str, configuration: str, *arguments: str, **values: str
) -> Iterator[int]:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        missing = f"{program} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    port = _free_port()
    settings = folder / f"{program}.conf"
    settings.write_text(configuration.format(port=port, folder=folder, **values))
    log = folder / f"{program}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path, *(each.format(settings=settings) for each in arguments)],
            stdout=output,
            stderr=output,
            cwd=folder,
            **_unprivileged(),
        )
    try:
        _wait_for(process, port, log)
        yield port
    finally:
        process.kill()
        process.wait(PATIENCE)


def _ngircd(folder: Path, penalties: str, tls: str = "") -> Iterator[int]:
    arguments = ("-n", "-f", "{settings}")
    yield from _server(folder, "ngircd", "ngircd", NGIRCD, *arguments, password="secret", penalties=penalties, tls=tls)


def _inspircd(folder: Path, limits: str, tls: str = "") -> Iterator[int]:
    arguments = ("--nofork", "--config={settings}")
    yield from _server(folder, "inspircd", "inspircd", INSPIRCD, *arguments, limits=limits, tls=tls)


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders that "nobody" can enter, which those below pytest's are not."""
    with ExitStack() as stack:

        def make() -> Path:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="irc-")))
            folder.chmod(0o777)
            return folder

        yield make


@pytest.fixture(scope="session")
def ngircd(public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port of a running ngircd, whose password is "secret", and which is not slow on purpose."""
    yield from _ngircd(public_folder(), "MaxPenaltyTime = 0")


@pytest.fixture(scope="session")
def inspircd(public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port of a running inspircd, which is not slow on purpose."""
    yield from _inspircd(public_folder(), 'threshold="10000" fakelag="no" commandrate="1000000"')


@pytest.fixture(scope="session")
def strict_ngircd(public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port of one with its own rules against floods."""
    yield from _ngircd(public_folder(), "")


@pytest.fixture(scope="session")
def strict_inspircd(public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port of one with the rules against floods of Debian's configuration."""
    yield from _inspircd(public_folder(), 'threshold="10"')


TLS_NGIRCD = """
[SSL]
CertFile = {certificate}
KeyFile = {key}
Ports = {port}
"""

TLS_INSPIRCD = """
<module name="ssl_gnutls">
<sslprofile name="test" provider="gnutls" certfile="{certificate}" keyfile="{key}">
<bind address="127.0.0.1" port="{port}" type="clients" sslprofile="test">
"""


@pytest.fixture(params=["ngircd", "inspircd"])
def tls_port(request: pytest.FixtureRequest, certificate: Any, public_folder: Callable[[], Path]) -> Iterator[int]:
    """The port for TLS of each of the servers, with the certificate of `certificate`."""
    folder = public_folder()
    for each in certificate:
        (folder / each.name).write_bytes(each.read_bytes())
        (folder / each.name).chmod(0o644)
    values = {"certificate": folder / certificate.certificate.name, "key": folder / certificate.key.name}
    port = _free_port()
    if request.param == "ngircd":
        running = _ngircd(folder, "MaxPenaltyTime = 0", TLS_NGIRCD.format(port=port, **values))
    else:
        running = _inspircd(folder, 'threshold="10000"', TLS_INSPIRCD.format(port=port, **values))
    for _ in running:
        yield port


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    """Connects sessions to a port: ``peers(port, "nick", join=("#room",))``."""
    made: list[Peer] = []

    def connect(port: int, nick: str, *, password: str | None = None, **options: Any) -> Peer:
        made.append(Peer(port, Options(identity=Identity(nick, "bot", "A bot", password), **options), made))
        return made[-1]

    yield connect
    for peer in made:
        peer.socket.close()


# A scripted server


@pytest.fixture
def serve_realm() -> Iterator[Callable[..., RealmServer]]:
    """Puts networks on ports: ``serve_realm(IrcRealm(), context=None)``."""
    made: list[RealmServer] = []

    def serve(realm: IrcRealm | None = None, context: ssl.SSLContext | None = None) -> RealmServer:
        made.append(RealmServer(realm or IrcRealm(), context))
        return made[-1]

    yield serve
    for each in made:
        each.close()


# Our own server


class Steady(Prompt):
    """Jitter that keeps a test waiting no longer than a busy machine needs."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, 0.05) + 0.02


@pytest.fixture
def memory_layer() -> Iterator[MemoryLayer]:
    """A layer of the test's own."""
    layer = MemoryLayer()
    yield layer
    layer.close()


@pytest.fixture
def start_irc(reactor_thread: ReactorThread) -> Iterator[Callable[..., IrcServer]]:
    """Starts our server: ``start_irc(layer, port, nick="bot", join=["#dev"])``; it ends with the test."""
    running: list[IrcServer] = []

    def start(layer: Layer, port: int | None = None, *, network: str = "test", **settings: Any) -> IrcServer:
        if port is not None:
            settings.setdefault("servers", [f"irc://127.0.0.1:{port}"])
        table = NetworkSettings(**{"nick": "bot", "pace": 1000.0, **settings})
        server = reactor_thread.run(
            lambda: IrcServer(layer, table, network=network, reactor=reactor_thread.reactor, random=Steady())
        )
        server.lease_patience = 0.0
        reactor_thread.call(server.start(), timeout=60)
        running.append(server)
        return server

    yield start
    for server in running:
        if not server.stopping:
            reactor_thread.call(server.stop(5))


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Runs workers in threads: ``work(layer, routing)``; they end with the test."""
    running: list[tuple[Worker, threading.Thread]] = []

    def run(layer: Layer, routing: Any) -> Worker:
        worker = Worker(layer, routing)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        running.append((worker, thread))
        until(lambda: "chat.message" in {name for info in layer.listeners().values() for name in info["channels"]})
        return worker

    yield run
    for worker, thread in running:
        worker.stop()
        thread.join(PATIENCE)


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
    return found


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Waits until something is so, and returns it."""
    return until
