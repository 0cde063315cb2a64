"""Encrypted messages: read by who has a key, by nobody else, and whoever has none says nothing."""

from __future__ import annotations

import builtins
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.layer import Layer, MemoryLayer, open_layer
from trunkline.layer.options import shown
from trunkline.layer.testing import Instance, ManualClock

OLD, NEW = "an old secret of sixteen", b"a new secret of sixteen"
SECRET = "geheimnis"


class Place:
    """Layers with different keys on one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._name = f"test.{secrets.token_hex(8)}"
        self._layers: list[Layer] = []

    def layer(self, *keys: str | bytes, **options: Any) -> Any:
        self._layers.append(MemoryLayer(self._name, clock=self.clock, encryption_keys=keys, **options))
        return self._layers[-1]

    def close(self) -> None:
        for layer in self._layers:
            layer.close()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def test_everything_comes_back_as_it_was(place: Place) -> None:
    layer = place.layer(OLD, capacity=50)
    message = {"text": SECRET, "bytes": b"\0" * 40}
    layer.send("a", message)
    assert layer.peek("a") == [message]
    taken = layer.receive_batch(["a"])
    assert [delivery.original() for delivery in taken] == [message]
    layer.put_back(taken)
    assert layer.receive(["a"]) == ("a", message)

    layer.group_add("g", "x!1", {"name": SECRET})
    layer.group_add("g", "x!2")
    layer.group_add("g", "b")
    assert layer.group_members("g") == {"x!1": {"name": SECRET}, "x!2": None, "b": None}
    layer.send_group("g", message)
    assert layer.receive(["b"]) == ("b", message)
    assert [layer.receive(["x!"]), layer.receive(["x!"])] == [("x!1", message), ("x!2", message)]

    version = layer.put_state("k", [SECRET], 60)
    assert layer.get_state("k") == ([SECRET], version)
    assert [layer.incr_state("n", 60) for _ in range(2)] == [1, 2]
    assert layer.get_state("n")[0] == 2
    id = layer.dead_letter("a", message, reason="r")
    assert layer.dead_letter_of(id)["message"] == layer.dead_letters()[0]["message"] == message
    assert layer.dead_letter_retry(id) is True
    assert layer.receive(["a"]) == ("a", message)

    batch = layer.batch()
    batch.send("a", message)
    assert batch.message_of(batch.calls[0]) == message
    assert batch.run() == [True]
    assert layer.receive(["a"]) == ("a", message)
    layer.announce("w", {"channels": {"a": False}})
    assert layer.listeners() == {"w": {"channels": {"a": False}}}


def test_a_server_sends_and_gets(place: Place) -> None:
    layer = place.layer(OLD)
    server = Instance(layer, "server.1!")
    server.inbox.send("a", {"text": SECRET})
    server.turn()
    assert layer.receive(["a"]) == ("a", {"text": SECRET})
    layer.group_add("g", "server.1!a")
    server.got()
    layer.send_group("g", {"n": 1})
    layer.send("server.1!b", {"n": 2})
    assert server.got() == [("g", ["a"], {"n": 1}), (None, ["b"], {"n": 2})]
    place.layer().send("server.1!b", {"n": 3})
    place.layer(NEW).send("server.1!b", {"n": 4})
    layer.send("server.1!b", {"n": 5})
    assert server.got() == [(None, ["b"], {"n": 5})]
    assert server.inbox.stats["unreadable"] == 2
    server.close()


def test_nothing_of_it_can_be_read_in_the_store(place: Place) -> None:
    layer = place.layer(OLD)
    other = place.layer()
    layer.send("a", {"text": SECRET})
    layer.group_add("g", "x!1", SECRET)
    layer.put_state("k", SECRET, 60)
    layer.dead_letter("a", {"text": SECRET}, reason="r")
    kept = [
        *layer._call(("peek", ("a", 10))),
        *layer._call(("group_members", ("g",))).values(),
        layer._call(("get_state", ("k",)))[0],
        *(letter[2] for letter in layer._call(("dead_letters", ()))),
    ]
    assert len(kept) == 4
    assert not any(SECRET.encode() in body for body in kept)
    for stranger in (other, place.layer(NEW)):
        with pytest.raises(ValueError):
            stranger.get_state("k")
        with pytest.raises(ValueError):
            stranger.dead_letters()


def test_keys_are_changed_without_losing_a_message(place: Place) -> None:
    first, both, turned, last = (place.layer(*keys) for keys in ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,)))
    steps = [(first, both), (both, first), (both, turned), (turned, both), (turned, last), (last, turned)]
    for number, (sender, reader) in enumerate(steps):
        sender.send("a", {"n": number})
        assert reader.receive(["a"]) == ("a", {"n": number})
    turned.send("a", {"n": 9})
    assert first.receive(["a"]) == (None, None), "who has only the old key cannot read what the new one encrypts"


@pytest.mark.parametrize("keys", [(), (NEW,)])
def test_what_no_key_opens_is_dropped_and_counted(
    place: Place, keys: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    layer, foreign = place.layer(OLD), place.layer(*keys)
    for n in range(3):
        foreign.send("a", {"n": n})
    layer.send("a", {"n": 3})
    assert layer.peek("a") == [{"n": 3}]
    assert [delivery.message for delivery in layer.receive_batch(["a"], 10)] == [{"n": 3}]
    assert layer.unreadable == 3
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


def test_a_durable_message_is_left_to_who_can_read_it(place: Place) -> None:
    old, both = place.layer(OLD, durable=["jobs"]), place.layer(NEW, OLD)
    old.agree()
    both.send("jobs", {"n": 1})
    assert old.receive_batch(["jobs"], 10) == []
    assert old.unreadable == 1
    assert both.receive_batch(["jobs"], 10) == []
    place.clock.advance(6)
    [delivery] = both.receive_batch(["jobs"], 10)
    assert (delivery.message, delivery.tries) == ({"n": 1}, 2)


def test_sizes_are_those_of_the_message(place: Place) -> None:
    layer = place.layer(OLD, max_size=100)
    layer.send("a", {"x": "y" * 90})
    with pytest.raises(layer.MessageTooLarge):
        layer.send("a", {"x": "y" * 100})


@pytest.mark.parametrize("keys", [["short"], "a single text of sixteen", [7], [b"x" * 15]])
def test_keys_that_are_none(keys: Any) -> None:
    with pytest.raises(ValueError, match="encryption_keys"):
        MemoryLayer(encryption_keys=keys)


def test_keys_in_a_url_are_shown_to_nobody() -> None:
    with open_layer(f"memory://?encryption_keys={OLD.replace(' ', '+')},{NEW.decode()}&expiry=5") as layer:
        assert list(layer.options.encryption_keys) == [OLD, NEW.decode()]
    assert shown("redis://h/0?encryption_keys=abc,def&expiry=5") == "redis://h/0?encryption_keys=&expiry=5"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'trunkline\[encryption\]'"):
        MemoryLayer(encryption_keys=[OLD])
