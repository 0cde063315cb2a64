"""Operations that leave together."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .calls import Call
from .delivery import Delivery

if TYPE_CHECKING:
    from .base import Layer

Operation = tuple[Call | None, Any]
"""A call of the store, or None and what the operation returns where there is nothing to do."""

_BODIES = {"put": 2, "put_durable": 2, "send_group": 1}  # where the packed message stands among a call's arguments
_SENDS = ("put", "put_durable")


class Batch:
    """Collects operations and runs them in order, at once: a worker's flush.

    What can never be right (TypeError) or is too large (MessageTooLarge) is refused as it is added, and the batch
    stays as it was; so is a send while nobody could be asked yet which channels are durable (LayerUnavailable; see
    `Layer.agree`). Nothing is sent before `run`.

    Attributes:
        calls: The operations, to be looked at with the methods for that only. They hold packed copies, so they can be
            kept and put into another batch of the same layer, to be run there or once more.
    """

    def __init__(self, layer: "Layer") -> None:
        self._layer = layer
        self._checked = layer._calls
        self.calls: list[Operation] = []

    def __len__(self) -> int:
        return len(self.calls)

    @staticmethod
    def channel_of(operation: Operation) -> str | None:
        """Return the channel a send goes to; None for any other operation."""
        call = operation[0]
        if call is None or call[0] not in _SENDS:
            return None
        channel: str = call[1][0] + call[1][1]
        return channel

    @staticmethod
    def settles(operation: Operation) -> bool:
        """Tell whether this is the acknowledgement of a delivery."""
        return operation[0] is not None and operation[0][0] == "ack"

    def message_of(self, operation: Operation) -> dict[str, Any]:
        """Return the message of a send to a channel or a group."""
        call = operation[0]
        assert call is not None, "only sends have a message"
        message: dict[str, Any] = self._checked.open(call[1][_BODIES[call[0]]])
        return message

    @staticmethod
    def size_of(operation: Operation) -> int:
        """Return the bytes of the packed message of a send to a channel or a group; 0 for any other operation."""
        call = operation[0]
        return len(call[1][_BODIES[call[0]]]) if call is not None and call[0] in _BODIES else 0

    def send(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        expiry: float | None = None,
        delay: float = 0,
        key: str | None = None,
        once: str | None = None,
        window: float = 600,
        trusted: bool = False,
        blobs: Iterable[str] = (),
    ) -> None:
        """Add a `Layer.send`.

        Args:
            trusted: The message is known to be one that may travel, so that nobody looks at it once more.
        """
        if trusted and once is None and not (delay or blobs or key is not None):
            call = self._checked.put_plain(channel, message, expiry)
        else:
            call = self._checked.put(channel, message, expiry, delay, key, once, window, trusted=trusted, blobs=blobs)
        self.calls.append((call, True))

    def send_group(self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None = None) -> None:
        """Add a `Layer.send_group`."""
        self.calls.append((self._checked.send_group(group, message, exclude), None))

    def put_state(self, key: str, value: Any, ttl: float, if_version: int | None = None) -> None:
        """Add a `Layer.put_state`."""
        self.calls.append((self._checked.put_state(key, value, ttl, if_version), None))

    def delete_state(self, key: str) -> None:
        """Add a `Layer.delete_state`."""
        self.calls.append((self._checked.delete_state(key), None))

    def dead_letter(
        self, channel: str, message: dict[str, Any], *, reason: str, traceback: str = "", tries: int = 1
    ) -> None:
        """Add a `Layer.dead_letter`."""
        self.calls.append((self._checked.dead_letter(channel, message, reason, traceback, tries), None))

    def ack(self, delivery: Delivery) -> None:
        """Add the acknowledgement of a delivery; one from a plain channel needs none."""
        self.calls.append((None if delivery.id is None else self._checked.settled("ack", delivery), None))

    def nack(self, delivery: Delivery, delay: float = 0) -> None:
        """Add that a delivery is given back; one from a plain channel cannot be."""
        self.calls.append((None if delivery.id is None else self._checked.nack(delivery, delay), None))

    def extend(self, delivery: Delivery, seconds: float) -> None:
        """Add that a delivery is left to its holder for longer; one from a plain channel needs no such thing."""
        self.calls.append((None if delivery.id is None else self._checked.extend(delivery, seconds), True))

    def run(self) -> list[Any]:
        """Run what was added, in order, and become empty.

        Where a send finds no room (ChannelFull), so does every send behind it to the same queue, which is a channel or
        a whole inbox: neither a reader that makes room meanwhile nor a smaller message lets one overtake another.
        Whoever sends the refused ones anew, in their order, keeps the order. The same holds for what is flushed with a
        receive, and for what an `Inbox` sends in one turn of its loop, the last chunk of a body included.

        Returns:
            For each operation what its `Layer` method returns, or the LayerError it raises; one that fails otherwise
            does not stop the others.
        """
        calls, outcomes = self.hand_over()
        return outcomes(self._layer._run(calls))

    def hand_over(self) -> tuple[list[Call], Callable[[Sequence[Any]], list[Any]]]:
        """Become empty, and leave the running to a reader of the same layer; see `Reader.receive_batch`.

        Returns:
            The calls of the store, and what makes the outcomes that `run` returns out of theirs.
        """
        operations, self.calls = self.calls, []

        def outcomes(results: Sequence[Any]) -> list[Any]:
            left = iter(results)
            return [value if call is None else next(left) for call, value in operations]

        return [call for call, _ in operations if call is not None], outcomes
