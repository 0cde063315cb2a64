"""Options of a connection's socket, by Twisted's names (`twisted.internet.interfaces.ITCPTransport`)."""

from __future__ import annotations

import socket
from typing import Any

_OPTIONS = {
    "TCP_NODELAY": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "SO_KEEPALIVE": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
}


class SocketOptions:
    """What a transport can be asked about its socket."""

    __slots__ = ()

    _transport: Any
    _lost: bool

    def getTcpNoDelay(self) -> bool:
        """Return whether small writes go out at once; they do unless this was changed."""
        return bool(self._option_value("TCP_NODELAY"))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Let small writes go out at once, or not."""
        self._set_option("TCP_NODELAY", enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether the system probes an idle connection."""
        return bool(self._option_value("SO_KEEPALIVE"))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Let the system probe an idle connection, or not."""
        self._set_option("SO_KEEPALIVE", enabled)

    def _option_value(self, name: str) -> int:
        socket_ = self._transport.get_extra_info("socket")
        return int(socket_.getsockopt(*_OPTIONS[name]))

    def _set_option(self, name: str, enabled: bool) -> None:
        if not self._lost:
            self._transport.get_extra_info("socket").setsockopt(*_OPTIONS[name], int(enabled))
