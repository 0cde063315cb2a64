"""Decorators for consumers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Literal, NoReturn, TypeVar, cast, overload

from .context import running
from .exceptions import ConsumeLater, EndOfMessage
from .marks import ORDERED, message_in
from .message import Message
from .sessions import A_DAY, ChannelSession, Cookie, HttpSession, Session

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

    It is for WebSockets and UDP, and any server that publishes by the common base; a request or a mail is a connection
    of its own. Used on a function, on a method of a consumer class, or on the class.
    """
    if isinstance(consumer, type):
        setattr(consumer, ORDERED, True)
        return cast(C, consumer)

    @functools.wraps(consumer)
    def consume(*args: Any, **kwargs: Any) -> Any:
        return consumer(*args, **kwargs)

    setattr(consume, ORDERED, True)
    return cast(C, consume)


@overload
def channel_session(consumer: C, /) -> C: ...


@overload
def channel_session(*, ttl: float = ...) -> Callable[[C], C]: ...


def channel_session(consumer: Callable[..., Any] | None = None, /, *, ttl: float = A_DAY) -> Callable[..., Any]:
    """Give a consumer `message.channel_session`: a dictionary of the connection that the message belongs to.

    It is what the reply channel stands for: a WebSocket, the room of a chat, a UDP peer. What the consumer changes is
    written when it has ended well, before anything it sent leaves; a failure drops it. Where two consumers change it at
    the same time, of one key the last to end wins, of different keys nothing is lost; `@ordered` has them come one at a
    time. It ends with a decorated consumer of `websocket.disconnect`, else when it was not used for its `ttl`.

    Used as `@channel_session` or `@channel_session(ttl=3600)`, on a function or a method of a consumer class.

    Args:
        ttl: Seconds it lives after it was last written; one that is used is written when half of them have passed.
    """
    if consumer is None:
        return functools.partial(channel_session, ttl=ttl)
    return _with_session(consumer, "channel_session", lambda message: ChannelSession(message, ttl))


@overload
def http_session(consumer: C, /) -> C: ...


@overload
def http_session(
    *,
    ttl: float = ...,
    cookie: str = ...,
    path: str = ...,
    domain: str | None = ...,
    secure: bool | None = ...,
    same_site: Literal["Lax", "Strict", "None"] = ...,
) -> Callable[[C], C]: ...


def http_session(
    consumer: Callable[..., Any] | None = None,
    /,
    *,
    ttl: float = 14 * A_DAY,
    cookie: str = "session",
    path: str = "/",
    domain: str | None = None,
    secure: bool | None = None,
    same_site: Literal["Lax", "Strict", "None"] = "Lax",
) -> Callable[..., Any]:
    """Give a consumer `message.http_session`: a dictionary of the browser that the message comes from.

    A cookie tells browsers apart. It holds a random id and nothing else, and is set (HttpOnly) by the response of the
    consumer that first put something into the session; `message.http_session.renew_id()` gives another id, as a login
    should, and `.end()` removes it all. On a WebSocket the session is that of its handshake: consumers of its other
    messages have it if the one of `websocket.connect` is decorated, too; a new one cannot begin there.

    It is written, and two consumers share it, as with `@channel_session`.

    Args:
        ttl: Seconds it lives after it was last written; one that is used is written when half of them have passed.
        cookie: The cookie's name.
        path: Under which paths the browser sends it.
        domain: A domain all of whose hosts get it; None: only the host of the request.
        secure: Send it by TLS only; None: where the request came by TLS. True behind a proxy that ends TLS.
        same_site: When it goes along with requests that come from pages of others (RFC 6265bis).

    Raises:
        ValueError: the name, path or domain cannot stand in a cookie.
    """
    if consumer is None:
        return functools.partial(
            http_session, ttl=ttl, cookie=cookie, path=path, domain=domain, secure=secure, same_site=same_site
        )
    kept = Cookie(cookie, path, domain, secure, same_site)
    kept.check()
    return _with_session(consumer, "http_session", lambda message: HttpSession(message, kept, ttl))


def _with_session(consumer: Callable[..., Any], name: str, make: Callable[[Message], Session]) -> Callable[..., Any]:
    """Give a consumer's message a session, and have it written when the consumer has ended."""
    if isinstance(consumer, type):
        raise TypeError(f"@{name} stands on functions, and on the methods of a class, not on {consumer.__name__}")

    @functools.wraps(consumer)
    def consume(*args: Any, **kwargs: Any) -> Any:
        message = message_in(args)
        if not hasattr(message, name):
            session = make(message)
            setattr(message, name, session)
            held = running.get()
            if held is not None:
                held.sessions += (session,)
        return consumer(*args, **kwargs)

    return consume
