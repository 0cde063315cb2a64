"""Sockets to Redis."""

import socket
import time
from typing import Any

from .address import Address

_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # where the system has them


def connect(address: Address, deadline: float) -> socket.socket:
    """Return a connected socket that does not block, after the TLS handshake if there is one.

    Args:
        address: Where; every address of the host is tried. Looking its name up takes what the system gives it.
        deadline: Of `time.monotonic()`.

    Raises:
        OSError: It cannot be reached.
    """
    if address.path is not None:
        sock = _dial(socket.AF_UNIX, 0, address.path, deadline)
    else:
        failure: OSError = OSError("the host has no address")
        for family, _, protocol, _, place in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
            try:
                sock = _dial(family, protocol, place, deadline)
                break
            except OSError as error:
                failure = error
        else:
            raise failure
    try:
        prepare(sock)
        if address.tls is not None:
            sock.settimeout(left(deadline))
            sock = address.tls.context().wrap_socket(sock, server_hostname=address.host)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket) -> None:
    """Set a connected socket up: nothing waits for more to send, and a peer that has vanished is noticed."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _dial(family: int, protocol: int, place: Any, deadline: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        sock.settimeout(left(deadline))
        sock.connect(place)
    except BaseException:
        sock.close()
        raise
    return sock


def left(deadline: float) -> float:
    """Return the seconds up to a deadline of `time.monotonic()`, as a timeout that a socket takes."""
    return max(deadline - time.monotonic(), 0.001)
