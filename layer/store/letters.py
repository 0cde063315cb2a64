"""Dead letters: what nobody will repeat, kept for a person to look at."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, Protocol

from .blobs import Blobs

ENTRIES = 10_000
AGE = 14 * 86_400.0
BYTES = 256 * 1024 * 1024
TRACEBACK = 16 * 1024


class Letter(NamedTuple):
    """One dead letter. `kept` is on the store's clock, `time` in Unix seconds."""

    kept: float
    id: str
    channel: str
    body: bytes
    reason: str
    traceback: str
    tries: int
    time: float
    blobs: tuple[str, ...] = ()

    def told(self) -> tuple[Any, ...]:
        """Return (id, channel, body, reason, traceback, tries, time)."""
        return self[1:8]

    def size(self) -> int:
        """Return about how many bytes it takes."""
        return len(self.body) + len(self.traceback) + len(self.reason)


class Journal(Protocol):
    """Told what changes among the letters."""

    def letter(self, letter: Letter) -> None:
        """Keep a dead letter."""

    def forget_letter(self, id: str) -> None:
        """Forget a dead letter."""


class Letters:
    """The newest dead letters: at most ENTRIES, BYTES and AGE; the oldest go first and are counted.

    Args:
        clock: Seconds, never going back.
        blobs: Large parts of messages.
        wall: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float], blobs: Blobs, wall: Callable[[], float]) -> None:
        self._clock = clock
        self._blobs = blobs
        self._wall = wall
        self._letters: dict[str, Letter] = {}  # in the order in which they came
        self._bytes = 0
        self.dropped = 0
        self.journal: Journal | None = None

    def __len__(self) -> int:
        return len(self._letters)

    def add(
        self, id: str, channel: str, body: bytes, reason: str, traceback: str, tries: int, blobs: tuple[str, ...] = ()
    ) -> str:
        """Keep a letter, and have it hold those of its blobs that are there; return its id.

        Kept once more, it is the same one.
        """
        now = self._clock()
        letter = Letter(now, id, channel, body, reason, traceback, tries, self._wall(), self._blobs.hold(blobs))
        self.drop(id)
        self._letters[id] = letter
        if self.journal is not None:
            self.journal.letter(letter)
        self._bytes += letter.size()
        while len(self._letters) > ENTRIES or (self._bytes > BYTES and len(self._letters) > 1):
            self._drop_first()
        self._forget(now)
        return id

    def all(self, newest: int | None = None) -> list[tuple[Any, ...]]:
        """Return all letters, or so many of the newest, oldest first.

        Returns:
            Of each (id, channel, body, reason, traceback, tries, time).
        """
        self._forget(self._clock())
        letters = [letter.told() for letter in islice(reversed(self._letters.values()), newest)]
        return letters[::-1]

    def count(self) -> int:
        """Return how many letters there are."""
        self._forget(self._clock())
        return len(self._letters)

    def find(self, id: str) -> tuple[Any, ...] | None:
        """Return one letter as `all` does; None if there is none of this id."""
        self._forget(self._clock())
        letter = self._letters.get(id)
        return None if letter is None else letter.told()

    def drop(self, id: str, keep_blobs: bool = False) -> bool:
        """Drop one letter; False if there was none of this id.

        Args:
            id: The letter's.
            keep_blobs: Those that nobody holds any more are kept for an hour.
        """
        letter = self._letters.pop(id, None)
        if letter is None:
            return False
        self._bytes -= letter.size()
        if self.journal is not None:
            self.journal.forget_letter(id)
        self._blobs.release(letter.blobs, keep_blobs)
        return True

    def restore(self, letter: Letter) -> None:
        """Take a letter back from a journal. They come oldest first."""
        self._letters[letter.id] = letter
        self._bytes += letter.size()

    def size(self) -> int:
        """Return about how many bytes the letters take."""
        return self._bytes

    def flush(self) -> None:
        """Drop all letters."""
        self._letters.clear()
        self._bytes = 0

    def _forget(self, now: float) -> None:
        while self._letters and next(iter(self._letters.values())).kept <= now - AGE:
            self._drop_first()

    def _drop_first(self) -> None:
        self.drop(next(iter(self._letters)))
        self.dropped += 1
