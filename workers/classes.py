"""Consumers as classes: one method for each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .exceptions import RoutingError
from .marks import ORDERED
from .routing import Route

if TYPE_CHECKING:
    from .message import Message


class BaseConsumer:
    """A consumer with a method for each channel; a new object consumes each message::

        class Counter(BaseConsumer):
            method_mapping = {"chat.message": "said", "chat.join": "joined"}

            def said(self, message, **captures): ...
            def joined(self, message, **captures): ...

        routing = [route_class(Counter, channel=r"^#dev$")]

    Args:
        message: The message to consume.
        kwargs: What the route's filters captured.

    Attributes:
        method_mapping: Channel -> name of the method that consumes its messages.
        filters: Filters of every route to this class, beside those the route gives.
        message: The message.
        kwargs: The captures.
    """

    method_mapping: ClassVar[Mapping[str, str]] = {}
    filters: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, message: Message, **kwargs: Any) -> None:
        self.message = message
        self.kwargs = kwargs

    @classmethod
    def channel_names(cls) -> set[str]:
        """Return the channels this class consumes."""
        return set(cls.method_mapping)

    @classmethod
    def as_route(cls, attrs: Mapping[str, Any] | None = None, **filters: Any) -> Route:
        """Make a route to this class.

        Args:
            attrs: Class attributes to be replaced in a subclass made for this route.
            filters: As for `route`.
        """
        from .routing import route_class

        own = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, **(attrs or {})}
        return route_class(type(cls.__name__, (cls,), own) if attrs else cls, **filters)

    @classmethod
    def as_consumer(cls) -> Callable[..., Any]:
        """Return a function that consumes a message with a new object of this class.

        Raises:
            RoutingError: `method_mapping` names a method that is not there.
        """
        if cls.get_handler is BaseConsumer.get_handler:
            for channel, method in cls.method_mapping.items():
                if not callable(getattr(cls, method, None)):
                    raise RoutingError(f"{cls.__qualname__} has no method {method!r} for {channel}")

        def consume(message: Message, **kwargs: Any) -> Any:
            return cls(message, **kwargs).dispatch(message, **kwargs)

        methods = cls.method_mapping.items()
        marked = (channel for channel, method in methods if getattr(getattr(cls, method, None), ORDERED, False))
        setattr(consume, ORDERED, getattr(cls, ORDERED, None) or frozenset(marked))
        consume.__qualname__ = cls.__qualname__
        consume.__module__ = cls.__module__
        return consume

    def get_handler(self, message: Message) -> Callable[..., Any]:
        """Return the method for a message's channel."""
        handler: Callable[..., Any] = getattr(self, self.method_mapping[message.channel])
        return handler

    def dispatch(self, message: Message, **kwargs: Any) -> Any:
        """Consume the message; a subclass may do something before and after."""
        return self.get_handler(message)(message, **kwargs)


class ChatConsumer(BaseConsumer):
    """What happens in the rooms of chat services; it listens to what its subclass has methods for::

        class Greeter(ChatConsumer):
            def joined(self, message, **captures):
                self.reply(f"Hello {message['user']}")

        routing = [route_class(Greeter, channel=r"^#dev$")]

    The methods are `ready` (the bot is in a room), `said`, `joined`, `left` and `reacted`.
    """

    _METHODS: ClassVar[Mapping[str, str]] = {
        "chat.ready": "ready",
        "chat.message": "said",
        "chat.join": "joined",
        "chat.leave": "left",
        "chat.reaction": "reacted",
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Listen to the channels that there are methods for."""
        super().__init_subclass__(**kwargs)
        if "method_mapping" not in vars(cls):
            found = {channel: method for channel, method in cls._METHODS.items() if hasattr(cls, method)}
            cls.method_mapping = {**cls.method_mapping, **found}

    def reply(self, text: str, **keys: Any) -> None:
        """Say something where the message is from; further keys as of a chat reply."""
        self.message.reply(text, **keys)
