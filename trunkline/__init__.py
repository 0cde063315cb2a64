"""Protocol servers, one bus, plain functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .layer import ChannelFull, Layer, LayerError, LayerUnavailable, MessageTooLarge, open_layer
    from .message_formats import FormatError
    from .workers import (
        AsgiConsumer,
        BaseConsumer,
        Bot,
        Channel,
        ChatConsumer,
        CommandError,
        ConsumeLater,
        Conversation,
        DenyConnection,
        Forbidden,
        Group,
        HeldTooMuch,
        HttpConsumer,
        JsonWebsocketConsumer,
        Message,
        Reject,
        ResponseLater,
        Routing,
        RoutingError,
        StopConsumer,
        StreamClosed,
        StreamTimeout,
        TooMany,
        WebsocketConsumer,
        Who,
        Worker,
        WsgiConsumer,
        channel_session,
        current_layer,
        http_session,
        include,
        load_routing,
        ordered,
        put_blob,
        rate_limit,
        requires_origin,
        retry,
        route,
        route_class,
        set_layer,
        timeout,
    )

__version__ = "0.1.0"

__all__ = [
    "AsgiConsumer",
    "BaseConsumer",
    "Bot",
    "Channel",
    "ChannelFull",
    "ChatConsumer",
    "CommandError",
    "ConsumeLater",
    "Conversation",
    "DenyConnection",
    "Forbidden",
    "FormatError",
    "Group",
    "HeldTooMuch",
    "HttpConsumer",
    "JsonWebsocketConsumer",
    "Layer",
    "LayerError",
    "LayerUnavailable",
    "Message",
    "MessageTooLarge",
    "Reject",
    "ResponseLater",
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
    "open_layer",
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

_LAYER = ("ChannelFull", "Layer", "LayerError", "LayerUnavailable", "MessageTooLarge", "open_layer")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that one room loads without the others (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = ".layer" if name in _LAYER else ".message_formats" if name == "FormatError" else ".workers"
    return getattr(import_module(room, __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
