"""Values with versions and a time to live: sessions, claims, counters.

Values whose key begins with the name of a durable channel and a colon tell of its messages: they are kept in its
journal, where there is one, so that both outlive the process.
"""

from collections.abc import Callable
from itertools import count
from typing import Protocol

from .agenda import Agenda


class Journal(Protocol):
    """Told what changes among the values that are to be kept."""

    def state(self, key: str, value: bytes, until: float) -> None:
        """Keep a value."""

    def forget_state(self, key: str) -> None:
        """Forget a value."""


class _Entry:
    __slots__ = ("expires", "swept", "value", "version")

    def __init__(self, value: bytes | int, version: int, expires: float) -> None:
        self.value = value
        self.version = version
        self.expires = expires
        self.swept = expires  # when the agenda looks at it


class State:
    """A table of key → value, version, deadline.

    Versions are counted over the whole table, so that a key that was deleted and made again never has a version it
    had before.
    """

    def __init__(self, clock: Callable[[], float], agenda: Agenda) -> None:
        self._clock = clock
        self._agenda = agenda
        self._entries: dict[str, _Entry] = {}
        self._versions = count(1)
        self._journal: Journal | None = None
        self._is_kept: Callable[[str], bool] = lambda key: False
        self._kept: set[str] = set()  # keys in the journal

    def keep(self, journal: Journal, is_kept: Callable[[str], bool]) -> None:
        """Keep values in a journal from now on, those of the keys that `is_kept` tells."""
        self._journal, self._is_kept = journal, is_kept

    def restore(self, key: str, value: bytes, until: float) -> None:
        """Take a value back from a journal."""
        self._kept.add(key)
        self._set(key, None, value, until)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> tuple[bytes | int | None, int]:
        """Return (packed value or counter, version), or (None, 0)."""
        entry = self._live(key, self._clock())
        return (entry.value, entry.version) if entry else (None, 0)

    def put(self, key: str, value: bytes, ttl: float, if_version: int | None = None) -> int:
        """Set a value for `ttl` seconds.

        Args:
            if_version: Only if the present version is this one; 0: only if there is none.

        Returns:
            The new version, or 0 if `if_version` was not met.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        entry = self._live(key, now)
        if if_version is not None and if_version != (entry.version if entry else 0):
            return 0
        if self._journal is not None and self._is_kept(key):
            self._kept.add(key)
            self._journal.state(key, value, now + ttl)
        return self._set(key, entry, value, now + ttl)

    def delete(self, key: str) -> bool:
        """Remove a key; False if there was none."""
        entry = self._live(key, self._clock())
        if entry is None:
            return False
        # It stays for the agenda, which has an entry for it already: a key set and deleted all day long costs one.
        entry.value, entry.expires = b"", float("-inf")
        self._unkeep(key)
        return True

    def increment(self, key: str, window: float) -> int:
        """Add one to a counter that lives `window` seconds from its first increment; return the count.

        Raises:
            TypeError: The key holds a value that is no counter.
        """
        now = self._clock()
        if self._agenda.next <= now:
            self._agenda.run(now)
        entry = self._live(key, now)
        if entry is None:
            self._set(key, None, 1, now + window)
            return 1
        if not isinstance(entry.value, int):
            raise TypeError(f"state {key!r} holds a value and is no counter")
        entry.value += 1
        entry.version = next(self._versions)
        return entry.value

    def size(self) -> int:
        """Return how many bytes the values have, the counters none."""
        return sum(len(entry.value) for entry in self._entries.values() if isinstance(entry.value, bytes))

    def flush(self) -> None:
        """Forget everything; versions go on."""
        self._entries.clear()
        self._kept.clear()

    def _unkeep(self, key: str) -> None:
        if key in self._kept and self._journal is not None:
            self._kept.discard(key)
            self._journal.forget_state(key)

    def _live(self, key: str, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.expires > now else None

    def _set(self, key: str, entry: _Entry | None, value: bytes | int, expires: float) -> int:
        version = next(self._versions)
        known = entry or self._entries.get(key)
        if known is None:
            self._entries[key] = _Entry(value, version, expires)
            self._agenda.add(expires, self._forget, key)
        else:
            known.value, known.version, known.expires = value, version, expires
            if expires < known.swept:
                known.swept = expires
                self._agenda.add(expires, self._forget, key)
        return version

    def _forget(self, key: str, now: float) -> float | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= now:
            del self._entries[key]
            self._unkeep(key)
        elif entry.swept <= now:
            entry.swept = entry.expires
            return entry.expires
        return None
