"""Durable channels on Redis: streams that lose their group, tokens that are lost, and who does not know of them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.layer import LayerUnavailable
from trunkline.layer.redis.layer import RedisLayer
from trunkline.layer.redis.scripts import SCRIPTS
from trunkline.layer.store import letters
from trunkline.layer.store.durable_queue import LAPSES

PATIENCE = 60.0


class Place:
    """One prefix on the session's Redis."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.prefix = f"test.{secrets.token_hex(8)}"
        self.layers: list[RedisLayer] = []

    def make(self, durable: Any = None, **options: Any) -> RedisLayer:
        self.layers.append(RedisLayer(self.server.unix_url, prefix=self.prefix, durable=durable, **options))
        return self.layers[-1]

    def command(self, name: str, key: str, *args: Any) -> Any:
        return self.server.command(name, f"{self.prefix}:{key}", *args)


@pytest.fixture
def place(redis_server: Any) -> Iterator[Place]:
    made = Place(redis_server)
    yield made
    for layer in made.layers:
        layer.close()


def numbers(deliveries: list[Any]) -> list[tuple[int, int]]:
    return [(delivery.message["n"], delivery.tries) for delivery in deliveries]


def test_a_group_that_was_lost_is_made_again(place: Place) -> None:
    layer = place.make(["d"])
    for n in range(3):
        layer.send("d", {"n": n})
    [held] = layer.receive_batch(["d"])
    place.server.command("XGROUP", "DESTROY", f"{place.prefix}:x:{{d}}", "w")
    layer.send("d", {"n": 3})
    assert held.extend(5) is False
    assert numbers(layer.receive_batch(["d"], 10)) == [(n, 1) for n in range(4)]
    assert held.ack() is True


def test_redis_that_came_back_empty_is_used_on(place: Place) -> None:
    layer = place.make(["d"])
    layer.send("d", {"n": 1})
    [held] = layer.receive_batch(["d"])
    for key in place.server.command("KEYS", f"{place.prefix}:*"):
        place.server.command("DEL", key)
    assert (held.ack(), held.nack(), held.extend(1)) == (False, False, False)
    layer.put_back([held])
    assert layer.peek("d") == []
    layer.send("d", {"n": 2})
    assert numbers(layer.receive_batch(["d"], 10)) == [(2, 1)]


def test_what_is_told_of_channels_is_told_again_to_a_redis_that_forgot(place: Place) -> None:
    layer = place.make({"d": 5})
    reader = layer.reader()
    assert reader.receive_batch(["d"], 1, 0.01) == []
    place.command("DEL", "durable")
    place.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(LayerUnavailable):
        reader.receive_batch(["d"], 1, 1)
    assert reader.receive_batch(["d"], 1, 0.01) == []
    assert place.command("HGETALL", "durable") == {b"d": b"5.0"}


def test_a_token_that_was_lost_is_found_missing(place: Place) -> None:
    layer = place.make(["d"])
    layer.send("d", {"n": 1})
    assert place.command("LRANGE", "q:{d}", 0, -1) == [b""]
    assert place.command("LPOP", "q:{d}") == b""  # by somebody who died with it
    place.command("ZADD", "later", 0, "d")  # its time has come
    [delivery] = layer.reader().receive_batch(["d"], 1, PATIENCE)
    assert delivery.ack()
    assert layer.receive_batch(["d"]) == []
    assert place.command("EXISTS", "later") == 0


def test_who_does_not_know_that_a_channel_is_durable_can_still_be_heard(place: Place) -> None:
    early = place.make()
    early.agree()
    late = place.make({"d": 5})
    late.send("d", {"n": 1})
    assert early.send("d", {"n": 2}) is True
    reader = late.reader()
    got = reader.receive_batch(["d"], 5, PATIENCE)
    while len(got) < 2:
        got += reader.receive_batch(["d"], 5, PATIENCE)
    assert sorted((delivery.message["n"], delivery.id is None) for delivery in got) == [(1, False), (2, True)]
    assert all(delivery.ack() for delivery in got)


def test_who_meets_a_token_learns(place: Place) -> None:
    early = place.make()
    reader = early.reader()
    assert reader.receive_batch(["d", "a"], 1, 0.01) == []
    place.make({"d": 5}).send("d", {"n": 1})
    [delivery] = reader.receive_batch(["d", "a"], 1, PATIENCE)
    assert (delivery.message, delivery.visibility) == ({"n": 1}, 5)
    assert early.send("d", {"n": 2}, once="o") is True
    assert early.send("d", {"n": 3}, once="o") is False
    assert place.command("XLEN", "x:{d}") == 2


