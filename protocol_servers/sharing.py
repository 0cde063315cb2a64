"""Ports that several processes of one server listen on together (``SO_REUSEPORT``)."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from ..operations.errors import UsageError
from .endpoints import Description

_SHARED = ("tcp", "tcp6", "ssl")


def check_shared(descriptions: Iterable[str], default_interface: str = "127.0.0.1") -> None:
    """Check, before several processes listen on every description, that they can and that nobody else does.

    Each process by itself would not notice another program of the same user that shares its ports as well.

    Raises:
        UsageError: A description makes no sense, or several processes cannot listen on it.
        StartError: A port is taken or may not be used.
    """
    for text in descriptions:
        description = Description.parse(text)
        if description.kind not in _SHARED or not description.arguments:
            raise UsageError(f"{text}: several processes share tcp:PORT and ssl:PORT alone; leave --processes at 1")
        host, port = description.host_and_port("::1" if description.kind == "tcp6" else default_interface)
        if port == 0:
            raise UsageError(f"{text}: several processes need one port that all of them know, not 0")
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                with socket.socket(family, kind, protocol) as trial:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    trial.bind(address)
        except OSError as error:
            raise description.refused(error, host, port) from error
