"""What the scripts do at the edges: far-off times, very many members, a full Redis, and nothing that is left behind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hiredis import ReplyError

from trunkline.layer import ChannelFull, LayerError, LayerUnavailable
from trunkline.layer.redis.elements import decode
from trunkline.layer.redis.layer import RedisLayer

if TYPE_CHECKING:
    from tests.layer.redis.conftest import RedisServer

PATIENCE = 60.0
DAY = 86_400
_prefixes = count()


class Place:
    """A layer with keys of its own, and an administrator's look at them."""

    def __init__(self, redis: RedisServer, **options: Any) -> None:
        self.redis = redis
        self.prefix = f"scripts.{next(_prefixes)}"
        self.layer = RedisLayer(redis.unix_url, prefix=self.prefix, **options)

    def lease(self, inbox: str, holder: str = "h", ttl: float = 600, lasting: bool = False) -> Any:
        return self.layer._call(self.layer._calls.lease(inbox, holder, ttl, lasting))

    def restore(self, inbox: str, members: list[Any], holder: str = "h") -> Any:
        lease = self.layer._calls.lease(inbox, holder, 600, False)[1]
        return self.layer._run([("restore", (*lease, members))])[0]

    def call(self, name: str, *args: Any) -> Any:
        return self.layer._call((name, args))

    def lapse(self, inbox: str, holder: str = "h") -> None:
        self.call("renew", inbox, holder, -1.0)

    def command(self, *args: Any) -> Any:
        return self.redis.command(*args)

    def key(self, rest: str) -> str:
        return f"{self.prefix}:{rest}"

    def found(self, pattern: str = "*") -> set[str]:
        return {key.decode().removeprefix(f"{self.prefix}:") for key in self.command("KEYS", self.key(pattern))}

    def ttl(self, rest: str) -> int:
        return int(self.command("TTL", self.key(rest)))

    def wait(self, done: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Callable[..., Place]]:
    places: list[Place] = []

    def made(redis: RedisServer | None = None, **options: Any) -> Place:
        places.append(Place(redis or redis_server, **options))
        return places[-1]

    yield made
    for place in places:
        place.layer.close()


@pytest.fixture
def place(make: Callable[..., Place]) -> Place:
    return make()


# times


@pytest.mark.parametrize("long", [1e10, 1e16, 1e300])
def test_what_shall_live_for_ever_does(make: Callable[..., Place], long: float) -> None:
    place = make(group_expiry=long, durable=["durable"])
    layer = place.layer
    for name in ("a", "durable"):
        assert layer.send(name, {"n": 1}, expiry=long, once="o", window=long)
        assert layer.send(name, {"n": 1}, once="o", window=long) is False
        layer.send(name, {"n": 2}, delay=long, expiry=long, key="k")
        assert [delivery.message for delivery in layer.receive_batch([name], 10)] == [{"n": 1}]
        assert layer.cancel(name, "k")
    layer.send("c?d", {"n": 3}, expiry=long)
    assert layer.receive(["c?d"]) == ("c?d", {"n": 3})
    assert layer.put_state("k", 1, ttl=long)
    assert layer.incr_state("c", window=long) == 1
    assert (layer.get_state("k")[0], layer.get_state("c")[0]) == (1, 1)
    layer.group_add("g", "a")
    layer.group_add("g", "x!a")
    place.lease("server.1!")
    layer.group_add("g", "server.1!a")
    layer.send_group("g", {"n": 5})
    assert sorted(layer.group_channels("g")) == ["a", "server.1!a", "x!a"]
    assert layer.receive(["a"]) == ("a", {"n": 5})
    assert layer.receive(["x!"]) == ("x!a", {"n": 5})


def test_notes_wait_for_a_reader_as_long_as_memberships_hold(make: Callable[..., Place]) -> None:
    place = make(group_expiry=7 * DAY)
    place.layer.group_add("g", "x!a")
    assert place.ttl("q:{x!}") > 6 * DAY


