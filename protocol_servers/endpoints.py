"""Listening addresses: Twisted's endpoint strings, on the event loop's own transports wherever those exist.

``tcp:8000``, ``ssl:8443:privateKey=key.pem:certKey=crt.pem``, ``unix:/run/x.sock``, ``systemd:domain=INET:index=0``
and ``fd:3`` are ours; any other description goes to `twisted.internet.endpoints.serverFromString`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from ..operations.errors import StartError, UsageError
from .acceptor import Acceptor
from .door import Door, Place
from .inherited import SOCKETS
from .loops import as_future, loop_of
from .tls import server_context
from .transport import HANDSHAKE_TIMEOUT, LINGER

BACKLOG = 1024


@dataclass(frozen=True)
class Description:
    """An endpoint string taken apart: ``kind:argument:option=value``; a backslash quotes ``:``, ``=`` and itself."""

    text: str
    kind: str
    arguments: tuple[str, ...]
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Description:
        """Take ``text`` apart without judging what it means."""
        arguments: list[str] = []
        options: dict[str, str] = {}
        for part in _split(text, ":"):
            name, *value = _split(part, "=", 1)
            if value:
                options[_unquote(name)] = _unquote(value[0])
            else:
                arguments.append(_unquote(name))
        return cls(text, arguments[0] if arguments else "", tuple(arguments[1:]), options)

    def only(self, arguments: int, options: Collection[str]) -> None:
        """Check the number of arguments and the names of options.

        Raises:
            UsageError: There is more or less than that.
        """
        for name in self.options:
            if name not in options:
                raise UsageError(f"{self.text}: unknown option {name!r}; known are {', '.join(sorted(options))}")
        if len(self.arguments) != arguments:
            raise UsageError(f"{self.text}: expected {arguments} value(s) after {self.kind!r}")

    def number(self, text: str, what: str, highest: int) -> int:
        """Return ``text`` as a number from 0 to ``highest``.

        Raises:
            UsageError: It is none.
        """
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > highest:
            raise UsageError(f"{self.text}: {what} must be a number from 0 to {highest}, not {text!r}")
        return int(text)

    def host_and_port(self, default_interface: str) -> tuple[str, int]:
        """Return the address to bind: the option ``interface`` or else the default, and the first argument.

        Raises:
            UsageError: The port is no number, or the interface is empty.
        """
        host = self.options.get("interface", default_interface)
        if not host:
            raise UsageError(f"{self.text}: interface is empty; write interface=0.0.0.0 for every address")
        return host, self.number(self.arguments[0], "the port", 65535)

    def refused(self, error: OSError, host: str, port: int) -> StartError:
        """Return the error for a person whose address could not be bound."""
        if error.errno == errno.EADDRINUSE:
            return StartError(f"{self.text}: port {port} on {host} is already in use")
        if error.errno == errno.EACCES:
            return StartError(f"{self.text}: no permission to listen on port {port} of {host}")
        # asyncio from 3.13 on tries every address of the host, and tells by a text alone that none could be bound.
        if error.errno in (errno.EADDRNOTAVAIL, None) or isinstance(error, socket.gaierror):
            return StartError(f"{self.text}: {host} is not an address of this machine")
        return StartError(f"{self.text}: {error.strerror or error}")


def _split(text: str, separator: str, at_most: int = 0) -> list[str]:
    """Split at each separator that no backslash stands before (``at_most`` so many times; 0: at all)."""
    parts, start = [], 0
    for found in re.finditer(r"\\.|" + separator, text, re.DOTALL):
        if found[0] == separator:
            parts.append(text[start : found.start()])
            start = found.end()
            if len(parts) == at_most:
                break
    return [*parts, text[start:]]


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


class Port:
    """Something being listened on.

    Attributes:
        address: For people: ``127.0.0.1:8000``, ``[::1]:8000`` or a path.
        number: The port's number, None where there is none.
        tls: Connections begin with TLS.
    """

    def __init__(
        self,
        address: str,
        close: Callable[[], object],
        *,
        number: int | None = None,
        tls: bool = False,
        transports: Collection[Any] = (),
    ) -> None:
        self.address = address
        self.number = number
        self.tls = tls
        self._close: Callable[[], object] | None = close
        self._transports = transports

    def __repr__(self) -> str:
        return f"<Port {self.address}>"

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._transports)

    def close(self) -> None:
        """Stop accepting; open connections stay. May be called twice."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def abort(self) -> None:
        """Cut every connection that is still open."""
        for transport in list(self._transports):
            transport.abortConnection()


