"""Rooms: what a bot keeps about each, in the layer's state, and how often it is spoken to there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .. import sending
from ..context import current_layer

if TYPE_CHECKING:
    from ...layer import Layer
    from ..message import Message

T = TypeVar("T")


def room_channel(message: Mapping[str, Any] | Message) -> str | None:
    """Return the reply channel of the room that a message is from, also where it was said in a thread there.

    None where it cannot be told: a name of a room and thread that is too long for a channel is a digest of both.
    """
    inbox, mark, name = message["reply_channel"].partition("!")
    if message.get("thread") is None:
        return str(message["reply_channel"])
    return None if name.startswith("-") else str(inbox + mark + name.partition(".")[0])


def digest(*parts: object) -> str:
    """Make a name of bounded length of any texts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Room:
    """What a bot keeps about a room; any number of workers may.

    It is written at once, also where the command fails afterwards.

    Args:
        key: Its key in the layer's state.
        keep: Seconds that it is kept after the last change.
        layer: The layer; None: the one that is sent to here.
    """

    def __init__(self, key: str, keep: float, layer: Layer | None) -> None:
        self._key = key
        self._keep = keep
        self._layer = layer

    def read(self) -> dict[str, Any]:
        """Return what is kept; altering it alters nothing."""
        return self._read()[0]

    def update(self, change: Callable[[dict[str, Any]], T]) -> T:
        """Change what is kept, so that nobody else's change is lost.

        Args:
            change: Is given a dictionary and alters it, which may happen several times: when somebody else was
                faster, it is given theirs. What it holds has to be of the kinds that messages hold.

        Returns:
            What the last call of `change` returned.

        Raises:
            TypeError: something in it cannot travel.
            LayerError: the layer refused it.
        """
        while True:
            kept, version = self._read()
            result = change(kept)
            layer = self._layer if self._layer is not None else current_layer()
            if layer.put_state(self._key, kept, self._keep, if_version=version):
                return result

    def clear(self) -> None:
        """Forget all of it."""
        sending.ask(self._layer, lambda layer: layer.delete_state(self._key))

    def _read(self) -> tuple[dict[str, Any], int]:
        kept, version = sending.ask(self._layer, lambda layer: layer.get_state(self._key))
        return kept or {}, version


Rate = tuple[int, float]
"""So many times in so many seconds."""


class Rates:
    """How often something may be asked for; counted in the layer, for all workers together.

    Args:
        name: Names it in the layer.
        user: What one person may in one room; None: any number.
        room: What all together may in one room; None: any number.

    Raises:
        ValueError: a number is below 1, or the seconds are not above 0.
    """

    def __init__(self, name: str, user: Rate | None, room: Rate | None) -> None:
        for rate in (user, room):
            if rate is not None and (rate[0] < 1 or not rate[1] > 0):
                raise ValueError(f"a rate is (times, seconds), such as (10, 60), not {rate!r}")
        self._name = name
        self._user = user
        self._room = room

    def refusal(self, message: Any) -> str | None:
        """Count a message; return None where it may go on, else what to say to that, "" for nothing.

        Only the first that is too much is answered: an answer to each would be the flood that is to be prevented.
        """
        room = room_channel(message) or message["reply_channel"]
        user = (message.get("service"), message.get("network"), message.get("user_id"))
        for rate, parts, text in (
            (self._user, (room, *user), "not so fast: {} times in {} is the most."),
            (self._room, (room,), "not so fast, all of you: {} times in {} is the most here."),
        ):
            if rate is None:
                continue
            most, seconds = rate
            key = f"{self._name}:rate:{digest(*parts)}"
            count = sending.ask(message.layer, partial(_count, key, seconds))
            if count > most:
                return text.format(most, f"{seconds:g} s") if count == most + 1 else ""
        return None


def _count(key: str, seconds: float, layer: Layer) -> int:
    return layer.incr_state(key, seconds)
