"""Which calls of the store a client may make, and with what: a client that is wrong must not harm the store.

Looking at every argument of every call would cost as much as the call. The types of a call's arguments are looked at
as a whole instead, in a set of those that were found right before; only numbers are looked at each time, since NaN
would break the order that heaps stand in.
"""

from collections.abc import Callable
from types import NoneType
from typing import Any

from ..store.blobs import CHUNK
from ..store.element import MESSAGE
from .frames import TOGETHER, FrameError

_STR = frozenset((str,))
_BYTES = frozenset((bytes,))
_INT = frozenset((int,))
_BOOL = frozenset((bool,))
_NUMBER = frozenset((int, float))
_TUPLE = frozenset((tuple,))
_DICT = frozenset((dict,))
_NONE = frozenset((NoneType,))
_MAYBE_STR, _MAYBE_BYTES, _MAYBE_INT = _STR | _NONE, _BYTES | _NONE, _INT | _NONE

_MAX_TEXT = 255  # characters of a name or a key
_MAX_LONG_TEXT = 16 * 1024  # of a dead letter's reason and traceback
_MAX_PATTERNS = 1000  # of durable channels, in one call
_MAX_BLOBS = 1000  # that one message may hold
_MAX_CHUNK = 2 * CHUNK  # bytes of a chunk of a blob, encrypted
_MAX_QUEUES = 4096  # that one TAKE may name
_MAX_SEEN = 256  # of those that are remembered, and how many of their like

Check = Callable[[Any], bool]


def _elements(elements: Any) -> bool:
    """Tell whether these are elements a reader may put back: messages to one receiver each."""
    return all(
        type(element) is tuple
        and len(element) == 6
        and type(element[0]) in _NUMBER
        and type(element[1]) in _NUMBER
        and element[0] >= 0
        and element[1] >= 0
        and element[2] == MESSAGE
        and type(element[3]) is str
        and type(element[4]) is bytes
        and element[5] is None
        for element in elements
    )


def _parts(parts: Any) -> bool:
    """Tell whether these are messages of a `put_many`: the local part and the body of each."""
    locals_ = parts[::2]
    return (
        0 < len(parts) <= 2 * TOGETHER
        and len(parts) % 2 == 0
        and _STR.issuperset(map(type, locals_))
        and _BYTES.issuperset(map(type, parts[1::2]))
        and max(map(len, locals_)) <= _MAX_TEXT
    )


def _excluded(names: Any) -> bool:
    return all(
        type(queue) is str and type(locals_) is tuple and all(type(local) is str for local in locals_)
        for queue, locals_ in names.items()
    )


def _channels(channels: Any) -> bool:
    return all(type(name) is str and type(ordered) is bool for name, ordered in channels.items())


def _patterns(patterns: Any) -> bool:
    return len(patterns) <= _MAX_PATTERNS and all(
        type(pattern) is str and len(pattern) <= _MAX_TEXT and type(seconds) in _NUMBER and seconds >= 0
        for pattern, seconds in patterns.items()
    )


def _plain(queue: Any) -> bool:
    return len(queue) <= _MAX_TEXT and "!" not in queue and "?" not in queue


def _taken(taken: Any) -> bool:
    return all(
        type(each) is tuple and len(each) == 2 and type(each[0]) is str and type(each[1]) is int for each in taken
    )


def _blobs(keys: Any) -> bool:
    return len(keys) <= _MAX_BLOBS and all(type(key) is str and len(key) <= _MAX_TEXT for key in keys)


def _counted(number: Any) -> bool:
    return bool(0 <= number < 1 << 60)


def _any_text(text: Any) -> bool:
    return len(text) <= _MAX_LONG_TEXT


def _any_number(number: Any) -> bool:
    return bool(number == number)


_Rest = tuple[list[int], list[int], list[tuple[int, Check]]]
"""Which arguments are texts, that have a length; which are seconds, nothing below zero and no NaN; further checks."""


