"""The bus behind wsgiref's server: whatever a WSGI server is given, consumers answer."""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest

from trunkline.layer import LayerUnavailable, MemoryLayer
from trunkline.protocol_servers.wsgi import WsgiServer
from trunkline.workers import Group, Worker, route
from trunkline.workers.exceptions import StreamClosed

PATIENCE = 20  # seconds; a bound against hanging, never waited for
MB = 1024 * 1024

told: list[str] = []


def hello(message: Any) -> None:
    message.reply(f"{message['method']} {message['path']} {message['query_string'].decode()}", headers=[("x-a", "b")])


def headers(message: Any) -> None:
    kept = {name.decode(): value.decode() for name, value in message["headers"]}
    message.reply({"headers": kept, "client": message["client"][0], "version": message["http_version"]})


def mirror(message: Any) -> None:
    message.reply(iter(lambda: message.stream().read(65536), b""))


def count(message: Any) -> None:
    size = 0
    try:
        while block := message.stream().read(65536):
            size += len(block)
    except StreamClosed:
        told.append("closed")
        return
    message.reply(str(size))


def early(message: Any) -> None:
    message.reply("enough", status=413)


def large(message: Any) -> None:
    message.reply(b"x" * 65536 for _ in range(320))
    told.append("sent")


def endless(message: Any) -> None:
    Group("endless").add(message.reply_channel)
    message.reply_channel.send({"status": 200, "content": b"begun", "more_content": True})


def poll(message: Any) -> None:
    Group("polls").add(message.reply_channel)
    told.append("polling")


def never(message: Any) -> None:
    pass


def wrong(message: Any) -> None:
    message.reply_channel.send({"status": 200, "headers": [[b"x", b"y"]], "content": b"a", "more_content": True})
    message.reply_channel.send({"status": 200})


def left(message: Any) -> None:
    told.append("left " + message["path"])


CONSUMERS = (hello, headers, mirror, count, early, large, endless, poll, never, wrong)
ROUTING = [route("http.request", each, path=f"^/{each.__name__}$") for each in CONSUMERS]
ROUTING.append(route("http.disconnect", left))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class House:
    """A WSGI server in threads, the bus behind it, and a worker."""

    def __init__(self, application: Any, layer: MemoryLayer) -> None:
        self.layer = layer
        self.worker = Worker(layer, ROUTING, threads=2)
        self.server = make_server("127.0.0.1", 0, application, _Server, _Handler)
        self.threads = [threading.Thread(target=run) for run in (self.worker.run, self.server.serve_forever)]
        for thread in self.threads:
            thread.start()
        until(lambda: layer.listeners())

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=PATIENCE)

    def ask(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        with closing(self.connect()) as connection:
            connection.request(method, path, **more)
            response = connection.getresponse()
            return response.status, response.read()

    def stop(self) -> None:
        self.worker.stop()
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(PATIENCE)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def application() -> Iterator[WsgiServer]:
    with MemoryLayer() as layer:
        made = WsgiServer(layer, response_timeout=0.5)
        yield made
        made.close()


@pytest.fixture
def house(application: WsgiServer) -> Iterator[House]:
    told.clear()
    layer = application._layer
    assert isinstance(layer, MemoryLayer)
    made = House(application, layer)
    yield made
    made.stop()


def test_requests_are_answered(house: House) -> None:
    with closing(house.connect()) as connection:
        connection.request("GET", "/hello?a=%20b")
        response = connection.getresponse()
        assert (response.status, response.reason, response.read()) == (200, "OK", b"GET /hello a=%20b")
        assert response.headers["x-a"] == "b"
        assert response.headers["content-length"] == "17"
        assert len(response.headers.get_all("date", [])) == 1
    assert house.ask("GET", "/h%65llo")[1] == b"GET /hello "
    assert house.ask("HEAD", "/hello") == (200, b"")
    assert house.ask("GET", "/nowhere")[0] == 404


def test_headers_arrive(house: House) -> None:
    sent = {"X-One": "1", "Content-Type": "text/x", "Proxy": "evil"}
    status, body = house.ask("POST", "/headers", body=b"abc", headers=sent)
    assert status == 200
    for part in (b'"x-one": "1"', b'"content-type": "text/x"', b'"content-length": "3"', b'"client": "127.0.0.1"'):
        assert part in body
    assert b"proxy" not in body


@pytest.mark.parametrize("size", [1, 65536, 65537, 5_000_000])
def test_bodies_go_both_ways(house: House, size: int) -> None:
    data = os.urandom(size)
    assert house.ask("PUT", "/mirror", body=data) == (200, data)


def test_an_answer_before_the_end_of_the_body(house: House) -> None:
    """No more of it is read than was wanted by then."""
    body = io.BytesIO(b"x" * 50 * MB)
    length = {"CONTENT_LENGTH": str(50 * MB), "wsgi.input": body}
    answer = call(house.server.get_app(), PATH_INFO="/early", REQUEST_METHOD="PUT", **length)
    assert answer[1] == b"enough"
    assert body.tell() < 3 * MB


def test_a_client_that_leaves_within_its_body(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.server.server_port), PATIENCE) as client:
        client.sendall(b"PUT /count HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 200_000)
    until(lambda: "closed" in told)


def test_a_slow_client_holds_no_consumer(house: House) -> None:
    with closing(house.connect()) as connection:
        connection.request("GET", "/large")
        until(lambda: "sent" in told)
        assert len(connection.getresponse().read()) == 20 * MB


def test_a_client_that_leaves_within_its_answer_is_told_of(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.server.server_port), PATIENCE) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10)

    def noticed() -> bool:
        Group("endless", layer=house.layer).send({"content": b"more", "more_content": True})
        return "left /endless" in told

    until(noticed)