def test_a_message_from_the_future_is_not_younger_than_now(place: Place) -> None:
    now = place.command("TIME")[0]
    body = place.layer._calls.put("a", {})
    assert body is not None
    place.call("put_back", "a", [(now + 200.0, now + 100.0, 0, "", body[1][2], None)])
    assert place.layer.channel_statistics("a")["messages_max_age"] == 0
    assert place.layer.global_statistics()["messages_max_age"] == 0


# many


def test_ten_thousand_are_excluded(place: Place) -> None:
    place.lease("x!")
    for local in ("1", "2"):
        place.layer.group_add("g", f"x!{local}")
    names = [f"x!{n}" for n in range(2, 10_000)]
    place.layer.send_group("g", {"n": 1}, exclude=names)
    place.layer.send_group("g", {"n": 2}, exclude=[*names, "x!1"])
    bodies = [decode(raw) for raw in place.command("LRANGE", place.key("q:{x!}"), 0, -1)]
    assert [element[5][1][:1] for element in bodies if element[2] == 1] == [("2",)]


def test_many_members_are_restored_in_commands_of_a_size(place: Place) -> None:
    members = [(f"g{n}", f"c{n}", b"\x01" if n % 2 else None) for n in range(3000)]
    lease = place.layer._calls.lease("x!", "h", 600, False)[1]
    plan = place.layer._commands.plan([("restore", (*lease, members))])
    assert max(map(len, plan.commands)) < 1000
    _, found = place.restore("x!", members)
    assert sorted((group, local, info) for group, local, _, _, info in found) == sorted(members)
    assert place.layer.group_members("g1") == {"x!c1": 1}
    assert place.layer.group_members("g2") == {"x!c2": None}


def test_a_restore_leaves_what_was_added_meanwhile(place: Place) -> None:
    place.lease("x!")
    place.layer.group_add("g", "x!a", "new")
    [(*_, before)] = [(s, since) for *_, s, since, _ in place.call("snapshot", "x!")[1]]
    _, found = place.restore("x!", [("g", "a", b"\xa3old"), ("g", "b", None)])
    assert place.layer.group_members("g") == {"x!a": "new", "x!b": None}
    assert {local: since for _, local, _, since, _ in found}["a"] == before


def test_a_restore_of_what_another_holds_changes_nothing(place: Place) -> None:
    place.lease("x!", "other")
    outcome = place.restore("x!", [("g", f"{n}", None) for n in range(1000)])
    assert isinstance(outcome, LayerError)
    assert "leased by another process" in str(outcome)
    assert place.layer.group_members("g") == {}


@pytest.mark.parametrize("how", ["lapse", "release"])
def test_an_inbox_in_many_groups_is_forgotten_little_by_little(place: Place, how: str) -> None:
    place.lease("s!")
    place.restore("s!", [(f"g{n}", "c", None) for n in range(5500)])
    place.layer.group_add("g0", "a")
    if how == "lapse":
        place.lapse("s!")
    else:
        place.call("release", "s!", "h")
    place.layer.group_add("g1", "s!late")
    assert place.layer.group_members("g0") == {"a": None}
    assert place.layer.group_members("g5499") == {}
    left = len(place.found("n:*"))
    assert 0 < left < 5500
    for _ in range(5):
        place.call("promote")
        assert left - len(place.found("n:*")) <= 1000
        left = len(place.found("n:*"))
    assert place.found("[gnw]:*") == set()
    assert place.command("ZCARD", place.key("leases")) == 0


def test_who_takes_an_inbox_again_begins_without_what_was_not_yet_forgotten(place: Place) -> None:
    place.lease("s!")
    place.restore("s!", [(f"g{n}", "c", None) for n in range(2500)])
    place.lapse("s!")
    place.call("promote")
    assert place.lease("s!")[1] == []
    assert place.found("[gnw]:*") == set()