class _Form:
    """What the arguments of one call look like.

    Args:
        types: The types each argument may have.
        required: How many there are at least.
        looks: Further checks, by the position of the argument.
        stores: Whether the call makes the store hold more.
    """

    def __init__(
        self, *types: frozenset[type], required: int | None = None, looks: dict[int, Check] | None = None,
        stores: bool = False,
    ) -> None:  # fmt: skip
        self.stores = stores
        self.right: dict[tuple[type, ...], _Rest] = {}
        self._types = types
        self._required = len(types) if required is None else required
        self._looks = looks or {}

    def learn(self, types: tuple[type, ...]) -> bool:
        """Tell whether arguments of these types are right, and remember what is still to be looked at in them."""
        fits = self._required <= len(types) <= len(self._types) and all(
            kind in each for kind, each in zip(types, self._types, strict=False)
        )
        if fits:
            others = [index for index in range(len(types)) if index not in self._looks]
            self.right[types] = (
                [index for index in others if types[index] is str],
                [index for index in others if self._types[index] == _NUMBER],
                [(index, look) for index, look in self._looks.items() if index < len(types)],
            )
        return fits


_LIFE = (_NUMBER, _INT, _MAYBE_INT)  # group_expiry, capacity, max_bytes

_FORMS: dict[str, _Form] = {
    "put": _Form(
        _STR, _STR, _BYTES, _NUMBER, _INT, _MAYBE_INT, _NUMBER, _MAYBE_STR, _MAYBE_STR, _NUMBER, _MAYBE_STR, _BOOL,
        required=6, stores=True,
    ),
    "put_many": _Form(_STR, _NUMBER, _INT, _MAYBE_INT, _TUPLE, looks={4: _parts}, stores=True),
    "cancel": _Form(_STR, _STR),
    "put_back": _Form(_STR, _TUPLE, looks={1: _elements}, stores=True),
    "peek": _Form(_STR, _INT, looks={1: lambda limit: 0 <= limit < 1 << 31}),
    "purge": _Form(_STR),
    "channel_statistics": _Form(_STR),
    "statistics": _Form(),
    "channels": _Form(),
    "group_add": _Form(_STR, _STR, _STR, _MAYBE_BYTES, *_LIFE, stores=True),
    "group_discard": _Form(_STR, _STR, _STR),
    "group_leave": _Form(_STR, _STR, _STR, _INT),
    "group_members": _Form(_STR),
    "send_group": _Form(_STR, _BYTES, _NUMBER, _DICT, looks={3: _excluded}, stores=True),
    "lease": _Form(_STR, _STR, _NUMBER, _BOOL, *_LIFE, stores=True),
    "renew": _Form(_STR, _STR, _NUMBER, looks={2: _any_number}),
    "release": _Form(_STR, _STR),
    "attach": _Form(_STR, _STR, *_LIFE),
    "get_state": _Form(_STR),
    "put_state": _Form(_STR, _BYTES, _NUMBER, _MAYBE_INT, stores=True),
    "delete_state": _Form(_STR),
    "increment_state": _Form(_STR, _NUMBER, stores=True),
    "announce": _Form(_STR, _MAYBE_BYTES, _DICT, looks={2: _channels}, stores=True),
    "listeners": _Form(),
    "dead_letter": _Form(
        _STR, _STR, _BYTES, _STR, _STR, _INT, _TUPLE,
        required=6, looks={3: _any_text, 4: _any_text, 6: _blobs}, stores=True,
    ),
    "dead_letters": _Form(_INT, required=0, looks={0: _counted}),
    "dead_letter_of": _Form(_STR),
    "dead_letter_drop": _Form(_STR, _BOOL, required=1),
    "append_blob": _Form(
        _STR, _INT, _BYTES, _INT, _INT,
        looks={1: _counted, 2: lambda chunk: len(chunk) <= _MAX_CHUNK, 3: lambda length: 0 <= length <= CHUNK},
    ),
    "read_blob": _Form(_STR, _INT),
    "blob_size": _Form(_STR),
    "drop_blob": _Form(_STR),
    "agree": _Form(_DICT, looks={0: _patterns}, stores=True),
    "put_durable": _Form(
        _STR, _STR, _BYTES, _NUMBER, _INT, _MAYBE_INT, _NUMBER, _MAYBE_STR, _MAYBE_STR, _NUMBER, _NUMBER, _TUPLE,
        required=11, looks={0: _plain, 11: _blobs}, stores=True,
    ),
    "ack": _Form(_STR, _STR, _INT),
    "nack": _Form(_STR, _STR, _INT, _NUMBER),
    "extend": _Form(_STR, _STR, _INT, _NUMBER),
    "put_back_durable": _Form(_STR, _TUPLE, looks={1: _taken}),
    "kept": _Form(_STR, _STR, _INT, looks={2: lambda limit: 0 < limit <= 100}),
    "hasten": _Form(_STR, _STR),
    "discard": _Form(_STR, _STR),
    "flush": _Form(),
    "heard": _Form(),
}  # fmt: skip

