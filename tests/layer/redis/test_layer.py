"""The Redis layer as an object: its options, its connections, what ends with it, and what is wrong with its Redis."""

from __future__ import annotations

import gc
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from trunkline.layer import LayerError, LayerUnavailable, open_layer
from trunkline.layer.redis.layer import RedisLayer

if TYPE_CHECKING:
    from .conftest import RedisServer

PATIENCE = 60.0


@pytest.fixture
def layer(redis_server: RedisServer) -> Iterator[RedisLayer]:
    with RedisLayer(redis_server.unix_url, prefix=f"test.{secrets.token_hex(8)}") as layer:
        yield layer
        if not layer.closed:
            layer.flush()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


# opening


def test_urls_and_options_reach_the_layer(redis_server: RedisServer) -> None:
    with open_layer(f"{redis_server.url}/1?prefix=shop&capacity=7", expiry=9) as layer:
        assert isinstance(layer, RedisLayer)
        assert (layer.capacity, layer.expiry) == (7, 9)
        layer.send("a", {"n": 1})
        assert layer.receive(["a"]) == ("a", {"n": 1})


def test_two_prefixes_never_meet(redis_server: RedisServer) -> None:
    with open_layer(f"{redis_server.url}?prefix=one") as one, open_layer(f"{redis_server.url}?prefix=two") as two:
        one.send("a", {"n": 1})
        assert two.receive(["a"]) == (None, None)
        two.flush()
        assert one.receive(["a"]) == ("a", {"n": 1})


