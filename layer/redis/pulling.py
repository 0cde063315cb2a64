"""Taking what comes into one inbox: over a connection of its own, on which a BLMPOP always waits."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import hiredis

from ..calls import Call
from ..errors import LayerUnavailable
from ..store.element import ADD, DISCARD, PART, RELOAD, Element
from ..store.listeners import Heard
from .elements import HEARD, decode

if TYPE_CHECKING:
    from .commands import Commands
    from .stream import Stream

BLOCK = 5.0  # seconds a BLMPOP waits
_BATCH = 256
_ACCOUNTED = 64  # elements that were taken before Redis is told, of an inbox that may hold thousands
_ACCOUNTED_BYTES = 256 << 10  # of 64 MiB
_ABOUT_MEMBERS = frozenset((ADD, DISCARD, RELOAD))


class Puller:
    """Pulls an inbox, until it is told to hold.

    Args:
        stream: The connection; its owner tells by `resume` that it is there.
        commands: Makes the commands.
        inbox: What to pull.
        heard: Learns which channels are listened to.
        stats: Counts `expired` and `unreadable` elements, and `receives_cut`: how often the connection was lost while
            it was asked for elements, so that one batch may have been on its way.
        took: Called with the elements that were taken, but for those that have expired.
        woken: Called when delayed messages have to be looked after.
        failed: Called with the reason when Redis refuses to let us pull; `resume` tries again.

    Attributes:
        waiting: Whether a BLMPOP is out.
        held: What was taken and not handed over.
        offset: Redis' clock minus `time.monotonic()`, in seconds.
    """

    def __init__(
        self,
        stream: "Stream",
        commands: "Commands",
        inbox: str,
        heard: Heard,
        stats: Counter[str],
        took: Callable[[list[Element]], None],
        woken: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self.waiting = False
        self.held: list[Element] = []
        self.offset = 0.0
        self._stream = stream
        self._commands = commands
        self._inbox = inbox
        self._heard = heard
        self._stats = stats
        self._took = took
        self._woken = woken
        self._failed = failed
        self._pull = commands.pull((inbox,), BLOCK, _BATCH)
        self._holding = True
        self._stopped = False
        self._taken = self._taken_bytes = 0  # that Redis was not told of yet

    def hold(self, rest: Iterable[Element] = ()) -> None:
        """Ask for no more, and keep what still comes, after `rest`, until `resume`."""
        self._holding = True
        self.held.extend(rest)

    def resume(self) -> None:
        """Ask for more, then hand over what was held."""
        if self._stopped:
            return
        self._holding = False
        if not self.waiting:
            self._ask()
        if self.held:
            held, self.held = self.held, []
            self._took(held)

    def forget_notes(self) -> None:
        """Drop held notes about members: a snapshot is asked for, and they may be of a Redis that is no more."""
        self.held = [element for element in self.held if element[2] not in _ABOUT_MEMBERS]

    def stop(self) -> None:
        """Hold for ever."""
        self.hold()
        self._stopped = True

    def _ask(self, *before: Any) -> None:
        """Write commands, with the next BLMPOP behind them unless we hold."""
        if not self._holding:
            self.waiting = True
            self._stream.send([*before, self._pull], self._answered)
        elif before:
            self._stream.send(before, _ignore)

    def _answered(self, replies: list[Any] | LayerUnavailable) -> None:
        self.waiting = False
        if isinstance(replies, LayerUnavailable):
            if replies.uncertain and not self._stopped:
                self._stats["receives_cut"] += 1
            return
        reply = replies[-1]
        if isinstance(reply, hiredis.ReplyError):
            self._failed(str(reply))
            return
        found = self._commands.pulled(reply)
        if found is None:
            self._ask()
        elif found[0]:
            self._open(found[1])
        else:
            self._ask()
            self._woken()

    def _open(self, raws: list[bytes]) -> None:
        """Decode what came, ask for more, and only then let anybody work on it."""
        now = time.monotonic() + self.offset
        elements: list[Element] = []
        count = size = 0
        for raw in raws:
            try:
                element = decode(raw)
            except ValueError:
                self._stats["unreadable"] += 1
                continue
            deadline, _, kind, name, body, extra = element
            if kind <= PART:
                count += 1
                size += len(body)
            if deadline <= now:
                self._stats["expired"] += 1
            elif kind == HEARD:
                self._heard.hear({name: (extra[0], deadline - now)})
            else:
                elements.append(element)
        self._taken += count
        self._taken_bytes += size
        if self._taken >= _ACCOUNTED or self._taken_bytes >= _ACCOUNTED_BYTES:
            told: Call = ("account", (self._inbox, self._taken, self._taken_bytes))
            self._taken = self._taken_bytes = 0
            self._ask(*self._commands.plan([told]).commands)
        else:
            self._ask()
        if self._holding:
            self.held.extend(elements)
        elif elements:
            self._took(elements)


def _ignore(replies: object) -> None:
    """Take what nobody waits for."""