def test_many_that_are_due_at_once_are_moved_little_by_little(make: Callable[..., Place]) -> None:
    place = make(capacity=5000)
    calls = [place.layer._calls.put("a", {"n": n}, delay=60) for n in range(2500)]
    place.layer._run([call for call in calls if call is not None])
    for n, id in enumerate(place.command("ZRANGE", place.key("z:{a}"), 0, -1)):
        place.command("ZADD", place.key("z:{a}"), n, id)
    place.command("ZADD", place.key("due"), 0, "a")
    place.call("promote")
    assert place.command("LLEN", place.key("q:{a}")) == 1000
    got = [delivery.message["n"] for _ in range(3) for delivery in place.layer.receive_batch(["a"], 1000)]
    assert got == list(range(2500))


# nothing is left behind


def test_whatever_is_used_goes_away_by_itself(place: Place) -> None:
    layer = place.layer
    for name in ("a", "b!c", "d?e"):
        layer.send(name, {})
        layer.send(name, {}, delay=60, key="k", once="o")
        layer.receive([name.partition("!")[0] + "!" * ("!" in name)])
    place.layer._call(("put", ("f?g", "", b"\x80", 60.0, 16, None, 0, None, None, 0, "gone!h", False)))
    layer.receive(["f?g"])
    place.call("account", "unknown!", 3, 300)
    layer.put_state("k", 1, ttl=60)
    layer.incr_state("c", window=60)
    layer.group_add("g", "a")
    full = place.layer._run([("put", ("full", "", b"", 60.0, 0, None, 0, None, "once", 60, None, False))])
    assert isinstance(full[0], ChannelFull)
    place.lease("s!")
    layer.group_add("g", "s!a")
    place.call("release", "s!", "h")
    registers = {"queues", "leases", "sequence", "wake", "due", "totals"}
    assert {key for key in place.found() if place.ttl(key) < 0} <= registers | {"g:{g}", "n:{g}:{b!}", "w:{b!}"}
    assert {key[0] for key in place.found() - registers} >= set("qmzdosp")


def test_an_inbox_that_was_forgotten_leaves_no_trace(place: Place) -> None:
    place.command("ZADD", place.key("leases"), 1, "long.gone!")
    place.call("promote")
    assert place.found() == set()


def test_names_of_queues_that_are_no_more_are_forgotten(place: Place) -> None:
    for n in range(30):
        place.layer.send(f"a{n}", {})
        place.command("DEL", place.key(f"q:{{a{n}}}"), place.key(f"m:{{a{n}}}"))
    place.layer.send("b", {})
    place.wait(lambda: place.call("promote") or place.command("SMEMBERS", place.key("queues")) in ([b"b"], {b"b"}))


def test_what_expired_in_an_inbox_does_not_count_when_a_note_comes(place: Place) -> None:
    place.layer.send("x!a", {}, delay=60)
    for _ in range(3):
        place.layer.send("x!a", {}, expiry=0.05)
    place.wait(lambda: not place.command("EXISTS", place.key("q:{x!}")))
    place.layer.group_add("g", "x!a")
    assert place.layer.channel_statistics("x!")["messages_pending"] == 1


# several commands of one run for one queue


def run_of(place: Place, *channels: str, **options: Any) -> Any:
    """Return a batch of sends to these channels, with something between them that keeps them apart."""
    batch = place.layer.batch()
    for n, channel in enumerate(channels):
        batch.send(channel, {"n": n}, **options)
        batch.delete_state("nothing")
    return batch


@pytest.mark.parametrize("options", [{}, {"once": "o"}, {"expiry": 5}])
def test_marks_of_a_run_are_taken_away_by_it(make: Callable[..., Place], options: dict[str, Any]) -> None:
    place = make(capacity=3, durable=["jobs"])
    for channel in ("a", "x!1", "b?c", "jobs"):
        outcomes = run_of(place, *[channel] * 3, **options).run()
        assert outcomes[::2] == ([True, False, False] if "once" in options else [True] * 3)
        run_of(place, *[channel] * 20).run()
    assert place.found("h:*") == set()


