"""Where Twisted and asyncio meet: the reactor's loop, and Deferreds as futures and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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
