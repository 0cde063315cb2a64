"""What a layer does for durable channels alone: saying which they are, and looking into them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .calls import Call, Calls
from .errors import LayerUnavailable
from .options import VISIBILITY, Options

_PAGE = 20  # messages that are looked at together


class DurableChannels(ABC):
    """The part of a layer that is about durable channels alone."""

    options: Options
    _calls: Calls

    @abstractmethod
    def _call(self, call: Call) -> Any:
        """Run one call of the store."""

    def agree(self) -> None:
        """Tell the others who use this layer which channels are durable, and learn what they told.

        It is done once, before it first matters; a command does it when it starts.

        Raises:
            LayerError: Others say otherwise of the same channels.
            LayerUnavailable: The layer is out of reach.
        """
        limits = self._calls.limits
        if limits.settle is None:
            return
        try:
            limits.adopt(self._call(("agree", (self.options.durable_patterns,))))
        except LayerUnavailable as error:
            raise LayerUnavailable(str(error)) from None  # what it was asked for is not in doubt: it was not sent yet

    def is_durable(self, channel: str, *, anew: bool = False) -> bool:
        """Tell whether what is sent to a channel stays until a consumer has returned, whoever listens now.

        Args:
            anew: Where it is not known to be, ask the others once more, who may have said so since.

        Raises:
            TypeError: The name breaks the rules.
            LayerUnavailable: Nobody could be asked which channels are durable.
        """
        limits = self._calls.limits
        if anew and not limits.find(channel)[0].visibility:
            limits.adopt(self._call(("agree", (self.options.durable_patterns,))))
        return limits.find(channel)[0].visibility > 0

    def ask_durable(self, channel: str) -> bool:
        """Have a channel be durable for all who use the layer, unless somebody said whether it is.

        Returns:
            Whether it is.

        Raises:
            LayerUnavailable: The layer is out of reach.
        """
        limits = self._calls.limits
        if not self.is_durable(channel, anew=True) and limits.durability(channel) is None:
            limits.adopt(self._call(("agree", (self.options.durable_patterns | {channel: VISIBILITY},))))
        return bool(limits.durability(channel))

    def kept(self, channel: str) -> Iterator[dict[str, Any]]:
        """Return all that a durable channel holds, leaving it there; of another channel nothing.

        Yields:
            Dicts of id; message; tries, how often it was delivered; age, seconds since it was sent; state, "waiting",
            "taken" or "later"; and wait, seconds until it can be taken, or is taken for lost.
        """
        queue, after = self._calls.queue(channel), ""
        while True:
            page = self._call(("kept", (queue, after, _PAGE)))
            for id, body, tries, age, state, wait in page:
                after = id
                with suppress(ValueError):  # what no key opens
                    message = self._calls.open(body)
                    yield {"id": id, "message": message, "tries": tries, "age": age, "state": state, "wait": wait}
            if not page:
                return

    def hasten(self, channel: str, id: str) -> bool:
        """Have a message of a durable channel that is delivered later, be delivered now.

        Returns:
            False if there is none of this id, or it does not wait for its time.
        """
        return bool(self._call(("hasten", (self._calls.queue(channel), *self._calls.dead_letter_of(id)[1]))))

    def discard(self, channel: str, id: str) -> bool:
        """Drop a message of a durable channel, whoever has it; False if there is none of this id."""
        return bool(self._call(("discard", (self._calls.queue(channel), *self._calls.dead_letter_of(id)[1]))))
