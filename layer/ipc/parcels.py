"""Calls on their way to the broker: what goes into one frame, and sends to one queue as one call.

Sends that only put a message into a queue are joined where nothing stands between them but sends like them: a frame's
header, the broker's looks at what it was sent, and the step into the store are paid once for all of them. The order of
sends to one queue is kept, and that of all else among them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ..calls import Call
from ..errors import ChannelFull, LayerError
from . import frames

_CALL_BYTES = 100  # of a call beyond its body, about

Answer = tuple[Sequence[Any], Sequence[tuple[int, str, str]]]
"""What the broker says of a frame of calls: the value of each, and the errors that some raised."""


class Parcel:
    """Calls that travel in one frame.

    Attributes:
        calls: As they travel.
    """

    __slots__ = ("_numbers", "calls")

    def __init__(self, calls: Sequence[Call], numbers: Sequence[Sequence[int]]) -> None:
        self.calls = calls
        self._numbers = numbers  # of each, which of the calls that were asked for it stands for

    def open(self, answer: Answer, outcomes: list[Any]) -> None:
        """Write down what the calls that were asked for came to: their values, or the errors they raised."""
        values, errors = answer
        for numbers, (name, arguments), value in zip(self._numbers, self.calls, values, strict=True):
            if name != "put_many":
                outcomes[numbers[0]] = value
                continue
            for number in numbers:
                outcomes[number] = True
            if value is not None:
                waiting, refused = value
                error = ChannelFull.of(arguments[0], waiting, arguments[2])
                for index in refused:
                    outcomes[numbers[index]] = error
        for index, name, text in errors:
            self._fail(index, frames.ERRORS.get(name, LayerError)(text), outcomes)

    def fail(self, error: LayerError, outcomes: list[Any]) -> None:
        """Write down that all of them came to the same error."""
        for index in range(len(self.calls)):
            self._fail(index, error, outcomes)

    def _fail(self, index: int, error: Exception, outcomes: list[Any]) -> None:
        for number in self._numbers[index]:
            outcomes[number] = error


def parcels(calls: Sequence[Call]) -> Iterator[Parcel]:
    """Cut calls into what goes into one frame each."""
    if len(calls) == 1:
        yield Parcel(calls, ((0,),))
        return
    packed: list[Call] = []
    numbers: list[list[int]] = []
    joined: dict[str, tuple[float, list[Any], list[int]]] = {}  # queue → expiry, parts, numbers of what may be joined
    size = begun = 0
    for number, (name, arguments) in enumerate(calls):
        plain = name == "put" and len(arguments) == 6
        if plain:
            length = _CALL_BYTES + len(arguments[2])
        else:
            length = _CALL_BYTES + sum(len(argument) for argument in arguments if type(argument) is bytes)
        if number > begun and (size + length > frames.BATCH_BYTES or number - begun == frames.BATCH_CALLS):
            yield Parcel(packed, numbers)
            packed, numbers, joined, size, begun = [], [], {}, 0, number
        size += length
        if not plain:
            packed.append((name, arguments))
            numbers.append([number])
            joined.clear()
            continue
        queue, local, body, expiry, capacity, most = arguments
        entry = joined.get(queue)
        if entry is None or entry[0] != expiry or len(entry[2]) == frames.TOGETHER:
            entry = joined[queue] = expiry, [], []
            packed.append(("put_many", (queue, expiry, capacity, most, entry[1])))
            numbers.append(entry[2])
        entry[1].append(local)
        entry[1].append(body)
        entry[2].append(number)
    if packed:
        yield Parcel(packed, numbers)
