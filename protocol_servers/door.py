"""Who comes in: limits on connections, and the clients behind proxies, before any protocol begins.

    accepted ─► from a trusted proxy that sends headers? ─ no ─► room for it, and for its address? ─► TLS ─► protocol
                     └ yes ─► room? ─► header ─► the real client ─┘         └ no: refused

A connection that is refused costs no protocol and no TLS handshake. It is told so in the factory's words, where the
factory has a method `too_many() -> bytes` and nothing has to be encrypted for that.
"""

from __future__ import annotations

import logging
import resource
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .listening import ListeningSettings
from .networks import one_client
from .proxy_protocol import MalformedHeader, read_header

if TYPE_CHECKING:
    from .transport import LoopTransport

HEADER_TIMEOUT = 5.0  # seconds for a proxy's header: nothing comes before it
LINGER = 1.0  # seconds that a client gets to read why it was refused
MAX_LINGERING = 32  # clients that get them at a time; the others are cut off without a word
LINES_APART = 60.0  # seconds between two lines of the log
MIN_SPARE, MAX_SPARE = 64, 256  # descriptors that stay free for what is no connection: spools, the layer, files

Place = str | bytes


def highest_descriptor(limit: int) -> int | None:
    """Return the highest descriptor that a connection may have, so that some stay free; None: any.

    Args:
        limit: How many the process may have (RLIMIT_NOFILE).
    """
    if limit == resource.RLIM_INFINITY:
        return None
    return max(limit - min(max(limit // 16, MIN_SPARE), MAX_SPARE), limit // 2)


class Door:
    """The limits of one listening server, whatever the number of its endpoints.

    Args:
        settings: The limits, and which proxies are trusted.
        factory: Builds the protocols; its `too_many`, where it has one, returns what a refused client is sent.
        stats: Counts ``connections_over_max``, ``connections_over_max_per_address``, ``connections_over_files``,
            ``proxy_headers_refused`` and ``tls_handshakes_failed``.
        log: Told what is refused, in a line a minute at the most.
        clock: A monotonic clock in seconds.

    Attributes:
        open: Connections that are inside.
        reads_headers: Connections of trusted proxies begin with a header.
        stats: The counters.
    """

    def __init__(
        self,
        settings: ListeningSettings,
        factory: Any,
        *,
        stats: Counter[str],
        log: logging.Logger,
        clock: Callable[[], float],
    ) -> None:
        self.open = 0
        self.reads_headers = settings.proxy_protocol
        self.stats = stats
        self._proxies = settings.proxies
        self._anybody = bool(settings.proxies)
        self._max = settings.max_connections
        self._max_per_address = settings.max_per_address
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._highest = highest_descriptor(files)
        if self._highest is not None and self._highest < self._max:
            log.info("max_connections is %d, and this process may open no more than %d files", self._max, files)
        self._addresses: dict[Place, int] = {}
        self._word: Callable[[], bytes] | None = getattr(factory, "too_many", None)
        self._log = log
        self._clock = clock
        self._lingering = 0
        self._next_line = float("-inf")
        self._unsaid = 0

    # What endpoints ask

    def enter(self, transport: LoopTransport) -> bool:
        """Take a new connection in.

        Returns:
            True: it may begin. False: it was refused, or begins when its header was read.
        """
        host = transport.host
        if self._highest is not None and transport.descriptor > self._highest:
            self._count("connections_over_files", host, "this process can hardly open any more files (ulimit -n)")
            transport.abortConnection()
            return False
        if self.reads_headers and host in self._proxies:
            transport.place = self.admit(host)
            if transport.place is None:
                self._turn_away(transport)
            else:
                _HeaderReader(self, transport)
            return False
        return self._seat(transport)

    def enter_named(self, transport: LoopTransport) -> bool:
        """Take a connection in whose header has told who it is from; False: it was refused."""
        assert transport.place is not None
        self.leave(transport.place)
        return self._seat(transport)

    def admit(self, host: str) -> Place | None:
        """Count a connection.

        Args:
            host: Where it is from; "": from a unix socket, or nobody knows.

        Returns:
            What to `leave` when it ends; None: it has to be refused.
        """
        if self.open >= self._max:
            self._count("connections_over_max", host, f"there are {self.open} already (max_connections)")
            return None
        # Behind a proxy's address there are many clients.
        place = "" if self._anybody and host in self._proxies else one_client(host)
        if place:
            there = self._addresses.get(place, 0)
            if there >= self._max_per_address:
                why = f"there are {there} from its address already (max_per_address)"
                self._count("connections_over_max_per_address", host, why)
                return None
            self._addresses[place] = there + 1
        self.open += 1
        return place

    def leave(self, place: Place) -> None:
        """Let a connection go that was counted."""
        self.open -= 1
        if place:
            left = self._addresses[place] - 1
            if left:
                self._addresses[place] = left
            else:
                del self._addresses[place]

    def cut(self, transport: LoopTransport, why: str) -> None:
        """Cut a proxy off whose header cannot be believed."""
        self._count("proxy_headers_refused", transport.host, why)
        transport.abortConnection()

    def heard(self) -> None:
        """Take note that a client has read why it was refused, or has gone."""
        self._lingering -= 1

    # Private

    def _seat(self, transport: LoopTransport) -> bool:
        transport.place = self.admit(transport.host)
        if transport.place is None:
            self._turn_away(transport)
            return False
        return True

    def _turn_away(self, transport: LoopTransport) -> None:
        if self._word is None or transport.begins_with_tls or self._lingering >= MAX_LINGERING:
            transport.abortConnection()
        else:
            self._lingering += 1
            _Refused(self, transport, self._word())

    def _count(self, what: str, host: str, why: str) -> None:
        self.stats[what] += 1
        self._unsaid += 1
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + LINES_APART
            more = f"; {self._unsaid} since the last line like this" if self._unsaid > 1 else ""
            self._log.warning("a connection from %s was refused: %s%s", host or "a unix socket", why, more)
            self._unsaid = 0


class _HeaderReader:
    """Reads a proxy's header in the protocol's place."""

    def __init__(self, door: Door, transport: LoopTransport) -> None:
        self._door = door
        self._transport = transport
        self._data = bytearray()
        self._deadline = transport.call_later(HEADER_TIMEOUT, self._late)
        transport.protocol = self

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        try:
            header = read_header(self._data)
        except MalformedHeader as error:
            self._door.cut(self._transport, str(error))
            return
        if header is None:
            return
        self._deadline.cancel()
        transport = self._transport
        transport.protocol = None
        if header.source is not None:
            transport.name(header.source, header.destination)
        if self._door.enter_named(transport):
            transport.begin(bytes(self._data[header.size :]))

    def connectionLost(self, reason: object = None) -> None:
        self._deadline.cancel()

    def _late(self) -> None:
        self._door.cut(self._transport, f"no header of the PROXY protocol came within {HEADER_TIMEOUT:g} s")


class _Refused:
    """Lets a client read why it was refused: what it had sent would make a close destroy that (RFC 9112, 9.6)."""

    def __init__(self, door: Door, transport: LoopTransport, word: bytes) -> None:
        self._door = door
        self._ending = transport.call_later(LINGER, transport.abortConnection)
        transport.protocol = self
        transport.write(word)
        transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop it."""

    def connectionLost(self, reason: object = None) -> None:
        self._ending.cancel()
        self._door.heard()