def test_a_prefix_that_is_a_pattern_flushes_only_its_own(redis_server: RedisServer) -> None:
    with open_layer(f"{redis_server.url}?prefix=p*") as wild, open_layer(f"{redis_server.url}?prefix=px") as other:
        other.send("a", {"n": 1})
        wild.flush()
        assert other.receive(["a"]) == ("a", {"n": 1})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost:0", "port"),
        ("redis://localhost?prefix=", "prefix"),
        ("redis://localhost?prefix=a{b", "prefix"),
        ("redis://localhost?prefix=shop:eu", "without braces, colons"),  # it would be part of what is shop's
        ("redis://localhost?prefx=a", "unknown option 'prefx'; did you mean prefix"),
        ("unix://", "expected unix://"),
        ("rediss://localhost?tls_ca=/nowhere.pem", "tls_ca=/nowhere.pem"),
    ],
)
def test_what_cannot_be_right_is_said_at_once(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_layer(url)
    assert "\n" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError("No module named 'hiredis'", name="hiredis")

    monkeypatch.setattr("trunkline.layer.engines.import_module", missing)
    with pytest.raises(ValueError, match=r"redis:// needs trunkline\[redis\]: pip install 'trunkline\[redis\]'"):
        open_layer("redis://localhost")


def test_a_module_that_is_missing_for_another_reason_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("trunkline.layer.engines.import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        open_layer("redis://localhost")


def test_nothing_is_connected_before_the_first_call() -> None:
    with open_layer("redis://127.0.0.1:1") as layer:
        with pytest.raises(LayerUnavailable, match="Connection refused"):
            layer.send("a", {})
        with pytest.raises(LayerUnavailable):
            layer.receive(["a"])
        with pytest.raises(LayerUnavailable):
            layer.receive_batch(["a"], 1, None)
        with pytest.raises(LayerUnavailable):
            _sent(layer, 2)  # whether the channel is durable was never heard
        layer._calls.limits.adopt({})
        assert [str(outcome) for outcome in _sent(layer, 2)] != []


def _sent(layer: Any, count: int) -> list[Any]:
    batch = layer.batch()
    for n in range(count):
        batch.send("a", {"n": n})
    outcomes: list[Any] = batch.run()
    return outcomes


# the end


def test_closing_ends_its_threads_and_connections(layer: RedisLayer, redis_server: RedisServer) -> None:
    results: list[object] = []

    def receive() -> None:
        try:
            layer.receive_batch(["a", "b"], 1, None)
        except LayerUnavailable as error:
            results.append(error)

    threads = [threading.Thread(target=receive) for _ in range(2)]
    for thread in threads:
        thread.start()
    movers = [thread for thread in threading.enumerate() if thread.name == "trunkline-mover"]
    until(lambda: b"trunkline.reader" in redis_server.command("CLIENT", "LIST"))
    layer.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(results) == 2
    for mover in movers:
        mover.join(PATIENCE)
        assert not mover.is_alive()
    with pytest.raises(LayerUnavailable, match="closed"):
        layer.send("a", {})


def test_a_layer_that_is_forgotten_takes_its_thread_along(redis_server: RedisServer) -> None:
    layer: Any = RedisLayer(redis_server.unix_url, prefix=f"test.{secrets.token_hex(8)}")
    assert layer.receive_batch(["a"], 1, 0.01) == []
    [mover] = [thread for thread in threading.enumerate() if thread is layer.mover._thread]
    del layer
    gc.collect()
    mover.join(PATIENCE)
    assert not mover.is_alive()


# outages of one connection


def test_a_reader_whose_connection_was_lost_says_so_once_and_goes_on(
    layer: RedisLayer, redis_server: RedisServer
) -> None:
    reader = layer.reader()
    assert reader.receive_batch(["a"], 1, 0.01) == []
    redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(LayerUnavailable):
        reader.receive_batch(["a"], 1, 1)
    layer.send("a", {"n": 1})
    assert [delivery.message for delivery in reader.receive_batch(["a"], 1, 1)] == [{"n": 1}]


def test_delayed_messages_are_moved_after_the_mover_lost_its_connection(
    layer: RedisLayer, redis_server: RedisServer
) -> None:
    reader = layer.reader()
    assert reader.receive_batch(["a"], 1, 0.01) == []
    until(lambda: b"trunkline.mover" in redis_server.command("CLIENT", "LIST"))
    redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    layer.send("a", {"n": 1}, delay=0.1)
    again = layer.reader()
    assert [delivery.message for delivery in again.receive_batch(["a"], 1, PATIENCE)] == [{"n": 1}]


def test_scripts_that_redis_forgot_are_loaded_again(layer: RedisLayer, redis_server: RedisServer) -> None:
    layer.send("a", {"n": 1})
    redis_server.command("SCRIPT", "FLUSH")
    assert _sent(layer, 3) == [True, True, True]
    assert [delivery.message["n"] for delivery in layer.receive_batch(["a"], 10)] == [1, 0, 1, 2]


# what is not ours, or out of order


def test_what_is_no_element_is_dropped_with_a_line(
    layer: RedisLayer, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    key = layer._commands.keys.list("a")
    head = struct.Struct(">ddBBI")
    later = time.time() + 1000
    for junk in (
        b"", b"x", head.pack(later, 0, 99, 0, 0), head.pack(later, 0, 3, 99, 0), head.pack(later, 0, 3, 0, 1) + b"\xc1",
    ):  # fmt: skip
        redis_server.command("RPUSH", key, junk)
    layer.send("a", {"n": 1})
    assert [delivery.message for delivery in layer.receive_batch(["a"], 100, 1)] == [{"n": 1}]
    assert "dropped" in caplog.text


def test_a_key_of_another_kind_is_one_clear_error(layer: RedisLayer, redis_server: RedisServer) -> None:
    redis_server.command("SET", layer._commands.keys.list("a"), "text")
    with pytest.raises(LayerError, match="WRONGTYPE"):
        layer.send("a", {"n": 1})
    with pytest.raises(LayerError, match="WRONGTYPE"):
        layer.receive_batch(["a"], 1, 1)


def test_redis_without_memory_refuses_sends_and_still_gives_out(start_redis: Any) -> None:
    server = start_redis()
    with RedisLayer(server.unix_url) as layer:
        for n in range(10):
            layer.send("a", {"n": n, "x": "x" * 1000})
        server.command("CONFIG", "SET", "maxmemory", 1)
        outcomes = _sent(layer, 2)
        assert [type(outcome).__name__ for outcome in outcomes] == ["ChannelFull", "ChannelFull"]
        with pytest.raises(LayerUnavailable, match="out of memory") as caught:
            layer.put_state("k", 1, 60)
        assert not caught.value.uncertain
        assert [delivery.message["n"] for delivery in layer.receive_batch(["a"], 4)] == [0, 1, 2, 3]
        assert [delivery.message["n"] for delivery in layer.receive_batch(["a"], 100, 1)] == [4, 5, 6, 7, 8, 9]
        server.command("CONFIG", "SET", "maxmemory", 0)
        assert layer.send("a", {"n": 1}) is True


def test_redis_that_cannot_write_its_disk_is_away(start_redis: Any) -> None:
    server = start_redis("--enable-protected-configs", "yes")
    with RedisLayer(server.unix_url) as layer:
        layer.send("a", {})
        server.command("CONFIG", "SET", "save", "3600 1")
        server.command("CONFIG", "SET", "dir", "/proc")
        server.command("BGSAVE")
        until(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(LayerUnavailable, match="MISCONF") as caught:
            layer.send("a", {})
        assert not caught.value.uncertain


# what `trunkline check` asks


def test_problems(start_redis: Any) -> None:
    server = start_redis()
    with RedisLayer(server.unix_url) as layer:
        assert layer.problems() == []
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        [problem] = layer.problems()
        assert "allkeys-lru" in problem
        assert "noeviction" in problem
        server.kill()
        [problem] = layer.problems()
        assert "cannot reach" in problem or "closed" in problem
    with RedisLayer("redis://127.0.0.1:1") as layer:
        assert layer.problems() == ["cannot reach redis://127.0.0.1:1/0: Connection refused"]


def test_who_may_not_ask_for_the_policy_is_told_nothing(start_redis: Any) -> None:
    server = start_redis()
    server.command("ACL", "SETUSER", "bus", "on", ">secret", "~trunkline:*", "+@all", "-info")
    with RedisLayer(server.url.replace("redis://", "redis://bus:secret@")) as layer:
        assert layer.problems() == []
        assert layer.send("a", {"n": 1}) is True
        assert layer.receive(["a"]) == ("a", {"n": 1})
