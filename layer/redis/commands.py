"""Calls of the store as Redis commands, and replies as outcomes.

Adjacent sends to one queue become one command. Nothing here does I/O.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgpack
from hiredis import ReplyError

from ..calls import Call, lost
from ..errors import ChannelFull, LayerError, LayerUnavailable
from ..membership import Snapshot
from ..store.durable import disagreement
from ..store.letters import AGE
from ..store.listeners import HEARD, LEASE
from .elements import decode, encode, message_tail
from .keys import Keys
from .scripts import SHA

Command = tuple[Any, ...]
Outcome = Any
_Decode = Callable[[Any], Outcome]

_TOGETHER = 500  # values in one command: what Lua's stack can hold with room to spare, and no long pause for others
_REMEMBERED = 1024
_ADOPTED = 300  # members written down in one command
_MOST = 2**53 - 1
_LONGEST = 10**9  # seconds: as good as for ever, and Redis can add it to the time of day


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


class Plan:
    """What to send for some calls, and what its replies mean.

    Attributes:
        commands: In order; each may stand for several calls.
    """

    __slots__ = ("_calls", "_steps", "commands")

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self.commands: list[Command] = []
        self._steps: list[tuple[Sequence[int], _Decode]] = []  # of each command: which calls, and their outcomes

    def outcomes(self, replies: Sequence[Any]) -> list[Outcome]:
        """Return for each call its value, or the error it raises."""
        results: list[Outcome] = [None] * len(self._calls)
        for (numbers, read), reply in zip(self._steps, replies, strict=True):
            if isinstance(reply, ReplyError):
                error = _refused(reply, self._calls[numbers[0]])
                for number in numbers:
                    results[number] = error
            elif read is _puts:
                self._put(results, numbers, reply)
            elif not isinstance(results[numbers[0]], Exception):
                results[numbers[0]] = read(reply)
        return results

    def lost(self, error: LayerUnavailable) -> list[Outcome]:
        """Return for each call the error it raises when the connection was lost."""
        return list(lost(self._calls, error))

    def _put(self, results: list[Outcome], numbers: Sequence[int], reply: Any) -> None:
        for number in numbers:
            results[number] = True
        if type(reply) is int:
            return
        queue, capacity = self._calls[numbers[0]][1][0], self._calls[numbers[0]][1][4]
        for index in reply[1:]:
            results[numbers[index - 1]] = full(queue, reply[0], capacity)


class Commands:
    """Makes plans for one layer.

    Args:
        keys: The names of its keys.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._heads: dict[tuple[str, float], list[bytes]] = {}  # queue, expiry → how each of its sends begins
        self._makers: dict[str, Callable[[tuple[Any, ...]], tuple[Command, _Decode]]] = {
            "put": self._put_one,
            "cancel": self._cancel,
            "take": self._take,
            "put_back": self._put_back,
            "peek": self._peek,
            "purge": self._purge,
            "channel_statistics": self._channel_statistics,
            "statistics": self._statistics,
            "channels": self._channels,
            "group_add": self._group_add,
            "group_discard": self._group_discard,
            "group_leave": self._group_leave,
            "group_members": self._group_members,
            "send_group": self._send_group,
            "lease": self._lease,
            "renew": self._renew,
            "release": self._release,
            "snapshot": self._snapshot,
            "get_state": self._get_state,
            "put_state": self._put_state,
            "delete_state": self._delete_state,
            "increment_state": self._increment_state,
            "announce": self._announce,
            "listeners": self._listeners,
            "dead_letter": self._dead_letter,
            "dead_letters": self._dead_letters,
            "dead_letter_of": self._dead_letter_of,
            "dead_letter_drop": self._dead_letter_drop,
            "agree": self._agree,
            "put_durable": self._put_durable,
            "ack": self._ack,
            "nack": self._settle("nack"),
            "extend": self._settle("extend"),
            "put_back_durable": self._put_back_durable,
            "flush": self._flush,
            "account": self._account,
            "creditor": self._creditor,
            "credit": self._credit,
            "promote": self._promote,
        }

    def plan(self, calls: Sequence[Call]) -> Plan:
        """Turn calls into commands. The order of sends to one queue is kept, and that of all else among them."""
        plan = Plan(calls)
        commands: list[Sequence[Any]] = []
        steps = plan._steps
        heads = self._heads
        # Sends that may still be joined: queue → expiry, the command under way, which calls it stands for
        joined: dict[str, tuple[float, list[Any], list[int]]] = {}
        for number, (name, args) in enumerate(calls):
            if name == "put" and len(args) == 6:
                queue, local, body, expiry = args[:4]
                entry = joined.get(queue)
                if entry is not None and entry[0] == expiry and len(entry[2]) < _TOGETHER:
                    entry[1].append(message_tail(local, body))
                    entry[2].append(number)
                    continue
                if "?" not in queue:
                    head = heads.get((queue, expiry)) or self._head(*args)
                    entry = joined[queue] = expiry, [*head, message_tail(local, body)], [number]
                    commands.append(entry[1])
                    steps.append((entry[2], _puts))
                    continue
            joined.clear()
            for command, read in self._restore(args) if name == "restore" else (self._makers[name](args),):
                commands.append(command)
                steps.append(((number,), read))
        plan.commands = list(map(tuple, commands))
        return plan

    def pull(self, queues: Sequence[str], seconds: float, count: int) -> Command:
        """Make the command that waits for elements of any of some queues, or for the token on the wake list.

        Args:
            queues: In the order in which to look.
            seconds: How long to wait; 0 would be for ever.
            count: How many elements at most, all from one queue.
        """
        return pull_keys([self.keys.wake, *map(self.keys.list, queues)], seconds, count)

    def pulled(self, reply: Any) -> tuple[str, list[bytes]] | None:
        """Return what a pull brought: (queue, elements); the queue is "" for the wake list; None after the wait."""
        return None if reply is None else (self.keys.queue(reply[0]), reply[1])

    # what calls are made of

    def _head(self, queue: str, local: str, body: bytes, expiry: float, capacity: int, most: int | None) -> list[bytes]:
        keys = self.keys
        head = [
            "EVALSHA", SHA["put"], 3, keys.list(queue), keys.books(queue), keys.delayed(queue)[0],
            keys.prefix, queue, _seconds(expiry), min(capacity, _MOST), "" if most is None else most,
        ]  # fmt: skip
        if len(self._heads) >= _REMEMBERED:
            self._heads.clear()
        packed = [part if isinstance(part, bytes) else str(part).encode() for part in head]
        self._heads[queue, expiry] = packed
        return packed

    def _script(self, name: str, keys: Sequence[bytes], *args: Any) -> Command:
        touched = keys or self.keys.anchor
        return ("EVALSHA", SHA[name], len(touched), *touched, self.keys.prefix, *args)

    # sending and receiving

    def _put_one(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, local, body, expiry, capacity, most = args[:6]
        delay, key, once, window, credit, last = args[6:] if len(args) > 6 else (0, None, None, 0, None, False)
        keys = self.keys
        touched = [keys.list(queue), keys.books(queue), *keys.delayed(queue), keys.mark(queue, once or "")]
        command = self._script(
            "put_one", [*touched, keys.due, keys.wake],
            queue, _seconds(expiry), min(capacity, _MOST), "" if most is None else most, _seconds(delay),
            _utf8(key or ""), int(once is not None), _seconds(window), credit or "", int(last),
            message_tail(local, body),
        )  # fmt: skip
        return command, lambda reply: full(queue, reply[0], capacity) if isinstance(reply, list) else reply == 1

    def _take(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queues, limit, life, holder = args
        described = (part for name, capacity, most in queues for part in (name, capacity, most))
        return self._script("take", (), limit, _seconds(life), holder, *described), _taken

    def _put_back(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, elements = args
        keys = [self.keys.list(queue), self.keys.books(queue), self.keys.delayed(queue)[0]]
        return self._script("put_back", keys, queue, *map(encode, elements)), _nothing

    def _cancel(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, key = args
        return self._script("cancel", self.keys.delayed(queue), queue, _utf8(key)), bool

    def _peek(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, limit = args
        command = self._script("peek", [self.keys.list(queue)], queue, limit)
        return command, lambda reply: [decode(raw)[4] for raw in reply]

    def _purge(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        keys = self.keys
        queue = args[0]
        touched = [
            keys.list(queue), keys.books(queue), *keys.delayed(queue), *keys.durables(queue),
            *keys.durable_delayed(queue), keys.due, keys.later,
        ]  # fmt: skip
        return self._script("purge", touched, queue), int

    def _account(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        inbox, messages, size = args
        return ("EVALSHA", SHA["account"], 1, self.keys.books(inbox), messages, size), _nothing

    def _creditor(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("HMGET", self.keys.books(args[0]), "c", "l"), _creditor

    def _credit(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("credit", [self.keys.list(args[0]), self.keys.books(args[0])], *args), _nothing

    def _promote(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        keys = [self.keys.due, self.keys.wake, self.keys.leases, self.keys.later]
        return self._script("promote", keys), lambda reply: None if reply < 0 else reply / 1000

    # groups

    def _group_add(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        group, queue, local, info, life, capacity, most = args
        command = self._script("group_add", (), group, queue, local, info or b"", _seconds(life), capacity, most or "")
        return command, _nothing

    def _group_discard(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_discard", (), *args), bool

    def _group_leave(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_leave", (), *args), bool

    def _group_members(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_members", (), *args), _members

    def _send_group(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        group, body, expiry, exclude = args
        excluded = (part for queue, locals_ in exclude.items() for part in (queue, msgpack.packb(list(locals_))))
        return self._script("send_group", (), group, body, _seconds(expiry), *excluded), _nothing

    def _lease(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        inbox, holder, ttl, lasting, life, capacity, most = args
        command = self._script("lease", (), inbox, holder, _seconds(ttl), int(lasting), _seconds(life), capacity, most)
        return command, partial(_leased, inbox)

    def _restore(self, args: tuple[Any, ...]) -> list[tuple[Command, _Decode]]:
        """Make several commands, so that others get their turn between them."""
        *lease, members = args
        inbox, holder = lease[:2]
        steps = [self._lease(tuple(lease))]
        for begin in range(0, len(members), _ADOPTED):
            described = (part for group, local, info in members[begin : begin + _ADOPTED]
                         for part in (group, local, info or b""))  # fmt: skip
            last = int(begin + _ADOPTED >= len(members))
            steps.append((self._script("adopt", (), inbox, holder, last, *described), partial(_leased, inbox)))
        return steps

    def _renew(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("renew", (), *args), _renewed

    def _release(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("release", (), *args), _nothing

    def _snapshot(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("snapshot", (), *args), _snapshot

    # state

    def _get_state(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("HMGET", self.keys.state(args[0]), "v", "n", "c"), _state

    def _put_state(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        key, value, ttl, if_version = args
        version = "" if if_version is None else if_version
        lives = round(_seconds(ttl) * 1000)
        return ("EVALSHA", SHA["put_state"], 1, self.keys.state(key), value, lives, version), int

    def _delete_state(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("UNLINK", self.keys.state(args[0])), bool

    def _increment_state(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        key, window = args

        def read(reply: Any) -> Any:
            return TypeError(f"state {key!r} holds a value and is no counter") if reply < 0 else reply

        return ("EVALSHA", SHA["increment_state"], 1, self.keys.state(key), round(_seconds(window) * 1000)), read

    # questions of people and processes

    def _announce(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        listener, info, channels = args
        keys = self.keys
        described = (part for channel, ordered in channels.items() for part in (channel, int(ordered)))
        touched = [keys.listeners, keys.alive, keys.heard, keys.leases]
        return self._script("announce", touched, _utf8(listener), info or b"", LEASE, HEARD, *described), _nothing

    def _listeners(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        command = self._script("listeners", [self.keys.listeners, self.keys.alive])
        return command, lambda reply: {_text(name): info for name, info in _pairs(reply)}

    def _dead_letter(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        id, *letter = args
        keys = [self.keys.dead, self.keys.letters, self.keys.totals]
        packed = msgpack.packb(letter, unicode_errors="surrogatepass")
        return self._script("dead_letter", keys, id, packed), lambda reply: id

    def _dead_letters(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("EVALSHA", SHA["dead_letters"], 2, self.keys.dead, self.keys.letters, AGE, ""), _letters

    def _dead_letter_of(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        command = ("EVALSHA", SHA["dead_letters"], 2, self.keys.dead, self.keys.letters, AGE, _utf8(args[0]))
        return command, lambda reply: next(iter(_letters(reply)), None)

    def _dead_letter_drop(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        keys = [self.keys.dead, self.keys.letters, self.keys.totals]
        return self._script("dead_letter_drop", keys, _utf8(args[0])), bool

    # durable channels

    def _agree(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        described = [part for pattern, seconds in args[0].items() for part in (_utf8(pattern), repr(float(seconds)))]
        return ("EVALSHA", SHA["agree"], 1, self.keys.durable, *described), _agreed

    def _put_durable(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, local, body, expiry, capacity, _, delay, key, once, window, _ = args
        keys = self.keys
        touched = [
            keys.durables(queue)[0], keys.books(queue), *keys.durable_delayed(queue), keys.list(queue),
            keys.mark(queue, once or ""), keys.later, keys.wake,
        ]  # fmt: skip
        command = self._script(
            "put_durable", touched, queue, _seconds(expiry), min(capacity, _MOST), _seconds(delay), _utf8(key or ""),
            int(once is not None), _seconds(window), message_tail(local, body),
        )  # fmt: skip
        return command, lambda reply: full(queue, reply[0], capacity) if isinstance(reply, list) else reply == 1

    def _ack(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, id, _ = args
        return self._script("ack", self.keys.durables(queue), queue, id), bool

    def _settle(self, name: str) -> Callable[[tuple[Any, ...]], tuple[Command, _Decode]]:
        def make(args: tuple[Any, ...]) -> tuple[Command, _Decode]:
            touched = [*self.keys.durables(args[0]), self.keys.later, self.keys.wake]
            return self._script(name, touched, *args), bool

        return make

    def _put_back_durable(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, taken = args
        touched = [*self.keys.durables(queue), self.keys.later, self.keys.wake]
        return self._script("put_back_durable", touched, queue, *(part for each in taken for part in each)), _nothing

    def _channel_statistics(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", (), args[0]), lambda reply: _statistics(reply[0][0])

    def _statistics(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", ()), _whole

    def _channels(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", ()), _each

    def _flush(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("flush", (), self.keys.pattern), _nothing


def pull_keys(keys: Sequence[bytes], seconds: float, count: int) -> Command:
    """Make the command that waits for elements of any of some lists; see `Commands.pull`."""
    return ("BLMPOP", seconds, len(keys), *keys, "LEFT", "COUNT", count)


def answer(reply: Any) -> Any:
    """Return the reply to a plain command.

    Raises:
        LayerError: Redis refused it.
    """
    if isinstance(reply, ReplyError):
        raise LayerError(f"Redis refused a command: {reply}")
    return reply


def full(queue: str, depth: int, capacity: int) -> ChannelFull:
    """Return the error of a queue without room."""
    return ChannelFull(f"{queue} is full: {depth} messages wait there, its capacity is {capacity}")


def _refused(error: ReplyError, call: Call) -> Exception:
    text = str(error)
    if text.startswith("OOM"):
        if call[0] in ("put", "put_durable"):
            return ChannelFull("Redis is out of memory: it has reached its maxmemory")
        return LayerUnavailable("Redis is out of memory: it has reached its maxmemory")
    if text.startswith("MISCONF"):
        return LayerUnavailable(f"Redis takes no writes: {text}")
    return LayerError(f"Redis refused {call[0]}: {text}")


def _seconds(seconds: float) -> float:
    return min(seconds, _LONGEST)


def _puts(reply: Any) -> Outcome:
    raise AssertionError("the outcomes of joined sends are read by their plan")


def _nothing(reply: Any) -> None:
    return None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _pairs(reply: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(reply[::2], reply[1::2], strict=True))


def _members(reply: Any) -> dict[str, bytes | None]:
    return {name.decode(): info or None for name, info in _pairs(reply)}


def _leased(inbox: str, reply: Any) -> Snapshot | LayerError | None:
    if reply == 0:
        return LayerError(f"{inbox} is leased by another process")
    return None if reply == 1 else _snapshot(reply)


def _snapshot(reply: Any) -> Snapshot:
    rest = iter(reply[1:])
    members = zip(rest, rest, rest, rest, rest, strict=True)
    return reply[0], [
        (group.decode(), local.decode(), sequence, since, info or None)
        for group, local, sequence, since, info in members
    ]


def _taken(reply: Any) -> Taken:
    number, elements, snapshots, durable = reply
    marks = None
    if durable:
        marks = [(int(id), tries) for id, tries in zip(elements[::3], elements[1::3], strict=True)]
        elements = elements[2::3]
    found = {place - 1: _snapshot(each) for place, each in snapshots}
    return Taken(number - 1 if number else None, elements, found, marks)


def _creditor(reply: Any) -> tuple[str, float] | None:
    name, life = reply
    return None if name is None or life is None else (name.decode(), float(life))


def _agreed(reply: Any) -> dict[str, float] | LayerError:
    kind, *rest = reply
    pairs = [(_text(pattern), float(seconds)) for pattern, seconds in _pairs(rest)]
    return dict(pairs) if kind == b"known" else disagreement(*pairs[0], *pairs[1])


def _renewed(reply: Any) -> tuple[bool, Mapping[str, tuple[bool, float]], float]:
    rest = iter(reply[2:])
    heard = {name.decode(): (bool(ordered), float(left)) for name, left, ordered in zip(rest, rest, rest, strict=True)}
    return reply[0] == 1, heard, float(reply[1])


def _state(reply: Any) -> tuple[Any, int]:
    value, version, counter = reply
    if version is None:
        return None, 0
    return (int(value) if counter == b"1" else value), int(version)


def _letters(reply: Any) -> list[tuple[Any, ...]]:
    rest = iter(reply)
    return [
        (id.decode(), *msgpack.unpackb(letter, unicode_errors="surrogatepass"), float(time))
        for id, time, letter in zip(rest, rest, rest, strict=True)
    ]


def _statistics(reply: Any) -> dict[str, Any]:
    sent, sent_rate, pending, age, refused, refused_rate = reply
    return {
        "messages_count": int(sent),
        "messages_count_per_second": float(sent_rate),
        "messages_pending": int(pending),
        "messages_max_age": float(age),
        "channel_full_count": int(refused),
        "channel_full_count_per_second": float(refused_rate),
    }


def _each(reply: Any) -> dict[str, Any]:
    return {name.decode(): _statistics(one) for one, name in zip(reply[0], reply[2], strict=True)}


def _whole(reply: Any) -> dict[str, Any]:
    each = [_statistics(one) for one in reply[0]]
    dropped = dict(zip(("group_dropped_count", "dead_letters_dropped_count"), map(int, reply[1]), strict=True))
    names = _statistics(["0"] * 6)
    whole = {name: sum(one[name] for one in each) for name in names}
    return whole | {"messages_max_age": max((one["messages_max_age"] for one in each), default=0.0)} | dropped
