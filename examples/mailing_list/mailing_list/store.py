"""Members, what waits to be confirmed, and the archive: one SQLite file.

A mail may be consumed again where its worker was killed, so everything here can happen twice and counts once.
"""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

DATABASE = os.environ.get("MAILING_LIST_DATABASE", "list.sqlite")
CONFIRM_WITHIN = 3 * 86_400  # seconds
ASK_AGAIN = 3_600  # seconds after which somebody is asked once more: nobody is flooded by others' requests
MOST_BOUNCES = 3  # posts that come back before a member is unsubscribed
FORGET_BOUNCES = 30 * 86_400  # seconds without one

Wish = Literal["subscribe", "leave"]

_TABLES = """
CREATE TABLE IF NOT EXISTS member (
    address TEXT PRIMARY KEY COLLATE NOCASE, key TEXT UNIQUE NOT NULL, bounces INTEGER NOT NULL DEFAULT 0,
    bounced REAL NOT NULL DEFAULT 0, last TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS wish (
    token TEXT PRIMARY KEY, address TEXT NOT NULL COLLATE NOCASE, wish TEXT NOT NULL, asked REAL NOT NULL,
    UNIQUE (address, wish)
);
CREATE TABLE IF NOT EXISTS post (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, at REAL NOT NULL, author TEXT NOT NULL, sender TEXT NOT NULL,
    subject TEXT NOT NULL, text TEXT NOT NULL, message_id TEXT NOT NULL, refers TEXT NOT NULL
);
"""


class Member(NamedTuple):
    """Who gets the posts; the key stands in the address that bounces go to, and lets them leave."""

    address: str
    key: str


class Post(NamedTuple):
    """A mail to the list."""

    number: int
    at: float
    author: str
    sender: str
    subject: str
    text: str
    message_id: str
    refers: str


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """Open the file; what is done in it is done whole or not at all."""
    database = sqlite3.connect(DATABASE, timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_TABLES)
        with database:
            yield database
    finally:
        database.close()


# Members


def is_member(address: str) -> bool:
    """Say whether somebody gets the posts."""
    with _database() as database:
        return database.execute("SELECT 1 FROM member WHERE address = ?", (address,)).fetchone() is not None


def members(after: str, limit: int) -> list[Member]:
    """Return some members, those after an address."""
    with _database() as database:
        found = database.execute(
            "SELECT address, key FROM member WHERE address > ? ORDER BY address LIMIT ?", (after, limit)
        )
        return [Member(*row) for row in found]


def remove(key: str) -> str | None:
    """Unsubscribe the member with this key; return the address, None if nobody has it (any more)."""
    with _database() as database:
        found = database.execute("DELETE FROM member WHERE key = ? RETURNING address", (key,)).fetchone()
        return None if found is None else str(found[0])


def bounced(key: str, what: str) -> bool:
    """Count that a post did not reach a member; unsubscribe who missed too many.

    Args:
        key: The member's.
        what: Names the report: the same one counts once.

    Returns:
        Whether this was the last one.
    """
    now = time.time()
    with _database() as database:
        database.execute(
            "UPDATE member SET bounces = 1 + CASE WHEN bounced > ? THEN bounces ELSE 0 END, bounced = ?, last = ?"
            " WHERE key = ? AND last != ?",
            (now - FORGET_BOUNCES, now, what, key, what),
        )
        gone = database.execute("DELETE FROM member WHERE key = ? AND bounces >= ?", (key, MOST_BOUNCES))
        return gone.rowcount > 0


# What waits to be confirmed


def ask(address: str, wish: Wish) -> str | None:
    """Note that somebody, whoever it is, wants this for an address; return a token, None if it was asked just now."""
    now = time.time()
    with _database() as database:
        database.execute("DELETE FROM wish WHERE asked < ?", (now - CONFIRM_WITHIN,))
        token = secrets.token_hex(16)
        noted = database.execute(
            "INSERT INTO wish VALUES (?, ?, ?, ?) ON CONFLICT (address, wish) DO UPDATE SET token = excluded.token,"
            " asked = excluded.asked WHERE asked < ?",
            (token, address, wish, now, now - ASK_AGAIN),
        )
        return token if noted.rowcount > 0 else None


def confirm(token: str) -> tuple[str, Wish] | None:
    """Do what waited for this token; return whose wish it was and which, None if there is none."""
    with _database() as database:
        found = database.execute(
            "DELETE FROM wish WHERE token = ? AND asked >= ? RETURNING address, wish",
            (token, time.time() - CONFIRM_WITHIN),
        ).fetchone()
        if found is None:
            return None
        address, wish = found
        if wish == "subscribe":
            database.execute(
                "INSERT OR IGNORE INTO member (address, key) VALUES (?, ?)", (address, secrets.token_hex(16))
            )
        else:
            database.execute("DELETE FROM member WHERE address = ?", (address,))
        return address, wish


# Posts


def add_post(id: str, author: str, sender: str, subject: str, text: str, message_id: str, refers: str) -> int:
    """Put a mail into the archive, once; return its number.

    Args:
        id: The mail's, the same when its sender repeats it.
        author: Whom people know it is from.
        sender: The address it is from, which the archive does not show.
        subject: Its subject.
        text: What it says.
        message_id: Its Message-ID.
        refers: The Message-IDs of its thread so far.
    """
    with _database() as database:
        database.execute(
            "INSERT OR IGNORE INTO post (id, at, author, sender, subject, text, message_id, refers)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (id, time.time(), author, sender, subject, text, message_id, refers),
        )
        return int(database.execute("SELECT number FROM post WHERE id = ?", (id,)).fetchone()[0])


_POST = "SELECT number, at, author, sender, subject, text, message_id, refers FROM post"


def post(number: int) -> Post | None:
    """Return one post."""
    with _database() as database:
        found = database.execute(f"{_POST} WHERE number = ?", (number,)).fetchone()
        return None if found is None else Post(*found)


def latest(limit: int) -> list[Post]:
    """Return the newest posts, the newest first."""
    with _database() as database:
        return [Post(*row) for row in database.execute(f"{_POST} ORDER BY number DESC LIMIT ?", (limit,))]
