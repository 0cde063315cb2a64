"""The tables `[irc.NETWORK]`."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .options import Options
from .registration import Identity
from .sasl import Credentials, SaslError, make_mechanism

_PORTS = {"irc": 6667, "ircs": 6697}
_NETWORK = re.compile(r"[a-z0-9_-]{1,24}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Address(NamedTuple):
    """A server of a network: "ircs://irc.libera.chat:6697".

    Attributes:
        host: Its name or address.
        port: Its port.
        tls: Whether the connection begins with TLS.
    """

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ValueError: It is none.
        """
        expected = f"{text!r}: expected ircs://HOST:6697 (TLS) or irc://HOST:6667"
        try:
            parts = urllib.parse.urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(expected) from None
        rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in _PORTS or not parts.hostname or rest or port == 0:
            raise ValueError(expected)
        return cls(parts.hostname, _PORTS[parts.scheme] if port is None else port, parts.scheme == "ircs")

    def __str__(self) -> str:
        """Write it as it is read."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ircs' if self.tls else 'irc'}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether it is this very machine, so that nobody can read along."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(kw_only=True)
class SaslSettings:
    """How to log in to an account of the network's services.

    Args:
        mechanism: "PLAIN" needs TLS with a verified or pinned certificate; "EXTERNAL" needs `certificate`.
        user: the account.
        password: its password, best as `{ env = "NAME" }` or `{ file = "path" }`.
    """

    mechanism: Literal["PLAIN", "EXTERNAL", "SCRAM-SHA-256"] = "PLAIN"
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(kw_only=True)
class NetworkSettings:
    """One network that we are a client of; times in seconds.

    Args:
        servers: its servers, tried in turn: `ircs://host:6697` with TLS, `irc://host:6667` without.
        nick: the nick we want.
        username: the user part of our mask.
        realname: what WHOIS shows.
        password: the server's password, best as `{ env = "NAME" }` or `{ file = "path" }`.
        sasl: the account to log in to: `{ mechanism = "PLAIN", user = "…", password = { env = "…" } }`. Where that
            fails, the network is not used.
        join: rooms to be in: "#room" or "#room key".
        rejoin: whether a room that threw us out is tried again.
        tls_verify: whether the server has to show a certificate of its name that this system trusts.
        tls_fingerprint: the SHA-256 of the one certificate that the server has to show, in hexadecimal; it takes the
            place of `tls_verify`.
        certificate: path of a PEM file with a certificate of ours, for SASL EXTERNAL.
        key: path of its key; None: in the same file.
        pace: lines a second that we say, after a few at once.
        raw: whether consumers may send any line at all (`irc-client` reply of type "raw").
        numerics: whether numeric replies are published (`irc-client.numeric`).
        include_raw: whether `chat.message` has what was said as IRC has it, in `raw`.
        ping_interval: of silence, before the server is asked whether it is still there.
        ping_timeout: of silence after that, before the connection is given up.
        connect_timeout: for a connection and its TLS handshake.
    """

    servers: list[str]
    nick: str
    username: str = "trunkline"
    realname: str = "Trunkline"
    password: str | None = field(default=None, repr=False)
    sasl: SaslSettings | None = None
    join: list[str] = field(default_factory=list)
    rejoin: bool = True
    tls_verify: bool = True
    tls_fingerprint: str | None = None
    certificate: str | None = None
    key: str | None = None
    pace: float = field(default=1.0, metadata={"min": 0.05, "max": 1000})
    raw: bool = False
    numerics: bool = False
    include_raw: bool = False
    ping_interval: float = field(default=90.0, metadata={"min": 0.05})
    ping_timeout: float = field(default=60.0, metadata={"min": 0.05})
    connect_timeout: float = field(default=30.0, metadata={"min": 0.05})

    def __post_init__(self) -> None:
        """Check what no type says.

        Raises:
            ValueError: a value makes no sense.
        """
        if not self.servers:
            raise ValueError("servers: the list is empty, so there is nothing to connect to")
        addresses = self.addresses()
        if self.tls_fingerprint is not None:
            digits = self.tls_fingerprint.replace(":", "").lower()
            if not _FINGERPRINT.fullmatch(digits):
                raise ValueError("tls_fingerprint: expected the 64 hexadecimal digits of a SHA-256")
            self.tls_fingerprint = digits
        if self.key is not None and self.certificate is None:
            raise ValueError("key: there is no certificate that it belongs to")
        self.options()
        if self.sasl is not None:
            self._check_sasl(self.sasl, addresses)

    def _check_sasl(self, sasl: SaslSettings, addresses: list[Address]) -> None:
        try:
            make_mechanism(Credentials(sasl.mechanism, sasl.user, sasl.password), lambda: "nonce")
        except SaslError as error:
            raise ValueError(f"sasl: {error}") from None
        if sasl.mechanism == "EXTERNAL" and self.certificate is None:
            raise ValueError("sasl: EXTERNAL shows a certificate of ours: set certificate")
        if sasl.mechanism == "SCRAM-SHA-256" and not (sasl.user and sasl.password):
            raise ValueError("sasl: SCRAM-SHA-256 needs user and password")
        for address in addresses:
            if sasl.mechanism == "PLAIN" and not self.is_secure(address):
                raise ValueError(
                    f"sasl: PLAIN would say the password to whoever answers at {address}: it needs ircs:// with "
                    "tls_verify or tls_fingerprint"
                )

    def addresses(self) -> list[Address]:
        """Return the servers.

        Raises:
            ValueError: one of them is no address.
        """
        try:
            return [Address.parse(each) for each in self.servers]
        except ValueError as error:
            raise ValueError(f"servers: {error}") from None

    def is_secure(self, address: Address) -> bool:
        """Say whether nobody but the server hears what we say there."""
        return address.is_local or (address.tls and (self.tls_verify or self.tls_fingerprint is not None))

    def options(self) -> Options:
        """Return what a session is to do.

        Raises:
            ValueError: A value cannot be said on IRC.
        """
        sasl = self.sasl
        credentials = None if sasl is None else Credentials(sasl.mechanism, sasl.user, sasl.password)
        return Options(
            identity=Identity(self.nick, self.username, self.realname, self.password, credentials),
            join=tuple(self.join),
            rejoin=self.rejoin,
            numerics=self.numerics,
            rate=self.pace,
            burst=max(4, int(self.pace)),
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
        )


@dataclass
class IrcSettings:
    """The networks, a table `[irc.NETWORK]` each.

    Args:
        networks: their settings by name.
    """

    networks: dict[str, NetworkSettings] = field(default_factory=dict, metadata={"tables": "NETWORK"})

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            ValueError: there is none, or one that cannot stand in a channel's name.
        """
        if not self.networks:
            raise ValueError("there is no network: write a table [irc.NETWORK] with servers and nick")
        for name in self.networks:
            if not _NETWORK.fullmatch(name):
                raise ValueError(f"{name!r}: a network's name has 1 to 24 of a to z, 0 to 9, - and _")
