"""The port's sockets: real ones, and clients that mean no good. Nobody else waits for them."""

import asyncio
import http.client
import logging
import socket
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest

from trunkline.operations.errors import StartError
from trunkline.operations.status import port as module
from trunkline.operations.status.port import MOST, Answer, Port
from trunkline.operations.status.requests import MAX_HEAD, Refused, Request

WAIT = 30  # seconds until a test that hangs is called failed


async def answer(request: Request) -> Answer:
    match request.path:
        case "/slow":
            await asyncio.sleep(WAIT)
        case "/broken":
            raise ZeroDivisionError
        case "/refused":
            raise Refused(HTTPStatus.UNAUTHORIZED, "no")
        case "/large":
            return Answer("x" * 50_000_000)
    return Answer(f"{request.path} ü\n")


@pytest.fixture
def listening() -> Iterator[Port]:
    port = Port("127.0.0.1", 0, answer)
    yield port
    port.close()
    port.close()
    assert not port._thread.is_alive()


def connect(listening: Port) -> socket.socket:
    host, _, number = listening.address.rpartition(":")
    return socket.create_connection((host, int(number)), WAIT)


def get(listening: Port, path: str = "/", method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(listening.address, timeout=WAIT)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def rest(sock: socket.socket) -> bytes:
    """Return all that comes until the other side closes or cuts the connection."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_answering(listening: Port) -> bool:
    return any(each.stage == module._Stage.ANSWERING for each in list(listening._open))


def test_an_answer_and_its_headers(listening: Port) -> None:
    response, body = get(listening)
    assert (response.status, body) == (200, "/ ü\n".encode())
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Connection"] == "close"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    response, body = get(listening, method="HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, "5", b"")


def test_refusals(listening: Port, caplog: pytest.LogCaptureFixture) -> None:
    response, body = get(listening, "/refused")
    assert (response.status, body) == (401, b"no\n")
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    response, _ = get(listening, method="DELETE")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    response, body = get(listening, "/broken")
    assert (response.status, body) == (500, b"this failed, which is logged\n")
    [record] = caplog.records
    assert (record.getMessage(), record.levelno) == ("'/broken' could not be answered", logging.ERROR)


def test_a_head_may_come_byte_by_byte(listening: Port) -> None:
    with connect(listening) as sock:
        for byte in b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert rest(sock).endswith("\r\n\r\n/x ü\n".encode())


def test_a_client_that_closes_its_half_is_answered(listening: Port) -> None:
    with connect(listening) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock).endswith("/x ü\n".encode())
    with connect(listening) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""


def test_one_answer_a_connection(listening: Port) -> None:
    with connect(listening) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        answers = rest(sock)
    assert answers.count(b"HTTP/1.1 200") == 1


def test_a_body_that_nobody_asked_for_does_not_hide_the_refusal(listening: Port) -> None:
    with connect(listening) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        assert rest(sock).startswith(b"HTTP/1.1 405 ")


def test_a_head_without_end(listening: Port) -> None:
    with connect(listening) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * MAX_HEAD)
        assert rest(sock).startswith(b"HTTP/1.1 431 ")


def test_who_trickles_is_sent_away(listening: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_TIME", 0.2)
    with connect(listening) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        assert rest(sock).startswith(b"HTTP/1.1 408 ")


def test_who_does_not_read_is_cut_off(listening: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_TIME", 0.2)
    with connect(listening) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: bool(listening._open))
        until(lambda: not listening._open)
        assert len(rest(sock)) < 50_000_000


def test_idle_clients_keep_nobody_out(listening: Port) -> None:
    """As many as want to hold connections open without asking: whoever asks is answered all the same."""
    idle = [connect(listening) for _ in range(MOST + 50)]
    for sock in idle:
        sock.sendall(b"GET / HTTP")
    for _ in range(20):
        assert get(listening)[0].status == 200
    assert len(listening._open) <= MOST
    for sock in idle:
        sock.close()


def test_who_is_being_answered_goes_last(listening: Port) -> None:
    with connect(listening) as busy:
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: is_answering(listening))
        idle = [connect(listening) for _ in range(2 * MOST)]
        until(lambda: len(listening._open) == MOST)
        assert get(listening)[0].status == 200
        assert is_answering(listening)
        for sock in idle:
            sock.close()


def test_closing_cuts_what_is_open() -> None:
    port = Port("localhost", 0, answer)
    with connect(port) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: bool(port._open))
        port.close()
        assert rest(sock) == b""


def test_a_taken_port_is_one_line_that_says_what_to_do(listening: Port) -> None:
    number = int(listening.address.rpartition(":")[2])
    with pytest.raises(StartError) as caught:
        Port("127.0.0.1", number, answer)
    assert str(caught.value).startswith(f"[operations] port: 127.0.0.1:{number} is already in use; ")
    assert "TRUNKLINE_OPERATIONS_PORT" in str(caught.value)


def test_an_address_of_somebody_else() -> None:
    with pytest.raises(StartError, match=r"^\[operations\] 192\.0\.2\.1:0: Cannot assign requested address$"):
        Port("192.0.2.1", 0, answer)
    with pytest.raises(StartError, match=r"^\[operations\] no\.such\.host\.invalid:0: "):
        Port("no.such.host.invalid", 0, answer)
