"""Several servers that share the channels among them."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import settings

from trunkline.layer import InboxItem, LayerError, LayerUnavailable, open_layer
from trunkline.layer.redis import line, spread_reader
from trunkline.layer.redis.connection import Connection, Pool
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.spread import SpreadLayer
from trunkline.layer.testing.conformance import LayerConformance
from trunkline.layer.testing.faults import FaultProxy
from trunkline.layer.testing.machine import LayerMachine
from trunkline.layer.testing.redis import RedisSubject

from .aging import AgingSpreadLayer, AgingSubject
from .conftest import RedisServer
from .traffic import Traffic, until

PATIENCE = 60.0


def url_of(servers: Sequence[RedisServer | FaultProxy]) -> str:
    return "redis://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


class ShardsSubject(RedisSubject):
    """The Redis engine on three servers."""


class AgingShards(AgingSubject):
    """The same, where time is let pass without waiting."""

    layer_class = AgingSpreadLayer


class ShardsMachine(LayerMachine):
    subject_class = AgingShards
    unit = 4.0


@pytest.fixture(scope="module")
def shards(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Return three servers."""
    servers = [RedisServer(redis_program, tmp_path_factory.mktemp("shard")) for _ in range(3)]
    AgingShards.url = ShardsSubject.url = url_of(servers)
    yield servers
    for server in servers:
        server.kill()


TestShardsMachine = pytest.mark.usefixtures("shards")(ShardsMachine.TestCase)
TestShardsMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.usefixtures("shards")
class TestShards(LayerConformance):
    subject_class = ShardsSubject


@pytest.fixture
def layer(shards: list[RedisServer]) -> Iterator[SpreadLayer]:
    layer = open_layer(url_of(shards), prefix=f"test.{secrets.token_hex(8)}")
    assert isinstance(layer, SpreadLayer)
    with layer:
        yield layer


def names_at(layer: SpreadLayer, place: int, count: int = 1, form: str = "c.{}") -> list[str]:
    """Return names whose place is this one."""
    found = (form.format(n) for n in range(1000))
    return [name for name in found if layer.router.place(name) == place][:count]


def on_each(layer: SpreadLayer) -> list[str]:
    """Return a channel of each place."""
    return [names_at(layer, place)[0] for place in range(len(layer.places))]


