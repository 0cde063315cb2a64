"""Hooks: a whole request in, one answer out, on a real port."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from trunkline.protocol_servers.base import ProtocolServer
from trunkline.protocol_servers.http_core import HttpLimits
from trunkline.protocol_servers.http_core.hooks import Hook, HookAnswer, HookFactory, HookRequest
from trunkline.protocol_servers.http_core.request import Request
from trunkline.protocol_servers.testing import ReactorThread, StubLayer

PATIENCE = 60  # seconds; a bound against hanging, never waited for
SECRET = "what-nobody-may-read-in-a-log"


class Posts(ProtocolServer):
    """A server that has nothing but hooks."""

    name = "posts"
    factory: HookFactory

    def __init__(self, hooks: dict[str, Hook], options: dict[str, Any], reactor: Any) -> None:
        super().__init__(StubLayer(), None, reactor=reactor)  # type: ignore[arg-type]
        self.hooks = hooks
        self.options = options

    async def listen(self) -> None:
        self.factory = HookFactory(self.hooks, self, **self.options)
        await self.listen_on(["tcp:0"], self.factory, "http")

    async def drain(self, grace: float) -> None:
        await self.factory.drain(grace)

    @property
    def port(self) -> int:
        return int(self.ports[0].rpartition(":")[2])


Serve = Callable[..., Posts]


@pytest.fixture
def serve(reactor_thread: ReactorThread) -> Iterator[Serve]:
    """Serves hooks: ``serve({"/path": hook}, max_body=…)``."""
    running: list[Posts] = []

    def start(hooks: dict[str, Hook], **options: Any) -> Posts:
        server = reactor_thread.run(Posts, hooks, options, reactor_thread.reactor)
        reactor_thread.call(server.start())
        running.append(server)
        return server

    yield start
    for server in running:
        if not server.stopping:
            reactor_thread.call(server.stop(1))


def ask(
    server: Posts, path: str, body: Any = b"", method: str = "POST", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_a_hook_gets_the_whole_request_and_its_answer_is_sent(serve: Serve) -> None:
    seen: list[HookRequest] = []

    def hook(request: HookRequest) -> HookAnswer:
        seen.append(request)
        return HookAnswer(201, [(b"x-of-mine", b"1")], b"made")

    body = b"".join(b"%06d" % number for number in range(30_000))
    status, headers, content = ask(serve({"/in/here": hook}), "/in/h%65re?a=b%20c", body, headers={"X-Some": "thing"})
    assert (status, headers["x-of-mine"], content) == (201, "1", b"made")
    [request] = seen
    assert (request.method, request.path, request.query_string) == ("POST", "/in/here", b"a=b%20c")
    assert request.body == body
    assert request.header(b"x-some") == b"thing"
    assert request.header(b"x-none") is None
    assert request.client is not None
    assert request.client[0] == "127.0.0.1"


def test_a_body_in_the_smallest_pieces_takes_no_more_memory(serve: Serve, reactor_thread: ReactorThread) -> None:
    """Each piece an object would be twenty times as much."""
    server = serve({"/": lambda request: HookAnswer(200, (), b"%d" % len(request.body))}, max_held=300_000)
    factory = server.factory
    call: Any = factory.begin(Request("POST", b"/", "/", b"", [], "1.1", None, True), None)  # type: ignore[arg-type]

    def feed() -> int:
        tracemalloc.start()
        try:
            for number in range(100_000):
                call.body(b"%02d" % (number % 100))
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert reactor_thread.run(feed) < 1_000_000
    assert factory.held == 200_000
    reactor_thread.run(call.lost)
    assert factory.held == 0


def test_a_hook_may_answer_later_and_others_are_answered_meanwhile(serve: Serve, reactor_thread: ReactorThread) -> None:
    let = asyncio.Event()

    async def slow(request: HookRequest) -> HookAnswer:
        await let.wait()
        return HookAnswer(200, (), b"slow " + request.body)

    server = serve({"/slow": slow, "/fast": lambda request: HookAnswer(200, (), b"fast")})
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(ask(server, "/slow", b"one")[2]))
    thread.start()
    assert ask(server, "/fast")[2] == b"fast"
    assert not got
    reactor_thread.run(let.set)
    thread.join(PATIENCE)
    assert got == [b"slow one"]


def test_what_no_hook_is_for_is_refused(serve: Serve) -> None:
    server = serve({"/hook": lambda request: HookAnswer(200)}, max_body=1000)
    assert ask(server, "/other", b"x" * 900)[0] == 404
    status, headers, _ = ask(server, "/hook", method="GET")
    assert (status, headers["allow"]) == (405, "POST")
    assert ask(server, "/hook", b"x" * 1000)[0] == 200
    assert ask(server, "/hook", b"x" * 1001)[0] == 413
    assert ask(server, "/hook", iter([b"x" * 600, b"x" * 600]))[0] == 413  # chunked: known only on the way
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    assert ask(server, "/hook", method="GET", headers=upgrade)[0] == 405
    assert server.factory.held == 0
    assert (server.stats["hooks_404"], server.stats["hooks_200"], server.stats["hooks_413"]) == (1, 1, 2)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("answer", ["raise", None, HookAnswer(200, (), "text"), HookAnswer(99)])  # type: ignore[arg-type]
def test_a_hook_that_fails_is_answered_500_and_nothing_of_the_body_is_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture, answer: Any, late: bool
) -> None:
    def now(request: HookRequest) -> HookAnswer:
        if answer == "raise":
            raise ValueError(request.body)
        return answer  # type: ignore[no-any-return]

    async def later(request: HookRequest) -> HookAnswer:
        return now(request)

    server = serve({"/hook": later if late else now})
    assert ask(server, "/hook", SECRET.encode())[0] == 500
    assert server.stats["failures"] == 1
    assert "the hook /hook failed" in caplog.text
    assert SECRET not in caplog.text


def test_bodies_under_way_are_bounded_together(serve: Serve) -> None:
    server = serve({"/hook": lambda request: HookAnswer(200)}, max_held=100_000, limits=HttpLimits(head_timeout=5))
    begun = b"POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as one:
        one.sendall(begun + b"x" * 80_000)
        until(lambda: server.factory.held == 80_000)
        status, headers, _ = ask(server, "/hook", b"x" * 30_000)
        assert (status, "retry-after" in headers) == (503, True)
        one.sendall(b"x" * 10_000)
        assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert ask(server, "/hook", b"x" * 30_000)[0] == 200
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as one:
        one.sendall(begun + b"x" * 80_000)
        until(lambda: server.factory.held == 80_000)
    until(lambda: server.factory.held == 0)


def test_a_hook_whose_client_leaves_is_cancelled(serve: Serve) -> None:
    began, cancelled = threading.Event(), threading.Event()

    def hook(request: HookRequest) -> Awaitable[HookAnswer]:
        async def waiting() -> HookAnswer:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return HookAnswer(200)

        return waiting()

    server = serve({"/hook": hook})
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(b"POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        assert began.wait(PATIENCE)
    assert cancelled.wait(PATIENCE)


def test_at_the_end_what_was_begun_is_answered(serve: Serve, reactor_thread: ReactorThread) -> None:
    began = threading.Event()

    async def hook(request: HookRequest) -> HookAnswer:
        began.set()
        while not server.stopping:
            await asyncio.sleep(0.001)
        return HookAnswer(200)

    server = serve({"/hook": hook})
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(ask(server, "/hook")[0]))
    thread.start()
    assert began.wait(PATIENCE)
    assert reactor_thread.call(server.stop(PATIENCE), timeout=2 * PATIENCE)
    thread.join(PATIENCE)
    assert got == [200]
