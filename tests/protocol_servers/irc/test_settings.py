"""The tables `[irc.NETWORK]`, from a file as people write it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.operations.errors import SettingsError
from trunkline.operations.settings import load
from trunkline.protocol_servers.irc.settings import Address, IrcSettings

TABLES = {"irc": IrcSettings}
LIBERA = """
[irc.libera]
servers = ["ircs://irc.libera.chat:6697", "ircs://[2001:db8::1]"]
nick = "helpdesk"
sasl = { mechanism = "PLAIN", user = "helpdesk", password = { env = "IRC_PASSWORD" } }
join = ["#help", "#staff key"]
"""
PIN = "AB:" * 31 + "ab"


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Reads a file: ``read(text, IRC_PASSWORD="x")``."""
    monkeypatch.chdir(tmp_path)

    def reading(text: str, **environ: str) -> Any:
        (tmp_path / "trunkline.toml").write_text(text, encoding="utf-8")
        return load("trunkline.toml", environ, {}, TABLES).servers["irc"].networks

    return reading


def test_a_whole_table(read: Callable[..., Any]) -> None:
    networks = read(LIBERA + '[irc.local]\nservers = ["irc://localhost"]\nnick = "x"\n', IRC_PASSWORD="sesame")
    libera = networks["libera"]
    assert libera.sasl.password == "sesame"
    assert libera.addresses() == [Address("irc.libera.chat", 6697, True), Address("2001:db8::1", 6697, True)]
    assert [str(each) for each in libera.addresses()] == ["ircs://irc.libera.chat:6697", "ircs://[2001:db8::1]:6697"]
    options = libera.options()
    assert options.join == ("#help", "#staff key")
    assert (options.rate, options.burst, options.rejoin, options.numerics) == (1.0, 4, True, False)
    assert options.identity.sasl.user == "helpdesk"
    assert "sesame" not in repr(networks)
    assert networks["local"].addresses() == [Address("localhost", 6667, False)]


def test_the_environment_sets_what_a_network_of_the_file_has(read: Callable[..., Any]) -> None:
    given = {
        "TRUNKLINE_IRC_LIBERA_NICK": "other",
        "TRUNKLINE_IRC_LIBERA_JOIN": "#one,#two key",
        "TRUNKLINE_IRC_LIBERA_SASL_USER": "somebody",
        "TRUNKLINE_IRC_LIBERA_PACE": "2.5",
        "IRC_PASSWORD": "x",
    }
    libera = read(LIBERA, **given)["libera"]
    assert (libera.nick, libera.join, libera.sasl.user, libera.pace) == ("other", ["#one", "#two key"], "somebody", 2.5)
    with pytest.raises(SettingsError, match="TRUNKLINE_IRC_OTHER_NICK: unknown setting"):
        read(LIBERA, IRC_PASSWORD="x", TRUNKLINE_IRC_OTHER_NICK="x")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("nick = 1", "[irc.libera] nick: expected a text in quotes"),
        ("nik = 'x'", "[irc.libera] nik: unknown key; did you mean nick?"),
        ("servers = []", "[irc.libera]: servers: the list is empty"),
        ("servers = ['irc.libera.chat']", "[irc.libera]: servers: 'irc.libera.chat': expected ircs://HOST:6697"),
        ("servers = ['ircs://x:99999']", "[irc.libera]: servers: 'ircs://x:99999': expected ircs://HOST:6697"),
        ("servers = ['irc://x:0']", "[irc.libera]: servers: 'irc://x:0': expected"),
        ("servers = ['irc://user@x']", "[irc.libera]: servers: 'irc://user@x': expected"),
        ("servers = ['irc://x/#room']", "[irc.libera]: servers: 'irc://x/#room': expected"),
        ("nick = '#x'", "[irc.libera]: nick: '#x' is no nick"),
        ("join = ['no room']", None),
        ("join = ['#a b c']", "[irc.libera]: join: '#a b c' is no room"),
        ("tls_fingerprint = 'abc'", "[irc.libera]: tls_fingerprint: expected the 64 hexadecimal digits"),
        ("key = 'x.pem'", "[irc.libera]: key: there is no certificate that it belongs to"),
        ("pace = 0", "[irc.libera] pace: must be at least 0.05, got 0"),
        ("sasl = { mechanism = 'X' }", '[irc.libera.sasl] mechanism: expected "PLAIN" or "EXTERNAL" or'),
        ("sasl = {}", "[irc.libera]: sasl: PLAIN needs a user"),
        ("sasl = { mechanism = 'EXTERNAL' }", "[irc.libera]: sasl: EXTERNAL shows a certificate of ours"),
        ("sasl = { mechanism = 'SCRAM-SHA-256', user = 'x' }", "[irc.libera]: sasl: SCRAM-SHA-256 needs user and"),
        ("sasl = { user = 'x', password = { env = 'NONE' } }", "the environment variable NONE is not set"),
        (
            "sasl = { user = 'x', password = 'y' }\nservers = ['irc://example.org']",
            "[irc.libera]: sasl: PLAIN would say the password to whoever answers at irc://example.org:6667",
        ),
        (
            "sasl = { user = 'x', password = 'y' }\ntls_verify = false",
            "[irc.libera]: sasl: PLAIN would say the password to whoever answers at ircs://localhost.test:6697",
        ),
        (f"sasl = {{ user = 'x', password = 'y' }}\ntls_verify = false\ntls_fingerprint = '{PIN}'", None),
        ("sasl = { user = 'x', password = 'y' }\nservers = ['irc://127.0.0.1']", None),
        ("sasl = { mechanism = 'EXTERNAL' }\ncertificate = 'ours.pem'", None),
    ],
)
def test_mistakes(read: Callable[..., Any], line: str, expected: str | None) -> None:
    given = {key: line for key in ("nick", "servers") if f"{key} =" not in line}
    rows = {"nick": "nick = 'x'", "servers": "servers = ['ircs://localhost.test']"}
    text = "[irc.libera]\n" + "\n".join([*(rows[key] for key in given), line])
    if expected is None:
        assert read(text)["libera"].nick == "x"
        return
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[irc]", "trunkline.toml: [irc]: there is no network: write a table [irc.NETWORK] with servers and nick"),
        ("[irc]\nnick = 'x'", "trunkline.toml: [irc] nick: expected a table, got 'x'"),
        ("[irc.Libera]\nnick = 'x'\nservers = ['irc://x']", "trunkline.toml: [irc]: 'Libera': a network's name has"),
        ("[irc.libera]\nnick = 'x'", "trunkline.toml: [irc.libera] servers: is required"),
    ],
)
def test_mistakes_of_the_whole(read: Callable[..., Any], text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert str(caught.value).startswith(expected)


def test_a_pinned_certificate_is_written_as_people_find_it(read: Callable[..., Any]) -> None:
    text = f"[irc.x]\nnick = 'x'\nservers = ['ircs://example.org']\ntls_fingerprint = '{PIN}'"
    network = read(text)["x"]
    assert network.tls_fingerprint == "ab" * 32
    assert network.is_secure(network.addresses()[0])
