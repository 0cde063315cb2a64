"""ASGI applications behind the bus: their scope, their events, and those that break the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline.layer import MemoryLayer
from trunkline.workers import AsgiConsumer, Message, Worker, route
from trunkline.workers.asgi import scope_of
from trunkline.workers.testing import Client


def client(application: Any, **filters: str) -> Client:
    return Client([route("http.request", AsgiConsumer(application), **filters)])


class Mirror:
    """Keep the scope and answer with the body."""

    scope: dict[str, Any]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        body = b""
        while True:
            event = await receive()
            assert event["type"] == "http.request"
            body += event["body"]
            if not event["more_body"]:
                break
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-a", b"1")]})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("size", [0, 4, 1_000_000])
def test_a_request_and_its_answer(size: int) -> None:
    mirror = Mirror()
    here = client(mirror, path=r"^/(?P<shop>\w+)")
    assert here.http("PUT", "/shop", b"x" * size, [(b"a", b"b")], b"q=1") == (201, [(b"x-a", b"1")], b"x" * size)
    scope = mirror.scope
    expected = {
        "type": "http",
        "method": "PUT",
        "path": "/shop",
        "query_string": b"q=1",
        "path_params": {"shop": "shop"},
    }
    assert {name: scope[name] for name in expected} == expected
    assert (b"a", b"b") in scope["headers"]


def test_a_scope_tells_where_it_came_from() -> None:
    head = {"http_version": "2", "method": "GET", "query_string": b"", "headers": [], "scheme": "https", "path": "/"}
    scope = scope_of(Message({**head, "client": ["192.0.2.1", 5]}, "http.request"))
    assert (scope["client"], scope["server"], scope["scheme"]) == (("192.0.2.1", 5), None, "https")


def test_a_stream_leaves_as_it_is_sent() -> None:
    seen: list[dict[str, Any]] = []
    with MemoryLayer() as layer:

        def look() -> int:
            while (found := layer.receive(["http.reply.x!"]))[1] is not None:
                seen.append(found[1])
            return len(seen)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            leaving = asyncio.create_task(receive())  # as frameworks do to learn that the client left
            await send({"type": "http.response.start", "status": 200})
            assert look() == 0
            await send({"type": "http.response.body", "more_body": True})
            assert look() == 1
            await send({"type": "http.response.body", "body": b"y" * 70_000, "more_body": True})
            assert look() == 3
            assert not leaving.done()
            await send({"type": "http.response.body"})
            assert (await leaving)["type"] == "http.disconnect"
            await send({"type": "http.response.body", "body": b"too late"})

        head = {"http_version": "1.1", "method": "GET", "query_string": b"", "headers": [], "path": "/"}
        layer.send("http.request", {"reply_channel": "http.reply.x!1", **head})
        Worker(layer, [route("http.request", AsgiConsumer(application))]).step()
        look()
    assert [len(message["content"]) for message in seen] == [0, 65536, 70_000 - 65536, 0]
    assert [message.get("more_content", False) for message in seen] == [True, True, True, False]


def test_a_client_that_leaves_within_its_body() -> None:
    got: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            got.append(event["type"])
            if event["type"] == "http.disconnect":
                return

    with MemoryLayer() as layer:
        channel = layer.new_channel("http.request.body?")
        head = {"http_version": "1.1", "method": "GET", "query_string": b"", "headers": [], "path": "/"}
        layer.send("http.request", {"reply_channel": "http.reply.x!1", "body": b"a", "body_channel": channel, **head})
        layer.send(channel, {"content": b"", "closed": True})
        Worker(layer, [route("http.request", AsgiConsumer(application))]).step()
        assert layer.receive(["http.reply.x!"]) == (None, None)
    assert got == ["http.request", "http.disconnect"]


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    pass


async def _headless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def _twice(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.start", "status": 200})


async def _half(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]})
    await send({"type": "http.response.body", "body": b"x"})


async def _other(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize("application", [_silent, _headless, _twice, _half, _other])
def test_applications_that_break_the_rules_are_answered_for(application: Any) -> None:
    assert client(application).http("GET", "/")[0] == 500