STORING = frozenset(name for name, form in _FORMS.items() if form.stores)


def check(name: Any, arguments: Any) -> None:
    """Refuse a call that the store must not see.

    Raises:
        FrameError: There is no such call, or an argument is wrong.
    """
    form = _FORMS.get(name) if type(name) is str else None
    if form is None or type(arguments) is not tuple:
        raise FrameError(f"no call of the bus: {name!r:.60}")
    types = tuple(map(type, arguments))
    if types not in form.right and not form.learn(types):
        raise FrameError(f"{name}: wrong arguments: {', '.join(kind.__name__ for kind in types[:20])}")
    texts, numbers, looks = form.right[types]
    for index in texts:
        if len(arguments[index]) > _MAX_TEXT:
            raise FrameError(f"{name}: a text of {len(arguments[index])} characters")
    for index in numbers:
        if not arguments[index] >= 0:
            raise FrameError(f"{name}: {arguments[index]!r} is out of range")
    for index, look in looks:
        if not look(arguments[index]):
            raise FrameError(f"{name}: argument {index + 1} is wrong")


class Take:
    """A credit: who may be given how many elements, and of which queues."""

    __slots__ = ("attaches", "holder", "id", "limit", "queues", "session", "start", "wait")

    def __init__(self, session: Any, parts: tuple[Any, ...]) -> None:
        """Read a TAKE frame.

        Raises:
            FrameError: It is none.
        """
        try:
            _, self.id, self.queues, self.start, self.limit, self.wait, self.attaches, self.holder = parts
        except ValueError:
            raise FrameError("TAKE: wrong number of parts") from None
        self.session = session
        if not (
            type(self.id) is int
            and type(self.queues) is tuple
            and type(self.start) is int
            and self.start >= 0
            and type(self.limit) is int
            and self.limit > 0
            and type(self.wait) is bool
            and type(self.attaches) is tuple
            and (self.holder is None or (type(self.holder) is str and len(self.queues) == 1 and not self.attaches))
        ):
            raise FrameError("TAKE: wrong parts")
        inboxes = _inboxes(self.queues)
        if self.start >= len(self.queues):
            raise FrameError("TAKE: wrong parts")
        if self.holder is None and (inboxes or self.attaches):
            for each in self.attaches:
                check("attach", each)
            if inboxes != [each[0] for each in self.attaches]:
                raise FrameError("TAKE: an inbox is read with its attach, or by its holder")


_seen: dict[tuple[str, ...], list[str]] = {}  # queues that were found right before, as readers ask for the same again


def _inboxes(queues: tuple[Any, ...]) -> list[str]:
    """Return the inboxes among the queues of a TAKE.

    Raises:
        FrameError: They are no queues.
    """
    try:
        inboxes = _seen.get(queues)
    except TypeError:  # something in it is no str
        inboxes = None
    if inboxes is not None:
        return inboxes
    if not 0 < len(queues) <= _MAX_QUEUES or not all(type(each) is str and len(each) <= _MAX_TEXT for each in queues):
        raise FrameError("TAKE: no queues")
    inboxes = [queue for queue in queues if queue.endswith("!")]
    if len(queues) <= _MAX_SEEN:
        if len(_seen) >= _MAX_SEEN:
            _seen.clear()
        _seen[queues] = inboxes
    return inboxes
