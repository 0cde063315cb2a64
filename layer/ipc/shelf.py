"""The broker's file of blobs: chunks are written to it as they come, and read from it one by one.

A SQLite database in WAL mode beside that of the durable channels, made when the first blob comes. What changed in a
turn is committed at its end, before the journal is: what a message holds is on file when the message is, and synced.
What is dropped is deleted one commit later, and not too much at a time.

Which messages hold which blobs, the journal knows. What nobody holds after a start goes an hour after it was touched.
"""

import os
import sqlite3
from collections.abc import Callable

from ..errors import LayerError
from ..store import Store
from .database import open_database
from .journal import JournalError

_VERSION = 1
_TABLES = """
CREATE TABLE blobs (key TEXT PRIMARY KEY, size INTEGER, touched REAL) WITHOUT ROWID;
CREATE TABLE chunks (key TEXT, number INTEGER, body BLOB, PRIMARY KEY (key, number));
"""
_PAGE = 32 * 1024  # bytes: two pages and a little for a chunk, so that deleting one touches no more
_CHECKPOINT = 256  # pages of the log that are moved at once
_SLICE = 256  # chunks deleted in one turn


class BlobFile:
    """Keeps chunks in a file.

    Args:
        path: The file; it need not be there.
        clock: The store's.
        wall: Unix seconds.
    """

    def __init__(self, path: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._path = path
        self._offset = wall() - clock()
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._failure: sqlite3.Error | None = None
        self._settled = False  # whether something is held since the last commit
        self._unsynced = False
        self._dropped: dict[str, None] = {}  # in this turn
        self._gone: dict[str, None] = {}  # before it, and not yet deleted

    # told by the store

    def add(self, key: str, number: int, chunk: bytes, size: int) -> None:
        if not number and (key in self._gone or key in self._dropped):
            raise LayerError(f"{key} was dropped")
        if self._database is None:
            try:
                self._open()
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise LayerError(f"{self._path} cannot hold blobs: {error}") from error
        try:
            execute = self._begin()
            if chunk:
                execute("INSERT INTO chunks VALUES (?, ?, ?)", (key, number, chunk))
            execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (key, size, self._clock() + self._offset))
        except sqlite3.Error as error:
            self._failure = error
            raise LayerError(f"the bus cannot keep {key}: {error}") from error

    def chunk(self, key: str, number: int) -> bytes | None:
        assert self._database is not None, "a blob that is known was added here, or restored"
        try:
            row = self._database.execute("SELECT body FROM chunks WHERE key = ? AND number = ?", (key, number))
            found: tuple[bytes] | None = row.fetchone()
        except sqlite3.Error as error:
            raise LayerError(f"the bus cannot read {key}: {error}") from error
        return None if found is None else found[0]

    def settle(self) -> None:
        self._settled = True

    def drop(self, key: str) -> None:
        self._dropped[key] = None

    def clear(self) -> None:
        self._dropped.clear()
        self._gone.clear()
        if self._database is not None:
            execute = self._begin()
            execute("DELETE FROM chunks")
            execute("DELETE FROM blobs")

    # for the bus

    def restore(self, store: Store) -> None:
        """Tell a store what is here, and keep what it gets from now on. An empty file gives its room back.

        Raises:
            JournalError: The file is none of ours, or cannot be read.
        """
        store.blobs.shelf = self
        if not os.path.exists(self._path):
            return
        try:
            database = self._open()
            blobs = database.execute("SELECT key, size, touched FROM blobs ORDER BY touched").fetchall()
            for key, size, touched in blobs:
                store.blobs.restore(key, size, touched - self._offset)
            if not blobs:
                self.close()
                os.unlink(self._path)
        except (OSError, sqlite3.Error, TypeError) as error:
            self.close()
            raise JournalError(f"{self._path} cannot hold blobs: {error}") from error

    def commit(self) -> None:
        """Have on file what changed since the last time.

        Raises:
            JournalError: It cannot be written.
        """
        if self._database is None:
            return
        try:
            if self._failure is not None:
                raise self._failure
            if self._gone:
                self._delete()
            if self._database.in_transaction:
                self._database.execute("COMMIT")
                self._unsynced = True
            if self._settled and self._unsynced:
                self._sync()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{self._path} cannot be written: {error}") from error
        self._settled = False
        self._gone.update(self._dropped)
        self._dropped.clear()

    def close(self) -> None:
        """Close the file; what was not committed is not kept."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        # Every commit syncs nothing, every checkpoint does: that is enough for the file to stay whole, and what a
        # message is to hold is synced by `commit`.
        database = self._database = open_database(
            self._path, f"page_size = {_PAGE}", "synchronous = NORMAL", f"wal_autocheckpoint = {_CHECKPOINT}"
        )
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if not version:
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version!r:.20}, this program knows {_VERSION}")
        return database

    def _begin(self) -> Callable[..., sqlite3.Cursor]:
        assert self._database is not None
        if not self._database.in_transaction:
            self._database.execute("BEGIN")
        return self._database.execute

    def _delete(self) -> None:
        execute = self._begin()
        left = _SLICE
        while self._gone and left > 0:
            key = next(iter(self._gone))
            left -= execute(
                "DELETE FROM chunks WHERE rowid IN (SELECT rowid FROM chunks WHERE key = ? LIMIT ?)", (key, left)
            ).rowcount
            if left > 0:
                execute("DELETE FROM blobs WHERE key = ?", (key,))
                del self._gone[key]
                left -= 1

    def _sync(self) -> None:
        log = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(log)
        finally:
            os.close(log)
        self._unsynced = False
