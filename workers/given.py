"""What is known of a message while it is consumed, and how it is named in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..layer import Delivery
    from ..message_formats import Format
    from .claims import Claim
    from .held import Held
    from .message import Message

TRIES = "trunkline.tries"
"""Key of a message that is tried again: how often it was tried. No consumer sees it."""


class Given:
    """What is known of a message while it is consumed."""

    __slots__ = (
        "channel",
        "claim",
        "consumer",
        "content",
        "delivery",
        "exhausted",
        "form",
        "held",
        "mark",
        "message",
        "reply_name",
        "settled",
    )

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.channel: str = delivery.channel
        self.content: dict[str, Any] = {}
        self.form: Format | None = None
        self.reply_name: str | None = None
        self.claim: Claim | None = None
        self.message: Message | None = None
        self.held: Held | None = None
        self.mark: Any = None  # what tells the server that this message is done; None where it does not wait for that
        self.consumer: Any = None
        self.settled = False
        self.exhausted = False  # its own number of tries is used up


class Again:
    """The delivery of a message that was tried before, on a channel that does not count tries by itself."""

    def __init__(self, delivery: Delivery, tries: Any) -> None:
        self._delivery = delivery
        self.tries = tries if isinstance(tries, int) and tries > 0 else 1

    def original(self) -> dict[str, Any]:
        return {key: value for key, value in self._delivery.original().items() if key != TRIES}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)


def text_of(error: BaseException) -> str:
    """Return an error's text, at most 500 characters, whatever the error holds."""
    try:
        return str(error)[:500]
    except BaseException as worse:
        return f"(its text raised {type(worse).__name__})"


def shown(given: Given) -> str:
    """Name a message for the log: channel, id and consumer, in one line of bounded length."""
    id = given.delivery.id or given.content.get("id") or given.reply_name
    return f"{given.channel} [{ascii(id)[:120]}]: {_consumer(given)}"


def kind_of(given: Given) -> str:
    """Name what a message has in common with others for the log: channel and consumer."""
    return f"{given.channel}: {_consumer(given)}"


def _consumer(given: Given) -> str:
    return "routing" if given.consumer is None else name_of(given.consumer)


def name_of(consumer: Callable[..., Any]) -> str:
    """Name a consumer for people."""
    return getattr(consumer, "__qualname__", None) or type(consumer).__name__
