"""How `trunkline` listens, as processes of its own: inherited sockets, shared ports, limits, proxies, TLS."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import stat
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.command_line import main

Start = Callable[..., Any]
WAIT = 60  # seconds until a test that hangs is called failed

# As systemd does it (sd_listen_fds(3)): descriptors from 3 on, and variables that say whose they are.
ACTIVATE = """
import fcntl, os, sys

pid, names, descriptors, *command = sys.argv[1:]
high = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in descriptors.split(",")]
for number, each in enumerate(high, 3):
    os.dup2(each, number)
    os.close(each)
os.environ |= {"LISTEN_FDS": str(len(high)), "LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDNAMES": names}
os.execv(sys.executable, [sys.executable, "-m", "trunkline", *command])
"""
LIMIT = """
import os, resource, sys

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
os.execv(sys.executable, [sys.executable, "-m", "trunkline", *sys.argv[3:]])
"""
TELLING = """
from trunkline import route


def who(message):
    message.reply(f"{message['scheme']} {message['client'][0] if 'client' in message else '-'}")


def mail(message):
    pass


routing = [route("http.request", who), route("email.receive", mail)]
"""


@pytest.fixture
def settings(folder: Path) -> Callable[[str], None]:
    """Write the user's settings; the routing tells clients whom it takes them for."""
    (folder / "app" / "routing.py").write_text(TELLING, encoding="utf-8")

    def write(text: str) -> None:
        (folder / "trunkline.toml").write_text('routing = "app.routing"\n' + text, encoding="utf-8")

    return write