async def listen_all(
    reactor: Any,
    descriptions: Collection[str],
    factory: Any,
    *,
    default_interface: str = "127.0.0.1",
    reuse_port: bool = False,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    linger: float = LINGER,
    protocols: Sequence[str] = (),
    door: Door | None = None,
) -> list[Port]:
    """Listen on every description or on none.

    Args:
        reactor: Twisted's asyncio reactor.
        descriptions: Endpoint strings.
        factory: A Twisted factory; builds the protocol of each connection.
        default_interface: What is bound where a description names no ``interface``.
        reuse_port: Share the ports with other processes (``SO_REUSEPORT``).
        handshake_timeout: Seconds that the TLS handshake of an ``ssl:`` endpoint may take.
        linger: Seconds that a closing connection may make no progress before it is cut.
        protocols: What ``ssl:`` endpoints offer to speak, the best first (ALPN).
        door: Who may come in, on all of them together; None: everybody.

    Raises:
        StartError: A port is taken or may not be used.
        UsageError: A description or what it names makes no sense.
    """
    ports: list[Port] = []
    try:
        for text in descriptions:
            description = Description.parse(text)
            listen = _KINDS.get(description.kind)
            if listen is None:
                ports.append(await _foreign(reactor, description, factory, door))
                continue
            loop = loop_of(reactor)
            acceptor = Acceptor(
                loop, factory, handshake_timeout=handshake_timeout, linger=linger, protocols=protocols, door=door
            )
            factory.doStart()
            try:
                ports.append(await listen(description, acceptor, default_interface, reuse_port))
            except BaseException:
                factory.doStop()
                raise
    except BaseException:
        for port in ports:
            port.close()
        raise
    return ports


def listen_udp(reactor: Any, text: str, protocol: Any, *, default_interface: str = "127.0.0.1") -> Port:
    """Receive datagrams on ``udp:PORT`` or ``udp:PORT:interface=ADDRESS``.

    Args:
        reactor: Twisted's reactor.
        text: The description; Twisted has none for UDP.
        protocol: A Twisted ``DatagramProtocol``.
        default_interface: What is bound where the description names no ``interface``.

    Raises:
        StartError: The port is taken or may not be used.
        UsageError: The description makes no sense.
    """
    description = Description.parse(text)
    if description.kind != "udp":
        raise UsageError(f"{text}: expected udp:PORT or udp:PORT:interface=ADDRESS")
    description.only(1, {"interface"})
    host, port = description.host_and_port(default_interface)
    try:
        listening = reactor.listenUDP(port, protocol, interface=host, maxPacketSize=65536)
    except CannotListenError as error:
        raise description.refused(error.socketError, host, port) from error
    bound = listening.getHost()
    return Port(_text((bound.host, bound.port)), listening.stopListening, number=bound.port)


def _port(server: asyncio.AbstractServer, acceptor: Acceptor, close: Callable[[], object] | None = None) -> Port:
    sockets = server.sockets  # type: ignore[attr-defined]
    names = [found.getsockname() for found in sockets]

    def closing() -> None:
        server.close()
        if close is not None:
            close()
        acceptor.factory.doStop()

    return Port(
        ", ".join(_text(name) for name in names),
        closing,
        number=names[0][1] if isinstance(names[0], tuple) else None,
        tls=acceptor.context is not None,
        transports=acceptor.transports,
    )


def _text(name: Any) -> str:
    if not isinstance(name, tuple):
        return os.fsdecode(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _tcp(
    description: Description,
    acceptor: Acceptor,
    default_interface: str,
    reuse_port: bool,
    options: Collection[str] = ("interface", "backlog"),
) -> Port:
    description.only(1, options)
    host, port = description.host_and_port(default_interface)
    backlog = description.number(description.options.get("backlog", str(BACKLOG)), "backlog", 65535)
    try:
        server = await acceptor.loop.create_server(
            acceptor, host, port, backlog=backlog, reuse_address=True, reuse_port=reuse_port
        )
    except OSError as error:
        raise description.refused(error, host, port) from error
    return _port(server, acceptor)


async def _ssl(description: Description, acceptor: Acceptor, default_interface: str, reuse_port: bool) -> Port:
    key = description.options.get("privateKey", "server.pem")
    certificate = description.options.get("certKey", key)
    try:
        acceptor.context = server_context(certificate, key, protocols=acceptor.protocols)
    except OSError as error:
        raise UsageError(
            f"{description.text}: certificate {certificate} with key {key} cannot be used: {error.strerror or error}"
        ) from error
    options = ("interface", "backlog", "privateKey", "certKey")
    return await _tcp(description, acceptor, default_interface, reuse_port, options)


async def _tcp6(description: Description, acceptor: Acceptor, _default: str, reuse_port: bool) -> Port:
    return await _tcp(description, acceptor, "::1", reuse_port)


async def _unix(description: Description, acceptor: Acceptor, _default: str, _reuse_port: bool) -> Port:
    description.only(1, {"mode", "backlog", "lockfile"})  # lockfile: Twisted's; a stale socket is told by asking it
    path = description.arguments[0]
    mode = description.options.get("mode", "666")
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise UsageError(f"{description.text}: mode must be three octal digits, not {mode!r}")
    backlog = description.number(description.options.get("backlog", str(BACKLOG)), "backlog", 65535)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(path)
        os.chmod(path, int(mode, 8))
        server = await acceptor.loop.create_unix_server(acceptor, sock=listening, backlog=backlog)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"{description.text}: {path} is already in use") from error
        raise StartError(f"{description.text}: {error.strerror or error}") from error
    made = os.stat(path).st_ino

    def remove() -> None:
        try:
            if os.stat(path).st_ino == made:
                os.unlink(path)
        except OSError:
            pass  # someone else took it away; nothing is left to clean

    return _port(server, acceptor, remove)


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on; one that answers, or is something else, stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # its queue is full: somebody is there


