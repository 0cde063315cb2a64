"""The Web API over HTTP: what is sent, what may be repeated, and what never leaves."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from trunkline.protocol_servers.slack import web_api
from trunkline.protocol_servers.slack.web_api import InDoubt, NotSent, RateLimited, Refused, SlackCallError, WebApi

TOKEN = "xoxb-12-34-secret"
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


def calling(handler: Handler, play: Callable[[WebApi, str], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run something with a WebApi whose server is ``handler``."""

    async def whole() -> Any:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        api = WebApi(lambda: TOKEN, f"{address}/api/", **options)
        await api.open()
        try:
            return await play(api, address)
        finally:
            await api.close()
            await runner.cleanup()

    return asyncio.run(asyncio.wait_for(whole(), 60))


def answering(**options: Any) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(**options)

    return handler


async def one_call(api: WebApi, address: str) -> Any:
    try:
        return await api.call("chat.postMessage", {"channel": "C1", "text": "hello"})
    except SlackCallError as error:
        return error


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"data": {"ok": False, "error": "is_archived"}}, Refused, "is_archived"),
        ({"data": {"ok": False, "error": "ratelimited"}}, RateLimited, "1 s"),
        (
            {"data": {"ok": False, "error": "ratelimited"}, "status": 429, "headers": {"Retry-After": "7"}},
            RateLimited,
            "7",
        ),
        ({"data": {}, "status": 429, "headers": {"Retry-After": "0.5"}}, RateLimited, "0.5 s"),
        ({"data": {}, "status": 429, "headers": {"Retry-After": "soon"}}, RateLimited, "1 s"),
        ({"data": {}, "status": 429, "headers": {"Retry-After": "nan"}}, RateLimited, "1 s"),
        ({"data": {}, "status": 429, "headers": {"Retry-After": "-5"}}, RateLimited, "0 s"),
        ({"data": {}, "status": 429, "headers": {"Retry-After": "1e300"}}, RateLimited, "86400 s"),
        ({"data": {"ok": False, "error": "internal_error"}}, InDoubt, "internal_error"),
        ({"data": {"ok": False, "error": "fatal_error"}, "status": 500}, InDoubt, "fatal_error"),
        ({"data": {"ok": False, "error": "request_timeout"}}, NotSent, "torn"),
        ({"data": {"ok": False}}, InDoubt, "no sense"),
        ({"data": {"ok": False, "error": 5}}, InDoubt, "no sense"),
        ({"data": [1], "status": 200}, InDoubt, ""),
        ({"text": "<html>", "status": 502, "content_type": "text/html"}, InDoubt, "502"),
        ({"text": "<html>", "status": 200, "content_type": "text/html"}, InDoubt, ""),
        ({"text": "{", "status": 200}, InDoubt, ""),
        ({"text": "plain", "status": 200, "content_type": "text/plain"}, InDoubt, ""),
        ({"text": "<html>", "status": 404, "content_type": "text/html"}, Refused, "http_404"),
    ],
)
def test_what_a_failure_means(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    error = calling(answering(**options), one_call)
    assert type(error) is kind
    assert text in str(error)


def test_a_missing_scope_is_named() -> None:
    answer = {"ok": False, "error": "missing_scope", "needed": "chat:write", "provided": "x"}
    error = calling(answering(data=answer), one_call)
    assert (error.error, error.needed) == ("missing_scope", "chat:write")


@pytest.mark.parametrize(
    ("method", "arguments", "content_type", "expected"),
    [
        ("chat.postMessage", {"text": "é", "n": None, "b": False}, "application/json", {"text": "é", "b": False}),
        ("views.open", {"view": {"type": "modal"}}, "application/json", {"view": {"type": "modal"}}),
        (
            "files.completeUploadExternal",
            {"files": [{"id": "F1"}], "flag": True, "n": 5, "words": ["a", "b"], "text": "é&=", "none": None},
            "application/x-www-form-urlencoded",
            {"files": '[{"id": "F1"}]', "flag": "true", "n": "5", "words": "a,b", "text": "é&="},
        ),
    ],
)
def test_how_arguments_travel(
    method: str, arguments: dict[str, Any], content_type: str, expected: dict[str, Any]
) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.json() if "json" in request.content_type else dict(await request.post())
        seen.append((request.path, request.content_type, request.headers["Authorization"], body))
        return web.json_response({"ok": True, "x": 1})

    answer = calling(handler, lambda api, _: api.call(method, arguments))
    assert answer == {"ok": True, "x": 1}
    assert seen == [(f"/api/{method}", content_type, f"Bearer {TOKEN}", expected)]


def test_nothing_is_repeated_by_itself() -> None:
    calls: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        calls.append(request.path)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert isinstance(calling(handler, one_call), InDoubt)
    assert len(calls) == 1


def test_a_timeout_is_a_doubt() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    assert isinstance(calling(handler, one_call, timeout=0.2), InDoubt)


def test_nobody_there_is_no_doubt() -> None:
    async def play() -> Any:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            api = WebApi(lambda: TOKEN, f"http://127.0.0.1:{free.getsockname()[1]}/api")
            await api.open()
            try:
                return await one_call(api, "")
            finally:
                await api.close()

    assert isinstance(asyncio.run(play()), NotSent)


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_api, "MOST_ANSWER", 10_000)
    error = calling(answering(data={"ok": True, "x": "y" * 20_000}), one_call)
    assert isinstance(error, InDoubt)
    assert calling(answering(data={"ok": True, "x": "y" * 5_000}), one_call)["ok"]


