"""A text that is never shown, and that may change while a process runs."""

from __future__ import annotations

from pathlib import Path


class Secret:
    """A password, token or key: `{ env = "NAME" }` or `{ file = "path" }` in the settings, never the text itself.

    One that comes from a file follows it: whoever replaces the file changes the secret without a restart.

    Args:
        value: The text.
        path: The file it was read from.
    """

    __slots__ = ("_path", "_seen", "_value")

    def __init__(self, value: str, path: Path | None = None) -> None:
        self._value = value
        self._path = path
        self._seen = self._look()

    @property
    def value(self) -> str:
        """The text of now; of a file that is away or empty, that of before."""
        if self._path is not None and (seen := self._look()) != self._seen:
            try:
                text = self._path.read_text("utf-8").strip()
            except (OSError, ValueError):
                return self._value
            if text:
                self._seen, self._value = seen, text
        return self._value

    def _look(self) -> object:
        """Return what changes whenever the file does."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "Secret()"
