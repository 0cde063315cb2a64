"""Messages to consumers and back: routing, the worker, and what consumers use."""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .admitting import rate_limit, requires_origin
    from .asgi import AsgiConsumer
    from .blobs import put_blob
    from .bot import Bot, CommandError, Who
    from .channels import Channel, Conversation, Group
    from .classes import BaseConsumer, ChatConsumer
    from .context import current_layer, set_layer
    from .decorators import channel_session, http_session, ordered, retry, timeout
    from .exceptions import (
        ConsumeLater,
        DenyConnection,
        Forbidden,
        HeldTooMuch,
        Reject,
        ResponseLater,
        RoutingError,
        StopConsumer,
        StreamClosed,
        StreamTimeout,
        TooMany,
    )
    from .loading import load_routing
    from .message import Message
    from .routing import Include, Route, Routing, include, route, route_class
    from .web_classes import HttpConsumer, JsonWebsocketConsumer, WebsocketConsumer
    from .worker import Worker
    from .wsgi import WsgiConsumer

__all__ = [
    "AsgiConsumer",
    "BaseConsumer",
    "Bot",
    "Channel",
    "ChatConsumer",
    "CommandError",
    "ConsumeLater",
    "Conversation",
    "DenyConnection",
    "Forbidden",
    "Group",
    "HeldTooMuch",
    "HttpConsumer",
    "Include",
    "JsonWebsocketConsumer",
    "Message",
    "Reject",
    "ResponseLater",
    "Route",
    "Routing",
    "RoutingError",
    "StopConsumer",
    "StreamClosed",
    "StreamTimeout",
    "TooMany",
    "WebsocketConsumer",
    "Who",
    "Worker",
    "WsgiConsumer",
    "channel_session",
    "current_layer",
    "http_session",
    "include",
    "load_routing",
    "ordered",
    "put_blob",
    "rate_limit",
    "requires_origin",
    "retry",
    "route",
    "route_class",
    "set_layer",
    "timeout",
]

__getattr__ = lazily(
    __name__,
    {
        "admitting": ("rate_limit", "requires_origin"),
        "asgi": ("AsgiConsumer",),
        "blobs": ("put_blob",),
        "bot": ("Bot", "CommandError", "Who"),
        "channels": ("Channel", "Conversation", "Group"),
        "classes": ("BaseConsumer", "ChatConsumer"),
        "context": ("current_layer", "set_layer"),
        "decorators": ("channel_session", "http_session", "ordered", "retry", "timeout"),
        "exceptions": (
            "ConsumeLater",
            "DenyConnection",
            "Forbidden",
            "HeldTooMuch",
            "Reject",
            "ResponseLater",
            "RoutingError",
            "StopConsumer",
            "StreamClosed",
            "StreamTimeout",
            "TooMany",
        ),
        "loading": ("load_routing",),
        "message": ("Message",),
        "routing": ("Include", "Route", "Routing", "include", "route", "route_class"),
        "web_classes": ("HttpConsumer", "JsonWebsocketConsumer", "WebsocketConsumer"),
        "worker": ("Worker",),
        "wsgi": ("WsgiConsumer",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
