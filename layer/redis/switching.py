"""Hearing from the Sentinels that another Redis was made the master.

When the old one is gone, so are its connections. But when a failover was asked for, it lives on, and Sentinels leave it
a master beside the new one for eight seconds or more: what is sent to it then is thrown away in the end, and what is
taken from it was copied before, and comes again. So who hears of the new one leaves the old one at once.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hiredis import ProtocolError, ReplyError

from ..backoff import Backoff
from .handshake import describe
from .replies import Command, Parser, pack
from .sockets import connect

if TYPE_CHECKING:
    from .address import Address

log = logging.getLogger("trunkline.layer")

_CHANNEL = "+switch-master"
_PATIENCE = 0.5  # seconds that a Sentinel may take to be connected


class Follower(Protocol):
    """What has a connection to the master."""

    def moved(self, host: str, port: int) -> None:
        """Take note, in whatever thread, that the master is there now: a connection to elsewhere is of no use."""


class Watch:
    """A thread that listens to one Sentinel, and to the next one when that is lost. An idle one does not wake up.

    Args:
        sentinels: Where they are, and who listens.
        service: How they call what they watch.
    """

    def __init__(self, sentinels: Sequence[Address], service: str) -> None:
        self._sentinels = sentinels
        self._service = service.encode()
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._process = 0  # in which the thread runs; it does not survive a fork
        self._socket: socket.socket | None = None
        self._stopped = threading.Event()

    def add(self, follower: Follower) -> None:
        """Tell somebody from now on, for as long as anybody else refers to it."""
        with self._lock:
            self._followers.add(follower)
            if self._process != os.getpid() and not self._stopped.is_set():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="trunkline-sentinel", daemon=True).start()

    def stop(self) -> None:
        """End the thread; it does not start again."""
        self._stopped.set()
        with self._lock:
            listening = self._socket
        if listening is not None:
            _end(listening)

    def _run(self) -> None:
        backoff = Backoff()
        turn = 0
        while not self._stopped.is_set():
            sentinel = self._sentinels[turn % len(self._sentinels)]
            began = time.monotonic()
            try:
                self._listen(sentinel)
            except (OSError, ProtocolError, ReplyError) as error:
                log.debug("not listening to the Sentinel %s any more: %s", sentinel.text, describe(error))
            except Exception:
                log.exception("listening to the Sentinel %s failed", sentinel.text)
            turn += 1
            if time.monotonic() - began > backoff.longest:
                backoff.reset()
            self._stopped.wait(backoff.next())

    def _listen(self, sentinel: Address) -> None:
        """Listen until the connection is lost, or `stop`."""
        commands: list[Command] = [("SUBSCRIBE", _CHANNEL)]
        if sentinel.password is not None:
            commands.insert(0, ("AUTH", sentinel.username or "default", sentinel.password))
        parser = Parser()
        with connect(sentinel, time.monotonic() + _PATIENCE) as sock:
            with self._lock:
                self._socket = sock
            sock.settimeout(None)
            sock.sendall(pack(commands))
            while not self._stopped.is_set() and (data := sock.recv(65536)):
                parser.feed(data)
                for reply in parser.replies:
                    if isinstance(reply, ReplyError):
                        raise reply
                    if isinstance(reply, list) and reply[0] == b"message":
                        self._switched(reply[2].split())
                parser.replies.clear()

    def _switched(self, words: list[bytes]) -> None:
        service, _, _, host, port = words
        if service != self._service:
            return
        with self._lock:
            followers = list(self._followers)
        for follower in followers:
            follower.moved(host.decode(), int(port))


def _end(sock: socket.socket) -> None:
    """Have whoever receives from a socket, in another thread, find its end."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it ended by itself
