"""Which place a call goes to, where a layer has several, and what becomes of the outcomes of one that goes to all.

A place holds everything about the queues it has: their elements, delayed messages, marks of `once`, members of inboxes
and leases. So a call about one queue concerns one place, and nothing ever has to be agreed on between two. Who asks
for a group, or sends to one, asks all places: each knows the members it has, so that no list of places has to be kept,
which could be wrong. Announcements go everywhere, too: a server learns of them at the place of its inbox.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ..calls import Call
from ..errors import LayerError, LayerUnavailable

_REMEMBERED = 4096
_SENDS = frozenset(("put", "put_durable"))
_SECOND = frozenset(("group_add", "group_discard", "group_leave", "dead_letter"))  # whose queue is their 2nd argument
READS = frozenset(("read_blob", "blob_size"))
AWAY = "@"
"""What stands before who gets credit for a channel of another place: the reader tells them, not the script."""


def tag_of(queue: str) -> str:
    """Return what decides about a queue's place: for an inbox its server prefix, so that those of one group meet."""
    if not queue.endswith("!"):
        return queue
    return queue[:-1].rpartition(".")[0] or queue[:-1]


def spot(tag: str, count: int) -> int:
    """Return a number below `count` for a tag, always the same, and for one more place seldom another.

    This is the jump hash of Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014).
    """
    key = int.from_bytes(blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    found, following = 0, 0
    while following < count:
        found = following
        key = (key * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        following = int((found + 1) * (1 << 31) / ((key >> 33) + 1))
    return found


class Router:
    """Finds places, and remembers what it found.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._all = range(count)
        self._known: dict[str, int] = {}
        self._strayed: OrderedDict[str, int] = OrderedDict()  # blobs that are not where their keys say

    def place(self, queue: str) -> int:
        """Return the number of a queue's place."""
        found = self._known.get(queue)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[queue] = spot(tag_of(queue), self._count)
        return found

    def spot(self, key: str) -> int:
        """Return the number of the place where a blob is written."""
        return spot(key, self._count)

    def blob(self, key: str) -> int:
        """Return the number of the place where a blob was found last, or else is written."""
        found = self._strayed.get(key)
        return self.spot(key) if found is None else found

    def found_blob(self, key: str, place: int) -> None:
        """Remember where a blob was found."""
        self._strayed[key] = place
        if len(self._strayed) > _REMEMBERED:
            self._strayed.popitem(last=False)

    def places(self, call: Call) -> Sequence[int]:
        """Return the numbers of the places that a call goes to."""
        name, args = call
        if name in MERGES:
            return self._all
        if name == "agree":
            return (0,)
        if name == "append_blob":
            return (self.spot(args[0]),)
        if name in READS:
            return (self.blob(args[0]),)
        return (self.place(args[name in _SECOND]),)

    def divide(self, calls: Iterable[Call]) -> dict[int, tuple[list[int], list[Call]]]:
        """Return for each place the numbers of its calls, and these calls, in order."""
        parts: dict[int, tuple[list[int], list[Call]]] = {}
        for number, call in enumerate(calls):
            for place in self.places(call):
                numbers, part = parts.setdefault(place, ([], []))
                numbers.append(number)
                part.append(self._credited(call, place))
        return parts

    def _credited(self, call: Call, place: int) -> Call:
        """Mark who gets credit where the place of the channel cannot give it."""
        name, args = call
        if name != "put" or len(args) == 6 or args[10] is None:
            return call
        inbox, mark, _ = args[10].partition("!")
        if self.place(inbox + mark) == place:
            return call
        return name, (*args[:10], AWAY + args[10], *args[11:])


def steps(calls: Sequence[Call]) -> list[Sequence[Call]]:
    """Cut calls where sends and others meet: what was written before a send must be there when it arrives.

    Sends to different channels have no order among them, so that a whole step can be on its way at once.
    """
    cuts = [n for n in range(1, len(calls)) if (calls[n][0] in _SENDS) is not (calls[n - 1][0] in _SENDS)]
    return [calls[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(calls)], strict=True)]


def merge(call: Call, outcomes: Sequence[Any]) -> Any:
    """Make one outcome of those that all places gave."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, LayerError)]
    good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    if failed and not (good and call[0] == "listeners"):  # whom any place knows is alive
        return _failure(call, failed, bool(good))
    return MERGES[call[0]](good)


def _failure(call: Call, failed: Sequence[LayerError], some: bool) -> LayerError:
    for error in failed:
        if not isinstance(error, LayerUnavailable):
            return error
    away = [error for error in failed if isinstance(error, LayerUnavailable)]
    uncertain = any(error.uncertain for error in away) or (some and call[0] == "send_group")
    return LayerUnavailable(str(away[0]), uncertain=uncertain)


def _nothing(outcomes: Sequence[None]) -> None:
    return None


def _union(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for outcome in outcomes for name, value in outcome.items()}


def _sums(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums = {name: sum(outcome[name] for outcome in outcomes) for name in outcomes[0]}
    return sums | {"messages_max_age": max(outcome["messages_max_age"] for outcome in outcomes)}


def _by_time(outcomes: Sequence[Sequence[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    return sorted((letter for outcome in outcomes for letter in outcome), key=lambda letter: letter[-1])


def _first(outcomes: Sequence[Any]) -> Any:
    return next((outcome for outcome in outcomes if outcome is not None), None)


MERGES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "send_group": _nothing,
    "announce": _nothing,
    "flush": _nothing,
    "group_members": _union,
    "listeners": _union,
    "channels": _union,
    "statistics": _sums,
    "dead_letters": _by_time,
    "dead_letter_of": _first,
    "dead_letter_drop": any,
    "drop_blob": any,
}
"""What goes to all places → how its outcomes become one."""
