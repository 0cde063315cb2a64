"""The inbox on Redis, against a store behind connections that a test cuts: no Redis, no sockets, no waiting."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import hiredis
import pytest

from trunkline.layer import InboxItem, LayerError, LayerUnavailable
from trunkline.layer.calls import Call, Calls
from trunkline.layer.inbox import Callbacks
from trunkline.layer.options import Options
from trunkline.layer.packing import pack_message
from trunkline.layer.redis import inbox as inbox_module
from trunkline.layer.redis.elements import HEARD, encode
from trunkline.layer.redis.inbox import AGAIN, RENEW, RedisInbox
from trunkline.layer.store import Store
from trunkline.layer.store.element import MESSAGE

NAME = "server.1!"
BLOCKED = object()
UNCERTAIN = frozenset(("put", "send_group"))


class Hello(NamedTuple):
    client_id: int
    run_id: str
    offset: float


class Redis:
    """What is at the other end.

    Attributes:
        reachable: Whether a connection can be made.
        frozen: Answers nothing, though it is connected.
        answers: Name of a call → what it is answered instead.
        after: Name of a call → what happens once it has run, before it is answered.
        brings: What the next BLMPOPs are answered instead.
        writes: (stream, commands) of each write.
        ran: Names of calls that were run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.skew = 5000.0
        self.reachable = True
        self.frozen = False
        self.answers: dict[str, Any] = {}
        self.after: dict[str, Callable[[], None]] = {}
        self.brings: deque[Any] = deque()
        self.writes: list[tuple[str, list[Any]]] = []
        self.ran: list[str] = []
        self.killed: list[int] = []
        self.heard: dict[str, tuple[bool, float]] = {}
        self.due: float | None = None
        self.streams: list[FakeStream] = []
        self.blocked: dict[str, FakeStream] = {}
        self.ids = count(1)
        self.run_id = ""
        self.start()

    def start(self) -> None:
        """Begin anew, with nothing in it."""
        self.run_id = f"run.{next(self.ids)}"
        self.flush_all()

    def flush_all(self) -> None:
        self.store = Store(self.clock, self.blocked, self.notify)
        self.heard = {}

    def clock(self) -> float:
        return time.monotonic() + self.skew

    def notify(self, queue: str) -> None:
        self.loop.call_soon(self.blocked[queue].proceed)

    def freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        for stream in self.streams:
            stream.proceed()

    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        self.ran.append(name)
        if name in self.answers:
            return self.answers[name]
        try:
            return self.answer(name, args)
        finally:
            self.after.pop(name, lambda: None)()

    def answer(self, name: str, args: tuple[Any, ...]) -> Any:
        groups = self.store.groups
        try:
            if name == "restore":
                *lease, members = args
                groups.lease(*lease)
                for group, local, info in members:
                    groups.add(group, args[0], local, info, *lease[4:])
                self.store.queues.drop_notes(args[0])
                return groups.snapshot(args[0])
            if name == "renew":
                return groups.renew(*args), dict(self.heard), self.clock()
            if name == "account":
                return None
            if name == "promote":
                return self.due
            return self.store.calls[name](*args)
        except LayerError as error:
            return error

    def run(self, stream: FakeStream, command: Any) -> Any:
        if command[:2] == ("CLIENT", "KILL"):
            self.killed.append(command[3])
            return 1
        if command[:2] == ("CLIENT", "UNBLOCK"):
            if "unblock" in self.answers:
                return self.answers["unblock"]
            [reader] = [other for other in self.streams if other.hello.client_id == command[2]]
            if reader.blocking:
                reader.timed_out = True
                reader.proceed()
            return 1
        if command[0] != "BLMPOP":
            return self.call(*command)
        if self.brings:
            return self.brings.popleft()
        if stream.timed_out:
            stream.timed_out = False
            return None
        queue = command[1]
        found = self.store.queues.take((queue,), 0, command[2])
        if found is None:
            self.blocked[queue] = stream
            return BLOCKED
        self.blocked.pop(queue, None)
        return queue, [element if isinstance(element, bytes) else encode(element) for element in found[2]]


