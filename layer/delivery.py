"""One received message."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .options import VISIBILITY
from .packing import unpack
from .store.element import Element

if TYPE_CHECKING:
    from .base import Layer


class Delivery:
    """A message as it was taken from a channel.

    On plain channels it is settled by being taken: `ack`, `nack` and `extend` do nothing there.

    Attributes:
        channel: The full name it was sent to.
        id: Its id on a durable channel, where it stays the same; else None.
        tries: The how-many-th time it is delivered.
        queued: Seconds it waited since it was sent, or became due.
        visibility: Seconds from its taking until it is delivered again, unless it is settled; 0: never.
    """

    __slots__ = ("_element", "_message", "_queue", "channel", "queued")

    id: str | None = None
    tries = 1
    visibility = 0.0

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

    def ack(self) -> bool:
        """Settle it: it will not be delivered again. False if it was settled before."""
        return True

    def nack(self, delay: float = 0) -> bool:
        """Give it back, to be delivered again after `delay` seconds. False if its time was over before."""
        return True

    def extend(self, seconds: float) -> bool:
        """Ask for `seconds`, from now on, before it is taken for lost. False if its time was over before."""
        return True

    def __repr__(self) -> str:
        return f"<Delivery from {self.channel}>"


class DurableDelivery(Delivery):
    """A message of a durable channel: it is delivered again unless it is settled within the visibility timeout.

    Its methods raise LayerUnavailable where the layer is away.
    """

    __slots__ = ("_layer", "id", "tries", "visibility")

    def __init__(self, layer: "Layer", queue: str, element: Element, now: float) -> None:
        super().__init__(queue, queue, element, now)
        self._layer = layer
        id, self.tries = element[5]
        self.id = str(id)
        self.visibility = layer._calls.limits.find(queue)[0].visibility or VISIBILITY

    def ack(self) -> bool:
        return bool(self._layer._call(self._layer._calls.settled("ack", self)))

    def nack(self, delay: float = 0) -> bool:
        return bool(self._layer._call(self._layer._calls.nack(self, delay)))

    def extend(self, seconds: float) -> bool:
        return bool(self._layer._call(self._layer._calls.extend(self, seconds)))

    def __repr__(self) -> str:
        return f"<Delivery {self.id} from {self.channel}, try {self.tries}>"


def deliveries(layer: "Layer", queue: str, elements: Sequence[Element], now: float) -> list[Delivery]:
    """Return what was taken from a channel, which is no inbox, as deliveries."""
    if elements and elements[0][5] is not None:
        return [DurableDelivery(layer, queue, element, now) for element in elements]
    return [Delivery(queue, queue, element, now) for element in elements]
