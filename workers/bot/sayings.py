"""What a bot says at certain times: delayed messages of the layer, on `asgi.delay`.

Something that is said in every room is one repetition a room, to the bot's own channel, from where its function is
called. It begins when the bot is in the room, or when somebody talks to it there: then it is only sent again, and the
same id makes them one. The schedule is part of that id, so that one that was changed begins anew; and the phase of a
period is that of Unix time, so that beginning again moves nothing.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...layer import LayerError
from ...message_formats.chat import REPLY
from ..channels import Channel
from ..context import wall_clock
from ..cron import Cron
from ..delays import CHANNEL
from ..exceptions import ConsumeLater
from ..message import Message
from .permissions import Permission
from .rooms import digest, room_channel

if TYPE_CHECKING:
    from ...layer import Layer

log = logging.getLogger("trunkline.workers")

_PLACE = ("reply_channel", "service", "network", "channel")
_MOST_ROOMS = 10_000  # whose sayings this process knows to have begun
_TRIES = 6  # in half a minute, of what this worker does not know to say: older or newer ones may be among the others


@dataclass(frozen=True)
class When:
    """When something is said again and again: every so many seconds, or as a crontab line says, in UTC.

    Raises:
        ValueError: none of the two, both, or one that cannot be.
    """

    seconds: float | None = None
    cron: str | None = None

    def __post_init__(self) -> None:
        """Check it."""
        if (self.seconds is None) == (self.cron is None):
            raise ValueError("give seconds, or cron, which is a crontab line")
        if self.cron is not None:
            Cron(self.cron)
        elif self.seconds is not None and not 1 <= self.seconds < math.inf:
            raise ValueError(f"every {self.seconds} seconds: allowed are 1 and more")

    def __str__(self) -> str:
        return f"cron {self.cron}" if self.cron is not None else f"every {self.seconds:g} s"

    def keys(self, now: float) -> dict[str, Any]:
        """Return the keys of `asgi.delay` for the first time after now, and all after it."""
        if self.cron is not None:
            return {"delay": _milliseconds(Cron(self.cron).after(now) - now), "cron": self.cron}
        assert self.seconds is not None
        return {
            "delay": _milliseconds(self.seconds - now % self.seconds),
            "repeat": _milliseconds(self.seconds),
        }


@dataclass(frozen=True)
class Saying:
    """Something that is said in every room.

    Attributes:
        name: The function's name.
        function: Called with a message that can be replied to.
        when: When.
        permission: In which rooms.
    """

    name: str
    function: Callable[..., Any]
    when: When
    permission: Permission


class Sayings:
    """All that a bot says by itself.

    Args:
        name: The bot's name in the layer.

    Attributes:
        channel: Where what is due comes.
    """

    def __init__(self, name: str) -> None:
        self.channel = f"{name}.due"
        self._name = name
        self._sayings: dict[str, Saying] = {}
        self._begun: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sayings)

    def add(self, saying: Saying) -> None:
        """Add one.

        Raises:
            ValueError: there is one of that name.
        """
        if saying.name in self._sayings:
            raise ValueError(f"there are two {saying.name}; they need names of their own")
        self._sayings[saying.name] = saying

    def begin(self, message: Message, *, anew: bool) -> None:
        """Begin in the room that a message is from.

        Args:
            message: The message.
            anew: Even if this process did before.
        """
        place = {key: message.get(key) for key in _PLACE}
        room = place["reply_channel"] = room_channel(message)
        if not self._sayings or room is None or message.get("direct") or (room in self._begun and not anew):
            return
        now = wall_clock(message.layer)()
        try:
            for saying in self._sayings.values():
                if saying.permission.allows(Message(place, "chat.ready", message.layer)):
                    content = {**place, "saying": saying.name, "when": str(saying.when)}
                    delayed = {"channel": self.channel, "content": content, "id": self._id(content)}
                    # At once: should the command fail, what it held is dropped, and nobody would begin again.
                    Channel(CHANNEL, message.layer).send(delayed | saying.when.keys(now), immediately=True)
        except LayerError as error:
            log.warning("what %s says by itself could not begin in %s: %s", self._name, room, error)
            return
        self._begun[room] = None
        while len(self._begun) > _MOST_ROOMS:
            self._begun.popitem(last=False)

    def due(self, message: Message) -> tuple[Saying, Message] | None:
        """Return what is due and a message to say it in answer to; None where it is not said any more.

        Raises:
            ConsumeLater: this worker knows of no such saying, but another may.
        """
        saying = self._sayings.get(message["saying"])
        place = {key: message[key] for key in _PLACE}
        again = Message(place, "chat.ready", message.layer, message.delivery)
        if saying is not None and str(saying.when) == message["when"] and saying.permission.allows(again):
            return saying, again
        if message.delivery is not None and message.delivery.tries < _TRIES:
            raise ConsumeLater(delay=2)
        Channel(CHANNEL, message.layer).send(
            {"channel": self.channel, "delay": -1, "content": {}, "id": self._id(message)}
        )
        return None

    def later(
        self, where: str, content: Mapping[str, Any], layer: Layer, *, delay: float, when: When | None, id: str | None
    ) -> None:
        """Say something later, or again and again; see `Bot.later`."""
        if when is not None and delay:
            raise ValueError("either a delay, or seconds or cron")
        if when is not None and id is None:
            raise ValueError("what is said again and again needs an id, to be replaced or cancelled by")
        keys: dict[str, Any] = when.keys(wall_clock(layer)()) if when is not None else {"delay": _milliseconds(delay)}
        if id is not None:
            keys["id"] = self._own_id(where, id)
        REPLY.validate(content)
        Channel(CHANNEL, layer).send({"channel": where, "content": dict(content), **keys})

    def cancel(self, where: str, layer: Layer, id: str) -> None:
        """Do not say it; see `Bot.cancel`."""
        Channel(CHANNEL, layer).send({"channel": where, "delay": -1, "content": {}, "id": self._own_id(where, id)})

    def _id(self, content: Mapping[str, Any] | Message) -> str:
        return f"{self._name}:{digest(content['saying'], content['when'], content['reply_channel'])}"

    def _own_id(self, where: str, id: str) -> str:
        return f"{self._name}:{digest('', id, where)}"


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