def test_what_redis_did_not_do_holds_up_what_comes_behind_it(place: Place) -> None:
    """One command was refused without having run; when the next one comes there may be memory again."""
    batch = run_of(place, "a", "b", "a", "x!1", "x!1", "a")
    commands = place.layer._commands
    plan = commands.plan([call for call, _ in batch.calls])
    at = [index for index, command in enumerate(plan.commands) if commands.keys.list("a") in command]
    assert len(at) == 3
    replies = [place.command(*command) if index != at[0] else None for index, command in enumerate(plan.commands)]
    replies[at[0]] = ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
    outcomes = plan.outcomes(replies)[::2]
    assert [outcome is True for outcome in outcomes] == [False, True, False, True, True, False]
    assert all(isinstance(outcomes[n], ChannelFull) and "out of memory" in str(outcomes[n]) for n in (0, 2, 5))
    assert place.layer.receive(["a"]) == (None, None)
    assert place.layer.channel_statistics("a")["channel_full_count"] == 2
    replies[at[0]] = ReplyError("MISCONF Redis is configured to save RDB snapshots")
    outcomes = plan.outcomes(replies)[::2]
    assert all(isinstance(outcomes[n], LayerUnavailable) and not outcomes[n].uncertain for n in (0, 2, 5))
    replies[at[0]] = 1
    outcomes = plan.outcomes(replies)[::2]
    assert outcomes[0] is True, "and a mark may have gone, where Redis took so long"
    assert all(isinstance(outcomes[n], ChannelFull) and "a is full" in str(outcomes[n]) for n in (2, 5))


# a Redis that refuses


def test_a_full_redis_keeps_who_is_there(start_redis: Callable[..., RedisServer], make: Callable[..., Place]) -> None:
    place = make(start_redis())
    layer = place.layer
    place.lease("s!")
    for local in ("a", "b"):
        layer.group_add("g", f"s!{local}")
    layer.send("a", {"n": 1})
    layer.send("a", {"n": 2}, delay=0.001)
    place.wait(lambda: place.command("ZCOUNT", place.key("z:{a}"), "-inf", time.time()) == 1)
    place.command("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(ChannelFull, match="out of memory"):
        layer.send("a", {"n": 3})
    for refused in (
        lambda: layer.send_group("g", {"n": 4}),
        lambda: layer.group_add("g", "s!c"),
        lambda: layer.put_state("k", 1, ttl=60),
    ):
        with pytest.raises(LayerUnavailable, match="out of memory"):
            refused()
    held, _, clock = place.call("renew", "s!", "h", 600.0)
    assert held
    assert math.isclose(clock, time.time(), abs_tol=60)
    layer.announce("worker.1", {"channels": {"a": False}})
    assert list(layer.listeners()) == ["worker.1"]
    place.call("promote")
    assert [layer.receive(["a"])[1] for _ in range(3)] == [{"n": 1}, {"n": 2}, None]
    layer.group_discard("g", "s!a")
    assert layer.group_channels("g") == ["s!b"]
    place.lapse("s!")
    assert place.restore("s!", [("g", "b", None)])[1][0][:2] == ("g", "b")
    place.command("CONFIG", "SET", "maxmemory", 0)


def test_a_user_who_may_touch_nothing_but_the_prefix(start_redis: Callable[..., RedisServer]) -> None:
    redis = start_redis()
    redis.command("ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+@all", "-@admin", "-@dangerous", "+info")
    with RedisLayer(f"unix://app:secret@{redis.socket}", prefix="app") as layer:
        layer.send("a", {"n": 1})
        assert layer.receive_batch(["a"], timeout=1)[0].message == {"n": 1}
        layer.send("a", {"n": 2}, delay=60, key="k")
        assert layer.cancel("a", "k")
        layer._call(layer._calls.lease("s!", "h", 600, False))
        layer.group_add("g", "s!a")
        layer.send_group("g", {"n": 3})
        assert layer.group_channels("g") == ["s!a"]
        layer.announce("w", {"channels": {"a": False}})
        layer.put_state("k", 1, ttl=60)
        assert layer.global_statistics()["messages_pending"] == 1
        layer._call(("promote", ()))
        layer._call(("release", ("s!", "h")))
        layer.flush()
    with RedisLayer(f"unix://app:secret@{redis.socket}", prefix="other") as other, pytest.raises(LayerError):
        other.send("a", {})
