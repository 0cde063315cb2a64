"""Which files call for new processes when they change; only `--reload` uses it, while a program is written."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable


def imported_files() -> set[str]:
    """Return the .py files of the imported modules below the working directory, what is installed there left out."""
    installed = tuple(os.path.join(path, "") for path in sysconfig.get_paths().values())
    here = os.path.join(os.getcwd(), "")
    found: set[str] = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.startswith(here) and path.endswith(".py") and not path.startswith(installed):
            found.add(path)
    return found


def blamed_files(error: BaseException) -> set[str]:
    """Return the .py files that an error came through, and those that did not compile."""
    found: set[str] = set()
    seen: BaseException | None = error
    while seen is not None:
        found.update(frame.filename for frame in traceback.extract_tb(seen.__traceback__))
        if isinstance(seen, SyntaxError):
            found.add(seen.filename or "")
        seen = seen.__cause__ or seen.__context__
    return {path for path in found if path.endswith(".py")}


class Watch:
    """Files, and whether they changed since the last look."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def add(self, paths: Iterable[str]) -> None:
        """Watch these as well."""
        for path in paths:
            self._times.setdefault(path, _time_of(path))

    def changed(self) -> list[str]:
        """Return which files were written, removed or made since the last call."""
        found = []
        for path, before in self._times.items():
            now = _time_of(path)
            if now != before:
                self._times[path] = now
                found.append(path)
        return found


def _time_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
