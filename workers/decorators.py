"""Decorators for consumers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, NoReturn, TypeVar, cast, overload

from .context import running
from .exceptions import ConsumeLater, EndOfMessage
from .marks import ORDERED

_GRACE = 5.0  # seconds an async consumer has to end once it was cancelled

C = TypeVar("C", bound=Callable[..., Any])


@overload
def retry(consumer: C, /) -> C: ...


@overload
def retry(
    *,
    on: type[Exception] | tuple[type[Exception], ...] = ...,
    tries: int = ...,
    delay: float = ...,
    max_delay: float = ...,
) -> Callable[[C], C]: ...


def retry(
    consumer: Callable[..., Any] | None = None,
    /,
    *,
    on: type[Exception] | tuple[type[Exception], ...] = Exception,
    tries: int = 10,
    delay: float = 0.1,
    max_delay: float = 10.0,
) -> Callable[..., Any]:
    """Have a consumer that failed consume the message again later, as if it had raised `ConsumeLater`.

    Used as `@retry` or `@retry(on=ConnectionError, tries=5)`. After the last try the message is a dead letter.

    Args:
        on: Which exceptions are worth another try.
        tries: How often the message is consumed in all.
        delay: Seconds until the second try; doubled for each further one.
        max_delay: Seconds the doubling stops at.
    """
    if consumer is None:
        return functools.partial(retry, on=on, tries=tries, delay=delay, max_delay=max_delay)
    called = consumer

    def later(error: Exception) -> NoReturn:
        if isinstance(error, EndOfMessage):
            raise error
        raise ConsumeLater(tries=tries, delay=delay, max_delay=max_delay) from error

    async def awaited(result: Awaitable[Any]) -> Any:
        try:
            return await result
        except on as error:
            later(error)

    @functools.wraps(called)
    def consume(*args: Any, **kwargs: Any) -> Any:
        try:
            result = called(*args, **kwargs)
        except on as error:
            later(error)
        return awaited(result) if isawaitable(result) else result

    return consume


def timeout(seconds: float) -> Callable[[C], C]:
    """Give a consumer so many seconds; one that takes longer has failed.

    An `async def` consumer is cancelled. Python cannot interrupt any other: its message has failed all the same, and
    its thread is given up, logged and replaced. After 8 such threads the worker ends with an error, since what they
    hold is lost to its process.

    Args:
        seconds: How long the consumer may take.
    """

    def decorate(consumer: C) -> C:
        async def awaited(result: Awaitable[Any]) -> Any:
            held = running.get()
            if held is not None:
                held.watch(seconds + _GRACE)
            async with asyncio.timeout(seconds):
                return await result

        @functools.wraps(consumer)
        def consume(*args: Any, **kwargs: Any) -> Any:
            held = running.get()
            if held is not None:
                held.watch(seconds)
            result = consumer(*args, **kwargs)
            return awaited(result) if isawaitable(result) else result

        return cast(C, consume)

    return decorate


def ordered(consumer: C, /) -> C:
    """Have the messages of a connection consumed one at a time, in order, over any number of threads and workers.

    The servers hold the next message of a connection back until a worker is done with the one before, whatever came of
    it; while it is to be tried again (`ConsumeLater`) it keeps its place. Where one route of a channel is ordered, the
    whole channel is, and `websocket.connect`, `.receive` and `.disconnect` are one. Other connections are not waited
    for. A consumer that takes longer than the server's `order_timeout` (30 s) loses its place: the next follows.

    Used on a function, on a method of a consumer class, or on the class.
    """
    if isinstance(consumer, type):
        setattr(consumer, ORDERED, True)
        return cast(C, consumer)

    @functools.wraps(consumer)
    def consume(*args: Any, **kwargs: Any) -> Any:
        return consumer(*args, **kwargs)

    setattr(consume, ORDERED, True)
    return cast(C, consume)
