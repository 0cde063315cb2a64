"""Conversations on a network: the reply channels of rooms and people, there and back.

A room goes by its name and a person by nick, folded, so that every spelling is the same conversation. What is too long
for a channel's name stands there as a digest: whom it means is known as long as it was heard of lately.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

from ...message_formats.conversation import conversation_channel
from .names import is_target

_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_NAME = re.compile(r"(?:[A-Za-z0-9]|_[0-9a-f]{2})+")
_MOST_DIGESTS = 1000


class Conversations:
    """The conversations of one network.

    Args:
        network: The network's configured name.
        fold: Makes two spellings of a name equal.
    """

    def __init__(self, network: str, fold: Callable[[str], str]) -> None:
        self._network = network
        self._fold = fold
        self._digests: OrderedDict[str, str] = OrderedDict()

    def channel(self, target: str) -> str:
        """Return the reply channel of a room or person."""
        channel = conversation_channel("irc", self._network, self._fold(target))
        name = channel.partition("!")[2]
        if name.startswith("-"):
            self._digests[name] = target
            self._digests.move_to_end(name)
            if len(self._digests) > _MOST_DIGESTS:
                self._digests.popitem(last=False)
        return channel

    def target(self, name: str) -> str | None:
        """Return the room or person that the part of a reply channel after the "!" means; None: nobody that we know."""
        if name.startswith("-"):
            return self._digests.get(name)
        name = name.partition(".")[0]  # there are no threads here
        if not _NAME.fullmatch(name):
            return None
        unescaped = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)  # a character a byte
        target = unescaped.encode("latin-1").decode("utf-8", "replace")
        return target if is_target(target) else None