def test_only_so_many_calls_at_a_time() -> None:
    now, most = 0, 0
    full = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 4:
            full.set()
        await full.wait()
        now -= 1
        return web.json_response({"ok": True})

    async def play(api: WebApi, address: str) -> None:
        await asyncio.gather(*(api.call("api.test", {}) for _ in range(20)))

    calling(handler, play, most=4)
    assert most == 4


def test_a_token_that_changes() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return web.json_response({"ok": True})

    async def play(api: WebApi, address: str) -> None:
        await api.call("api.test", {})
        api.token = lambda: "xoxb-new"
        await api.call("api.test", {})

    calling(handler, play)
    assert seen == [f"Bearer {TOKEN}", "Bearer xoxb-new"]


def test_nothing_that_is_said_stands_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        calling(answering(data={"ok": False, "error": "x"}), one_call)
        calling(answering(text="oops", status=500), one_call)
    assert TOKEN not in caplog.text
    assert "hello" not in caplog.text


# Uploads


async def _parts() -> AsyncIterator[bytes]:
    for _ in range(30):
        yield b"x" * 65536


@pytest.mark.parametrize("in_parts", [False, True])
def test_an_upload(in_parts: bool) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen.append((request.content_length, len(body), request.headers.get("Authorization"), request.content_type))
        return web.Response(text="OK")

    content = _parts() if in_parts else b"x" * (30 * 65536)
    calling(handler, lambda api, address: api.upload(f"{address}/upload/1", content, 30 * 65536))
    assert seen == [(30 * 65536, 30 * 65536, None, "application/octet-stream")]


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (500, InDoubt), (404, Refused), (302, Refused), (200, type(None))]
)
def test_an_upload_that_fails(status: int, kind: type[Any]) -> None:
    async def play(api: WebApi, address: str) -> Any:
        try:
            await api.upload(f"{address}/upload/1", b"abc", 3)
        except SlackCallError as error:
            return error

    assert type(calling(answering(data={}, status=status), play)) is kind


def test_an_upload_of_less_than_was_announced_is_a_doubt() -> None:
    async def some() -> AsyncIterator[bytes]:
        yield b"abc"
        raise RuntimeError("the layer is away")

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response()

    async def play(api: WebApi, address: str) -> Any:
        with pytest.raises(InDoubt):
            await api.upload(f"{address}/upload/1", some(), 1000)

    calling(handler, play)


def test_a_closed_api_sends_nothing() -> None:
    async def play(api: WebApi, address: str) -> None:
        await api.close()
        with pytest.raises(NotSent):
            await api.upload(address, b"", 0)
        with pytest.raises(NotSent):
            await api.call("api.test", {})

    calling(answering(data=json.loads("{}")), play)
