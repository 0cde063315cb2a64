"""The bus' file of blobs: what comes back after an end of any kind, and that nothing of it stays in memory."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trunkline.layer import LayerError, LayerUnavailable
from trunkline.layer.ipc.journal import Journal, JournalError
from trunkline.layer.ipc.layer import IpcLayer
from trunkline.layer.ipc.shelf import BlobFile
from trunkline.layer.store import Store
from trunkline.layer.store.blobs import CHUNK, LOOSE
from trunkline.layer.testing import ManualClock
from trunkline.layer.testing.conformance.blobs import DATA, KEYS, read, write
from trunkline.layer.testing.ipc import BusThread

from .conftest import WAIT, Broker, again

KEY = "blob.0123456789abcdef"
ROOM = 1 << 30


class Place:
    """A store with its two files, which can end as if it were killed at any commit, and begin anew."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "blobs")
        self.journal_path = str(folder / "journal")
        self.wall = ManualClock()
        self.offset = 0.0
        self.begin()
        self.store.calls["agree"]({"d": 30.0})

    def begin(self) -> None:
        self.offset += 1e6  # the clock of a machine that was started again
        self.store = Store(self.clock, wall=self.wall)
        self.shelf = BlobFile(self.path, self.clock, self.wall)
        self.journal = Journal(self.journal_path, self.clock, self.wall)
        self.shelf.restore(self.store)
        self.journal.restore(self.store)

    def clock(self) -> float:
        return self.wall() - self.offset

    def commit(self) -> None:
        self.shelf.commit()
        self.journal.commit()

    def close(self) -> None:
        self.shelf.close()
        self.journal.close()

    def again(self, commit: bool = True) -> None:
        if commit:
            self.commit()
        self.close()
        self.begin()

    def add(self, data: bytes = DATA, key: str = KEY) -> str:
        for at in range(0, len(data), CHUNK):
            chunk = data[at : at + CHUNK]
            self.store.blobs.append(key, at, chunk, len(chunk), ROOM)
        return key

    def send(self, *keys: str) -> None:
        self.store.calls["put_durable"](
            "d", "", b"", float("inf"), 100, None, 0, None, None, 60, 30.0, keys
        )  # fmt: skip

    def take(self) -> list[int]:
        found = self.store.queues.take(("d",), 0, 10)
        return [] if found is None else [element[5][0] for element in found[2]]

    def ack(self) -> None:
        for id in self.take():
            assert self.store.calls["ack"]("d", str(id), 1)

    def read(self, key: str = KEY) -> bytes | None:
        size = self.store.blobs.size_of(key)
        if size is None:
            return None
        chunks = [self.store.blobs.read(key, number) for number in range(-(-size // CHUNK))]
        return b"".join(chunk or b"" for chunk in chunks)

    def rows(self, table: str) -> int:
        assert self.shelf._database is not None
        (count,) = self.shelf._database.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_there_is_no_file_without_blobs(place: Place) -> None:
    place.send()
    place.commit()
    assert not os.path.exists(place.path)
    place.add()
    place.commit()
    assert os.stat(place.path).st_mode & 0o777 == 0o600


def test_what_a_message_holds_comes_back(place: Place) -> None:
    place.add()
    place.send(KEY)
    place.send(KEY)
    place.again()
    assert place.read() == DATA
    assert place.store.blobs.drop(KEY) is False
    place.wall.advance(10 * LOOSE)
    place.add(b"x", "blob.another")
    assert place.read() == DATA
    place.ack()
    assert place.read() is None
    place.commit()
    place.again()
    assert place.read() is None


def test_what_a_dead_letter_holds_comes_back(place: Place) -> None:
    place.add()
    place.store.calls["dead_letter"]("id", "a", b"", "reason", "", 1, (KEY, "blob.that.is.gone"))
    place.again()
    assert place.store.blobs.drop(KEY) is False
    assert place.store.letters.drop("id")
    assert place.read() is None


def test_what_nobody_holds_goes_an_hour_after_it_was_touched(place: Place) -> None:
    place.add()
    place.wall.advance(LOOSE / 2)
    place.add(b"later", "blob.later")
    place.again()
    assert place.read() == DATA
    place.wall.advance(LOOSE / 2 + 1)
    place.add(b"now", "blob.now")
    assert (place.read(), place.read("blob.later")) == (None, b"later")


def test_what_was_not_committed_is_gone_and_goes_on_where_it_was(place: Place) -> None:
    place.add(DATA[:CHUNK])
    place.commit()
    place.add()
    place.again(commit=False)
    assert place.read() == DATA[:CHUNK]
    place.store.blobs.append(KEY, CHUNK, DATA[CHUNK : 2 * CHUNK], CHUNK, ROOM)
    assert place.read() == DATA[: 2 * CHUNK]


def test_a_message_that_is_on_file_again_finds_what_it_holds(place: Place) -> None:
    """Killed between the two commits of a turn: the acknowledgement is lost, and the blob must not be."""
    place.add()
    place.send(KEY)
    place.commit()
    place.ack()
    place.shelf.commit()
    place.again(commit=False)
    assert place.read() == DATA
    place.ack()
    place.commit()
    assert place.rows("chunks") == 3, "it is deleted when the acknowledgement is on file"
    place.commit()
    assert place.rows("chunks") == place.rows("blobs") == 0


def test_much_is_deleted_a_part_at_a_time(place: Place) -> None:
    keys = [place.add(bytes(CHUNK) * 150, f"blob.{n}") for n in range(4)]
    place.commit()
    for key in keys:
        assert place.store.blobs.drop(key)
    counts = []
    for _ in range(5):
        place.commit()
        counts.append(place.rows("chunks"))
    assert counts[0] == 600
    assert counts[-1] == 0
    assert all(before - after <= 256 for before, after in pairwise(counts))
    assert place.rows("blobs") == 0
    with pytest.raises(LayerError):
        place.store.blobs.append(keys[0], CHUNK, b"more", 4, ROOM)


def test_a_key_that_is_being_deleted_is_not_used_again(place: Place) -> None:
    place.add()
    place.commit()
    assert place.store.blobs.drop(KEY)
    for _ in range(2):
        with pytest.raises(LayerError, match="was dropped"):
            place.add()
        place.shelf.commit()


def test_a_flush_empties_the_file_which_gives_its_room_back(place: Place) -> None:
    place.add()
    place.commit()
    place.store.flush()
    place.commit()
    assert place.rows("chunks") == 0
    place.again()
    assert not os.path.exists(place.path)
    assert place.add()
    place.again()
    assert place.read() == DATA


def test_what_is_to_be_held_is_synced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    place.add()
    place.commit()
    assert synced == []
    place.send(KEY)
    place.commit()
    assert synced == [f"{place.path}-wal"]
    place.send(KEY)
    place.commit()
    assert len(synced) == 1, "nothing was added since"


def test_a_file_that_cannot_be_used(tmp_path: Path, place: Place) -> None:
    def restore(path: str) -> None:
        BlobFile(path, place.clock, place.wall).restore(Store(place.clock))

    place.add()
    with pytest.raises(JournalError, match="cannot hold blobs: database is locked"):
        restore(place.path)
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"this is no database, but long enough to be looked at" * 20)
    with pytest.raises(JournalError, match="is not a database"):
        restore(str(nonsense))
    other = tmp_path / "other"
    with sqlite3.connect(other) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(JournalError, match="it is of version 7"):
        restore(str(other))
    nowhere = BlobFile(str(tmp_path / "missing" / "file"), place.clock, place.wall)
    with pytest.raises(LayerError, match="cannot hold blobs"):
        nowhere.add(KEY, 0, b"x", 1)
    nowhere.commit()  # others can go on


def test_a_journal_of_the_version_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with sqlite3.connect(path) as database:
        database.executescript("""
            CREATE TABLE messages (queue TEXT, id INTEGER, visibility REAL, body BLOB, queued REAL, deadline REAL,
                tries INTEGER, lapses INTEGER, state INTEGER, due REAL, key TEXT, PRIMARY KEY (queue, id));
            CREATE TABLE marks (queue TEXT, once TEXT, until REAL, PRIMARY KEY (queue, once)) WITHOUT ROWID;
            CREATE TABLE patterns (pattern TEXT PRIMARY KEY, visibility REAL) WITHOUT ROWID;
            CREATE TABLE letters (id TEXT PRIMARY KEY, channel TEXT, body BLOB, reason TEXT, traceback TEXT,
                tries INTEGER, time REAL);
            INSERT INTO patterns VALUES ('d', 30.0);
            INSERT INTO messages VALUES ('d', 7, 30.0, x'80', 0.0, NULL, 0, 0, 0, NULL, NULL);
            INSERT INTO letters VALUES ('l', 'd', x'80', 'reason', '', 1, 1.8e9);
            PRAGMA user_version = 1;
        """)
    database.close()
    place = Place(tmp_path)
    assert place.take() == [7]
    assert len(place.store.letters.all()) == 1
    place.add()
    place.send(KEY)
    place.again()
    assert place.store.blobs.drop(KEY) is False
    place.close()


# with a bus


def test_a_bus_that_cannot_keep_a_chunk_ends(folder: str) -> None:
    failed = threading.Event()
    bus = BusThread(f"{folder}/s", failed=failed.set)
    try:
        with IpcLayer(bus.path, durable=["d"]) as layer:
            key = layer.new_blob()
            layer.append_blob(key, bytes(CHUNK))
            database: Any = bus.bus._blobs._database

            async def fill() -> None:
                (pages,) = database.execute("PRAGMA page_count").fetchone()
                database.execute(f"PRAGMA max_page_count = {pages}")

            bus.call(fill())
            with pytest.raises(LayerUnavailable) as caught:
                layer.append_blob(key, bytes(CHUNK))
            assert not caught.value.uncertain, "it may be appended again"
            assert failed.wait(WAIT)
    finally:
        bus.close()


def test_a_killed_bus_loses_no_blob(folder: str) -> None:
    broker = Broker(folder)
    broker.start("--durable", f"{folder}/elsewhere")
    with IpcLayer(broker.path, durable={"d": 30}) as layer:
        key, loose = write(layer), layer.new_blob()
        layer.send("d", {"body_key": key})
        [held] = layer.receive_batch(["d"])
        layer.append_blob(loose, bytes(CHUNK))
        broker.end()
        broker.start("--durable", f"{folder}/elsewhere")
        assert again(lambda: read(layer, key)) == DATA
        assert layer.append_blob(loose, b"end") == CHUNK + 3
        assert held.ack()
        assert read(layer, key) is None
        assert read(layer, loose) == bytes(CHUNK) + b"end"
    assert os.path.exists(f"{folder}/elsewhere.blobs")
    broker.end()


def test_no_blob_stands_in_the_memory_of_the_bus(broker: Broker) -> None:
    def memory() -> int:
        """Return the most the bus has ever had, in bytes."""
        assert broker.process
        with open(f"/proc/{broker.process.pid}/status") as file:
            found = re.search(r"VmHWM:\s*(\d+) kB", file.read())
        assert found
        return int(found[1]) * 1024

    size = 25 * 1024 * 1024
    with IpcLayer(broker.path, durable=["d"]) as layer:
        layer.send("d", {"body_key": write(layer)})  # whatever it needs once
        before = memory()
        key = layer.new_blob("d")
        for n in range(size // CHUNK):
            layer.append_blob(key, n.to_bytes(4, "big") * (CHUNK // 4))
        layer.send("d", {"body_key": str(key)})
        for _ in range(2):
            assert layer.blob_size(key) == size
            for n in range(size // CHUNK):
                assert layer.read_blob(key, n) == n.to_bytes(4, "big") * (CHUNK // 4)
        for delivery in layer.receive_batch(["d"], 2):
            assert delivery.ack()
        assert layer.blob_size(key) is None
        print(f"25 MiB in and twice out: the bus took {(memory() - before) / 1e6:.1f} MB more")
        assert memory() - before < size / 2


def test_what_is_in_the_file_is_encrypted(folder: str) -> None:
    bus = BusThread(f"{folder}/s")
    with IpcLayer(bus.path, durable=["d"], encryption_keys=KEYS[:1]) as layer:
        layer.send("d", {"body_key": write(layer)})
        bus.close()
    files = [Path(folder, name).read_bytes() for name in os.listdir(folder) if ".blobs" in name]
    assert files
    assert not any(DATA[:64] in file for file in files)