@pytest.fixture
def listening() -> Iterator[Callable[[], socket.socket]]:
    """Makes listening sockets that somebody will inherit; they stay open as systemd's do."""
    made: list[socket.socket] = []

    def make() -> socket.socket:
        made.append(socket.create_server(("127.0.0.1", 0)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def get(address: tuple[str, int] | str, headers: bytes = b"") -> bytes:
    """Ask for a page on a connection of its own; return the whole answer."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(WAIT)
        client.connect(address)
        client.sendall(b"GET / HTTP/1.0\r\n" + headers + b"\r\n")
        return rest(client)


def rest(client: socket.socket) -> bytes:
    """Read until the end; a reset is one, too."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


# Sockets of somebody else's


def test_sockets_that_systemd_passes(
    start: Start, settings: Callable[[str], None], listening: Callable[[], socket.socket], tmp_path: Path
) -> None:
    """By index and by name. Whoever comes while nobody serves waits for the next process."""
    settings(
        '[http]\nendpoints = ["systemd:domain=INET:index=0", "systemd:domain=UNIX:name=local"]\naccess_log = "off"\n'
    )
    inet, path = listening(), str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        passed = (inet.fileno(), unix.fileno())
        arguments = ("", "web:local", ",".join(map(str, passed)), "run")
        for _ in range(2):
            server = start(*arguments, by=("-c", ACTIVATE), pass_fds=passed)
            server.ready()
            assert f"listening on http://127.0.0.1:{inet.getsockname()[1]} " in server.printed
            assert get(inet.getsockname()).endswith(b"http 127.0.0.1")
            assert get(path).endswith(b"http -")
            server.signal(signal.SIGTERM)
            assert server.ended() == 0, server.printed
            assert Path(path).exists()
        with socket.create_connection(inet.getsockname(), WAIT) as early:
            early.sendall(b"GET / HTTP/1.0\r\n\r\n")
            start(*arguments, by=("-c", ACTIVATE), pass_fds=passed).ready()
            assert rest(early).endswith(b"http 127.0.0.1")


def test_sockets_that_are_meant_for_another_process_are_left_alone(
    start: Start, settings: Callable[[str], None], listening: Callable[[], socket.socket]
) -> None:
    settings('[http]\nendpoints = ["systemd:domain=INET:index=0"]\n')
    inet = listening()
    server = start("1", "", str(inet.fileno()), "run", by=("-c", ACTIVATE), pass_fds=(inet.fileno(),))
    assert server.ended() == 3
    assert server.printed.splitlines()[-1] == ("trunkline: systemd:domain=INET:index=0: systemd passed no such socket")


def test_a_descriptor_that_is_inherited(
    start: Start, settings: Callable[[str], None], listening: Callable[[], socket.socket]
) -> None:
    inet = listening()
    settings(f'[http]\nendpoints = ["fd:{inet.fileno()}"]\naccess_log = "off"\n')
    server = start("run", pass_fds=(inet.fileno(),))
    server.ready()
    assert get(inet.getsockname()).endswith(b"http 127.0.0.1")


def test_a_unix_socket_lets_in_whom_its_mode_says(start: Start, settings: Callable[[str], None], folder: Path) -> None:
    settings('[http]\nendpoints = ["unix:web.sock:mode=600"]\naccess_log = "off"\n')
    server = start("run")
    server.ready()
    path = folder / "web.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert get(str(path)).endswith(b"http -")
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert not path.exists()


# Shared ports


def served_by(port: int, pids: set[int]) -> Counter[int]:
    """Count the established connections of a port by the process that has them."""
    inodes: dict[str, int] = {}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            if found:
                inodes[found[1]] = pid
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row[9] for row in rows if row[3] == "01" and int(row[1].partition(":")[2], 16) == port]
    return Counter(inodes[inode] for inode in established if inode in inodes)


def test_connections_are_spread_over_the_processes(start: Start, folder: Path, layer: str, free_port: int) -> None:
    """By the kernel (SO_REUSEPORT); limits are each process' own."""
    (folder / "trunkline.toml").write_text(
        f'layer = "{layer}"\nrouting = "app.routing"\n[http]\nendpoints = ["tcp:{free_port}"]\naccess_log = "off"\n'
        "max_connections = 40\n",
        encoding="utf-8",
    )
    server, worker = start("serve", "http", "--processes", "2"), start("work")
    told = server.until(r"http servers: 1 \(pid (\d+)\), 2 \(pid (\d+)\)")
    server.ready()
    worker.ready()
    pids = {int(told[1]), int(told[2])}
    clients = [http.client.HTTPConnection("127.0.0.1", free_port, timeout=WAIT) for _ in range(60)]
    kept = 0
    for client in clients:
        client.request("GET", "/")
        response = client.getresponse()
        response.read()
        assert response.status in (200, 503)
        kept += response.status == 200
    spread = served_by(free_port, pids)
    assert spread.keys() == pids
    assert spread.total() == kept
    assert max(spread.values()) <= 40
    for client in clients:
        client.close()


# Limits


def test_whoever_finds_no_room_is_told_in_the_protocols_words(start: Start, settings: Callable[[str], None]) -> None:
    settings(
        '[http]\nendpoints = ["tcp:0"]\naccess_log = "off"\nmax_per_address = 1\n'
        '[smtp]\nendpoints = ["tcp:0"]\nhostname = "mail.example.com"\n'
    )
    server = start("run", TRUNKLINE_SMTP_MAX_CONNECTIONS="1")
    web, mail = server.port("http"), server.port("smtp")
    with socket.create_connection(("127.0.0.1", web), WAIT) as first:
        first.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert first.recv(4096).startswith(b"HTTP/1.1 200 ")
        refused = get(("127.0.0.1", web))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: " in refused
    with smtplib.SMTP("127.0.0.1", mail, timeout=WAIT) as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            smtplib.SMTP("127.0.0.1", mail, timeout=WAIT)
        assert caught.value.smtp_code == 421
        assert caught.value.smtp_error == b"4.7.0 Too many connections, try again later"
        client.noop()
    server.until(r"refused: there are 1 from its address already \(max_per_address\)")
    server.until(r"refused: there are 1 already \(max_connections\)")


def test_a_process_that_may_open_few_files_stays_at_work(start: Start, settings: Callable[[str], None]) -> None:
    """It takes as many as the system lets it, refuses the others before there is no room for anything, and rests."""
    settings('[http]\nendpoints = ["tcp:0"]\naccess_log = "off"\n')
    server = start("100", "256", "run", by=("-c", LIMIT))
    server.until("max_connections is 10000, and this process may open no more than 256 files")
    port = server.port("http")
    clients = [socket.create_connection(("127.0.0.1", port), WAIT) for _ in range(400)]
    inside = 0
    for client in clients:
        try:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        assert answer[:13] in (b"HTTP/1.1 200 ", b"")
        inside += answer != b""
    assert 150 < inside < 193
    server.until(r"refused: this process can hardly open any more files \(ulimit -n\)")
    assert server.printed.count("can hardly open") == 1
    # It waits rather than spins: beside somebody who works for half a second it uses next to nothing.
    before, began = used_by(server.process.pid), time.process_time()
    while time.process_time() - began < 0.5:
        pass
    assert used_by(server.process.pid) - before < 0.25
    for client in clients:
        client.close()
    deadline = time.monotonic() + WAIT
    while not get(("127.0.0.1", port)).endswith(b"http 127.0.0.1"):
        assert time.monotonic() < deadline


def used_by(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Proxies


@pytest.mark.parametrize("table", ["http", "smtp", "lmtp"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("proxy_protocol = true", "proxy_protocol: nobody may send its header; name the proxies in trusted_proxies"),
        ('trusted_proxies = ["10.0.0.1/8"]', "trusted_proxies: 10.0.0.1/8 has host bits set; write an address, "),
        ("max_connections = 0", "max_connections: must be at least 1, got 0"),
        ("max_per_address = 0", "max_per_address: must be at least 1, got 0"),
    ],
)
def test_mistakes_are_2_in_one_line(
    here: Path, layer: str, capsys: pytest.CaptureFixture[str], table: str, text: str, why: str
) -> None:
    (here / "trunkline.toml").write_text(f'layer = "{layer}"\n[{table}]\n{text}\n', encoding="utf-8")
    assert main(["serve", table]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"[{table}]" in printed
    assert why.partition(": ")[0] in printed
    assert why.partition(": ")[2] in printed


def test_behind_proxies(start: Start, settings: Callable[[str], None]) -> None:
    settings(
        '[http]\nendpoints = ["tcp:0"]\naccess_log = "json"\ntrusted_proxies = ["127.0.0.1"]\n'
        '[smtp]\nendpoints = ["tcp:0"]\nhostname = "mail.example.com"\nproxy_protocol = true\nrate = 1\n'
        'trusted_proxies = ["127.0.0.1"]\n'
    )
    server = start("run")
    web, mail = server.port("http"), server.port("smtp")
    answer = get(("127.0.0.1", web), b"X-Forwarded-For: 1.2.3.4, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n")
    assert answer.endswith(b"https 192.0.2.7")
    assert json.loads(server.until(r'\{"time":.*')[0])["client"] == "192.0.2.7"
    for last in (7, 8):
        # Each client has the rate of its own address, not that of the proxy.
        assert deliver(mail, f"PROXY TCP4 192.0.2.{last} 198.51.100.1 51000 25\r\n")[-1].startswith("250 ")
    assert deliver(mail, "PROXY TCP4 192.0.2.7 198.51.100.1 51000 25\r\n")[1].startswith("451 4.7.1 ")
    with socket.create_connection(("127.0.0.1", mail), WAIT) as client:
        client.sendall(b"EHLO without.a.header\r\n")
        assert rest(client) == b""


def deliver(port: int, header: str) -> list[str]:
    """Deliver a mail behind a header of the PROXY protocol; return the replies from EHLO's last line on."""
    with socket.create_connection(("127.0.0.1", port), WAIT) as client, client.makefile("rw", newline="") as lines:
        lines.write(header)
        lines.flush()
        assert lines.readline().startswith("220 ")
        replies = []
        for line in ("EHLO a.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "\r\nhi\r\n."):
            lines.write(line + "\r\n")
            lines.flush()
            while (reply := lines.readline())[3:4] == "-":
                pass
            replies.append(reply)
            if reply[:1] not in "23":
                break
        return replies


# TLS


@pytest.fixture
def files(folder: Path, certificate: Any) -> Any:
    """A certificate in the user's folder, to be changed."""
    for source in certificate:
        shutil.copy(source, folder / source.name)
    return type(certificate)(folder / certificate.certificate.name, folder / certificate.key.name)


def test_a_certificate_that_changes_is_shown_without_a_restart(
    start: Start,
    settings: Callable[[str], None],
    files: Any,
    certificate: Any,
    peer: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """As openssl and curl see it; a file that is broken keeps the old one, and is one line of the log."""
    settings(
        f'[http]\nendpoints = ["ssl:0:privateKey={files.key}:certKey={files.certificate}"]\naccess_log = "off"\n'
        f'[smtp]\nendpoints = ["ssl:0:privateKey={files.key}:certKey={files.certificate}"]\nhostname = "a.example"\n'
    )
    server = start("run")
    web, mail = server.port("https"), server.port("smtps")
    openssl, curl = peer("openssl"), peer("curl")
    other = certificate.another(tmp_path_factory.mktemp("another"))

    def shown(port: int) -> str:
        command = [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]
        said = subprocess.run(command, input=b"", capture_output=True, timeout=WAIT, check=False).stdout.decode()
        found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", said, re.DOTALL)
        assert found, said
        return found[0]

    def fetch(ca: Path) -> subprocess.CompletedProcess[bytes]:
        command = [curl, "-sS", "--max-time", str(WAIT), "--cacert", str(ca), f"https://localhost:{web}/"]
        return subprocess.run(command, capture_output=True, check=False)

    for port in (web, mail):
        assert shown(port) == certificate.certificate.read_text()
    assert fetch(certificate.certificate).stdout == b"https 127.0.0.1"
    for target, source in zip(files, other, strict=True):
        shutil.copy(source, target)
    for port in (web, mail):
        assert shown(port) == other.certificate.read_text()
    assert fetch(other.certificate).stdout == b"https 127.0.0.1"
    assert fetch(certificate.certificate).returncode == 60  # not the one that it trusts
    files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for port in (web, web, web):
        assert shown(port) == other.certificate.read_text()
    server.until("cannot be used, the old one stays")
    assert server.printed.count("cannot be used, the old one stays") == 1
    server.signal(signal.SIGTERM)
    assert server.ended() == 0


def test_only_what_is_safe_today_is_spoken_and_nonsense_makes_no_noise(
    start: Start, settings: Callable[[str], None], files: Any
) -> None:
    settings(f'[http]\nendpoints = ["ssl:0:privateKey={files.key}:certKey={files.certificate}"]\naccess_log = "off"\n')
    server = start("run")
    port = server.port("https")
    server.ready()
    before = server.printed

    def handshake(change: Callable[[ssl.SSLContext], object]) -> str | None:
        """Return what was agreed on; None: nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files.certificate)
        change(context)
        with socket.create_connection(("127.0.0.1", port), WAIT) as client:
            try:
                with context.wrap_socket(client, server_hostname="localhost") as encrypted:
                    return f"{encrypted.version()} {encrypted.selected_alpn_protocol()}"
            except (ssl.SSLError, ConnectionResetError):
                return None

    def old(context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")

    def without_authenticated_ciphers(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")

    def last(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["spdy/3", "http/1.1"])

    assert handshake(lambda context: context.set_alpn_protocols(["http/1.1", "h2"])) == "TLSv1.3 h2"
    assert handshake(last) == "TLSv1.2 http/1.1"
    assert handshake(lambda context: None) == "TLSv1.3 None"
    assert handshake(old) is None
    assert handshake(without_authenticated_ciphers) is None
    for text in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05nonsense", b"\0" * 5000, b"", b"\x16"):
        with socket.create_connection(("127.0.0.1", port), WAIT) as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in rest(client)
    assert handshake(lambda context: None) == "TLSv1.3 None"
    assert server.printed == before
