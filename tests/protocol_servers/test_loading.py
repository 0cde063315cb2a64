"""Finding a server's class by its name."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from trunkline import protocol_servers
from trunkline.operations.errors import UsageError
from trunkline.protocol_servers import SERVERS, load_server


def test_every_server_has_the_name_it_is_found_by() -> None:
    for name in SERVERS:
        found = load_server(name)
        assert found.name == name
        assert found.Settings


def test_an_unknown_server_is_a_usage_error() -> None:
    known = "http, irc, lmtp, slack, smtp, udp"
    with pytest.raises(UsageError, match=f"^there is no server called 'gopher'; there are {known}$"):
        load_server("gopher")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers whose modules import what is not installed, and one whose own module is missing."""
    monkeypatch.setitem(SERVERS, "http", "surely_not_installed_parser:Server")
    monkeypatch.setitem(SERVERS, "udp", "surely_not_installed_parser:Server")
    monkeypatch.setitem(SERVERS, "smtp", "trunkline.protocol_servers.mislaid:Server")


@pytest.mark.usefixtures("missing")
def test_a_missing_extra_is_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        load_server("http")
    assert str(caught.value) == (
        "HTTP needs trunkline[http]: pip install 'trunkline[http]' (surely_not_installed_parser is missing)"
    )


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("name", ["udp", "smtp"])
def test_what_no_extra_would_cure_stays_what_it_is(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        load_server(name)


def test_nothing_is_loaded_before_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModuleType("made_up_server")
    made.Server = type("Server", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(SERVERS, "made", "made_up_server:Server")
    monkeypatch.setitem(sys.modules, "made_up_server", made)
    assert load_server("made") is made.Server
    assert protocol_servers.__all__ == ["SERVERS", "load_server", "make_servers"]
