"""What all rooms' tests share: one reactor in one thread, and a certificate.

Tests are plain functions. Whatever has to happen on the event loop goes through the `reactor_thread` fixture:

    def test_something(reactor_thread):
        server = HttpServer(layer, settings, reactor=reactor_thread.reactor)
        reactor_thread.call(server.start())                # a coroutine, run on the loop; its result comes back
        try:
            ...                                            # sockets, http.client, smtplib, threads: all blocking
            reactor_thread.run(server.publish, "x", {})    # a plain function, called on the loop's thread
        finally:
            reactor_thread.call(server.stop(1))

`call` and `run` raise TimeoutError after 60 s, so that nothing hangs.

A random check that counts is marked `campaign`: it does so many times as much as `scale` says, and what it `tell`s
stands at the end of pytest's output.

    @pytest.mark.campaign
    def test_nothing_is_lost(scale, tell):
        ...
        tell(f"sent {sent}, arrived {arrived}, lost {lost}")
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from trunkline.message_formats import registry
from trunkline.protocol_servers.testing import ReactorThread

_POSTFIX = str(Path(__file__).parents[1] / ".venv" / "postfix")  # by scripts/postfix-tools

# An example, and making it up, may take as long as a busy machine lets it.
hypothesis.settings.register_profile(
    "trunkline", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("trunkline")

# A shell's background job or nohup hands on that these are ignored; what the tests start shall hear them nevertheless.
for _signal, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that processes which share the tests end at about the same time."""
    long = {item.path for item in items if item.get_closest_marker("campaign")}
    items.sort(key=lambda item: item.path not in long and item.path.parent.name not in ("house", "examples"))


@pytest.fixture(scope="session")
def reactor_thread() -> Iterator[ReactorThread]:
    """Twisted's reactor on uvloop, running in a background thread for the whole session."""
    running = ReactorThread()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Find a real peer's program: a missing one fails in CI and skips elsewhere, saying which package it wants."""

    def find(program: str) -> str:
        path = shutil.which(program) or shutil.which(program, path=_POSTFIX)
        if path is None:
            missing = f"{program} is missing: apt-get install {program}, or make test"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)
        return path

    return find


@pytest.fixture(scope="session")
def scale() -> int:
    """How many times as much as in `make test` a campaign does."""
    return int(os.environ.get("SCALE", "1"))


_told: list[str] = []


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Show a line, with the test's name, at the end of pytest's output."""
    # It goes with the test's report, since the test may run in another process than the one that shows it.
    return lambda line: request.node.user_properties.append(("told", f"{request.node.name}: {line}"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what a test told."""
    if report.when == "teardown":
        _told.extend(str(value) for name, value in report.user_properties if name == "told")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests told."""
    if _told:
        terminalreporter.section("counts")
        for line in _told:
            terminalreporter.write_line(line)


@pytest.fixture
def own_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let formats be registered, and forget them afterwards."""
    monkeypatch.setattr(registry, "_formats", dict(registry._formats))


class Certificate(NamedTuple):
    """Paths of PEM files: a self-signed certificate for localhost and 127.0.0.1, and its key."""

    certificate: Path
    key: Path

    @staticmethod
    def another(folder: Path, common_name: str = "localhost") -> Certificate:
        """Make one more in ``folder``, with a key of its own."""
        return make_certificate(folder, common_name)


def make_certificate(folder: Path, common_name: str = "localhost") -> Certificate:
    """Write a new self-signed certificate and its key into ``folder``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{common_name}.crt", folder / f"{common_name}.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for localhost; trust it with ``ssl.create_default_context(cafile=…)``."""
    return make_certificate(tmp_path_factory.mktemp("tls"))
