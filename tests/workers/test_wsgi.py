"""WSGI applications behind the bus: what they are told, how they answer, and what no request makes of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import pytest

from trunkline.layer import MemoryLayer
from trunkline.workers import Message, Worker, WsgiConsumer, route
from trunkline.workers.testing import Client
from trunkline.workers.wsgi import environ_of

Application = Callable[..., Any]


def client(application: Application, path: str | None = None) -> Client:
    return Client([route("http.request", WsgiConsumer(application), **({} if path is None else {"path": path}))])


class Mirror:
    """Keep the environment and answer with the body."""

    environ: dict[str, Any]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environ = environ
        start_response("201 Created", [("X-One", "1"), ("X-One", "2")])
        return [environ["wsgi.input"].read()]


def test_a_request_becomes_an_environment() -> None:
    mirror = Mirror()
    headers = [(b"host", b"example.com"), (b"content-type", b"text/x"), (b"content-length", b"4"), (b"x-a", b"\xe9")]
    headers += [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x"), (b"accept", b"y")]
    answer = client(mirror, r"^/(?P<shop>\w+)/").http("POST", "/shop/caf\xe9", b"body", headers, b"a=%20")
    assert answer == (201, [(b"X-One", b"1"), (b"X-One", b"2")], b"body")
    environ = mirror.environ
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/shop/caf\xc3\xa9",
        "QUERY_STRING": "a=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.com",
        "HTTP_X_A": "\xe9",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_ACCEPT": "x, y",
        "wsgi.url_scheme": "http",
        "wsgiorg.routing_args": ((), {"shop": "shop"}),
    }
    assert {name: environ[name] for name in expected} == expected
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


@pytest.mark.parametrize(
    "header",
    [
        (b"proxy", b"http://evil"),
        (b"content_length", b"9"),
        (b"x_forwarded_for", b"1.2.3.4"),
        (b"remote-user", b"ann"),
        (b"remote_user", b"ann"),
        (b"", b"x"),
        (b"a b", b"x"),
        (b"x\n", b"x"),
        (b"content-length", b"-1"),
        (b"content-length", "\N{ARABIC-INDIC DIGIT ONE}".encode()),
        (b"transfer-encoding", b"chunked"),
    ],
)
def test_no_header_passes_for_anything_else(header: tuple[bytes, bytes]) -> None:
    """Whoever wrote the message into the bus."""
    head = {"http_version": "1.1", "method": "GET", "query_string": b"", "path": "/", "reply_channel": "http.reply.x!1"}

    def names(*headers: tuple[bytes, bytes]) -> set[str]:
        return set(environ_of(Message({**head, "headers": list(headers)}, "http.request")))

    assert names(header) - names() <= {"HTTP_REMOTE_USER"}


def test_an_application_of_a_folder() -> None:
    mirror = Mirror()
    consumer = WsgiConsumer(mirror)
    with MemoryLayer() as layer:
        head = {"http_version": "2", "method": "GET", "query_string": b"", "headers": [], "scheme": "https"}
        place = {"path": "/a/b", "root_path": "/a", "client": ["192.0.2.1", 5], "server": ["10.0.0.1", 443]}
        layer.send("http.request", {"reply_channel": "http.reply.x!1", **head, **place})
        Worker(layer, [route("http.request", consumer)]).step()
    environ = mirror.environ
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/a", "/b")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "5")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("10.0.0.1", "443")
    assert (environ["SERVER_PROTOCOL"], environ["wsgi.url_scheme"]) == ("HTTP/2", "https")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_standard_librarys_validator_says(method: str) -> None:
    """`wsgiref.validate` fails where either side breaks PEP 3333."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"got ", body]

    headers = [(b"content-length", b"4")] if method == "POST" else []
    status, _, body = client(validator(application)).http(method, "/", b"body" if headers else b"", headers)
    assert (status, body) == (200, b"got body" if headers else b"got ")


def test_what_is_yielded_leaves_as_it_comes() -> None:
    """And nothing before the first piece, so that a late error can still be told."""
    with MemoryLayer() as layer:
        seen: list[dict[str, Any]] = []
        closed: list[bool] = []

        def look() -> None:
            while (found := layer.receive(["http.reply.x!"]))[1] is not None:
                seen.append(found[1])

        class Pieces:
            def __iter__(self) -> Iterator[bytes]:
                look()
                assert seen == []
                yield b""
                look()
                assert seen == []
                yield b"a"
                look()
                assert [message["content"] for message in seen] == [b"a"]
                yield b"b" * 70_000
                look()
                assert [len(message["content"]) for message in seen] == [1, 65536, 70_000 - 65536]

            def close(self) -> None:
                closed.append(True)

        def application(environ: Any, start_response: Any) -> Pieces:
            start_response("200 OK", [])
            return Pieces()

        head = {"http_version": "1.1", "method": "GET", "query_string": b"", "headers": [], "path": "/"}
        layer.send("http.request", {"reply_channel": "http.reply.x!1", **head})
        Worker(layer, [route("http.request", WsgiConsumer(application))]).step()
        look()
    assert closed == [True]
    assert [message.get("status") for message in seen] == [200, None, None, None]
    assert [message.get("more_content", False) for message in seen] == [True, True, True, False]


def test_write_and_errors_that_come_late() -> None:
    def writing(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"one ")
        return [b"two"]

    assert client(writing).http("GET", "/")[::2] == (200, b"one two")

    def changing(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise KeyError("x")
        except KeyError as error:
            start_response("500 Oops", [], (type(error), error, error.__traceback__))
        return [b"sorry"]

    assert client(changing).http("GET", "/")[::2] == (500, b"sorry")


def _twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def _split(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("X", "a\r\nb: c")])
    return []


def _raising(environ: Any, start_response: Any) -> list[bytes]:
    raise KeyError("x")


@pytest.mark.parametrize(
    "application",
    [_twice, _split, _raising, lambda environ, start_response: [b"x"], lambda environ, start_response: None],
)
def test_applications_that_break_the_rules_are_answered_for(application: Application) -> None:
    assert client(application).http("GET", "/")[0] == 500


def test_an_empty_answer() -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("204 No Content", [])
        return iter(())

    assert client(application).http("DELETE", "/")[::2] == (204, b"")


def test_a_large_body_is_read_in_pieces() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        assert isinstance(environ["wsgi.input"], io.BufferedIOBase)
        start_response("200 OK", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    assert client(application).http("PUT", "/", b"x" * 1_000_000)[2] == b"1000000"
