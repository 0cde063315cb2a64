"""Calls of the store as Redis commands, and replies as outcomes.

Adjacent sends to one queue become one command. Where a run has several commands for a queue, they are linked, so that
none puts anything there once one before it found no room (`links.py`). Nothing here does I/O.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgpack
from hiredis import ReplyError

from ..calls import Call, lost
from ..errors import LayerUnavailable
from ..store.letters import AGE
from ..store.listeners import HEARD, LEASE
from ..store.queues import SENDS
from . import outcomes
from .elements import decode, encode, message_tail
from .keys import Keys
from .links import Links
from .scripts import SHA

Command = tuple[Any, ...]
Outcome = Any
_Decode = Callable[[Any], Outcome]

_TOGETHER = 500  # values in one command: what Lua's stack can hold with room to spare, and no long pause for others
_REMEMBERED = 1024
_ADOPTED = 300  # members written down in one command
_MOST = 2**53 - 1
_LONGEST = 10**9  # seconds: as good as for ever, and Redis can add it to the time of day


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
        failed: dict[str, Exception] = {}  # queue → what became of a command for it: those behind do nothing then
        for (numbers, read), reply in zip(self._steps, replies, strict=True):
            if isinstance(reply, ReplyError):
                call = self._calls[numbers[0]]
                error = outcomes.refused(reply, call)
                for number in numbers:
                    results[number] = error
                if call[0] in SENDS:
                    failed[call[1][0]] = error
            elif failed and (queue := self._held_up(numbers[0], reply)) in failed:
                for number in numbers:
                    results[number] = failed[queue]
            elif read is _puts:
                self._put(results, numbers, reply)
            elif not isinstance(results[numbers[0]], Exception):
                results[numbers[0]] = read(reply)
        return results

    def lost(self, error: LayerUnavailable) -> list[Outcome]:
        """Return for each call the error it raises when the connection was lost."""
        return list(lost(self._calls, error))

    def _held_up(self, number: int, reply: Any) -> str:
        """Return the queue of a send that did nothing for the sake of one before it; "" of any other call."""
        name, args = self._calls[number]
        queue: str = args[0] if name in SENDS and type(reply) is list and reply[0] < 0 else ""
        return queue

    def _put(self, results: list[Outcome], numbers: Sequence[int], reply: Any) -> None:
        for number in numbers:
            results[number] = True
        if type(reply) is int:
            return
        queue, capacity = self._calls[numbers[0]][1][0], self._calls[numbers[0]][1][4]
        for index in reply[1:]:
            results[numbers[index - 1]] = outcomes.full(queue, reply[0], capacity)


class Commands:
    """Makes plans for one layer.

    Args:
        keys: The names of its keys.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._heads: dict[tuple[str, float], list[bytes]] = {}  # queue, expiry → how each of its sends begins
        self._links = Links(keys)
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
            "kept": self._kept,
            "hasten": self._alter("hasten"),
            "discard": self._alter("discard"),
            "append_blob": self._append_blob,
            "read_blob": self._read_blob,
            "blob_size": self._blob_size,
            "drop_blob": self._drop_blob,
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
        apart = False  # whether a queue may have several commands
        for number, (name, args) in enumerate(calls):
            if name == "put" and len(args) == 6:
                queue, local, body, expiry = args[:4]
                entry = joined.get(queue)
                if entry is not None and entry[0] == expiry and len(entry[2]) < _TOGETHER:
                    entry[1].append(message_tail(local, body))
                    entry[2].append(number)
                    continue
                if entry is not None:
                    apart = True
                if "?" not in queue:
                    head = heads.get((queue, expiry)) or self._head(*args)
                    entry = joined[queue] = expiry, [*head, message_tail(local, body)], [number]
                    commands.append(entry[1])
                    steps.append((entry[2], _puts))
                    continue
            joined.clear()
            apart = True
            for command, read in self._restore(args) if name == "restore" else (self._makers[name](args),):
                commands.append(command)
                steps.append(((number,), read))
        if apart and len(commands) > 1:
            self._links.link(commands, [calls[numbers[0]] for numbers, _ in steps])
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

        return command, partial(outcomes.put, queue, capacity)

    def _take(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queues, limit, life, holder = args
        described = (part for name, capacity, most in queues for part in (name, capacity, most))
        return self._script("take", (), limit, _seconds(life), holder, *described), outcomes.taken

    def _put_back(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, elements = args
        keys = [self.keys.list(queue), self.keys.books(queue), self.keys.delayed(queue)[0]]
        return self._script("put_back", keys, queue, *map(encode, elements)), outcomes.nothing

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
            *keys.durable_delayed(queue), keys.ties(queue), keys.due, keys.later,
        ]  # fmt: skip
        return self._script("purge", touched, queue), int

    def _account(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        inbox, messages, size = args
        return ("EVALSHA", SHA["account"], 1, self.keys.books(inbox), messages, size), outcomes.nothing

    def _creditor(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("HMGET", self.keys.books(args[0]), "c", "l"), outcomes.creditor

    def _credit(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("credit", [self.keys.list(args[0]), self.keys.books(args[0])], *args), outcomes.nothing

    def _promote(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        keys = [self.keys.due, self.keys.wake, self.keys.leases, self.keys.later, self.keys.loose]
        return self._script("promote", keys), lambda reply: None if reply < 0 else reply / 1000

    # groups

    def _group_add(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        group, queue, local, info, life, capacity, most = args
        command = self._script("group_add", (), group, queue, local, info or b"", _seconds(life), capacity, most or "")
        return command, outcomes.nothing

    def _group_discard(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_discard", (), *args), bool

    def _group_leave(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_leave", (), *args), bool

    def _group_members(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("group_members", (), *args), outcomes.members

    def _send_group(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        group, body, expiry, exclude = args
        excluded = (part for queue, locals_ in exclude.items() for part in (queue, msgpack.packb(list(locals_))))
        return self._script("send_group", (), group, body, _seconds(expiry), *excluded), outcomes.nothing

    def _lease(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        inbox, holder, ttl, lasting, life, capacity, most = args
        command = self._script("lease", (), inbox, holder, _seconds(ttl), int(lasting), _seconds(life), capacity, most)
        return command, partial(outcomes.leased, inbox)

    def _restore(self, args: tuple[Any, ...]) -> list[tuple[Command, _Decode]]:
        """Make several commands, so that others get their turn between them."""
        *lease, members = args
        inbox, holder = lease[:2]
        steps = [self._lease(tuple(lease))]
        for begin in range(0, len(members), _ADOPTED):
            described = (part for group, local, info in members[begin : begin + _ADOPTED]
                         for part in (group, local, info or b""))  # fmt: skip
            last = int(begin + _ADOPTED >= len(members))
            steps.append((self._script("adopt", (), inbox, holder, last, *described), partial(outcomes.leased, inbox)))
        return steps

    def _renew(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("renew", (), *args), outcomes.renewed

    def _release(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("release", (), *args), outcomes.nothing

    def _snapshot(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("snapshot", (), *args), outcomes.snapshot

    # state

    def _get_state(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("HMGET", self.keys.state(args[0]), "v", "n", "c"), outcomes.state

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
        command = self._script("announce", touched, _utf8(listener), info or b"", LEASE, HEARD, *described)
        return command, outcomes.nothing

    def _listeners(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        command = self._script("listeners", [self.keys.listeners, self.keys.alive])
        return command, lambda reply: {outcomes.text(name): info for name, info in outcomes.pairs(reply)}

    def _dead_letter(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        id, *letter = args[:6]
        packed = msgpack.packb(letter, unicode_errors="surrogatepass")
        return self._script("dead_letter", self._of_letters(), id, packed, " ".join(args[6])), lambda reply: id

    def _dead_letters(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        command = ("EVALSHA", SHA["dead_letters"], 2, self.keys.dead, self.keys.letters, AGE, "", *args)
        return command, outcomes.letters

    def _dead_letter_of(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        command = ("EVALSHA", SHA["dead_letters"], 2, self.keys.dead, self.keys.letters, AGE, _utf8(args[0]))
        return command, lambda reply: next(iter(outcomes.letters(reply)), None)

    def _dead_letter_drop(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        id, keep_blobs = args
        return self._script("dead_letter_drop", self._of_letters(), _utf8(id), int(keep_blobs)), bool

    def _of_letters(self) -> list[bytes]:
        keys = self.keys
        return [keys.dead, keys.letters, keys.totals, keys.tied, keys.loose]

    # durable channels

    def _agree(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        described = [part for pattern, seconds in args[0].items() for part in (_utf8(pattern), repr(float(seconds)))]
        return ("EVALSHA", SHA["agree"], 1, self.keys.durable, *described), outcomes.agreed

    def _put_durable(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, local, body, expiry, capacity, _, delay, key, once, window, _, blobs = args
        keys = self.keys
        touched = [
            keys.durables(queue)[0], keys.books(queue), *keys.durable_delayed(queue), keys.list(queue),
            keys.ties(queue), keys.mark(queue, once or ""), keys.later, keys.wake, keys.loose,
        ]  # fmt: skip
        command = self._script(
            "put_durable", touched, queue, _seconds(expiry), min(capacity, _MOST), _seconds(delay), _utf8(key or ""),
            int(once is not None), _seconds(window), message_tail(local, body), " ".join(blobs),
        )  # fmt: skip
        return command, partial(outcomes.put, queue, capacity)

    def _ack(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, id, _ = args
        return self._script("ack", [*self.keys.durables(queue), self.keys.ties(queue)], queue, id), bool

    def _settle(self, name: str) -> Callable[[tuple[Any, ...]], tuple[Command, _Decode]]:
        def make(args: tuple[Any, ...]) -> tuple[Command, _Decode]:
            touched = [*self.keys.durables(args[0]), self.keys.later, self.keys.wake]
            return self._script(name, touched, *args), bool

        return make

    def _put_back_durable(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue, taken = args
        touched = [*self.keys.durables(queue), self.keys.later, self.keys.wake]
        described = (part for each in taken for part in each)
        return self._script("put_back_durable", touched, queue, *described), outcomes.nothing

    def _kept(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        queue = args[0]
        touched = [*self.keys.durables(queue), *self.keys.durable_delayed(queue), self.keys.later, self.keys.wake]
        return self._script("kept", touched, *args), outcomes.kept

    def _alter(self, name: str) -> Callable[[tuple[Any, ...]], tuple[Command, _Decode]]:
        def make(args: tuple[Any, ...]) -> tuple[Command, _Decode]:
            queue, id = args
            keys = self.keys
            touched = [*keys.durables(queue), *keys.durable_delayed(queue), keys.books(queue), keys.later, keys.wake]
            return self._script(name, touched, queue, _utf8(id)), bool

        return make

    # blobs

    def _append_blob(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        key, at, chunk, length, capacity = args
        command = self._script("append_blob", self._of_blob(key), key, at, length, chunk, min(capacity, _MOST))
        return command, partial(outcomes.appended, key, at, capacity)

    def _read_blob(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        key, number = args
        return ("HGET", self.keys.blob(key), number), lambda chunk: chunk

    def _blob_size(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return ("HGET", self.keys.blob(args[0]), "s"), outcomes.size

    def _drop_blob(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("drop_blob", self._of_blob(args[0]), args[0]), bool

    def _of_blob(self, key: str) -> list[bytes]:
        return [self.keys.blob(key), self.keys.loose, self.keys.totals]

    # questions about the whole

    def _channel_statistics(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", (), args[0]), lambda reply: outcomes.statistics(reply[0][0])

    def _statistics(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", ()), outcomes.whole

    def _channels(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("statistics", ()), outcomes.each

    def _flush(self, args: tuple[Any, ...]) -> tuple[Command, _Decode]:
        return self._script("flush", (), self.keys.pattern), outcomes.nothing


def pull_keys(keys: Sequence[bytes], seconds: float, count: int) -> Command:
    """Make the command that waits for elements of any of some lists; see `Commands.pull`."""
    return ("BLMPOP", seconds, len(keys), *keys, "LEFT", "COUNT", count)


def _seconds(seconds: float) -> float:
    return min(seconds, _LONGEST)


def _puts(reply: Any) -> Outcome:
    raise AssertionError("the outcomes of joined sends are read by their plan")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
