"""Decorators that decide whether a consumer takes a message at all: not too many, and only from pages that may ask."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..message_formats.origins import OriginPolicy
from . import sending
from .exceptions import Forbidden, TooMany
from .given import name_of
from .marks import message_in

C = TypeVar("C", bound=Callable[..., Any])


def rate_limit(
    count: int, seconds: float, *, by: str | Callable[[Any], str] | None = None, name: str | None = None
) -> Callable[[C], C]:
    """Let a consumer take so many messages in so many seconds from each sender; what is more is refused.

    Refused in the protocol's own words: HTTP 429 with Retry-After, a WebSocket's handshake with 403 and its frames with
    close code 1008, email 451 4.7.1; in chats and by UDP nothing is said. Counted in the layer, over all workers, from
    the first message of a sender on; when the seconds have passed it begins anew. Refused ones count, too.

    Used as `@rate_limit(10, 60)`, on a function or a method of a consumer class.

    Args:
        count: How many messages.
        seconds: In how many seconds.
        by: What tells senders apart: the name of a field, or a function of the message that returns a str. By default
            the client's address (of IPv6 its /64, which is one customer's), a chat's `user_id`, else the reply channel.
        name: Consumers with the same name count together; by default each counts for itself.

    Raises:
        ValueError: a count or a time that lets nothing through.
    """
    if count < 1 or not seconds > 0:
        raise ValueError(f"a rate is a count and seconds, such as (10, 60), not ({count!r}, {seconds!r})")

    def decorate(consumer: C) -> C:
        counted = name or f"{consumer.__module__}.{name_of(consumer)}"

        @functools.wraps(consumer)
        def consume(*args: Any, **kwargs: Any) -> Any:
            message = message_in(args)
            who = _sender(message) if by is None else str(message[by] if isinstance(by, str) else by(message))
            key = "rate." + hashlib.sha256(f"{counted}\0{who}".encode()).hexdigest()
            if sending.ask(message.layer, lambda layer: layer.incr_state(key, seconds)) > count:
                raise TooMany(seconds)
            return consumer(*args, **kwargs)

        return cast(C, consume)

    return decorate


def requires_origin(*allowed: str, missing: bool = False) -> Callable[[C], C]:
    """Have a consumer serve only pages of its own host and port, and of those named: others get 403.

    A browser sends the origin of the page with every WebSocket, and with every request that is not a plain GET or HEAD
    of the same site; cookies go along whatever page asks, so this keeps others from acting in a user's name. It is for
    `http.request` and `websocket.connect`, on a function or a method of a consumer class. `[http] origins` does the
    same for all WebSockets of a server.

    Args:
        allowed: Origins such as `"https://app.example.com"`, `"null"` for pages without one, `"*"` for all.
        missing: Serve who sends no origin, such as a program, or a browser that fetches a page.

    Raises:
        ValueError: one of them is no origin.
    """
    policy = OriginPolicy(allowed)

    def decorate(consumer: C) -> C:
        @functools.wraps(consumer)
        def consume(*args: Any, **kwargs: Any) -> Any:
            message = message_in(args)
            headers = message.get("headers")
            if not isinstance(headers, list):
                raise TypeError(f"a message of {message.channel} has no headers: require the origin where it connects")
            found = {name: bytes(value).decode("latin-1") for name, value in reversed(headers)}
            origin = found.get(b"origin")
            secure = message.get("scheme") in ("https", "wss")
            if not (missing if origin is None else policy.allows(origin, found.get(b"host", ""), secure)):
                raise Forbidden
            return consumer(*args, **kwargs)

        return cast(C, consume)

    return decorate


def _sender(message: Any) -> str:
    client = message.get("client")
    if isinstance(client, list) and client:
        return _network(str(client[0]))
    return str(message.get("user_id") or message.get("reply_channel") or "")


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else host
