"""The bus' file: what comes back after an end of any kind, and a file that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import LayerError, LayerUnavailable
from trunkline.layer.ipc.journal import Journal, JournalError
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.store import Store
from trunkline.layer.testing import ManualClock
from trunkline.layer.testing.ipc import BusThread

from .conftest import WAIT, Broker, again

INFINITE = float("inf")


class Place:
    """A store with its journal, which can end as if it were killed and begin anew at another time of the clock."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.wall = ManualClock()
        self.offset = 0.0
        self.begin()

    def begin(self) -> None:
        self.offset += 1e6  # the clock of a machine that was started again
        self.store = Store(self.clock, wall=self.wall)
        self.journal = Journal(self.path, self.clock, self.wall)
        self.count = self.journal.restore(self.store)

    def clock(self) -> float:
        return self.wall() - self.offset

    def again(self) -> None:
        self.journal.commit()
        self.journal.close()
        self.begin()

    def put(self, n: int, **given: Any) -> bool:
        options = {"expiry": INFINITE, "capacity": 100, "max_bytes": None, "delay": 0, "key": None, "once": None}
        arguments = {**options, "window": 60, "visibility": 30.0, **given}
        return bool(self.store.calls["put_durable"]("d", "", b"%d" % n, *arguments.values()))

    def take(self, limit: int = 10) -> list[tuple[int, int, int]]:
        """Return (number, id, tries) of what there is."""
        found = self.store.queues.take(("d",), 0, limit)
        return [] if found is None else [(int(element[4]), *element[5]) for element in found[2]]

    def call(self, name: str, id: int, *arguments: Any) -> Any:
        return self.store.calls[name]("d", str(id), *arguments)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(str(tmp_path / "file.db"))
    made.store.calls["agree"]({"d": 30.0})
    yield made
    made.journal.close()


def test_there_is_no_file_without_durable_channels(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "file.db"))
    place.store.calls["agree"]({"d": 0.0})
    place.store.calls["dead_letter"]("id", "a", b"", "reason", "", 1)
    place.journal.commit()
    place.journal.close()
    assert os.listdir(tmp_path) == []


def test_what_is_in_it_comes_back_as_it_was(place: Place) -> None:
    for n in range(5):
        assert place.put(n)
    taken = place.take(3)
    assert place.call("ack", taken[0][1], 1)
    assert place.call("nack", taken[1][1], 1, 10.0)
    place.again()
    assert place.count == 4
    assert place.store.durables.patterns == {"d": 30.0}
    assert [n for n, _, _ in place.take()] == [3, 4]
    assert not place.call("extend", taken[1][1], 1, 5.0)
    assert place.call("extend", taken[2][1], 1, 5.0), "who had it still has it"
    place.again()
    place.wall.advance(11)
    assert place.take() == [(2, taken[2][1], 2), (1, taken[1][1], 2)]
    place.again()
    assert place.call("ack", taken[2][1], 2)
    assert place.put(9)
    assert place.take()[0][1] > taken[2][1], "ids go on"


def test_what_is_ready_stands_in_its_order(place: Place) -> None:
    for n in range(4):
        place.put(n)
    taken = place.take(2)
    place.store.calls["put_back_durable"]("d", [(str(id), tries) for _, id, tries in taken])
    [first] = place.take(1)
    place.call("nack", first[1], 1, 0.0)
    place.again()
    assert [(n, tries) for n, _, tries in place.take()] == [(0, 2), (1, 1), (2, 1), (3, 1)]


def test_delays_keys_marks_and_deadlines_come_back(place: Place) -> None:
    place.put(1, delay=10.0, key="k")
    place.put(2, once="o")
    place.put(3, expiry=5.0)
    place.put(4, delay=10.0, key="gone")
    place.store.calls["cancel"]("d", "gone")
    place.again()
    assert place.put(5, once="o") is False
    place.put(6, delay=20.0, key="k")
    place.wall.advance(6)
    assert [n for n, _, _ in place.take()] == [2]
    place.again()
    place.wall.advance(15)
    assert [n for n, _, _ in place.take()] == [6]
    place.wall.advance(60)
    place.again()
    assert place.put(7, once="o") is True


def test_dead_letters_come_back(place: Place) -> None:
    add, drop = place.store.calls["dead_letter"], place.store.calls["dead_letter_drop"]
    for id in ("1", "2", "3"):
        add(id, "a", b"body", "reason", "trace", 3)
        place.wall.advance(1)
    drop("2")
    before = place.store.letters.all()
    place.again()
    assert place.store.letters.all() == before
    assert place.store.letters.find("1") == before[0]
    size = place.store.letters.size()
    place.store.letters.drop("3")
    assert place.store.letters.size() == size - len("bodyreasontrace")
    place.wall.advance(15 * 86400)
    assert place.store.letters.all() == []


def test_a_flush_is_for_good(place: Place) -> None:
    place.put(1, once="o")
    place.journal.commit()
    place.put(2)
    place.store.calls["dead_letter"]("id", "a", b"", "reason", "", 1)
    place.store.flush()
    place.put(3, once="o")
    place.again()
    assert [n for n, _, _ in place.take()] == [3]
    assert place.store.letters.all() == []
    assert place.store.durables.patterns == {"d": 30.0}


def test_what_came_and_went_within_a_turn_is_not_written(place: Place) -> None:
    place.journal.commit()
    place.put(1)
    [(_, id, tries)] = place.take()
    place.call("ack", id, tries)
    place.journal.commit()
    with sqlite3.connect(f"file:{place.path}?mode=ro", uri=True) as database:
        place.journal.close()
        assert database.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    database.close()
    place.begin()


