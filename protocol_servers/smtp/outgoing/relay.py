"""The relay: the mail server that takes our mails on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from ..addresses import is_domain

Tls = Literal["starttls", "tls", "none"]

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class Relay:
    """Where it is, and how to talk to it.

    Attributes:
        host: Its name, or an address.
        port: Its port.
        tls: "starttls": after STARTTLS; "tls": from the beginning; "none": in the clear.
        user: Whom to log in as; None: nobody.
        password: What proves it.
    """

    host: str
    port: int
    tls: Tls = "starttls"
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        """Return it for people, without user and password."""
        return f"smtp://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Relay {self}>"


def parse_relay(url: str, password: str | None, tls: Tls) -> Relay:
    """Read `smtp://user@host:587`.

    Args:
        url: User and port may be left out; signs that have a meaning there are written as `%40`.
        password: The user's.
        tls: How the connection is protected.

    Raises:
        ValueError: It makes no sense, or would tell the password to everybody on the way; one line.
    """
    if not url.startswith("smtp://"):
        raise ValueError(f"relay: {_shown(url)!r} does not look like smtp://user@mail.example.com:587")
    user, _, place = url.removeprefix("smtp://").rstrip("/").rpartition("@")
    if ":" in user:
        raise ValueError("relay: the password stands in relay_password, not in the address")
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, port = place, str(_PORTS[tls])
    if not is_domain(host) and not _is_address(host):
        raise ValueError(f"relay: {_shown(url)!r} names no host")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"relay: {port!r} is not a port")
    if bool(user) is not bool(password):
        missing = "relay_password" if user else "a user in relay"
        raise ValueError(f"relay: there is {'a user' if user else 'a password'}, and {missing} is missing")
    host = host.strip("[]")
    if host.lower().startswith("ipv6:"):
        host = host[5:]
    if password and tls == "none" and not _is_local(host):
        raise ValueError('relay: relay_tls = "none" would show the password to everybody on the way')
    return Relay(host, int(port), tls, unquote(user) or None, password or None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _shown(url: str) -> str:
    return url.rpartition("@")[2]
