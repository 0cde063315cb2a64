"""One received message."""

from typing import Any

from .packing import unpack
from .store.element import Element


class Delivery:
    """A message as it was taken from a channel.

    On plain channels it is settled by being taken: `ack`, `nack` and `extend` do nothing there.

    Attributes:
        channel: The full name it was sent to.
        id: Its id on a durable channel, else None.
        tries: The how-many-th time it is delivered.
        queued: Seconds it waited since it was sent, or became due.
    """

    __slots__ = ("_element", "_message", "_queue", "channel", "queued")

    id: str | None = None
    tries = 1

    def __init__(self, queue: str, channel: str, element: Element, now: float) -> None:
        self.channel = channel
        self.queued: float | None = now - element[1]
        self._queue = queue
        self._element = element
        self._message: dict[str, Any] | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The message, unpacked at the first look."""
        if self._message is None:
            self._message = unpack(self._element[4])
        return self._message

    def original(self) -> dict[str, Any]:
        """Return the message anew, as it was sent, whatever was done to `message` since."""
        original: dict[str, Any] = unpack(self._element[4])
        return original

    def ack(self) -> None:
        """Settle it: it will not be delivered again."""

    def nack(self, delay: float = 0) -> None:
        """Give it back, to be delivered again after `delay` seconds."""

    def extend(self, seconds: float) -> None:
        """Ask for `seconds` more before it is taken for lost."""

    def __repr__(self) -> str:
        return f"<Delivery from {self.channel}>"