def test_a_group_answers_a_long_poll(application: WsgiServer) -> None:
    told.clear()
    layer = application._layer
    assert isinstance(layer, MemoryLayer)
    application._settings.response_timeout = PATIENCE
    house = House(application, layer)
    try:
        with closing(house.connect()) as connection:
            connection.request("GET", "/poll")
            until(lambda: "polling" in told)
            Group("polls", layer=layer).send({"status": 200, "content": b"news"})
            assert connection.getresponse().read() == b"news"
    finally:
        house.stop()


def test_a_request_that_nobody_answers(house: House) -> None:
    status, body = house.ask("GET", "/never")
    assert (status, body) == (504, b"no answer within 0.5 s\n")


def test_a_second_status_breaks_the_response_off(house: House) -> None:
    with socket.create_connection(("127.0.0.1", house.server.server_port), PATIENCE) as client:
        client.sendall(b"GET /wrong HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while piece := client.recv(65536):
            data += piece
    assert b" 200 " in data


def call(application: Any, **environ: Any) -> tuple[str, bytes]:
    """Call an application as a WSGI server does."""
    said: list[str] = []
    result = application({"REQUEST_METHOD": "GET", **environ}, lambda status, headers: said.append(status))
    try:
        return said[0], b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()


def test_a_full_channel_and_a_layer_that_is_away_are_503(application: WsgiServer, monkeypatch: Any) -> None:
    with MemoryLayer(capacity=1) as layer:
        full = WsgiServer(layer)
        layer.send("http.request", {})
        assert call(full, PATH_INFO="/")[0] == "503 Service Unavailable"
        full.close()

    def away(self: Any, *args: Any, **more: Any) -> Any:
        raise LayerUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryLayer, "_make_inbox", away)
        assert call(application, PATH_INFO="/") == ("503 Service Unavailable", b"the channel layer is unavailable\n")


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"CONTENT_LENGTH": "x"}, "400 Bad Request"),
        ({"CONTENT_LENGTH": "9" * 15}, "413 "),
        ({"PATH_INFO": "/\xff"}, "400 Bad Request"),
    ],
)
def test_requests_that_make_no_sense(application: WsgiServer, environ: dict[str, str], status: str) -> None:
    assert call(application, **environ)[0].startswith(status)


def test_an_unknown_length_is_read_to_its_end_and_bounded(house: House) -> None:
    body = {"wsgi.input": io.BytesIO(b"x" * 200_000), "wsgi.input_terminated": True}
    assert call(house.server.get_app(), PATH_INFO="/count", REQUEST_METHOD="PUT", **body) == ("200 OK", b"200000")
    small = WsgiServer(house.layer, max_body=100_000)
    body["wsgi.input"] = io.BytesIO(b"x" * 200_000)
    assert call(small, PATH_INFO="/count", REQUEST_METHOD="PUT", **body)[0].startswith("413 ")
    small.close()


def test_closing_ends_those_who_wait_and_it_begins_anew(house: House) -> None:
    application = house.server.get_app()
    application._settings.response_timeout = PATIENCE  # type: ignore[union-attr]
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(call(application, PATH_INFO="/poll"))
        except ConnectionAbortedError as error:
            answers.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: "polling" in told)
    application.close()  # type: ignore[union-attr]
    asking.join(PATIENCE)
    assert isinstance(answers[0], ConnectionAbortedError)
    assert call(application, PATH_INFO="/hello") == ("200 OK", b"GET /hello ")


def test_the_standard_librarys_validator_has_nothing_to_say(application: WsgiServer) -> None:
    layer = application._layer
    assert isinstance(layer, MemoryLayer)
    house = House(validator(application), layer)
    try:
        assert house.ask("GET", "/hello")[0] == 200
    finally:
        house.stop()


def test_each_process_has_its_own(application: WsgiServer) -> None:
    """As after a fork."""
    first = application._running()
    first.process = -1
    second = application._running()
    assert second is not first
    first.stop()


def test_which_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUNKLINE_LAYER", raising=False)
    with pytest.raises(ValueError, match="TRUNKLINE_LAYER"):
        WsgiServer()
    monkeypatch.setenv("TRUNKLINE_LAYER", "memory://")
    application = WsgiServer(response_timeout=0.1)
    assert call(application, PATH_INFO="/") == ("504 Gateway Timeout", b"no worker listens to http.request\n")
    application.close()
    with pytest.raises(TypeError):
        WsgiServer("memory://", respnse_timeout=1)
