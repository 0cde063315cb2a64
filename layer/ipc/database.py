"""Opening the broker's files: SQLite databases in WAL mode, that nobody else may read or open meanwhile."""

import os
import sqlite3


def open_database(path: str, *settings: str) -> sqlite3.Connection:
    """Open a file, made if it is not there.

    Args:
        path: The file; no symbolic link.
        settings: Further pragmas, that come before all others.

    Raises:
        OSError, sqlite3.Error: It cannot be used.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        for setting in (*settings, "locking_mode = EXCLUSIVE", "journal_mode = WAL"):
            database.execute(f"PRAGMA {setting}")
        database.execute("SELECT * FROM sqlite_master LIMIT 1").fetchall()  # locks it, and sees whether it is one
    except sqlite3.Error:
        database.close()
        raise
    return database
