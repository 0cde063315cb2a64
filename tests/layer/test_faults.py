"""The fault proxy, between plain sockets: what it is told to break breaks, and nothing else does."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from trunkline.layer.testing.faults import FaultProxy

PATIENCE = 60.0


class Echo:
    """A server that sends back what it receives, and keeps what that was."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ends = threading.Semaphore(0)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    self.received += data
                    sock.sendall(data)
            except OSError:
                pass
        self.ends.release()

    def close(self) -> None:
        if self._server.fileno() >= 0:
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port) as made:
        yield made


def dial(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)


def say(sock: socket.socket, text: bytes) -> None:
    """Send something, and have it come back."""
    sock.sendall(text)
    assert receive(sock, len(text)) == text


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            break
        data += more
    return data


def quiet(sock: socket.socket, seconds: float = 0.1) -> bool:
    return not select.select([sock], [], [], seconds)[0]


def test_everything_passes_both_ways(proxy: FaultProxy) -> None:
    data = bytes(range(256)) * 4096
    with dial(proxy) as one, dial(proxy) as two:
        say(one, b"one")
        say(two, b"two")
        threading.Thread(target=one.sendall, args=(data,)).start()
        assert receive(one, len(data)) == data
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b"", "the end passes, too"
    assert (proxy.accepted, proxy.refused) == (2, 0)


def test_cut_with_fin_ends_both_sides(proxy: FaultProxy, echo: Echo) -> None:
    with dial(proxy) as one, dial(proxy) as two:
        say(one, b"1")
        say(two, b"2")
        assert proxy.connections == 2
        assert proxy.cut() == 2
        assert one.recv(1) == two.recv(1) == b""
        for _ in range(2):
            assert echo.ends.acquire(timeout=PATIENCE)
        assert proxy.connections == 0
    with dial(proxy) as again:
        say(again, b"3")


def test_cut_with_rst(proxy: FaultProxy, echo: Echo) -> None:
    with dial(proxy) as sock:
        say(sock, b"1")
        assert proxy.cut(reset=True) == 1
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert echo.ends.acquire(timeout=PATIENCE)


def test_refuses_as_many_as_it_was_told(proxy: FaultProxy) -> None:
    with dial(proxy) as open_already:
        say(open_already, b"1")
        proxy.refuse(2)
        for _ in range(2):
            with pytest.raises(ConnectionResetError), dial(proxy) as sock:
                sock.recv(1)
        with dial(proxy) as sock:
            say(sock, b"2")
        say(open_already, b"3")
    assert (proxy.accepted, proxy.refused) == (2, 2)


def test_silence_holds_everything_and_accepts(proxy: FaultProxy, echo: Echo) -> None:
    with dial(proxy) as sock:
        say(sock, b"1")
        proxy.silence()
        sock.sendall(b"23")
        with dial(proxy) as new:
            new.sendall(b"4")
            assert quiet(sock)
            assert quiet(new, 0.0)
            assert echo.received == b"1"
            proxy.resume()
            assert receive(sock, 2) == b"23"
            assert receive(new, 1) == b"4"


def test_silence_of_replies_lets_requests_through(proxy: FaultProxy, echo: Echo) -> None:
    with dial(proxy) as sock:
        say(sock, b"1")
        proxy.silence(requests=False)
        sock.sendall(b"2")
        assert quiet(sock)
        assert echo.received == b"12"
        proxy.cut(reset=True)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        proxy.resume()


def test_latency_in_each_direction(proxy: FaultProxy) -> None:
    with dial(proxy) as sock:
        say(sock, b"1")
        proxy.latency = 0.05
        began = time.monotonic()
        say(sock, b"2")
        assert time.monotonic() - began >= 0.1
        proxy.latency = 0.0
        say(sock, b"3")


def test_slow_slices(proxy: FaultProxy) -> None:
    with dial(proxy) as sock:
        proxy.slices = 3, 0.01
        began = time.monotonic()
        sock.sendall(b"0123456789")
        assert sock.recv(100) == b"012"
        assert receive(sock, 7) == b"3456789"
        assert time.monotonic() - began >= 0.03
        proxy.slices = None
        say(sock, b"2")


def test_half_close_tells_the_client_the_end_and_still_takes_what_it_sends(proxy: FaultProxy, echo: Echo) -> None:
    with dial(proxy) as sock:
        say(sock, b"1")
        assert proxy.half_close() == 1
        assert proxy.half_close() == 0
        assert sock.recv(1) == b""
        sock.sendall(b"2")
        sock.shutdown(socket.SHUT_WR)
        assert echo.ends.acquire(timeout=PATIENCE)
        assert echo.received == b"12"


def test_a_server_that_is_not_there_resets(proxy: FaultProxy, echo: Echo) -> None:
    echo.close()
    with pytest.raises(ConnectionResetError), dial(proxy) as sock:
        sock.recv(1)


def test_another_target(proxy: FaultProxy) -> None:
    other = Echo()
    proxy.target = "127.0.0.1", other.port
    with dial(proxy) as sock:
        say(sock, b"1")
    assert other.received == b"1"
    other.close()


def test_closing_ends_what_is_open_and_held(echo: Echo) -> None:
    proxy = FaultProxy("127.0.0.1", echo.port)
    with dial(proxy) as sock:
        say(sock, b"1")
        proxy.silence()
        sock.sendall(b"2")
        proxy.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    proxy.close()
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
