"""An `IrcRealm` on a port."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

from trunkline.protocol_servers.testing import IrcRealm


class RealmServer:
    """An `IrcRealm` on a port, which can also behave badly.

    Attributes:
        realm: The network; to be used within `lock`.
        port: Where it listens; the same after `close` and `open`.
        accepted: Connections so far.
        rude: Called in a thread with each connection instead of serving it.
    """

    def __init__(self, realm: IrcRealm, context: ssl.SSLContext | None = None) -> None:
        self.realm = realm
        self.lock = threading.RLock()
        self.accepted = 0
        self.rude: Callable[[socket.socket], None] | None = None
        self.port = 0
        self._context = context
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Cut everything, and refuse connections."""
        for each in (self._listening, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other end was quicker
            each.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            self.accepted += 1
            self._sockets.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            if self.rude is not None:
                self.rude(sock)
                sock.close()
                return
            self._converse(sock)
        except OSError:
            pass  # cut, by one side or the other

    def _converse(self, sock: socket.socket) -> None:
        with self.lock:
            seat = self.realm.connect()
        sock.settimeout(0.01)
        try:
            while not seat.closed:
                try:
                    data = sock.recv(65536)
                    if not data:
                        return
                except TimeoutError:
                    data = b""
                with self.lock:
                    seat.receive(data)
                    told = seat.take()
                sock.sendall(told)
            sock.shutdown(socket.SHUT_WR)
        finally:
            with self.lock:
                self.realm.leave(seat)
            sock.close()
