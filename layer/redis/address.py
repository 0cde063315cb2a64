"""Where one Redis is: what a URL and its options say, checked before anything connects."""

import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from .switching import Follower

PORT = 6379
SCHEMES = ("redis", "rediss", "unix")

SHAPE = {
    "shards": "redis://[user:password@]host[:port],host[:port],…[/database]",
    "redis": "redis://[user:password@]host[:port][/database]",
    "rediss": "rediss://[user:password@]host[:port][/database]",
    "unix": "unix://[user:password@]/path/redis.sock[?db=database]",
    "redis+cluster": "redis+cluster://[user:password@]host[:port],host[:port],…",
    "rediss+cluster": "rediss+cluster://[user:password@]host[:port],host[:port],…",
    "redis+sentinel": "redis+sentinel://[user:password@]host[:port],host[:port]/service[/database]",
    "rediss+sentinel": "rediss+sentinel://[user:password@]host[:port],host[:port]/service[/database]",
}


class Where(ABC):
    """What can tell where Redis is, each time that somebody connects: an `Address` always says the same."""

    @property
    @abstractmethod
    def text(self) -> str:
        """What it is, for people, without user and password."""

    @abstractmethod
    def resolve(self, deadline: float) -> "Address":
        """Find out where Redis is now; may block until the deadline, of `time.monotonic()`.

        Raises:
            LayerUnavailable: Nobody can tell; one line.
        """

    @abstractmethod
    def follow(self, follower: "Follower") -> None:
        """Tell somebody from now on when Redis has moved to another place."""

    @abstractmethod
    def close(self) -> None:
        """Tell nobody any more."""


@dataclass(frozen=True)
class TLS:
    """How a TLS connection is verified: paths of PEM files.

    Attributes:
        ca: Who may have signed the server's certificate; None for the authorities that the system trusts.
        certificate: The client's own certificate, for a Redis that asks for one.
        key: The key of that certificate; None if the certificate's file holds it.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files as they are now: certificates are renewed while processes run.

        Raises:
            OSError: A file cannot be read, or is not what it should be (`ssl.SSLError`).
        """
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True)
class Address(Where):
    """One Redis server and database, and who wants to use it.

    Attributes:
        host: A name or an IP address; "" for a Unix socket.
        path: The Unix socket; None for TCP.
        database: Its number.
        username: The ACL user; None for the default one.
        password: None where Redis asks for none.
        tls: None for a connection that is not encrypted.
        cluster: Whether it is a node of a cluster.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TLS | None = None
    cluster: bool = False

    @property
    def text(self) -> str:
        """The address as people write it, without user and password."""
        if self.path is not None:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/{self.database}"

    def resolve(self, deadline: float) -> "Address":
        """Return this address: it stands in the URL."""
        return self

    def follow(self, follower: "Follower") -> None:
        """Do nothing: an address does not move."""

    def close(self) -> None:
        """Do nothing."""


def read_address(
    scheme: str,
    place: str,
    *,
    db: int | str | None = None,
    tls_ca: str | None = None,
    tls_certificate: str | None = None,
    tls_key: str | None = None,
) -> Address:
    """Read one server's address.

    Args:
        scheme: "redis", "rediss" (TLS) or "unix".
        place: What stands between `://` and `?`. User and password may be percent-encoded.
        db: The database's number, where the place does not name it.
        tls_ca, tls_certificate, tls_key: PEM files; see `TLS`.

    Raises:
        ValueError: Something is wrong; one line that says what. It never shows user or password.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"{scheme}:// is no Redis address; there is {', '.join(f'{name}://' for name in SCHEMES)}")
    front, slash, rest = place.partition("/")
    userinfo, _, server = front.rpartition("@")
    username, password = read_user(scheme, userinfo, rest if server or scheme != "unix" else "")
    tls = read_tls(scheme, tls_ca, tls_certificate, tls_key)
    if scheme == "unix":
        if server or len(rest) < 1:
            raise ValueError(f"unix://{server}{slash}{rest}: expected {SHAPE[scheme]}")
        return Address("", 0, "/" + unquote(rest), read_database("unix://…", "", db), username, password)
    if "/" in rest:
        raise ValueError(f"{scheme}://{server}/{rest}: expected {SHAPE[scheme]}")
    if "," in server:
        raise ValueError(f"{scheme}://{server}: expected one host")
    host, port = read_host(scheme, server, PORT)
    return Address(host, port, None, read_database(f"{scheme}://{server}", rest, db), username, password, tls)


