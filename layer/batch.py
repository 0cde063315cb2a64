"""Operations that leave together."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .delivery import Delivery

if TYPE_CHECKING:
    from .base import Call, Layer


class Batch:
    """Collects operations and runs them in order, at once: a worker's flush.

    What can never be right (`TypeError`) or is too large (`MessageTooLarge`) is refused when it is added. Nothing is sent before `run`.
    """

    def __init__(self, layer: "Layer") -> None:
        self._layer = layer
        self._calls: list[
            Call | None
        ] = []  # None: there is nothing to do, or the message is lost on purpose (drop_rate)
        self._values: list[Any] = []  # what the operation returns if there is nothing to do

    def __len__(self) -> int:
        return len(self._calls)

    def send(self, channel: str, message: dict[str, Any], **options: Any) -> None:
        """Add a `Layer.send`, with its options."""
        self._add(self._layer._put_call(channel, message, **options), True)

    def send_group(self, group: str, message: dict[str, Any], exclude: str | Iterable[str] | None = None) -> None:
        """Add a `Layer.send_group`."""
        self._add(self._layer._group_call(group, message, exclude))

    def put_state(self, key: str, value: Any, ttl: float, if_version: int | None = None) -> None:
        """Add a `Layer.put_state`."""
        self._add(self._layer._state_call(key, value, ttl, if_version))

    def delete_state(self, key: str) -> None:
        """Add a `Layer.delete_state`."""
        self._add(self._layer._delete_call(key))

    def ack(self, delivery: Delivery) -> None:
        """Add the acknowledgement of a delivery; those of plain channels need none."""
        self._add(None)

    def run(self) -> list[Any]:
        """Run what was added, in order, and become empty.

        Returns:
            For each operation what its `Layer` method returns, or the `LayerError` it raises; one that fails does not stop the others.
        """
        calls, self._calls = self._calls, []
        values, self._values = self._values, []
        results = iter(self._layer._run([call for call in calls if call is not None]))
        return [value if call is None else next(results) for call, value in zip(calls, values, strict=True)]

    def _add(self, call: "Call | None", value: Any = None) -> None:
        self._calls.append(call)
        self._values.append(value)
