"""The broker's file: durable channels outlive it, killed or not.

A SQLite database in WAL mode, with what `layer.store` keeps in memory. What changed in a turn is written at its
end, in one transaction, and only then is anybody told that it was done. Of a message that came and went within one turn
nothing is written. The file is made when a channel is first said to be durable.

Times in it are Unix times, since the store's clock begins anew with the machine.
"""

import logging
import math
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import LayerError
from ..store import Store
from ..store.durable_queue import Record
from ..store.letters import Letter
from .database import open_database

log = logging.getLogger("trunkline.bus")

_VERSION = 2

_TABLES = """
CREATE TABLE messages (queue TEXT, id INTEGER, visibility REAL, body BLOB, queued REAL, deadline REAL, tries INTEGER,
    lapses INTEGER, state INTEGER, due REAL, key TEXT, blobs TEXT, PRIMARY KEY (queue, id));
CREATE TABLE marks (queue TEXT, once TEXT, until REAL, PRIMARY KEY (queue, once)) WITHOUT ROWID;
CREATE TABLE patterns (pattern TEXT PRIMARY KEY, visibility REAL) WITHOUT ROWID;
CREATE TABLE letters (id TEXT PRIMARY KEY, channel TEXT, body BLOB, reason TEXT, traceback TEXT, tries INTEGER,
    time REAL, blobs TEXT);
"""
_UPGRADE = """
ALTER TABLE messages ADD COLUMN blobs TEXT;
ALTER TABLE letters ADD COLUMN blobs TEXT;
"""  # of version 1
_STATE = "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB, until REAL) WITHOUT ROWID"
_SAVE = """
INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET tries = excluded.tries, lapses = excluded.lapses, state = excluded.state, due = excluded.due,
    key = excluded.key
"""


class JournalError(LayerError):
    """Tell that the file cannot be used."""


class Journal:
    """Keeps a store's durable channels, and its dead letters where it has such channels.

    Args:
        path: The file; it need not be there.
        clock: The store's.
        wall: Unix seconds.
    """

    def __init__(self, path: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._path = path
        self._offset = wall() - clock()
        self._database: sqlite3.Connection | None = None
        self._messages: dict[tuple[str, int], tuple[Any, ...] | None] = {}
        self._new: set[tuple[str, int]] = set()  # those of them that were never written
        self._others: list[tuple[str, tuple[Any, ...]]] = []

    # told by the store

    def save(self, queue: str, visibility: float, record: Record, new: bool) -> None:
        key = queue, record.id
        if new:
            self._new.add(key)
        due = None if record.when is None else self._unix(record.when)
        deadline = None if record.deadline == math.inf else self._unix(record.deadline)
        self._messages[key] = (
            queue, record.id, visibility, record.body, self._unix(record.queued), deadline, record.tries,
            record.lapses, record.state, due, record.key, _keys(record.blobs),
        )  # fmt: skip

    def forget(self, queue: str, id: int) -> None:
        self._messages[queue, id] = None

    def mark(self, queue: str, once: str, until: float) -> None:
        self._others.append(("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (queue, once, self._unix(until))))

    def agree(self, patterns: Mapping[str, float]) -> None:
        if self._database is None and any(patterns.values()):
            self._open()
        self._others += [("INSERT OR REPLACE INTO patterns VALUES (?, ?)", pair) for pair in patterns.items()]

    def letter(self, letter: Letter) -> None:
        values = (*letter.told(), _keys(letter.blobs))
        self._others.append(("INSERT OR REPLACE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values))

    def forget_letter(self, id: str) -> None:
        self._others.append(("DELETE FROM letters WHERE id = ?", (id,)))

    def state(self, key: str, value: bytes, until: float) -> None:
        self._others.append(("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (key, value, self._unix(until))))

    def forget_state(self, key: str) -> None:
        self._others.append(("DELETE FROM state WHERE key = ?", (key,)))

    def clear(self) -> None:
        self._messages.clear()
        self._new.clear()
        self._others = [(f"DELETE FROM {table}", ()) for table in ("messages", "marks", "letters", "state")]

    # for the bus

    def restore(self, store: Store) -> int:
        """Fill a store that knows its blobs, and keep what changes from now on; return how many messages there were.

        Raises:
            JournalError: The file is none of ours, or cannot be read.
        """
        store.keep(self)
        if not os.path.exists(self._path):
            return 0
        self._open()
        try:
            return self._restore(store)
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise JournalError(f"{self._path} cannot be read: {error}") from error

    def commit(self) -> None:
        """Write what changed since the last time.

        Raises:
            JournalError: It cannot be written, and nothing of it was.
        """
        messages, others = self._messages, self._others
        if self._database is None:  # no channel is durable
            others.clear()
            return
        if not (messages or others):
            return
        gone = [key for key, values in messages.items() if values is None and key not in self._new]
        kept = [values for values in messages.values() if values is not None]
        try:
            with self._database as database:
                database.execute("BEGIN")
                for statement, values in others:
                    database.execute(statement, values)
                if gone:
                    database.executemany("DELETE FROM messages WHERE queue = ? AND id = ?", gone)
                if kept:
                    database.executemany(_SAVE, kept)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} cannot be written: {error}") from error
        self._messages, self._others = {}, []
        self._new.clear()

    def close(self) -> None:
        """Close the file; what was not committed is not kept."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> None:
        try:
            database = self._database = open_database(self._path, "synchronous = FULL")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version in (0, 1):
                tables = _UPGRADE if version else _TABLES
                database.executescript(f"BEGIN; {tables} PRAGMA user_version = {_VERSION}; COMMIT")
            database.execute(_STATE)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise JournalError(f"{self._path} cannot hold durable channels: {error}") from error
        if version not in (0, 1, _VERSION):
            self.close()
            raise JournalError(f"{self._path} is of version {version!r:.20}, this program knows {_VERSION}")

    def _restore(self, store: Store) -> int:
        assert self._database is not None
        execute = self._database.execute
        store.durables.patterns.update(execute("SELECT pattern, visibility FROM patterns").fetchall())
        count = 0
        for queue, id, visibility, body, queued, deadline, tries, lapses, state, due, key, keys in execute(
            "SELECT * FROM messages ORDER BY queue, tries = 0, id"
        ):
            when = None if due is None else self._clock(due)
            until = math.inf if deadline is None else self._clock(deadline)
            blobs = store.blobs.hold((keys or "").split())
            record = Record(id, body, self._clock(queued), until, tries, lapses, state, when, key, blobs)
            store.durables.open(queue, visibility).restore(record)
            count += 1
        now = store.clock()
        execute("DELETE FROM marks WHERE until <= ?", (self._unix(now),))
        for queue, once, until in execute("SELECT queue, once, until FROM marks"):
            store.queues.mark((queue, once), self._clock(until))
        execute("DELETE FROM state WHERE until <= ?", (self._unix(now),))
        for key, value, until in execute("SELECT key, value, until FROM state"):
            store.state.restore(key, value, self._clock(until))
        for id, channel, body, reason, traceback, tries, time, keys in execute("SELECT * FROM letters ORDER BY time"):
            blobs = store.blobs.hold((keys or "").split())
            store.letters.restore(Letter(self._clock(time), id, channel, body, reason, traceback, tries, time, blobs))
        return count

    def _unix(self, seconds: float) -> float:
        return seconds + self._offset

    def _clock(self, unix: float) -> float:
        return unix - self._offset


def _keys(blobs: tuple[str, ...]) -> str | None:
    return " ".join(blobs) or None
