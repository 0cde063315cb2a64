"""Deferreds as futures and back, and coroutines that begin at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from trunkline.protocol_servers.loops import as_deferred, as_future, begin


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_a_deferred_can_be_awaited(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.run_until_complete(as_future(succeed(5), loop)) == 5
    failing: Deferred[int] = Deferred()
    future = as_future(failing, loop)
    failing.errback(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        loop.run_until_complete(future)


def test_a_coroutine_can_have_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 5

    got: list[Any] = []

    async def waiting() -> None:
        as_deferred(answer(), loop).addCallback(got.append)
        while not got:
            await asyncio.sleep(0)

    loop.run_until_complete(waiting())
    assert got == [5]


def test_cancelling_one_side_cancels_the_other(loop: asyncio.AbstractEventLoop) -> None:
    cancelled: list[Any] = []
    deferred: Deferred[None] = Deferred(cancelled.append)
    as_future(deferred, loop).cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert cancelled == [deferred]


def test_a_coroutine_begins_at_once_and_ends_as_a_task(loop: asyncio.AbstractEventLoop) -> None:
    steps: list[str] = []

    async def working(first: asyncio.Future[str], second: asyncio.Future[str]) -> str:
        steps.append("begun")
        steps.append(await first)
        try:
            await second
        except ValueError as error:
            steps.append(str(error))
        await asyncio.sleep(0)
        return "done"

    first, second = loop.create_future(), loop.create_future()
    future = begin(working(first, second), loop)
    assert steps == ["begun"]
    first.set_result("first")
    second.set_exception(ValueError("second"))
    assert loop.run_until_complete(future) == "done"
    assert steps == ["begun", "first", "second"]


def test_a_coroutine_that_never_waits_is_done_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def answer() -> int:
        return 5

    future = begin(answer(), loop)
    assert future.done()
    assert future.result() == 5


def test_a_begun_coroutine_can_be_cancelled_and_fail(loop: asyncio.AbstractEventLoop) -> None:
    async def waiting(future: asyncio.Future[None]) -> None:
        await future

    task = begin(waiting(loop.create_future()), loop)
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    failing = loop.create_future()
    task = begin(waiting(failing), loop)
    failing.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        loop.run_until_complete(task)
