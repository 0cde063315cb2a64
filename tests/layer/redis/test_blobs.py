"""Blobs on Redis: what is left behind, what outlives its end, and copies where there are several servers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import ChannelFull, LayerError, LayerUnavailable, open_layer
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.spread import SpreadLayer
from trunkline.layer.store.blobs import CHUNK, EACH
from trunkline.layer.testing.conformance.blobs import DATA, KEYS, read, write
from trunkline.layer.testing.subject import Instance

PATIENCE = 60.0


class Place:
    """One prefix on the session's Redis."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.prefix = f"test.{secrets.token_hex(8)}"
        self.layers: list[RedisLayer] = []

    def make(self, **options: Any) -> RedisLayer:
        options = {"durable": ["d*"], **options}
        self.layers.append(RedisLayer(self.server.unix_url, prefix=self.prefix, **options))
        return self.layers[-1]

    def command(self, name: str, key: str, *args: Any) -> Any:
        return self.server.command(name, f"{self.prefix}:{key}", *args)

    def families(self) -> set[str]:
        """Return the families of keys that there are."""
        keys = self.server.command("KEYS", f"{self.prefix}:*")
        return {key.decode().removeprefix(f"{self.prefix}:").partition(":")[0] for key in keys}


@pytest.fixture
def place(redis_server: Any) -> Iterator[Place]:
    made = Place(redis_server)
    yield made
    for layer in made.layers:
        layer.close()


def test_nothing_of_a_blob_is_left_when_it_is_gone(place: Place) -> None:
    layer = place.make()
    for delay in (0, 0.01):
        layer.send("d", {"body_key": write(layer)}, delay=delay)
    layer.send("d", {"body_key": write(layer)}, expiry=0.01)
    assert {"b", "t"} <= place.families()
    assert "loose" not in place.families()
    layer.dead_letter("d", {"body_key": write(layer)}, reason="r")
    assert "tied" in place.families()
    layer.dead_letter_drop(layer.dead_letters()[0]["id"])
    taken = 0
    until = time.monotonic() + PATIENCE
    while taken < 2:
        assert time.monotonic() < until
        for delivery in layer.receive_batch(["d"], 5, 0.1):
            taken += delivery.ack()
    layer.purge("d")
    assert not {"b", "t", "tied", "loose"} & place.families()
    assert place.command("HMGET", "totals", "blobs", "blobs_bytes") == [b"0", b"0"]


def test_what_nobody_holds_goes_when_its_time_has_come(place: Place) -> None:
    layer = place.make(blob_capacity=2 * CHUNK + EACH)
    one = write(layer, b"one")
    assert 3500 < float(place.command("ZSCORE", "loose", one)) - time.time() < 3700
    place.command("ZADD", "loose", 0, one)
    assert layer._call(("promote", ())) is None
    assert (read(layer, one), place.families() & {"b", "loose"}) == (None, set())
    two = write(layer, bytes(2 * CHUNK))
    with pytest.raises(ChannelFull):
        write(layer, b"x")
    place.command("ZADD", "loose", 0, two)
    assert read(layer, write(layer, b"three")) == b"three", "who needs room looks, too"
    assert read(layer, two) is None


