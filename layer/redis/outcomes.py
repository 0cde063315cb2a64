"""Replies of scripts, as the outcomes of the calls of the store that they answer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
from hiredis import ReplyError

from ..calls import Call
from ..errors import ChannelFull, LayerError, LayerUnavailable
from ..membership import Snapshot
from ..store import blobs
from ..store.patterns import disagreement
from .elements import decode

_TOTALS = ("group_dropped_count", "dead_letters_dropped_count", "blobs_count", "blobs_bytes", "dead_letters_count")


class Taken(NamedTuple):
    """What a script took from the first queue that had something.

    Attributes:
        place: Which of the queues that was; None: all are empty.
        elements: As they stand in Redis.
        snapshots: Which queue → what its new reader has to begin from, where it is an inbox.
        marks: (id, tries) of each of the elements, where that queue is a durable one; else None.
    """

    place: int | None
    elements: list[bytes]
    snapshots: dict[int, Snapshot]
    marks: list[tuple[int, int]] | None = None


def answer(reply: Any) -> Any:
    """Return the reply to a plain command.

    Raises:
        LayerError: Redis refused it.
    """
    if isinstance(reply, ReplyError):
        raise LayerError(f"Redis refused a command: {reply}")
    return reply


def refused(error: ReplyError, call: Call) -> Exception:
    text = str(error)
    if text.startswith("OOM"):
        if call[0] in ("put", "put_durable", "append_blob"):
            return ChannelFull("Redis is out of memory: it has reached its maxmemory")
        return LayerUnavailable("Redis is out of memory: it has reached its maxmemory")
    if text.startswith("MISCONF"):
        return LayerUnavailable(f"Redis takes no writes: {text}")
    return LayerError(f"Redis refused {call[0]}: {text}")


def put(queue: str, capacity: int, reply: Any) -> bool | LayerError:
    if isinstance(reply, bytes):
        return blobs.missing(text(reply))
    return full(queue, reply[0], capacity) if isinstance(reply, list) else reply == 1


def full(queue: str, depth: int, capacity: int) -> ChannelFull:
    return ChannelFull.behind(queue) if depth < 0 else ChannelFull.of(queue, depth, capacity)


def appended(key: str, at: int, capacity: int, reply: Any) -> int | LayerError:
    if isinstance(reply, bytes):
        return blobs.hole(key, at, int(reply) if reply else None)
    return blobs.full(reply[0], capacity) if isinstance(reply, list) else int(reply)


def size(reply: Any) -> int | None:
    return None if reply is None else int(reply)


def nothing(reply: Any) -> None:
    return None


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def pairs(reply: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(reply[::2], reply[1::2], strict=True))


def members(reply: Any) -> dict[str, bytes | None]:
    return {name.decode(): info or None for name, info in pairs(reply)}


def leased(inbox: str, reply: Any) -> Snapshot | LayerError | None:
    if reply == 0:
        return LayerError(f"{inbox} is leased by another process")
    return None if reply == 1 else snapshot(reply)


def snapshot(reply: Any) -> Snapshot:
    rest = iter(reply[1:])
    members = zip(rest, rest, rest, rest, rest, strict=True)
    return reply[0], [
        (group.decode(), local.decode(), sequence, since, info or None)
        for group, local, sequence, since, info in members
    ]


def taken(reply: Any) -> Taken:
    number, elements, snapshots, durable = reply
    marks = None
    if durable:
        marks = [(int(id), tries) for id, tries in zip(elements[::3], elements[1::3], strict=True)]
        elements = elements[2::3]
    found = {place - 1: snapshot(each) for place, each in snapshots}
    return Taken(number - 1 if number else None, elements, found, marks)


def kept(reply: Any) -> list[tuple[Any, ...]]:
    rest = iter(reply)
    found = zip(rest, rest, rest, rest, rest, rest, strict=True)
    return [
        (id.decode(), decode(element)[4], tries, float(age), state.decode(), float(wait))
        for id, element, tries, age, state, wait in found
    ]


def creditor(reply: Any) -> tuple[str, float] | None:
    name, life = reply
    return None if name is None or life is None else (name.decode(), float(life))


def agreed(reply: Any) -> dict[str, float] | LayerError:
    kind, *rest = reply
    told = [(text(pattern), float(seconds)) for pattern, seconds in pairs(rest)]
    return dict(told) if kind == b"known" else disagreement(*told[0], *told[1])


def renewed(reply: Any) -> tuple[bool, Mapping[str, tuple[bool, float]], float]:
    rest = iter(reply[2:])
    heard = {name.decode(): (bool(ordered), float(left)) for name, left, ordered in zip(rest, rest, rest, strict=True)}
    return reply[0] == 1, heard, float(reply[1])


def state(reply: Any) -> tuple[Any, int]:
    value, version, counter = reply
    if version is None:
        return None, 0
    return (int(value) if counter == b"1" else value), int(version)


def letters(reply: Any) -> list[tuple[Any, ...]]:
    rest = iter(reply)
    return [
        (id.decode(), *msgpack.unpackb(letter, unicode_errors="surrogatepass"), float(time))
        for id, time, letter in zip(rest, rest, rest, strict=True)
    ]


def statistics(reply: Any) -> dict[str, Any]:
    sent, sent_rate, pending, age, refused, refused_rate = reply
    return {
        "messages_count": int(sent),
        "messages_count_per_second": float(sent_rate),
        "messages_pending": int(pending),
        "messages_max_age": float(age),
        "channel_full_count": int(refused),
        "channel_full_count_per_second": float(refused_rate),
    }


def each(reply: Any) -> dict[str, Any]:
    return {name.decode(): statistics(one) for one, name in zip(reply[0], reply[2], strict=True)}


def whole(reply: Any) -> dict[str, Any]:
    each = [statistics(one) for one in reply[0]]
    totals = dict(zip(_TOTALS, map(int, reply[1]), strict=True))
    names = statistics(["0"] * 6)
    whole = {name: sum(one[name] for one in each) for name in names}
    return whole | {"messages_max_age": max((one["messages_max_age"] for one in each), default=0.0)} | totals