class FakeStream:
    """As `layer.redis.stream.Stream`, but that a test connects and cuts it."""

    redis: Redis

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        scripts: Any,
        *,
        name: str,
        up: Callable[[], None],
        down: Callable[[str], None],
        timeout: float = 5.0,
        patience: float = 0.0,
    ) -> None:
        self.kind = "rx" if patience else "tx"
        self.loop = loop
        self.connected = False
        self.closed = False
        self.hello = Hello(0, "", 0.0)
        self.blocking = self.timed_out = False
        self.up, self.down = up, down
        self.asked: deque[tuple[deque[Any], list[Any], Callable[[Any], None]]] = deque()
        self.redis.streams.append(self)

    def start(self) -> None:
        self.loop.call_soon(self.connect)

    def connect(self) -> None:
        if self.closed or self.connected:
            return
        if self.redis.reachable:
            self.hello = Hello(next(self.redis.ids), self.redis.run_id, self.redis.skew)
            self.connected = True
            self.up()
        else:
            self.down("refused")

    def cut(self, reason: str = "cut") -> None:
        if not self.connected:
            return
        self.release()
        asked, self.asked = self.asked, deque()
        for _, _, done in asked:
            done(LayerUnavailable(reason, uncertain=True))
        self.down(reason)

    def send(self, commands: Sequence[Any], done: Callable[[Any], None]) -> None:
        if not self.connected:
            self.loop.call_soon(done, LayerUnavailable("not connected"))
            return
        self.redis.writes.append((self.kind, list(commands)))
        self.asked.append((deque(commands), [], done))
        self.loop.call_soon(self.proceed)

    def proceed(self) -> None:
        while self.asked and self.connected and not self.redis.frozen:
            commands, replies, done = self.asked[0]
            while commands:
                reply = self.redis.run(self, commands[0])
                self.blocking = reply is BLOCKED
                if self.blocking:
                    return
                commands.popleft()
                replies.append(reply)
            self.asked.popleft()
            done(replies)

    def close(self) -> None:
        self.closed = True
        if self.connected:
            asked, self.asked = self.asked, deque()
            self.release()
            for _, _, done in asked:
                self.loop.call_soon(done, LayerUnavailable("closed", uncertain=True))

    def release(self) -> None:
        self.connected = self.blocking = self.timed_out = False
        for queue in [queue for queue, stream in self.redis.blocked.items() if stream is self]:
            del self.redis.blocked[queue]


class FakePlan:
    def __init__(self, calls: Sequence[Call]) -> None:
        self.commands = list(calls)

    def outcomes(self, replies: Sequence[Any]) -> list[Any]:
        return [LayerUnavailable(str(reply)) if isinstance(reply, hiredis.ReplyError) else reply for reply in replies]

    def lost(self, error: LayerUnavailable) -> list[Any]:
        return [error if name in UNCERTAIN else LayerUnavailable(str(error)) for name, _ in self.commands]


class FakeCommands:
    plan = FakePlan

    def pull(self, queues: Sequence[str], seconds: float, count: int) -> Any:
        return "BLMPOP", *queues, count

    def pulled(self, reply: Any) -> Any:
        return reply


class FakeLayer:
    def __init__(self, redis: Redis) -> None:
        self._commands = FakeCommands()
        self._address = "redis://fake"
        self._calls = Calls(Options())
        self._redis = redis

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        return [self._redis.call(name, args) for name, args in calls]

    def _call(self, call: Call) -> Any:
        return self._redis.call(*call)


