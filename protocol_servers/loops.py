"""Where Twisted and asyncio meet: the reactor's loop, and Deferreds as futures and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def loop_of(reactor: Any) -> asyncio.AbstractEventLoop:
    """Return the asyncio loop under a Twisted reactor.

    Args:
        reactor: A ``twisted.internet.asyncioreactor.AsyncioSelectorReactor``.

    Raises:
        TypeError: The reactor stands on something other than asyncio.
    """
    loop = getattr(reactor, "_asyncioEventloop", None)
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"protocol servers need Twisted's asyncio reactor, not {type(reactor).__name__}")
    return loop


def as_future(deferred: Deferred[T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
    """Turn a Deferred into a future of ``loop``; cancelling either cancels both."""
    return deferred.asFuture(loop)


def as_deferred(awaitable: Awaitable[T], loop: asyncio.AbstractEventLoop) -> Deferred[T]:
    """Turn a coroutine or future into a Deferred; cancelling either cancels both."""
    return Deferred.fromFuture(asyncio.ensure_future(awaitable, loop=loop))


def begin(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
    """Run a coroutine up to its first wait before returning, and the rest as a task.

    Python 3.12 has eager tasks for this. Up to its first wait the coroutine has no current task.
    """
    try:
        waiting_for = coroutine.send(None)
    except StopIteration as end:
        done = loop.create_future()
        done.set_result(end.value)
        return done
    return loop.create_task(_finish(_Begun(coroutine, waiting_for)))


class _Begun(Awaitable[T]):
    def __init__(self, coroutine: Coroutine[Any, Any, T], waiting_for: Any) -> None:
        self._coroutine = coroutine
        self._waiting_for = waiting_for

    def __await__(self) -> Generator[Any, None, T]:
        waiting_for = self._waiting_for
        try:
            while True:
                try:
                    yield waiting_for
                except BaseException as error:
                    waiting_for = self._coroutine.throw(error)
                else:
                    waiting_for = self._coroutine.send(None)
        except StopIteration as end:
            value: T = end.value
            return value


async def _finish(begun: Awaitable[T]) -> T:
    return await begun