def test_elements_without_their_token_come_first(place: Place) -> None:
    """What was sent before the channel was durable is still there, and is taken as it was meant."""
    place.make().send("d", {"n": 1})
    layer = place.make(["d"])
    layer.send("d", {"n": 2})
    got = layer.receive_batch(["d"], 5)
    assert numbers(got) == [(1, 1)]
    assert got[0].id is None
    assert numbers(layer.receive_batch(["d"], 5)) == [(2, 1)]


def test_a_reader_in_need_of_a_script_waits_for_both(place: Place) -> None:
    layer = place.make(["d"])
    reader = layer.reader()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(reader.receive_batch(["x!", "d"], 1, PATIENCE)))
    thread.start()
    layer.send("d", {"n": 1})
    thread.join(PATIENCE)
    assert numbers(results) == [(1, 1)]
    layer.send("x!1", {"n": 2})
    assert numbers(reader.receive_batch(["x!", "d"], 1, PATIENCE)) == [(2, 1)]


def test_what_is_no_element_is_dropped(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    layer = place.make(["d"])
    layer.send("d", {"n": 1})
    place.command("XADD", "x:{d}", "*", "e", b"\x7f\xf0" + b"\0" * 6 + b"12345678" + b"\xff" * 6)
    layer.send("d", {"n": 2})
    got = layer.receive_batch(["d"], 5)
    assert numbers(got) == [(1, 1), (2, 1)]
    assert "it is dropped" in caplog.text


def test_a_message_that_vanished_is_forgotten(place: Place) -> None:
    layer = place.make({"d": 0.05})
    layer.send("d", {"n": 1})
    [held] = layer.receive_batch(["d"])
    place.command("XTRIM", "x:{d}", "MAXLEN", 0)
    assert held.nack() is True
    layer.send("d", {"n": 2})
    assert numbers(layer.receive_batch(["d"], 5)) == [(2, 1)]
    assert place.command("ZCARD", "r:{d}") == 0


def test_many_that_lapse_are_moved_without_a_script_of_their_own(place: Place) -> None:
    layer = place.make({"d": 0.2}, capacity=1000)
    batch = layer.batch()
    for n in range(200):
        batch.send("d", {"n": n})
    assert batch.run() == [True] * 200
    assert len(layer.receive_batch(["d"], 200)) == 200
    reader, got = layer.reader(), list[Any]()
    while len(got) < 200:
        got += reader.receive_batch(["d"], 64, PATIENCE)
    assert sorted(numbers(got)) == [(n, 2) for n in range(200)]
    assert place.command("EXISTS", "wake") <= 1


def test_ids_go_on_when_the_clock_goes_back(place: Place) -> None:
    layer = place.make(["d"])
    layer.send("d", {"n": 1})
    ahead = int((time.time() + 3600) * 1e6)
    place.command("HSET", "m:{d}", "i", ahead)
    layer.send("d", {"n": 2})
    layer.send("d", {"n": 3})
    got = layer.receive_batch(["d"], 5)
    assert [delivery.message["n"] for delivery in got] == [1, 2, 3]
    assert [delivery.id for delivery in got[1:]] == [str(ahead + 1), str(ahead + 2)]


def test_only_commands_that_valkey_has_too() -> None:
    assert not any(b"XACKDEL" in source or b"XDELEX" in source or b"XNACK" in source for source in SCRIPTS.values())


def test_figures_in_scripts_are_those_of_the_store() -> None:
    sources = b"\n".join(SCRIPTS.values()).decode()
    assert f"LETTERS, LETTER_BYTES, LETTER_AGE = {letters.ENTRIES}, {letters.BYTES}, {letters.AGE:.0f}" in sources
    assert f"LAPSES = {LAPSES}" in sources


def test_a_plain_receive_costs_what_it_did(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is not durable is received by one BLMPOP, and sent to by one script, as ever."""
    layer = place.make({"d": 5})
    reader = layer.reader()
    layer.send("a", {"n": 0})
    assert numbers(reader.receive_batch(["a", "d"], 1, PATIENCE)) == [(0, 1)]
    ran: list[Any] = []
    connection = reader._connection  # type: ignore[attr-defined]
    real: Callable[..., None] = connection.write

    def write(commands: list[Any]) -> None:
        ran.extend(commands)
        real(commands)

    monkeypatch.setattr(connection, "write", write)
    layer.send("a", {"n": 1})
    assert numbers(reader.receive_batch(["a", "d"], 1, PATIENCE)) == [(1, 1)]
    assert [command[0] for command in ran] == ["BLMPOP"]
