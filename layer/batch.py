"""Operations that leave together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .delivery import Delivery
from .packing import unpack

if TYPE_CHECKING:
    from .base import Call, Layer

_NOTHING: "Call" = ("", (None,))  # an operation that has nothing to do returns its only argument
_LOST: "Call" = ("", (True,))  # a message that is lost on purpose (drop_rate)
_BODIES = {"put": 2, "send_group": 1}  # where the packed message stands among an operation's arguments


class Batch:
    """Collects operations and runs them in order, at once: a worker's flush.

    What can never be right (`TypeError`) or is too large (`MessageTooLarge`) is refused when it is added. Nothing is
    sent before `run`.

    Attributes:
        calls: The operations, to be looked at with the static methods only. They hold packed copies, so they can be
            kept and put into another batch of the same layer, to be run there or once more.
    """

    __slots__ = ("_layer", "calls")

    def __init__(self, layer: "Layer") -> None:
        self._layer = layer
        self.calls: list[Call] = []

    def __len__(self) -> int:
        return len(self.calls)

    @staticmethod
    def channel_of(call: "Call") -> str | None:
        """Return the channel a send goes to; None for any other operation."""
        if call[0] != "put":
            return None
        channel: str = call[1][0] + call[1][1]
        return channel

    @staticmethod
    def message_of(call: "Call") -> dict[str, Any]:
        """Return the message of a send to a channel or a group."""
        message: dict[str, Any] = unpack(call[1][_BODIES[call[0]]])
        return message

    @staticmethod
    def size_of(call: "Call") -> int:
        """Return the bytes of the packed message of a send to a channel or a group; 0 for any other operation."""
        return len(call[1][_BODIES[call[0]]]) if call[0] in _BODIES else 0

    def send(self, channel: str, message: dict[str, Any], **options: Any) -> None:
        """Add a `Layer.send`, with its options."""
        self.calls.append(self._layer._put_call(channel, message, **options) or _LOST)

    def send_group(self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None = None) -> None:
        """Add a `Layer.send_group`."""
        self.calls.append(self._layer._group_call(group, message, exclude) or _NOTHING)

    def put_state(self, key: str, value: Any, ttl: float, if_version: int | None = None) -> None:
        """Add a `Layer.put_state`."""
        self.calls.append(self._layer._state_call(key, value, ttl, if_version))

    def delete_state(self, key: str) -> None:
        """Add a `Layer.delete_state`."""
        self.calls.append(self._layer._delete_call(key))

    def ack(self, delivery: Delivery) -> None:
        """Add the acknowledgement of a delivery; those of plain channels need none."""
        self.calls.append(_NOTHING)

    def run(self) -> list[Any]:
        """Run what was added, in order, and become empty.

        Returns:
            For each operation what its `Layer` method returns, or the `LayerError` it raises; one that fails does not
            stop the others.
        """
        calls, self.calls = self.calls, []
        results = iter(self._layer._run([call for call in calls if call[0]]))
        return [next(results) if call[0] else call[1][0] for call in calls]