def test_a_redis_out_of_memory_refuses_chunks(place: Place) -> None:
    layer = place.make()
    key = write(layer)
    layer.send("d", {"body_key": key})
    place.server.command("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(ChannelFull, match="out of memory"):
            write(layer)
        [delivery] = layer.receive_batch(["d"])
        assert read(layer, key) == DATA
        assert delivery.ack(), "what makes room is never refused"
        assert read(layer, key) is None
    finally:
        place.server.command("CONFIG", "SET", "maxmemory", 0)


def test_chunks_are_encrypted_there(place: Place) -> None:
    layer = place.make(encryption_keys=KEYS[:1])
    key = write(layer)
    fields = place.command("HGETALL", f"b:{{{key}}}")
    assert len(fields) == 4
    assert not any(DATA[:64] in field for field in fields.values())
    assert read(layer, key) == DATA


def test_blobs_outlive_a_redis_that_keeps_what_it_is_told(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    with open_layer(server.unix_url, durable=["d"]) as layer:
        key, loose = write(layer), layer.new_blob()
        layer.append_blob(loose, bytes(CHUNK))
        layer.send("d", {"body_key": key})
        [held] = layer.receive_batch(["d"])
        server.restart()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                assert read(layer, key) == DATA
                break
            except LayerUnavailable:
                assert time.monotonic() < until
                time.sleep(0.01)
        assert layer.append_blob(loose, b"end") == CHUNK + 3
        assert held.ack()
        assert layer.global_statistics()["blobs_bytes"] == CHUNK + 3


def test_what_was_appended_to_an_empty_redis_is_no_blob(place: Place) -> None:
    """One that came back empty has lost the beginning: no blob ever has a hole."""
    layer = place.make()
    key = layer.new_blob()
    layer.append_blob(key, bytes(CHUNK))
    for each in place.server.command("KEYS", f"{place.prefix}:*"):
        place.server.command("DEL", each)
    with pytest.raises(LayerError, match="it is gone"):
        layer.append_blob(key, b"end")
    with pytest.raises(LayerError, match="there is no blob"):
        layer.send("d", {"body_key": str(key)})


# several servers


@pytest.fixture
def spread(start_redis: Callable[..., Any]) -> Iterator[SpreadLayer]:
    servers = [start_redis() for _ in range(2)]
    url = "redis://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    with open_layer(url, durable=["d*"]) as layer:
        assert isinstance(layer, SpreadLayer)
        layer.test_servers = servers  # type: ignore[attr-defined]
        yield layer


def channels(layer: SpreadLayer) -> tuple[str, str]:
    """Return a durable channel of each of two places."""
    names = [f"d.{n}" for n in range(100)]
    first, second = (next(name for name in names if layer.router.place(name) == place) for place in (0, 1))
    return first, second


def where(layer: SpreadLayer, key: str) -> list[bool]:
    """Tell for each place whether it has a blob."""
    return [place._call(("blob_size", (key,))) is not None for place in layer.places]


def test_a_blob_is_written_where_its_message_will_be(spread: SpreadLayer) -> None:
    for number, channel in enumerate(channels(spread)):
        for _ in range(5):
            key = write(spread, b"x", channel)
            spread.send(channel, {"body_key": key})
            assert where(spread, key) == [number == 0, number == 1]


def test_a_blob_is_copied_to_its_message(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    key = write(spread, DATA, first)
    spread.send(first, {"body_key": key})
    spread.send(second, {"body_key": key})
    assert where(spread, key) == [True, True]
    spread.receive_batch([first])[0].ack()
    assert where(spread, key) == [False, True]
    other = open_layer(spread.text.removesuffix("/0"))
    assert read(spread, key) == read(other, key) == DATA, "wherever it is, it is found"
    other.close()
    [delivery] = spread.receive_batch([second])
    batch = spread.batch()
    batch.send(first, {"body_key": key})
    batch.dead_letter(second, delivery.message, reason="r")
    batch.ack(delivery)
    assert not any(isinstance(outcome, Exception) for outcome in batch.run())
    assert where(spread, key) == [True, True]
    assert spread.dead_letter_drop(spread.dead_letters()[0]["id"])
    assert where(spread, key) == [True, False]
    [delivery] = spread.receive_batch([first])
    assert read(spread, key) == DATA
    delivery.ack()
    assert where(spread, key) == [False, False]
    assert read(spread, key) is None
    assert spread.global_statistics()["blobs_bytes"] == 0


def test_an_empty_blob_is_copied_too(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    key = write(spread, b"", first)
    spread.send(second, {"body_key": key})
    assert where(spread, key) == [True, True]


def test_a_copy_that_another_has_begun_is_ended(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    key = write(spread, DATA, first)
    there = spread.places[1]
    real = there._call

    def begun(call: Any) -> Any:
        if call[0] == "append_blob" and call[1][1] == 0:
            for at in range(0, len(DATA), CHUNK):
                chunk = DATA[at : at + CHUNK]
                real(("append_blob", (key, at, chunk, len(chunk), 1 << 30)))
        return real(call)

    there._call = begun  # type: ignore[method-assign]
    spread.send(second, {"body_key": key})
    assert read(spread, key) == DATA
    spread.receive_batch([second])[0].ack()
    assert where(spread, key) == [True, False]


def test_what_is_nowhere_or_has_no_room_is_refused(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    gone = write(spread, b"x", first)
    assert spread.drop_blob(gone) is True
    with pytest.raises(LayerError, match="there is no blob"):
        spread.send(second, {"body_key": gone})
    key = write(spread, DATA, first)
    spread._blobs._capacity = CHUNK
    batch = spread.batch()
    batch.send(second, {"body_key": key})
    batch.send(second, {"n": 1})
    batch.send(first, {"body_key": key})
    outcomes = batch.run()
    assert [type(outcome) for outcome in outcomes[:2]] == [ChannelFull] * 2, "what is behind it does not overtake it"
    assert outcomes[2] is True


def test_a_place_that_is_away_is_told_as_such(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    key, other = write(spread, DATA, first), write(spread, DATA, second)
    spread.test_servers[0].kill()  # type: ignore[attr-defined]
    with pytest.raises(LayerUnavailable) as caught:
        spread.send(second, {"body_key": key})
    assert not caught.value.uncertain, "the message did not leave"
    with pytest.raises(LayerUnavailable):
        spread.blob_size(key)
    spread.send(second, {"body_key": other})
    assert read(spread, other) == DATA
    spread.receive_batch([second])[0].ack()
    with pytest.raises(LayerUnavailable):
        spread.blob_size(other)


def test_an_inbox_is_told_to_write_where_the_message_will_be(spread: SpreadLayer) -> None:
    first, second = channels(spread)
    instance, told = Instance(spread, "server.1!"), list[Any]()
    for channel in (first, second):
        key = instance.inbox.new_blob(channel)
        instance.inbox.append_blob(key, b"x", then=told.append)
        instance.inbox.send(channel, {"body_key": str(key)}, then=told.append)
    instance.wait(lambda: len(told) == 4)
    assert sorted(told) == [True, True, 1, 1]
    key = instance.inbox.new_blob(first)
    instance.inbox.append_blob(key, b"x", then=told.append)
    instance.wait(lambda: len(told) == 5)
    instance.inbox.send(second, {"body_key": str(key)}, then=told.append)
    instance.wait(lambda: len(told) == 6)
    assert isinstance(told[5], LayerError)
    assert "it is kept elsewhere" in str(told[5])
    instance.close()