async def _systemd(description: Description, acceptor: Acceptor, _default: str, _reuse_port: bool) -> Port:
    description.only(0, {"domain", "index", "name"})
    name = description.options.get("name")
    if name is None:
        index = description.number(description.options.get("index", ""), "index", 1000)
        found = SOCKETS[index : index + 1]
    else:
        found = [each for each in SOCKETS if each.name == name]
    if not found:
        raise StartError(f"{description.text}: systemd passed no such socket")
    return await _descriptor(description, acceptor, found[0].descriptor)


async def _fd(description: Description, acceptor: Acceptor, _default: str, _reuse_port: bool) -> Port:
    description.only(1, set())
    number = description.number(description.arguments[0], "the descriptor", 65535)
    return await _descriptor(description, acceptor, number)


async def _descriptor(description: Description, acceptor: Acceptor, number: int) -> Port:
    try:
        listening = socket.socket(fileno=os.dup(number))
    except OSError as error:
        raise StartError(f"{description.text}: descriptor {number} is no socket: {error.strerror}") from error
    listening.setblocking(False)
    create: Any = acceptor.loop.create_server
    if listening.family == socket.AF_UNIX:
        create = acceptor.loop.create_unix_server
    try:
        return _port(await create(acceptor, sock=listening, backlog=BACKLOG), acceptor)
    except (OSError, ValueError) as error:
        listening.close()
        raise StartError(f"{description.text}: descriptor {number} cannot be listened on: {error}") from error


_KINDS: dict[str, Callable[[Description, Acceptor, str, bool], Any]] = {
    "tcp": _tcp,
    "tcp6": _tcp6,
    "ssl": _ssl,
    "unix": _unix,
    "systemd": _systemd,
    "fd": _fd,
}


class _ForeignTransport(ProtocolWrapper):
    """Another endpoint's transport with what our protocols expect of ours."""

    tls = False
    negotiated_protocol = None
    place: Place | None = None

    def connectionLost(self, reason: Any = None) -> None:
        """Leave by the door."""
        door, place, self.place = self.factory.door, self.place, None
        if place is not None:
            door.leave(place)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    @property
    def buffered(self) -> int:
        """Bytes written that the socket has not taken yet."""
        held: Any = self.transport
        return int(len(held.dataBuffer) - held.offset + held._tempDataLen)

    def startTLS(self, context: ssl.SSLContext, **options: object) -> None:
        """Refuse: the other transport knows nothing of Python's contexts."""
        raise RuntimeError("STARTTLS is not available on this endpoint")


class _Away(Protocol):
    """Sends a connection away. Not every endpoint takes None for a protocol."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


class _ForeignFactory(WrappingFactory[_ForeignTransport]):
    """Lets connections of another endpoint in."""

    protocol = _ForeignTransport

    def __init__(self, factory: Any, door: Door | None) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.door = door

    def buildProtocol(self, addr: Any) -> Any:
        """Return the protocol of a new connection."""
        place = None
        if self.door is not None:
            place = self.door.admit(getattr(addr, "host", ""))
            if place is None:
                return _Away()
        protocol: Any = self.wrappedFactory.buildProtocol(addr) or _Away()
        made = self.protocol(self, protocol)
        made.place = place
        return made


async def _foreign(reactor: Any, description: Description, factory: Any, door: Door | None) -> Port:
    if door is not None and door.reads_headers:
        known = ", ".join(sorted(_KINDS))
        raise UsageError(f"{description.text}: proxy_protocol is not available on this endpoint, but on {known}")
    from twisted.internet.endpoints import serverFromString  # not before `inherited`

    try:
        endpoint = serverFromString(reactor, description.text)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, IndexError, KeyError, OSError) as error:
        raise UsageError(f"{description.text}: not an endpoint: {error}") from error
    wrapped: Any = _ForeignFactory(factory, door)
    loop = loop_of(reactor)
    try:
        listening: Any = await as_future(endpoint.listen(wrapped), loop)
    except CannotListenError as error:
        raise StartError(f"{description.text}: {error.socketError}") from error
    host = listening.getHost()
    number = getattr(host, "port", None)
    address = description.text if number is None else _text((host.host, number))
    return Port(address, listening.stopListening, number=number, transports=wrapped.protocols.keys())
