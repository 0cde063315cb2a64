"""Packing messages, and refusing what cannot travel.

A message is a `dict` that JSON could hold, plus byte strings (design: messages.md). It travels as MessagePack, which
would take more than that: bytes and numbers as keys, NaN, 64-bit unsigned integers, its own extension types. A message
of texts and bytes alone is told by the types of its values. Looking at every value of any other in Python costs more
than twice the packing itself, so it is packed first, in C, and the *bytes* are looked at: everything that may not
travel, and every nested dict, begins with one of a few bytes. Only where one of them occurs is the message walked
(`benchmarks/layer_memory.py`).
"""

import math
import threading
from typing import Any

import msgpack

# The first bytes, in MessagePack, of what has to be looked at: fixmap, map 16/32 (their keys), float 32/64 (NaN,
# infinities), uint 64 (may be above 2**63 - 1), ext and fixext. All other bytes are harmless wherever they occur.
_SUSPICIOUS = frozenset([*range(0x80, 0x90), 0xDE, 0xDF, 0xCA, 0xCB, 0xCF, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)])
_HARMLESS = bytes(set(range(256)) - _SUSPICIOUS)
_PLAIN = frozenset((str, bytes, bool, type(None), bytearray, memoryview))
_MIN, _MAX = -(2**63), 2**63 - 1
_KEEP = 1 << 20  # a packer that has grown past this many bytes is thrown away with its buffer


class _Packers(threading.local):
    """One packer a thread: a packer owns the buffer it packs into."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin with an empty buffer."""
        self.pack = msgpack.Packer().pack


_packers = _Packers()
unpack = msgpack.unpackb


def pack_message(message: Any) -> bytes:
    """Pack a message after making sure that all of it may travel.

    Raises:
        TypeError: The message is no dict, or something in it cannot travel; the text names the place.
    """
    if type(message) is dict:
        for key, value in message.items():
            if type(key) is not str or type(value) not in _PLAIN:
                break
        else:
            return _pack(message, "message")
    body = pack_trusted(message)
    # One suspicious byte is the message's own first one: there is no other dict.
    if len(body.translate(None, _HARMLESS)) != 1 or not _str_keys(message):
        _look(message, "message")
    return body


def pack(value: Any, place: str) -> bytes:
    """Pack any value that may travel.

    Args:
        value: None, bool, signed 64-bit int, finite float, str, bytes, list or tuple, dict with str keys, nested at
            will.
        place: What the value is called in an error, such as "info".

    Raises:
        TypeError: The value, or something in it, cannot travel.
    """
    body = _pack(value, place)
    if body.translate(None, _HARMLESS):
        _look(value, place)
    return body


def pack_trusted(message: Any) -> bytes:
    """Pack a message that is known to be able to travel: what servers build themselves from parsed input.

    Raises:
        TypeError: The message is no dict, or cannot be packed at all.
    """
    if type(message) is dict:
        try:
            body: bytes = _packers.pack(message)
        except (TypeError, ValueError, OverflowError):
            pass  # `_pack` says why
        else:
            if len(body) > _KEEP:
                _packers.renew()
            return body
    if not isinstance(message, dict):
        raise TypeError(f"a message must be a dict, not {type(message).__name__}")
    return _pack(message, "message")


def _pack(value: Any, place: str) -> bytes:
    try:
        body: bytes = _packers.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    else:
        if len(body) > _KEEP:
            _packers.renew()
        return body
    # Out here, so that the user's traceback does not begin with msgpack's.
    _complain(value, place)
    raise TypeError(f"{place} cannot travel: {reason}")


def _look(value: Any, place: str) -> None:
    if not _travels(value):
        _complain(value, place)


def _str_keys(value: dict[Any, Any]) -> bool:
    try:
        "".join(value)  # the quickest look at the type of every key
    except TypeError:
        return False
    return True


def _travels(value: Any) -> bool:
    """Look at every value; quick, says no more than yes or no. The depth was already bounded by the packer."""
    stack: list[Any] = [(value,)]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if not _str_keys(part):
                return False
            part = part.values()
        for item in part:
            kind = type(item)
            if kind in _PLAIN:
                continue
            if kind is int:
                if not _MIN <= item <= _MAX:
                    return False
            elif kind is float:
                if not math.isfinite(item):
                    return False
            elif kind is dict or kind is list or kind is tuple:
                stack.append(item)
            elif _reason(item) is not None:
                return False
            elif isinstance(item, (dict, list, tuple)):
                stack.append(item)
    return True


def _reason(item: Any) -> str | None:
    """Say why one value, without what is in it, cannot travel; None if it can."""
    if isinstance(item, msgpack.ExtType):  # a tuple to Python, an extension type to the packer
        return "ExtType cannot travel"
    if item is None or isinstance(item, (bool, bytes, bytearray, memoryview, dict, list, tuple)):
        return None
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            return "a str with a lone surrogate cannot travel"
        return None
    if isinstance(item, int):
        return None if _MIN <= item <= _MAX else f"int {_shorten(item)} is beyond 64 bits and cannot travel"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"{_float_name(item)} cannot travel"
    return f"{type(item).__name__} cannot travel (what JSON can hold, and bytes, can)"


def _complain(value: Any, place: str) -> None:
    """Find the first value that cannot travel and raise TypeError with its place."""
    seen: list[int] = []

    def look(item: Any, where: str) -> None:
        reason = _reason(item)
        if reason is not None:
            raise TypeError(f"{where}: {reason}")
        if not isinstance(item, (dict, list, tuple)):
            return
        if id(item) in seen:
            raise TypeError(f"{where}: a container that holds itself cannot travel")
        if len(seen) == 200:
            raise TypeError(f"{where[:200]}…: nested too deep to travel")
        seen.append(id(item))
        if isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise TypeError(f"{where}: the key {key!r:.60} is {_article(key)}, and only str keys can travel")
                problem = _reason(key)
                if problem is not None:
                    raise TypeError(f"{where}: the key {key!r:.60}: {problem}")
                look(inner, f"{where}[{key!r}]")
        else:
            for index, inner in enumerate(item):
                look(inner, f"{where}[{index}]")
        seen.pop()

    look(value, place)


def _article(key: Any) -> str:
    name = type(key).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _shorten(number: int) -> str:
    return str(number) if number.bit_length() < 200 else f"of {number.bit_length()} bits"


def _float_name(number: float) -> str:
    return "NaN" if number != number else "infinity"