def test_a_plain_queue_that_becomes_durable_keeps_what_it_has(place: Place) -> None:
    put = place.store.calls["put"]
    put("d", "", b"1", 60.0, 10)
    put("d", "", b"2", 60.0, 10, None, 5.0, "k", None, 0.0, None, False)
    place.put(3)
    put("d", "", b"4", 60.0, 10)
    place.store.queues.put_back("d", [(place.clock() + 60, 0.0, 0, "", b"0", None)])
    place.again()
    assert [n for n, _, _ in place.take()] == [1, 3, 4, 0]
    place.wall.advance(6)
    assert [n for n, _, _ in place.take()] == [2]


def test_a_file_that_cannot_be_used(tmp_path: Path, place: Place) -> None:
    place.journal.commit()
    with pytest.raises(JournalError, match="cannot hold durable channels: database is locked"):
        Journal(place.path, place.clock, place.wall).restore(Store(place.clock))
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"this is no database, but long enough to be looked at" * 20)
    with pytest.raises(JournalError, match="is not a database"):
        Journal(str(nonsense), place.clock, place.wall).restore(Store(place.clock))
    with pytest.raises(JournalError, match="cannot hold"):
        Journal(str(tmp_path), place.clock, place.wall).restore(Store(place.clock))
    other = tmp_path / "other"
    with sqlite3.connect(other) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(JournalError, match="is of version 7"):
        Journal(str(other), place.clock, place.wall).restore(Store(place.clock))
    with sqlite3.connect(other) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(JournalError, match="cannot be read: no such table"):
        Journal(str(other), place.clock, place.wall).restore(Store(place.clock))


# with a bus


def test_a_bus_whose_file_cannot_be_made_says_so_to_who_asks(folder: str) -> None:
    bus = BusThread(f"{folder}/s", journal=f"{folder}/missing/file")
    try:
        with IpcLayer(bus.path, durable=["d"]) as layer, pytest.raises(LayerError, match="cannot hold durable"):
            layer.send("d", {})
        with IpcLayer(bus.path) as layer:
            assert layer.send("d", {}) is True
    finally:
        bus.close()


def test_a_bus_that_cannot_start_gives_its_place_back(folder: str) -> None:
    path = f"{folder}/s"
    with open(f"{path}.db", "wb") as file:
        file.write(b"this is no database, but long enough to be looked at" * 20)
    with pytest.raises(JournalError, match="is not a database"):
        BusThread(path)
    os.unlink(f"{path}.db")
    BusThread(path).close()


def test_who_could_not_be_kept_is_not_told_otherwise(folder: str) -> None:
    failed = threading.Event()
    bus = BusThread(f"{folder}/s", failed=failed.set)
    try:
        with IpcLayer(bus.path, durable=["d"]) as layer:
            layer.send("d", {"n": 1})

            def commit() -> None:
                raise JournalError("no space left")

            bus.bus._journal.commit = commit  # type: ignore[method-assign]
            with pytest.raises(LayerUnavailable) as caught:
                layer.send("d", {"n": 2})
            assert caught.value.uncertain
            assert failed.wait(WAIT)
    finally:
        bus.close()


def test_a_stopped_bus_loses_nothing_durable(folder: str) -> None:
    bus = BusThread(f"{folder}/s")
    with IpcLayer(bus.path, durable=["d"]) as layer:
        layer.send("d", {"n": 1})
        layer.send("a", {"n": 2})
        assert bus.call(bus.bus.stop()) == 1
    bus.loop.call_soon_threadsafe(bus.loop.stop)
    other = BusThread(f"{folder}/s")
    try:
        assert other.bus.kept == 1
        with IpcLayer(other.path) as layer:
            assert layer.receive(["a"]) == (None, None)
            assert layer.receive(["d"]) == ("d", {"n": 1})
            assert layer.global_statistics()["messages_lost_count"] == 1
    finally:
        other.close()


def test_a_killed_bus_loses_nothing_durable(folder: str) -> None:
    broker = Broker(folder)
    broker.start("--durable", f"{folder}/elsewhere")
    with IpcLayer(broker.path, durable={"d": 30}) as layer:
        for n in range(100):
            layer.send("d", {"n": n})
        layer.send("a", {})
        [held] = layer.receive_batch(["d"])
        broker.end()
        said = broker.start("--durable", f"{folder}/elsewhere")
        assert "100 messages of durable channels are here from before" in said
        assert "1 messages at most that waited there are lost" in said
        assert again(held.ack) is True
        assert [delivery.message["n"] for delivery in layer.receive_batch(["d"], 200)] == list(range(1, 100))
    broker.end()


def test_state_of_a_durable_channel_comes_back(place: Place) -> None:
    place.put(1)
    state = place.store.state
    state.put("d:1", b"kept", 60)
    state.put("d:2", b"deleted", 60)
    state.put("d:3", b"short", 5)
    state.put("other:1", b"lost", 60)
    state.put("d", b"lost", 60)
    state.put("d:1", b"kept, and set anew", 60)
    state.delete("d:2")
    place.wall.advance(10)
    place.again()
    found = {key: place.store.state.get(key)[0] for key in ("d:1", "d:2", "d:3", "other:1", "d")}
    assert found == {"d:1": b"kept, and set anew", "d:2": None, "d:3": None, "other:1": None, "d": None}
    place.store.state.delete("d:1")
    place.again()
    assert place.store.state.get("d:1") == (None, 0)
    place.put(2)
    place.store.state.put("d:4", b"", 60)
    place.store.flush()
    place.again()
    assert place.store.state.get("d:4") == (None, 0)