# URLs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://h1,h2", "redis://h1:6379,h2:6379/0"),
        ("redis://u:secret@h1:1,h2:2,[::1]:3/4", "redis://h1:1,h2:2,[::1]:3/4"),
        ("redis://h1,h2?db=3", "redis://h1:6379,h2:6379/3"),
        ("rediss://h1,h2/1", "rediss://h1:6379,h2:6379/1"),
    ],
)
def test_several_hosts(url: str, text: str) -> None:
    with open_layer(url) as layer:
        assert isinstance(layer, SpreadLayer)
        assert layer.text == text
        first = layer.places[0]._address.resolve(0)
        assert (first.username, first.password) == (("u", "secret") if "secret" in url else (None, None))
        assert [place._commands.keys.prefix for place in layer.places] == [b"trunkline:"] * len(layer.places)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h1,h1", "h1 stands twice"),
        ("redis://h1,h2,h1:6379", "h1:6379 stands twice"),
        ("redis://h1,", "the host is missing"),
        ("redis://h1,h2:x", "the port is 'x'"),
        ("redis://h1,h2/x", "the database is 'x'"),
        ("redis://h1,h2?prefix=", "prefix"),
        ("redis://h1,h2?sentinel_password=x", "redis\\+sentinel"),
        ("redis://h1,h2?shards=x", "unknown option"),
        ("unix://a,b/redis.sock", "expected unix"),
    ],
)
def test_several_hosts_that_cannot_be_right(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_layer(url)
    assert "\n" not in str(caught.value)


# dividing


def test_each_channel_has_one_place(layer: SpreadLayer, shards: list[RedisServer]) -> None:
    channels = on_each(layer)
    batch = layer.batch()
    for n in range(30):
        batch.send(channels[n % 3], {"n": n})
    assert batch.run() == [True] * 30
    for place, channel, server in zip(layer.places, channels, shards, strict=True):
        assert server.command("LLEN", place._commands.keys.list(channel)) == 10
        assert [delivery.message["n"] % 3 for delivery in layer.receive_batch([channel], 20)] == [
            channels.index(channel)
        ] * 10


def test_a_busy_place_does_not_keep_the_others_waiting(layer: SpreadLayer) -> None:
    """With n busy channels each is served within n calls, whatever places they are at."""
    channels = [name for place in range(3) for name in names_at(layer, place, 2)]
    batch = layer.batch()
    for channel in channels:
        for n in range(40):
            batch.send(channel, {"n": n})
    batch.run()
    reader = layer.reader()
    served = [reader.receive_batch(channels, 3, 1)[0].channel for _ in range(len(channels) * 4)]
    for begin in range(len(served) - len(channels)):
        assert set(served[begin : begin + len(channels)]) == set(channels)


def test_a_group_of_two_servers_at_different_places(layer: SpreadLayer) -> None:
    """A send that follows an add is seen after it; each inbox gets one copy, plain members theirs."""
    inboxes = [names_at(layer, place, form="s{}.reply.1!")[0] for place in (0, 1)]
    plain = names_at(layer, 2)[0]
    got: dict[str, list[Any]] = {name: [] for name in inboxes}
    loop = asyncio.new_event_loop()
    opened = []
    for name in inboxes:

        def receive(items: list[InboxItem], name: str = name) -> None:
            got[name] += [(item.group, sorted(item.names), item.message["n"]) for item in items]

        opened.append(layer.open_inbox(name, loop=loop, receive=receive))

    async def until_all(count: int) -> None:
        while sum(map(len, got.values())) < count:
            await asyncio.sleep(0.001)

    told: list[Any] = []
    try:
        layer.group_add("g", inboxes[0] + "a", "info")
        layer.send_group("g", {"n": 0})
        layer.group_add("g", inboxes[1] + "b")
        layer.group_add("g", plain)
        opened[0].send_group("g", {"n": 1}, then=told.append)
        loop.run_until_complete(asyncio.wait_for(until_all(3), PATIENCE))
        assert layer.group_members("g") == {inboxes[0] + "a": "info", inboxes[1] + "b": None, plain: None}
        layer.send_group("g", {"n": 2}, exclude=[inboxes[1] + "b", plain])
        loop.run_until_complete(asyncio.wait_for(until_all(4), PATIENCE))
    finally:
        for inbox in opened:
            loop.run_until_complete(inbox.close())
        loop.close()
    assert told == [None]
    assert got == {
        inboxes[0]: [("g", ["a"], 0), ("g", ["a"], 1), ("g", ["a"], 2)],
        inboxes[1]: [("g", ["b"], 1)],
    }
    assert [delivery.message["n"] for delivery in layer.receive_batch([plain], 9)] == [1]
    assert layer.group_channels("g") == [plain], "the inboxes took their members along"


def test_bodies_are_where_their_sender_is_and_credit_comes_from_anywhere(layer: SpreadLayer) -> None:
    loop = asyncio.new_event_loop()
    credits: list[Any] = []
    inbox = layer.open_inbox(
        "server.1!", loop=loop, receive=lambda items: None, credit=lambda *credit: credits.append(credit)
    )
    home = layer.router.place("server.1!")
    own = [inbox.new_channel("body?") for _ in range(20)]
    assert {layer.router.place(name) for name in own} == {home}
    elsewhere = names_at(layer, (home + 1) % 3, form="b?{}")[0]

    async def run() -> None:
        for channel in (own[0], elsewhere):
            inbox.send(channel, {"n": 1}, credit="r")
        while sum(place_has(layer, channel) for channel in (own[0], elsewhere)) < 2:
            await asyncio.sleep(0.001)
        assert layer.receive([elsewhere, own[0]])[0] == elsewhere
        assert layer.receive([own[0]])[0] == own[0]
        while len(credits) < 2:
            await asyncio.sleep(0.001)

    try:
        loop.run_until_complete(asyncio.wait_for(run(), PATIENCE))
        assert sorted(credits) == sorted([(own[0], "r", 1), (elsewhere, "r", 1)])
    finally:
        loop.run_until_complete(inbox.close())
        loop.close()


def place_has(layer: SpreadLayer, channel: str) -> bool:
    return bool(layer.channel_statistics(channel)["messages_pending"])


def test_what_concerns_all_places(layer: SpreadLayer) -> None:
    channels = on_each(layer)
    for channel in channels:
        layer.send(channel, {"n": 1})
        layer.put_state(channel, 1, 60)
        layer.dead_letter(channel, {"n": 1}, reason="test")
    layer.announce("worker.1", {"channels": {"a": True}})
    assert layer.listeners() == {"worker.1": {"channels": {"a": True}}}
    assert layer.global_statistics()["messages_pending"] == 3
    letters = layer.dead_letters()
    assert [letter["channel"] for letter in letters] == channels
    assert layer.dead_letter_of(letters[1]["id"]) == letters[1]
    assert layer.dead_letter_drop(letters[1]["id"]) is True
    assert layer.dead_letter_drop(letters[1]["id"]) is False
    assert layer.problems() == []
    layer.flush()
    assert layer.global_statistics()["messages_pending"] == 0
    assert layer.dead_letters() == []
    assert [layer.get_state(channel) for channel in channels] == [(None, 0)] * 3


# receiving


def test_what_another_place_brought_meanwhile_is_next(layer: SpreadLayer) -> None:
    """Nothing is lost when two places bring something at once, and each channel keeps its order."""
    channels = on_each(layer)
    reader = layer.reader()
    rounds = 150
    got: list[tuple[str, int]] = []
    begun = threading.Barrier(4)

    def send(channel: str) -> None:
        begun.wait(PATIENCE)
        with RedisLayer(layer.text, prefix=layer.places[0]._commands.keys.prefix.decode()[:-1]) as other:
            for n in range(rounds):
                other.send(channel, {"n": n})
                time.sleep(0.0005)

    threads = [threading.Thread(target=send, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    begun.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while len(got) < 3 * rounds and time.monotonic() < deadline:
        got += [(delivery.channel, delivery.message["n"]) for delivery in reader.receive_batch(channels, 2, 0.5)]
    for thread in threads:
        thread.join(PATIENCE)
    for channel in channels:
        assert [n for name, n in got if name == channel] == list(range(rounds))


@pytest.mark.parametrize("end", ["wake", "forget", "close", "other"])
def test_what_was_kept_is_put_back(layer: SpreadLayer, end: str) -> None:
    first, second = on_each(layer)[:2]
    prefix = layer.places[0]._commands.keys.prefix.decode()[:-1]
    other = RedisLayer(layer.text, prefix=prefix)
    reader = other.reader()
    assert reader.receive_batch([first, second], 5, 0.01) == []
    assert isinstance(reader, spread_reader.SpreadReader)
    way = reader._lines[1]
    assert way.wait((second,), 5, 5.0)  # as when it is under way and the other place was quicker
    for n in range(3):
        layer.send(second, {"n": n})
    until(way.is_ready)
    layer.send(second, {"n": 3})
    if end == "wake":
        assert reader.receive_batch([first, second], 1, 1)[0].message == {"n": 0}
        reader.wake()
        assert reader.receive_batch([first, second], 5, None) == []
    elif end == "other":
        assert reader.receive_batch([first], 5, 0.01) == []
    elif end == "close":
        other.close()
        with pytest.raises(LayerUnavailable):
            reader.receive_batch([first, second], 5, None)
    else:
        del reader, way
    left = [delivery.message["n"] for delivery in layer.receive_batch([second], 9)]
    assert left == [n for n in range(4) if n or end != "wake"]
    other.close()


def test_an_inbox_that_was_asked_for_meanwhile_keeps_its_messages(layer: SpreadLayer) -> None:
    inbox = names_at(layer, 1, form="s{}.1!")[0]
    reader = layer.reader()
    assert isinstance(reader, spread_reader.SpreadReader)
    other = names_at(layer, 0)[0]
    assert reader.receive_batch([other, inbox], 5, 0.01) == []
    assert reader._lines[1].wait((inbox,), 5, 5.0)
    for n in range(2):
        layer.send(inbox + "a", {"n": n})
    until(reader._lines[1].is_ready)
    assert [delivery.message["n"] for delivery in reader.receive_batch([other, inbox], 5, 1)] == [0, 1]


def test_what_cannot_be_put_back_is_told(
    layer: SpreadLayer, shards: list[RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    channel = names_at(layer, 1)[0]
    reader = layer.reader()
    assert isinstance(reader, spread_reader.SpreadReader)
    caplog.set_level("WARNING", "trunkline.layer")
    key = layer.places[1]._commands.keys.list(channel)

    def keep() -> Any:
        assert reader.receive_batch([channel], 5, 0.01) == []
        way = reader._lines[1]
        assert way.wait((channel,), 5, 5.0)
        layer.send(channel, {"n": 1})
        until(way.is_ready)
        assert way.look(("none",), 5, True) == [], "taken, and nobody wants it"
        return way

    way = keep()
    shards[1].command("SET", key, "text")
    way.put_back()
    assert "1 messages from" in caplog.text
    assert "WRONGTYPE" in caplog.text
    shards[1].command("DEL", key)

    way = keep()
    way._reader._connection.close()
    way.put_back()
    assert [delivery.message["n"] for delivery in layer.receive_batch([channel], 5)] == [1], "over another connection"

    way = keep()
    way._reader._connection.close()
    away = LayerUnavailable("away")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer.places[1], "dial", lambda name: (_ for _ in ()).throw(away))
        way.put_back()
    assert "are lost: away" in caplog.text

    assert way.wait((channel,), 5, 5.0)
    shards[1].command("CLIENT", "KILL", "ID", way._open().hello.client_id)
    way.put_back()
    assert "may be lost" in caplog.text


def test_a_wait_that_nobody_can_end_is_given_up(layer: SpreadLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = names_at(layer, 1)[0]
    reader = layer.reader()
    assert isinstance(reader, spread_reader.SpreadReader)
    assert reader.receive_batch([channel], 5, 0.01) == []
    way = reader._lines[1]
    assert way.wait((channel,), 5, 5.0)
    monkeypatch.setattr(way, "end_wait", lambda: None)
    monkeypatch.setattr(line, "GRACE", 0.05)
    with pytest.raises(LayerUnavailable, match="no answer in time"):
        way.look((channel,), 5, True)
    layer.send(channel, {"n": 1})
    assert reader.receive_batch([channel], 5, 1)[0].message == {"n": 1}


def test_keys_of_another_kind_are_clear_errors(layer: SpreadLayer, shards: list[RedisServer]) -> None:
    for place, form in ((0, "c.{}"), (1, "b?{}")):
        channel = names_at(layer, place, form=form)[0]
        shards[place].command("SET", layer.places[place]._commands.keys.list(channel), "text")
        with pytest.raises(LayerError, match="WRONGTYPE"):
            layer.receive_batch([channel, names_at(layer, 2)[0]], 1, 1)


def test_a_signal_can_be_set_for_ever() -> None:
    signal = line.Signal()
    for _ in range(70_000):
        signal.set()
    for _ in range(3):
        signal.clear()


def test_many_sets_of_channels(layer: SpreadLayer) -> None:
    reader = layer.reader()
    for n in range(70):
        assert reader.receive_batch([f"one.{n}", f"two.{n}"], 1) == []


# outages


def test_what_is_behind_a_place_that_is_away_is_not_done(start_redis: Callable[..., RedisServer]) -> None:
    servers = [start_redis(), start_redis()]
    with RedisLayer(url_of(servers)) as layer:
        assert isinstance(layer, SpreadLayer)
        here, there = on_each(layer)
        layer.send(there, {})
        servers[1].kill()
        batch = layer.batch()
        batch.put_state(here, 1, 60)
        batch.send(here, {"n": 1})
        batch.send(there, {"n": 2})
        batch.delete_state(here)
        first, second, third, fourth = batch.run()
        assert first > 0
        assert second is True
        assert isinstance(third, LayerUnavailable)
        assert isinstance(fourth, LayerUnavailable)
        assert not fourth.uncertain
        assert layer.get_state(here)[0] == 1, "as over one connection, nothing arrives behind what was lost"


def test_credit_for_a_server_that_is_away_is_nobodys(start_redis: Callable[..., RedisServer]) -> None:
    servers = [start_redis(), start_redis()]
    with RedisLayer(url_of(servers)) as layer:
        assert isinstance(layer, SpreadLayer)
        channel, inbox = names_at(layer, 0, form="b?{}")[0], names_at(layer, 1, form="s{}.1!")[0]
        call = layer._calls.put(channel, {"n": 1}, credit=inbox + "x")
        assert call is not None
        assert layer._run([call]) == [True]
        servers[1].kill()
        assert layer.receive([channel]) == (channel, {"n": 1})


def test_a_shard_that_does_not_serve_is_away_for_sure(layer: SpreadLayer, shards: list[RedisServer]) -> None:
    channel = names_at(layer, 1)[0]
    layer.send(channel, {"n": 1})
    shards[1].command("REPLICAOF", "127.0.0.1", shards[0].port)
    try:
        with pytest.raises(LayerUnavailable) as caught:
            layer.send(channel, {"n": 2})
        assert not caught.value.uncertain
    finally:
        shards[1].command("REPLICAOF", "NO", "ONE")


def test_a_closed_layer_says_so(shards: list[RedisServer]) -> None:
    layer = RedisLayer(url_of(shards))
    reader = layer.reader()
    reader.receive_batch(["a", "b", "c"], 1, 0.01)
    layer.close()
    layer.close()
    for call in (lambda: layer.send("a", {}), lambda: reader.receive_batch(["a", "c"], 1)):
        with pytest.raises(LayerUnavailable, match="is closed"):
            call()
    assert isinstance(reader, spread_reader.SpreadReader)
    reader._lines[0]._reader._drop()
    with pytest.raises(LayerUnavailable, match="is closed"):
        reader._lines[0].look(("a",), 1, False)


def test_dialling_that_fails_oddly_is_tried_again(
    layer: SpreadLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    channels = on_each(layer)
    reader = layer.reader()
    assert isinstance(reader, spread_reader.SpreadReader)
    assert reader.receive_batch(channels, 1, 0.01) == []
    way, dial, errors = reader._lines[1], layer.places[1].dial, [KeyError("odd"), LayerUnavailable("away")]

    def odd(name: str) -> Connection:
        if errors:
            raise errors.pop()
        return dial(name)

    monkeypatch.setattr(layer.places[1], "dial", odd)
    connection = way._reader._connection
    assert connection is not None
    connection.close()
    way._since = 0.0  # it lived for long
    way._drop(LayerUnavailable("lost"))
    layer.send(channels[1], {"n": 1})
    assert reader.receive_batch(channels, 1, PATIENCE)[0].message == {"n": 1}
    assert "odd" in caplog.text
    assert "again" in caplog.text


def test_a_shard_that_is_lost_takes_only_its_channels(
    start_redis: Callable[..., RedisServer], tell: Callable[[str], None]
) -> None:
    servers = [start_redis(), start_redis()]
    layer = open_layer(url_of(servers))
    assert isinstance(layer, SpreadLayer)
    with layer:
        here, there = on_each(layer)
        reader = layer.reader()
        outcomes: Counter[str] = Counter()
        got: Counter[str] = Counter()
        sending, done = threading.Event(), threading.Event()

        def send() -> None:
            while not sending.wait(0.002):
                for channel in (here, there):
                    try:
                        layer.send(channel, {})
                        outcomes[channel] += 1
                    except LayerUnavailable as error:
                        outcomes[f"{channel} {'in doubt' if error.uncertain else 'refused'}"] += 1

        def receive() -> None:
            while not done.is_set():
                for delivery in reader.receive_batch([here, there], 5, 0.2):
                    got[delivery.channel] += 1

        threads = [threading.Thread(target=run) for run in (send, receive)]
        for thread in threads:
            thread.start()
        until(lambda: min(got[here], got[there]) > 20)
        servers[1].kill()
        lost_at = got[there]
        until(lambda: outcomes[f"{there} refused"] > 20)
        before = got[here]
        until(lambda: got[here] > before + 50)
        assert layer.problems() != []
        with pytest.raises(LayerUnavailable):
            layer.receive([there])
        servers[1].restart()
        until(lambda: got[there] > lost_at + 20)
        sending.set()
        threads[0].join(PATIENCE)
        until(lambda: got[here] == outcomes[here] and not place_has(layer, there))
        done.set()
        threads[1].join(PATIENCE)
        assert layer.problems() == []
    tell(f"{dict(outcomes)}; arrived {dict(got)}")
    assert outcomes[f"{here} refused"] == outcomes[f"{here} in doubt"] == 0
    assert outcomes[there] - 10 <= got[there] <= outcomes[there] + outcomes[f"{there} in doubt"]


def test_connections_of_all_shards_cut_under_traffic(
    shards: list[RedisServer], start_traffic: Callable[..., Traffic], tell: Callable[[str], None], scale: int
) -> None:
    proxies = [FaultProxy("127.0.0.1", server.port) for server in shards]
    try:
        traffic = start_traffic(url_of(proxies))
        for turn in range(6 * scale):
            proxies[turn % 3].cut(reset=turn % 2 == 0)
            traffic.goes_on()
        counted = traffic.finish()
    finally:
        for proxy in proxies:
            proxy.close()
    tell(str(counted))
    assert counted.twice == []
    assert counted.risen == []
    assert counted.taken - len(counted.lost) <= counted.arrived <= counted.taken + counted.in_doubt


def test_a_shard_that_is_silent_does_not_keep_the_others_waiting(
    shards: list[RedisServer], monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    for waiting in (Connection, Pool):
        monkeypatch.setitem(cast(dict[str, Any], waiting.__init__.__kwdefaults__), "timeout", 0.5)
    for module in (line, spread_reader):
        monkeypatch.setattr(module, "GRACE", 0.3)
    monkeypatch.setattr(spread_reader, "BLOCK", 0.3)
    with FaultProxy("127.0.0.1", shards[1].port) as proxy:
        url = f"redis://127.0.0.1:{shards[0].port},127.0.0.1:{proxy.port}"
        with RedisLayer(url, prefix=f"test.{secrets.token_hex(8)}") as layer:
            assert isinstance(layer, SpreadLayer)
            here, there = on_each(layer)
            reader = layer.reader()
            stopping = threading.Event()

            def send() -> None:
                while not stopping.wait(0.005):
                    layer.send(here, {})

            sender = threading.Thread(target=send)
            sender.start()
            assert reader.receive_batch([here, there], 1, PATIENCE)
            proxy.silence()
            longest, began = 0.0, time.monotonic()
            while time.monotonic() < began + 3:
                asked = time.monotonic()
                assert reader.receive_batch([here, there], 1, PATIENCE)
                longest = max(longest, time.monotonic() - asked)
            proxy.cut()
            proxy.resume()
            stopping.set()
            sender.join(PATIENCE)
            until(lambda: layer.problems() == [])
            layer.purge(here)
            layer.send(there, {"n": 1})
            assert reader.receive_batch([here, there], 1, PATIENCE)[0].channel == there
    tell(f"the longest receive took {longest:.2f} s; a connection's timeout is 0.5 s")
    assert longest < 2