class Place:
    """A server instance's inbox, its layer, and what its callbacks were told."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.redis = Redis(self.loop)
        self.items: list[InboxItem] = []
        self.credits: list[tuple[str, str, int]] = []
        self.told: list[str] = []
        self.got: Callable[[], None] = lambda: None
        self.inbox: RedisInbox

    def open(self, lasting: bool = False, early: bool = False) -> RedisInbox:
        callbacks = Callbacks(self.receive, self.credit, partial(self.told.append, "up"), self.told.append)
        layer: Any = FakeLayer(self.redis)
        self.inbox = RedisInbox(layer, NAME, self.loop, callbacks, lasting)
        if not early:
            self.turn()
        return self.inbox

    def receive(self, items: list[InboxItem]) -> None:
        self.items.extend(items)
        self.got()

    def credit(self, *credit: Any) -> None:
        self.credits.append(credit)

    @property
    def tx(self) -> FakeStream:
        return next(stream for stream in reversed(self.redis.streams) if stream.kind == "tx")

    @property
    def rx(self) -> FakeStream:
        return next(stream for stream in reversed(self.redis.streams) if stream.kind == "rx")

    def turn(self, turns: int = 12) -> None:
        async def turns_of_the_loop() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns_of_the_loop())

    def renew(self) -> None:
        """Have the time of a renewal come."""
        self.inbox._timer.cancel()
        self.inbox._renew()
        self.turn()

    def bring(self, reply: Any) -> None:
        """Answer the BLMPOP that waits."""
        self.redis.brings.append(reply)
        self.rx.proceed()

    def away(self, reason: str = "cut") -> None:
        self.redis.reachable = False
        self.tx.cut(reason)
        self.rx.cut(reason)

    def back(self) -> None:
        self.redis.reachable = True
        self.tx.connect()
        self.rx.connect()
        self.turn()

    def send(self, local: str, n: Any, expiry: float = 60) -> None:
        self.redis.store.queues.put(NAME, local, pack_message({"n": n}), expiry, 10_000)

    def add(self, group: str, local: str, info: bytes | None = None) -> None:
        self.redis.store.groups.add(group, NAME, local, info, 86400, 10_000, None)

    def send_group(self, group: str, n: Any) -> None:
        self.redis.store.groups.send(group, pack_message({"n": n}), 60)

    def members(self) -> dict[str, dict[str, Any]]:
        """The members as Redis has them: group → local part → info."""
        found: dict[str, dict[str, Any]] = {}
        for group, local, *_, info in self.redis.store.groups.snapshot(NAME)[1]:
            found.setdefault(group, {})[local] = info
        return found

    def held(self) -> dict[str, dict[str, Any]]:
        """The members as this process has them."""
        found: dict[str, dict[str, Any]] = {}
        for group, local, info in self.inbox._membership.members():
            found.setdefault(group, {})[local] = info
        return found

    def numbers(self) -> list[Any]:
        items, self.items = self.items, []
        return [(sorted(item.names), item.message["n"]) for item in items]

    def close(self) -> None:
        self.loop.run_until_complete(asyncio.wait_for(self.inbox.close(), 20))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place()
    monkeypatch.setattr(FakeStream, "redis", place.redis, raising=False)
    monkeypatch.setattr(inbox_module, "Stream", FakeStream)
    yield place
    place.redis.freeze(False)
    place.close()
    place.loop.close()


# sending


def test_one_write_for_all_sends_of_a_turn(place: Place) -> None:
    inbox = place.open()
    outcomes: list[Any] = []
    place.redis.writes.clear()
    for n in range(100):
        inbox.send("a", {"n": n}, then=outcomes.append)
    inbox.send_group("g", {"n": 1}, then=outcomes.append)
    assert outcomes == []
    place.turn()
    assert [(kind, len(commands)) for kind, commands in place.redis.writes] == [("tx", 101)]
    assert outcomes == [True] * 100 + [None]


def test_what_is_sent_before_the_first_connection_waits_in_order(place: Place) -> None:
    inbox = place.open(early=True)
    outcomes: list[Any] = []
    inbox.send("a", {"n": 1}, then=outcomes.append)
    inbox._flush()
    inbox.send("a", {"n": 2}, then=outcomes.append)
    assert outcomes == []
    place.turn()
    assert outcomes == [True, True]
    assert place.redis.store.queues.peek("a", 9) == [pack_message({"n": 1}), pack_message({"n": 2})]
    assert place.told == []


def test_what_waits_is_refused_when_the_first_connection_fails(place: Place) -> None:
    inbox = place.open(early=True)
    place.redis.reachable = False
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    inbox._flush()
    place.turn()
    assert place.told == ["refused"], "told once, though two connections failed"
    assert [(str(outcome), outcome.uncertain) for outcome in outcomes] == [("refused", False)]
    place.back()
    assert place.told == ["refused", "up"]
    assert inbox.stats["outages"] == 1


def test_a_send_while_away_is_refused_at_once_and_never_made_up_for(place: Place) -> None:
    inbox = place.open()
    place.away("no route")
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    inbox.send_group("g", {}, then=outcomes.append)
    inbox.announce({"channels": {}})
    assert outcomes == []
    place.turn(1)
    assert [(str(outcome), outcome.uncertain) for outcome in outcomes] == [("no route", False)] * 2
    place.back()
    assert place.redis.store.queues.peek("a", 9) == []
    assert place.told == ["no route", "up"]
    assert inbox.stats["in_doubt"] == 0


def test_what_was_in_flight_is_in_doubt_and_not_sent_again(place: Place) -> None:
    inbox = place.open()
    place.redis.frozen = True
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    inbox.send("b", {}, then=outcomes.append)
    inbox.announce({"channels": {}})
    place.turn()
    assert outcomes == []
    place.tx.cut()
    assert [outcome.uncertain for outcome in outcomes] == [True, True]
    assert inbox.stats["in_doubt"] == 2
    place.redis.freeze(False)
    place.back()
    assert "put" not in place.redis.ran
    assert place.told == ["cut", "up"]


def test_a_stream_that_fails_before_it_tells_puts_nothing_in_doubt(place: Place) -> None:
    inbox = place.open()
    outcomes: list[Any] = []
    place.tx.connected = False
    inbox.send("a", {}, then=outcomes.append)
    place.turn()
    assert [outcome.uncertain for outcome in outcomes] == [False]
    assert inbox.stats["in_doubt"] == 0


def test_up_and_down_alternate(place: Place) -> None:
    place.open()
    for _ in range(2):
        place.rx.cut("rx")
        place.tx.cut("tx")
        place.tx.connect()
        place.turn()
        place.tx.cut("again")
        place.rx.connect()
        place.turn()
        assert place.told[-1] == "rx"
        place.tx.connect()
        place.turn()
    assert place.told == ["rx", "up", "rx", "up"]


def test_a_server_without_callbacks_lives_through_an_outage_too(place: Place) -> None:
    layer: Any = FakeLayer(place.redis)
    place.inbox = RedisInbox(layer, NAME, place.loop, Callbacks(place.receive, None, None, None), False)
    place.turn()
    place.away()
    place.back()
    place.redis.store.queues.put("c?x", "", b"\x80", 60, 16, credit=NAME + "a")
    place.redis.store.queues.take(["c?x"], 0, 1)
    place.send("a", 1)
    place.turn()
    assert place.numbers() == [(["a"], 1)]


# receiving


def test_the_next_pull_is_on_its_way_before_a_batch_is_worked_on(place: Place) -> None:
    place.open()
    at: list[list[tuple[str, list[Any]]]] = []
    place.got = lambda: at.append(list(place.redis.writes))
    place.redis.writes.clear()
    place.send("a", 0)
    place.turn()
    assert place.numbers() == [(["a"], 0)]
    assert at == [[("rx", [("BLMPOP", NAME, 256)])]]


@pytest.mark.parametrize("size", [0, 90_000])
def test_what_was_taken_is_accounted_now_and_then(place: Place, size: int) -> None:
    """After 64 messages or 256 KiB, with the next pull: that is little of what an inbox may hold."""
    place.open()
    body = len(pack_message({"n": bytes(size)}))
    batches = [30, 30, 4, 1] if size == 0 else [1, 1, 1, 1]
    place.redis.writes.clear()
    for sent in batches:
        for _ in range(sent):
            place.send("a", bytes(size))
        place.turn()
    taken = 64 if size == 0 else 3
    pull = ("BLMPOP", NAME, 256)
    accounted = ("account", (NAME, taken, taken * body))
    assert place.redis.writes == [("rx", [pull]), ("rx", [pull]), ("rx", [accounted, pull]), ("rx", [pull])]


def test_a_pull_that_brought_nothing_is_followed_by_the_next(place: Place) -> None:
    place.open()
    place.redis.writes.clear()
    place.rx.timed_out = True
    place.rx.proceed()
    place.turn()
    assert place.redis.writes == [("rx", [("BLMPOP", NAME, 256)])]


def test_messages_cost_no_timer_no_future_and_no_task(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = place.open()
    made: list[str] = []
    with monkeypatch.context() as patched:
        for name in ("call_later", "call_at", "create_future", "create_task"):
            patched.setattr(place.loop, name, lambda *_, name=name, **__: made.append(name))
        for n in range(50):
            inbox.send("a", {"n": n})
            place.send("a", n)
        for _ in range(12):
            place.loop.call_soon(place.loop.stop)
            place.loop.run_forever()
    assert len(place.items) == 50
    assert made == []


def test_an_idle_inbox_has_one_timer_and_one_pull(place: Place) -> None:
    place.open()
    timers = place.loop._scheduled  # type: ignore[attr-defined]
    assert [round(timer.when() - place.loop.time()) for timer in timers if not timer.cancelled()] == [RENEW]
    place.redis.writes.clear()
    place.turn()
    assert place.redis.writes == []
    place.renew()
    assert [[name for name, *_ in commands] for _, commands in place.redis.writes] == [["renew", "promote"]]


def test_what_has_expired_on_redis_clock_is_dropped_and_counted(place: Place) -> None:
    inbox = place.open()
    queues = place.redis.store.queues
    taken = [encode((0.0, 0.0, MESSAGE, "a", b"\x80", None)), b"nonsense"]
    late = place.redis.clock() + 30
    place.bring((NAME, [*taken, encode((late, 0.0, MESSAGE, "b", b"\x81\xa1n\x01", None))]))
    place.turn()
    assert place.numbers() == [(["b"], 1)]
    assert (inbox.stats["expired"], inbox.stats["unreadable"]) == (1, 1)
    place.redis.skew += 100  # the clock of Redis was set
    place.renew()
    place.bring((NAME, [encode((late, 0.0, MESSAGE, "b", b"\x81\xa1n\x02", None))]))
    place.turn()
    assert place.numbers() == []
    assert inbox.stats["expired"] == 2
    assert queues.statistics()["messages_pending"] == 0


@pytest.mark.parametrize("body", [b"\xc1", b"", b"\x05", b"\xc0", b"\xa4done", b"\x91\x01"])
def test_what_is_no_message_stops_nothing(place: Place, body: bytes) -> None:
    inbox = place.open()
    place.send("a", 1)
    place.redis.store.queues.put(NAME, "b", body, 60, 10)
    place.send("c", 3)
    place.turn()
    assert place.numbers() == [(["a"], 1), (["c"], 3)]
    assert inbox.stats["unreadable"] == 1


def test_credit_and_groups_arrive(place: Place) -> None:
    place.open()
    place.redis.store.queues.put("c?x", "", b"\x80", 60, 16, credit=NAME + "a")
    place.redis.store.queues.take(["c?x"], 0, 1)
    place.add("g", "a")
    place.add("g", "b")
    place.send_group("g", 1)
    place.turn()
    assert place.credits == [("c?x", "a", 1)]
    assert place.numbers() == [(["a", "b"], 1)]


def test_who_listens_is_known_from_the_beginning_by_notes_and_by_renewals(place: Place) -> None:
    place.redis.heard = {"a": (True, 60.0)}
    inbox = place.open(early=True)
    assert dict(inbox.listening()) == {"a": True}
    place.turn()
    note = (place.redis.clock() + 60, place.redis.clock(), HEARD, "b", None, (False,))
    place.bring((NAME, [encode(note)]))
    place.turn()
    assert dict(inbox.listening()) == {"a": True, "b": False}
    place.redis.heard = {"b": (True, 60.0)}
    place.renew()
    assert dict(inbox.listening()) == {"a": True, "b": True}
    place.away()
    place.redis.start()
    place.back()
    place.renew()
    assert dict(inbox.listening()) == {"a": True, "b": True}, "an empty Redis makes nobody deaf"


# delayed messages


def test_whoever_takes_the_wake_token_looks_after_delayed_messages(place: Place) -> None:
    inbox = place.open()
    place.redis.ran.clear()
    place.redis.due = 0.0
    place.bring(("", [b"1"]))
    place.turn(3)
    assert place.rx.blocking, "and goes on pulling"
    while place.redis.ran.count("promote") < 3:
        place.turn()
    place.redis.due = 4.0
    place.turn()
    assert inbox._due is not None
    assert round(inbox._due.when() - place.loop.time()) == 4
    place.bring(("", [b"1"]))
    place.redis.due = None
    place.turn()
    assert inbox._due is None


def test_delayed_messages_are_looked_after_with_each_renewal(place: Place) -> None:
    inbox = place.open()
    place.redis.ran.clear()
    place.redis.due = 3.0
    place.renew()
    assert place.redis.ran == ["renew", "promote"]
    assert inbox._due is not None
    place.redis.due = 1000.0
    place.renew()
    assert inbox._due is None, "the next renewal comes earlier"


def test_delayed_messages_wait_while_redis_is_away(place: Place) -> None:
    inbox = place.open()
    place.redis.due = 1000.0
    place.away()
    inbox._promote()
    place.turn()
    place.redis.ran.clear()
    place.redis.due = 3.0
    place.back()
    assert "promote" in place.redis.ran
    assert inbox._due is not None


# members


def test_members_follow_the_notes(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a", b"\x01")
    place.add("g", "b")
    place.add("h", "a")
    place.turn()
    assert place.held() == place.members() == {"g": {"a": b"\x01", "b": None}, "h": {"a": None}}
    place.redis.store.groups.discard("g", NAME, "b")
    place.add("g", "a")
    inbox.gone("a")
    place.turn()
    assert place.held() == place.members() == {}, "the add that was on its way is undone"


@pytest.mark.parametrize("how", ["restart", "flush_all", "lapse"])
def test_members_are_written_down_again_where_redis_forgot_them(place: Place, how: str) -> None:
    inbox = place.open()
    for local in ("a", "b", "closed", "closed.early"):
        place.add("g", local, local.encode())
    place.add("h", "closed")
    place.turn()
    inbox.gone("closed.early")
    place.turn()
    if how == "flush_all":
        place.redis.flush_all()
        inbox.gone("closed")
        place.renew()
        assert place.told == []
    else:
        place.away()
        inbox.gone("closed")
        if how == "restart":
            place.redis.start()
        else:
            place.redis.skew += 1000
        place.turn()
        place.back()
        assert place.told == ["cut", "up"]
    assert place.held() == place.members() == {"g": {"a": b"a", "b": b"b"}}
    assert inbox.stats["replays"] == 1
    place.send_group("g", 1)
    place.add("g", "c")
    place.send_group("g", 2)
    place.turn()
    assert place.numbers() == [(["a", "b"], 1), (["a", "b", "c"], 2)]


def test_members_that_workers_added_meanwhile_are_known(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a")
    place.add("g", "closed")
    place.turn()
    place.away()
    inbox.gone("closed")
    place.redis.start()
    place.add("g", "b", b"\x02")
    place.add("h", "closed")
    place.send_group("g", 1)
    place.back()
    assert place.held() == place.members() == {"g": {"a": None, "b": b"\x02"}}
    place.send_group("g", 2)
    place.turn()
    assert place.numbers()[-1] == (["a", "b"], 2)


def test_a_change_while_we_were_deaf_is_known(place: Place) -> None:
    place.open()
    place.add("g", "a")
    place.add("g", "b")
    place.turn()
    old = place.rx.hello.client_id
    place.rx.cut()
    place.redis.store.groups.discard("g", NAME, "a")
    place.redis.store.queues.take((NAME,), 0, 9)  # by a BLMPOP whose answer was lost
    place.add("g", "c")
    place.send_group("g", 1)
    place.rx.connect()
    place.turn()
    assert place.held() == place.members() == {"g": {"b": None, "c": None}}
    assert place.numbers() == [(["b", "c"], 1)]
    assert place.redis.killed == [old], "the connection that was lost may still be pulling"
    assert place.inbox.stats["replays"] == 0


def test_a_connection_lost_only_for_sending_misses_nothing(place: Place) -> None:
    place.open()
    place.add("g", "a")
    place.turn()
    place.tx.cut()
    place.add("g", "b")
    place.send_group("g", 1)
    place.turn()
    assert place.numbers() == [(["a", "b"], 1)], "it goes on receiving"
    place.redis.ran.clear()
    place.tx.connect()
    place.turn()
    assert place.redis.ran == ["renew", "promote"]
    assert place.redis.killed == []


def test_who_left_while_away_is_not_among_the_members_that_redis_kept(place: Place) -> None:
    inbox = place.open(lasting=True)
    place.add("g", "a")
    place.add("g", "b")
    place.turn()
    place.away()
    inbox.gone("a")
    place.turn()
    place.back()
    assert place.held() == place.members() == {"g": {"b": None}}


def test_a_leave_that_was_lost_is_told_later(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a")
    place.turn()
    place.redis.frozen = True
    inbox.gone("a")
    place.turn()
    place.tx.cut()
    place.redis.freeze(False)
    assert place.members() == {"g": {"a": None}}
    place.redis.answers["group_leave"] = LayerUnavailable("disk full")
    place.tx.connect()
    place.turn()
    assert place.members() == {"g": {"a": None}}
    del place.redis.answers["group_leave"]
    place.renew()
    assert place.members() == {}


@pytest.mark.parametrize("lasting", [False, True])
def test_who_leaves_while_members_are_loaded_stays_away(place: Place, lasting: bool) -> None:
    inbox = place.open(lasting)
    for local in ("a", "b"):
        place.add("g", local)
    place.turn()
    place.redis.flush_all()
    place.redis.after["restore"] = lambda: inbox.gone("a")
    place.renew()
    assert place.held() == place.members() == {"g": {"b": None}}


def test_members_are_loaded_anew_without_a_pause_for_others(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a")
    place.turn()
    place.redis.store.flush()
    place.add("g", "b")
    place.send_group("g", 1)
    place.redis.store.groups.flush()  # a second note to load, of the same batch
    place.add("g", "c")
    place.send("x", 2)
    place.redis.ran.clear()
    place.turn(2)
    place.send("x", 3)  # comes while the snapshot is on its way
    place.turn()
    assert place.redis.ran.count("snapshot") == 1
    assert [n for _, n in place.numbers()] == [2, 3]
    assert place.held() == place.members() == {"g": {"c": None}}
    assert inbox.stats["outages"] == 0


def test_members_are_loaded_though_the_connection_is_lost_meanwhile(place: Place) -> None:
    place.open()
    place.add("g", "a")
    place.turn()
    place.redis.store.flush()
    place.add("g", "b")
    place.send("x", 1)
    place.redis.answers["snapshot"] = LayerUnavailable("disk full")
    place.turn()
    assert place.numbers() == []
    del place.redis.answers["snapshot"]
    place.tx.cut()
    place.rx.cut()
    place.tx.connect()
    place.rx.connect()
    place.turn()
    assert place.numbers() == [(["x"], 1)]
    assert place.held() == place.members() == {"g": {"b": None}}


def test_deaf_again_while_members_are_loaded_they_are_loaded_again(place: Place) -> None:
    place.open()
    place.add("g", "a")
    place.turn()
    place.away()
    place.redis.start()
    place.redis.after["restore"] = place.rx.cut
    place.back()
    assert place.told == ["cut"]
    place.add("g", "b")
    place.rx.connect()
    place.turn()
    assert place.told == ["cut", "up"]
    assert place.held() == place.members() == {"g": {"a": None, "b": None}}
    assert place.redis.ran.count("restore") == 1
    assert "snapshot" in place.redis.ran


# refusals


def test_a_lease_that_somebody_else_holds(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.redis.store.groups.lease(NAME, "other", 15, True, 60, 10, None)
    with pytest.raises(LayerError, match="leased by another"):
        place.open(lasting=True)
    place.redis.store.groups.release(NAME, "other")
    inbox = place.open(lasting=True)
    place.add("g", "a")
    place.turn()
    place.away()
    place.redis.skew += 1000
    place.redis.store.groups.lease(NAME, "other", 15, True, 86400, 10, None)
    place.send("a", 1)
    with caplog.at_level(logging.WARNING, "trunkline.layer"):
        place.back()
        place.renew()
        place.renew()
    assert [record.getMessage() for record in caplog.records] == [
        f"{NAME}: {NAME} is leased by another process; trying again every 1 s"
    ]
    outcomes: list[Any] = []
    inbox.send("b", {}, then=outcomes.append)
    place.turn()
    assert str(outcomes[0]) == f"{NAME} is leased by another process"
    assert place.told == ["cut"]
    assert place.numbers() == [], "another's messages are left alone"
    place.redis.store.groups.release(NAME, "other")
    place.renew()
    assert place.told == ["cut", "up"]
    assert place.numbers() == [(["a"], 1)]


def test_a_redis_that_cannot_write_is_an_outage(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.open()
    place.redis.answers["renew"] = LayerUnavailable("MISCONF no disk")
    with caplog.at_level(logging.WARNING, "trunkline.layer"):
        place.renew()
        place.renew()
    assert [record.getMessage() for record in caplog.records] == [f"{NAME}: MISCONF no disk; trying again every 1 s"]
    assert place.told == ["MISCONF no disk"]
    assert round(place.inbox._timer.when() - place.loop.time()) == AGAIN
    place.redis.answers.clear()
    place.renew()
    assert place.told == ["MISCONF no disk", "up"]
    assert round(place.inbox._timer.when() - place.loop.time()) == RENEW


def test_a_pull_that_is_refused_is_tried_again_with_the_next_renewal(place: Place) -> None:
    place.open()
    place.bring(hiredis.ReplyError("MISCONF no disk"))
    place.turn()
    assert place.told == ["MISCONF no disk"]
    place.redis.writes.clear()
    place.turn()
    assert place.redis.writes == [], "but not without a pause"
    place.redis.answers.clear()
    place.send("a", 1)
    place.renew()
    assert place.told == ["MISCONF no disk", "up"]
    assert place.numbers() == [(["a"], 1)]


def test_who_listens_is_learnt_later_if_it_cannot_be_asked_at_once(place: Place) -> None:
    place.redis.answers["renew"] = LayerUnavailable("busy")
    inbox = place.open(early=True)
    place.redis.answers.clear()
    place.redis.heard = {"a": (True, 60.0)}
    place.turn()
    assert dict(inbox.listening()) == {"a": True}


# the end


def test_closing_sends_what_waits_and_gives_the_lease_back(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a")
    place.turn()
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    place.close()
    assert outcomes == [True]
    assert place.members() == {}
    assert not inbox._puller.waiting
    assert all(stream.closed for stream in place.redis.streams)
    inbox.send("a", {}, then=outcomes.append)
    inbox.gone("a")
    place.turn()
    assert str(outcomes[1]) == f"{NAME} is closed"
    assert place.told == []
    place.redis.store.groups.lease(NAME, "other", 15, True, 60, 10, None)


def test_closing_at_once_waits_for_the_first_connection(place: Place) -> None:
    inbox = place.open(early=True)
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    place.close()
    assert outcomes == [True]
    assert "release" in place.redis.ran


def test_closing_a_lasting_inbox_leaves_what_was_not_handed_over(place: Place) -> None:
    place.open(lasting=True)
    place.add("g", "a")
    place.turn()
    place.redis.store.groups.flush()
    place.redis.answers["snapshot"] = LayerUnavailable("disk full")
    place.send("a", 1)
    place.add("g", "a")
    place.send_group("g", 2)
    place.turn()
    assert place.numbers() == []
    place.close()
    assert place.numbers() == []
    place.redis.answers.clear()
    place.open(lasting=True)
    assert place.numbers() == [(["a"], 1), (["a"], 2)]


def test_closing_where_nobody_may_be_unblocked(place: Place) -> None:
    place.open()
    place.redis.answers["unblock"] = hiredis.ReplyError("NOPERM")
    place.close()
    assert "release" in place.redis.ran


def test_closing_during_an_outage_is_quick(place: Place) -> None:
    inbox = place.open()
    place.away()
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    began = time.monotonic()
    place.close()
    assert time.monotonic() - began < 20
    assert [str(outcome) for outcome in outcomes] == ["cut"]
    place.redis.reachable = True
    place.tx.connect()
    place.rx.connect()
    place.turn()
    assert place.told == ["cut"]
    assert not place.tx.connected


def test_closing_while_it_comes_back_is_quick_too(place: Place) -> None:
    place.open()
    place.add("g", "a")
    place.turn()
    place.away()
    place.redis.start()
    place.redis.reachable = True
    place.tx.connect()  # the answer to what it asks is on its way
    began = time.monotonic()
    place.close()
    assert time.monotonic() - began < 20
    assert place.members() == {}
    assert place.told == ["cut"]


def test_an_outage_while_closing_ends_it(place: Place) -> None:
    inbox = place.open()
    place.redis.frozen = True
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    place.loop.call_later(0.01, place.tx.cut)
    place.close()
    assert [outcome.uncertain for outcome in outcomes] == [True]
    assert place.told == []


@pytest.mark.parametrize("early", [False, True])
def test_a_redis_that_hangs_holds_closing_up_for_a_while_only(
    place: Place, early: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inbox_module, "_CLOSING", 0.05)
    inbox = place.open(early=early)
    place.redis.frozen = True
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    place.close()
    assert [outcome.uncertain for outcome in outcomes] == [not early]
    assert "did not answer" in caplog.text


def test_an_answer_that_comes_after_all_to_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "_CLOSING", 0.05)
    place.open()
    place.redis.due = 1.0
    place.bring(("", [b"1"]))
    place.turn()
    place.redis.frozen = True
    place.close()
    place.turn()
    timers = place.loop._scheduled  # type: ignore[attr-defined]
    assert [timer for timer in timers if not timer.cancelled()] == []


def test_a_layer_that_is_closed_stops_its_inboxes(place: Place) -> None:
    inbox = place.open()
    place.add("g", "a")
    place.turn()
    inbox._stop()
    place.loop.run_until_complete(asyncio.sleep(0.1))
    assert place.members() == {}
    assert all(stream.closed for stream in place.redis.streams)
    outcomes: list[Any] = []
    inbox.send("a", {}, then=outcomes.append)
    place.turn()
    assert str(outcomes[0]) == f"{NAME} is closed"


def test_a_loop_that_is_closed_already_has_nothing_to_stop(place: Place) -> None:
    inbox = place.open()
    loop = place.loop
    closed = asyncio.new_event_loop()
    closed.close()
    inbox._loop = closed
    inbox._stop()
    inbox._loop = loop


# chance


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_both_sides_agree_in_the_end(place: Place, seed: int) -> None:
    """Members, deliveries and outcomes under cuts, restarts and flushes at any moment."""
    chance = random.Random(seed)
    inbox = place.open(lasting=chance.random() < 0.3)
    sure: set[tuple[str, str]] = set()  # members that both sides knew, and nobody removed since
    closed: set[str] = set()
    outcomes: list[Any] = []
    sent = count()
    numbers = count()

    def some() -> tuple[str, str]:
        return chance.choice("gh"), f"c{chance.randrange(8)}"

    def worker_adds() -> None:
        place.add(*some(), chance.choice([None, b"\x01"]))

    def worker_discards() -> None:
        group, local = some()
        place.redis.store.groups.discard(group, NAME, local)
        sure.discard((group, local))

    def worker_sends() -> None:
        place.send("c0", next(numbers))

    def worker_flushes() -> None:
        place.redis.store.flush()
        sure.clear()

    def server_sends() -> None:
        inbox.send("a", {"n": next(sent)}, then=outcomes.append)

    def connection_closes() -> None:
        name = some()[1]
        inbox.gone(name)
        sure.difference_update([(group, name) for group in "gh"])
        if not inbox._lasting:
            closed.add(name)

    def redis_restarts() -> None:
        place.redis.start()
        place.tx.cut()
        place.rx.cut()

    def time_passes() -> None:
        place.turn()
        if place.held() == place.members() and inbox._up:
            sure.update((group, local) for group, members in place.held().items() for local in members)

    actions: list[Callable[[], None]] = [
        worker_adds,
        worker_adds,
        worker_discards,
        worker_flushes,
        worker_sends,
        server_sends,
        connection_closes,
        redis_restarts,
        time_passes,
        time_passes,
        place.renew,
        place.redis.flush_all,
        lambda: place.turn(1),
        lambda: place.turn(1),
        lambda: place.tx.cut(),
        lambda: place.rx.cut(),
        lambda: place.tx.connect(),
        lambda: place.rx.connect(),
        lambda: setattr(place.redis, "skew", place.redis.skew + chance.choice([1, 20])),
        lambda: place.redis.freeze(True),
        lambda: place.redis.freeze(False),
    ]
    for _ in range(60):
        chance.choice(actions)()
    place.redis.freeze(False)
    place.turn()
    place.back()
    for _ in range(3):
        place.turn()
        place.renew()
    members = {(group, local) for group, members in place.members().items() for local in members}
    assert place.held() == place.members()
    assert sure <= members
    assert not closed & {local for _, local in members}
    assert [word == "up" for word in place.told] == [False, True] * (len(place.told) // 2), "up in the end"
    assert len(outcomes) == next(sent)
    assert place.rx.blocking
    arrived = [item.message["n"] for item in place.items]
    assert arrived == sorted(set(arrived))