def read_user(scheme: str, userinfo: str, rest: str) -> tuple[str | None, str | None]:
    """Read user and password.

    Args:
        userinfo: What stands before the `@`.
        rest: What stands behind the first `/`, where there must be no further `@`.

    Raises:
        ValueError: There is no password, or it holds what has to be encoded.
    """
    if "@" in rest:
        raise ValueError(f"{scheme}://…: '/' and '@' in a user name or password are written %2F and %40")
    if not userinfo:
        return None, None
    username, _, password = userinfo.partition(":")
    if not password:
        raise ValueError(
            f"{scheme}://…: a user name needs a password; expected {SHAPE[scheme]}, without user ':password@'"
        )
    return unquote(username) or None, unquote(password)


def read_host(scheme: str, server: str, default: int) -> tuple[str, int]:
    """Read `host[:port]`.

    Args:
        default: The port where none is named.

    Raises:
        ValueError: This is no host, or no port.
    """
    where = f"{scheme}://{server}"
    if server.startswith("["):
        host, bracket, rest = server[1:].partition("]")
        separator, port = rest[:1], rest[1:]
        if not bracket or separator not in ("", ":"):
            raise ValueError(f"{where}: expected an IPv6 address as [::1] or [::1]:{default}")
    else:
        host, separator, port = server.partition(":")
        if ":" in port:
            raise ValueError(f"{where}: an IPv6 address stands in brackets: [::1]:{default}")
    if not host:
        raise ValueError(f"{where}: the host is missing; expected {SHAPE[scheme]}")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{where}: {host!r} is no host name") from None
    if not separator:
        return host, default
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{where}: the port is {port!r}; expected a number from 1 to 65535")
    return host, int(port)


def read_database(where: str, text: str, option: int | str | None) -> int:
    """Read the database's number.

    Args:
        where: The address before it, for errors.
        text: How it stands in the path; "" if it does not.
        option: The option `db`.

    Raises:
        ValueError: This is no number, or it stands twice.
    """
    if text and option is not None:
        raise ValueError(f"{where}/{text}: the database stands twice, in the path and as db={option}")
    text = text or ("" if option is None else str(option))
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"{where}: the database is {text!r}; expected a number such as 0")
    return int(text)


def read_tls(scheme: str, ca: str | None, certificate: str | None, key: str | None) -> TLS | None:
    """Read the options of TLS; None where the scheme is one without.

    Raises:
        ValueError: They do not fit, or a file cannot be read.
    """
    given = {"tls_ca": ca, "tls_certificate": certificate, "tls_key": key}
    named = [name for name, value in given.items() if value is not None]
    base, _, topology = scheme.partition("+")
    secure = "+".join(filter(None, ("rediss", topology)))
    if base != "rediss":
        if named:
            raise ValueError(f"{scheme}://…: {named[0]} is for {secure}://, which is the same with TLS")
        return None
    if key is not None and certificate is None:
        raise ValueError(f"{scheme}://…: tls_key needs tls_certificate")
    tls = TLS(ca, certificate, key)
    try:
        tls.context()
    except OSError as error:
        files = ", ".join(f"{name}={given[name]}" for name in named)
        raise ValueError(f"{scheme}://…: {files}: {error.strerror or error}") from None
    return tls
