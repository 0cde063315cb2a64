"""Blocking connections: one for one thread at a time, and a pool of them for calls from any thread."""

import contextlib
import math
import os
import select
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from hiredis import ProtocolError

from ..backoff import Backoff
from ..errors import LayerUnavailable
from .address import Address, Where
from .handshake import Hello, describe, handshake, loading, lost, unreachable
from .replies import MAX_REPLY, Command, Parser, executed, pack, refusal, unloaded
from .sockets import connect

_CHUNK = 65536
_KEPT = 32  # idle connections of a pool


class Connection:
    """One connection. Any thread may use it, but only one at a time.

    Args:
        where: Where Redis is; asked each time that it is opened.
        scripts: What Redis has to know, by SHA-1; loaded when it connects, and again when Redis forgets them.
        name: How it is called in `CLIENT LIST`.
        timeout: Seconds for the whole of `open`, for a write, and for replies.
        patience: Seconds that the last command of a write may block. Other replies that come with it wait no longer
            for that, unless Redis has forgotten the scripts: they can be loaded only behind it.

    Attributes:
        hello: Who answers; known after `open`.
        address: Where that is; known likewise.
    """

    hello: Hello
    address: Address

    def __init__(
        self,
        where: Where,
        scripts: Mapping[bytes, bytes],
        *,
        name: str = "trunkline",
        timeout: float = 5.0,
        patience: float = 5.0,
    ) -> None:
        self._where = where
        self._scripts = scripts
        self._name = name
        self._timeout = timeout
        self._patience = patience
        self._socket: socket.socket | None = None
        self._buffer = bytearray(_CHUNK)
        self._begin()

    def _begin(self) -> None:
        self._poll = select.poll()
        self._waking: tuple[int, select.poll] | None = None
        self._parser = Parser()
        self._asked: list[Command] = []  # whose replies were not taken yet
        self._end: str | None = None  # why there will be no more replies

    @property
    def closed(self) -> bool:
        """Whether it is not open, or not any more."""
        return self._socket is None

    def open(self) -> None:
        """Connect, and say who we are. A connection that was closed may be opened again.

        Raises:
            LayerUnavailable: It is not there or cannot be used; nothing was done. One line.
        """
        deadline = time.monotonic() + self._timeout
        self._begin()
        self._where.follow(self)
        self.address = address = self._where.resolve(deadline)
        try:
            self._socket = connect(address, deadline)
            self._poll.register(self._socket, select.POLLIN)
            dialogue = handshake(address, self._scripts, self._name)
            commands = next(dialogue)
            while True:
                self._send(pack(commands), deadline)
                self._asked = commands
                self._fill(len(commands), deadline)
                commands = dialogue.send(self._take(len(commands)))
        except StopIteration as end:
            self.hello = end.value
        except (OSError, _Broken) as error:
            self.close()
            raise unreachable(address, error) from None
        except BaseException:
            self.close()
            raise
        self._parser.limit = MAX_REPLY
        self._parser.calm()

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write, and wait for all replies.

        Returns:
            One value for each; a `hiredis.ReplyError` instance where a command failed by itself.

        Raises:
            LayerUnavailable: The connection is lost, and closed. `uncertain` unless nothing was executed.
            ValueError: There are replies that `read` has to take first.
        """
        if self._asked:
            raise ValueError(f"{len(self._asked)} replies are to be read first")
        self.write(commands)
        return self.read(len(commands))

    def write(self, commands: Sequence[Command]) -> None:
        """Send commands in one write. Their replies are taken by `read`.

        Raises:
            LayerUnavailable: The connection is lost, and closed. `uncertain` unless nothing was written.
        """
        data = pack(commands)
        if self._socket is None:
            raise self._gone()
        if self._end is not None:
            reason = self._end
            self.close()
            raise lost(self.address, reason, uncertain=False)
        try:
            self._send(data, time.monotonic() + self._timeout)
        except _Broken as broken:
            self.close()
            raise lost(self.address, broken, uncertain=broken.uncertain) from None
        except BaseException:
            self.close()
            raise
        self._asked.extend(commands)

    def read(self, count: int, timeout: float | None = None) -> list[Any]:
        """Take the next `count` replies of what was written.

        Args:
            count: At most as many as are outstanding.
            timeout: Seconds they may take; None for the connection's own.

        Raises:
            LayerUnavailable: The connection is lost, and closed. `uncertain` unless none of these was executed.
        """
        if self._socket is None:
            raise self._gone()
        if count > len(self._asked):
            raise ValueError(f"{count} replies wanted, {len(self._asked)} outstanding")
        limit = self._timeout if timeout is None else timeout
        parser = self._parser
        try:
            if len(parser.replies) < count:
                self._fill(count, time.monotonic() + limit)
            if parser.alarmed():
                return self._examine(count)
        except _Broken as broken:
            self.close()
            raise lost(self.address, broken, uncertain=broken.uncertain) from None
        except BaseException:
            self.close()
            raise
        return self._take(count)

    def wait(self, timeout: float | None, wake: int | None = None) -> bool:
        """Wait until a reply can be taken without waiting.

        Args:
            timeout: Seconds; None for ever.
            wake: A file descriptor that ends the wait when something can be read from it; it is not read here.

        Returns:
            True for a reply, or the end of the connection, which `read` then raises; False if the time has passed or
            `wake` was readable.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._parser.replies and self._end is None and self._socket is not None:
            if not self._readable(deadline, wake):
                return False
            self._receive()
        return True

    def fileno(self) -> int:
        """Return the file descriptor of an open connection, to be waited for beside others: then `wait(0)` tells."""
        return self._opened().fileno()

    def alive(self) -> bool:
        """Tell whether an idle connection is still there, as far as can be seen from here."""
        if self._socket is None or self._asked:
            return False
        if self._poll.poll(0):
            # With TLS it may be no more than a session ticket.
            self._receive()
        return self._end is None and not self._parser.replies

    def moved(self, host: str, port: int) -> None:
        """End it, as if Redis had, unless it leads there: Redis is to be found at another place now; any thread."""
        sock = self._socket
        if sock is not None and (self.address.host, self.address.port) != (host, port):
            with contextlib.suppress(OSError):  # it may have ended in this moment
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; replies that were not taken are forgotten."""
        closing, self._socket = self._socket, None
        self._asked = []
        self._parser.replies.clear()
        if closing is not None:
            closing.close()

    def _gone(self) -> LayerUnavailable:
        return LayerUnavailable(f"the connection to {self._where.text} is closed")

    def _take(self, count: int) -> list[Any]:
        replies = self._parser.replies
        taken = replies[:count]
        del replies[:count], self._asked[:count]
        return taken

    def _send(self, data: bytes, deadline: float) -> None:
        sock = self._opened()
        begun = False
        try:
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[sock.send(rest) :]
                    begun = True
                except (BlockingIOError, ssl.SSLWantWriteError):
                    self._writable(sock, deadline)
        except OSError as error:
            raise _Broken(error, uncertain=begun) from None

    def _writable(self, sock: socket.socket, deadline: float) -> None:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(_milliseconds(deadline)):
            raise TimeoutError("it takes nothing more")

    def _fill(self, count: int, deadline: float) -> None:
        replies = self._parser.replies
        while len(replies) < count:
            if self._end is not None:
                raise _Broken(self._end)
            if not self._readable(deadline, None):
                raise _Broken("no answer in time")
            self._receive()

    def _readable(self, deadline: float | None, wake: int | None) -> bool:
        """Wait until this connection has something to be received."""
        sock = self._opened()
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        if wake is None:
            return bool(self._poll.poll(_milliseconds(deadline)))
        if self._waking is None or self._waking[0] != wake:
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            poll.register(wake, select.POLLIN)
            self._waking = wake, poll
        own = sock.fileno()
        return any(number == own for number, _ in self._waking[1].poll(_milliseconds(deadline)))

    def _receive(self) -> None:
        """Receive what is there, or learn why there will be no more."""
        try:
            received = self._opened().recv_into(self._buffer)
            if received:
                # hiredis copies it at once, and takes any buffer, which its annotations do not say.
                self._parser.feed(cast(bytes, memoryview(self._buffer)[:received]))
                if len(self._parser.replies) > len(self._asked):
                    self._parser.replies.clear()  # who knows which is whose
                    self._end = "it sent more than it was asked for"
            else:
                self._end = "Redis closed the connection"
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._end = describe(error)
        except ProtocolError as error:
            self._end = f"this is not how Redis speaks: {error}"

    def _opened(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _examine(self, count: int) -> list[Any]:
        """Take replies among which something may concern more than one command."""
        commands = self._asked[:count]
        replies = self._take(count)
        refused = refusal(replies)
        if refused is not None:
            raise _Broken(refused, uncertain=executed(replies))
        again = unloaded(replies)
        if again:
            self._repair(commands, replies, again)
        self._parser.calm()
        return replies

    def _repair(self, commands: list[Command], replies: list[Any], again: list[int]) -> None:
        """Load the scripts, and run again those commands that failed for want of one."""
        deadline = time.monotonic() + self._timeout + self._patience
        load = loading(self._scripts)
        resent = False
        try:
            waiting = len(self._asked)
            self._fill(waiting, deadline)
            behind, asked = self._parser.replies[:waiting], self._asked
            self._parser.replies[:waiting] = []
            self._asked = load + [commands[index] for index in again]
            data = pack(self._asked)
            resent = True
            self._send(data, deadline)
            self._fill(len(self._asked), deadline)
            fresh = self._take(len(self._asked))[len(load) :]
            refused = refusal(fresh)
            if refused is not None:
                raise _Broken(refused, uncertain=executed(fresh))
        except _Broken as broken:
            broken.uncertain = executed(replies) or (resent and broken.uncertain)
            raise
        for index, reply in zip(again, fresh, strict=True):
            replies[index] = reply
        self._asked = asked
        self._parser.replies[:0] = behind


class _Broken(Exception):
    """Tell that a connection is of no use any more, and whether what was asked for may have been done."""

    def __init__(self, reason: object, *, uncertain: bool = True) -> None:
        super().__init__(describe(reason))
        self.uncertain = uncertain


def _milliseconds(deadline: float | None) -> int | None:
    return None if deadline is None else max(math.ceil((deadline - time.monotonic()) * 1000), 0)


class Pool:
    """Connections for calls from any thread: as many as threads call at the same time.

    While Redis is away, one call tries to connect from time to time, and all others fail at once.
    A forked process begins with none: those of its parent stay the parent's.

    Args:
        where, scripts, name, timeout: As for `Connection`.
        backoff: How long to wait after an attempt that failed.
    """

    def __init__(
        self,
        where: Where,
        scripts: Mapping[bytes, bytes],
        *,
        name: str = "trunkline",
        timeout: float = 5.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._where = where
        self._scripts = scripts
        self._name = name
        self._timeout = timeout
        self._backoff = backoff or Backoff()
        self._closed = False
        self._begin()
        _pools.add(self)

    def _begin(self) -> None:
        self._idle: deque[Connection] = deque()
        # Reentrant, because a signal handler may call, too. It is held for a moment, never while anybody waits.
        self._lock = threading.RLock()
        self._failure: str | None = None
        self._next_attempt = 0.0
        self._attempting = False

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write, and wait for all replies; see `Connection.run`.

        Raises:
            LayerUnavailable: `uncertain` unless nothing was executed.
        """
        connection = self._idle_connection() or self._new_connection()
        try:
            return connection.run(commands)
        finally:
            self._give_back(connection)

    def start(self, commands: Sequence[Command]) -> Callable[[], list[Any]]:
        """Send commands in one write, and return what waits for their replies: it has to be called, once.

        Raises:
            LayerUnavailable: As `run` does; so does what is returned.
        """
        connection = self._idle_connection() or self._new_connection()
        try:
            connection.write(commands)
        except BaseException:
            self._give_back(connection)
            raise

        def finish() -> list[Any]:
            try:
                return connection.read(len(commands))
            finally:
                self._give_back(connection)

        return finish

    def close(self) -> None:
        """Close what is idle now, and the others when they come back. Later calls raise `LayerUnavailable`."""
        self._closed = True
        while self._idle:
            self._drop_idle()

    def _idle_connection(self) -> Connection | None:
        idle = self._idle
        while not self._closed:
            try:
                connection = idle.pop()  # the last that came back; an operation that needs no lock
            except IndexError:
                return None
            if connection.alive():
                return connection
            connection.close()
        raise LayerUnavailable(f"the connection to {self._where.text} is closed")

    def _give_back(self, connection: Connection) -> None:
        if connection.closed:
            return
        self._idle.append(connection)
        if self._closed or len(self._idle) > _KEPT:
            self._drop_idle()

    def _drop_idle(self) -> None:
        try:
            self._idle.popleft().close()
        except IndexError:
            pass  # another thread has it

    def _new_connection(self) -> Connection:
        with self._lock:
            probe = self._failure is not None
            if self._failure is not None:
                if self._attempting or time.monotonic() < self._next_attempt:
                    raise LayerUnavailable(self._failure)
                self._attempting = True
        connection = Connection(self._where, self._scripts, name=self._name, timeout=self._timeout)
        try:
            connection.open()
        except LayerUnavailable as error:
            with self._lock:
                self._failure = str(error)
                self._next_attempt = time.monotonic() + self._backoff.next()
            raise
        finally:
            if probe:
                self._attempting = False
        with self._lock:
            self._failure = None
            self._backoff.reset()
        return connection


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in _pools:
        pool._begin()


os.register_at_fork(after_in_child=_after_fork)
