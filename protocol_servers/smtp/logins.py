"""Who somebody is who logs in: asked of an `auth_file` or of a callable of the user's, in threads, within bounds.

Passwords stay in this process: they are on no channel and in no log line, not even in that of an exception, whose text
may hold one.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...operations.errors import UsageError
from .passwords import NOBODY, Hash, read_lines

TIMEOUT = 10.0  # seconds in which somebody has to be known or not
_THREADS = 4
_MAX_FILE = 16 * 1024 * 1024

_log = logging.getLogger("trunkline.smtp")

Check = Callable[[str, str], object]


class UserFile:
    """The users of an `auth_file`, which is read again when it changes.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        ValueError: It makes no sense.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seen = self._look()
        self._users = self._read()

    def __call__(self, user: str, password: str) -> bool:
        """Say whether this is the user's password."""
        self._follow()
        found = self._users.get(user)
        # A user who is not there takes as long as one who is.
        fits = (found or NOBODY).fits(password)
        return fits and found is not None

    def _look(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> dict[str, Hash]:
        if self._seen[2] > _MAX_FILE:
            raise ValueError(f"it is over {_MAX_FILE // 1024 // 1024} MiB")
        return read_lines(self._path.read_text(encoding="utf-8"))

    def _follow(self) -> None:
        try:
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._users = self._read()
                _log.info("read the changed auth_file %s", self._path)
        except (OSError, ValueError) as error:
            _log.warning("changed auth_file %s cannot be used, the users of before stay: %s", self._path, error)


def load_check(where: str, auth_file: str | None, auth_callable: str | None) -> Check | None:
    """Return what knows the users of the settings; None: nobody can log in.

    Args:
        where: The settings' table, for errors.
        auth_file: Its `auth_file`.
        auth_callable: Its `auth_callable`, "module:function".

    Raises:
        UsageError: The file cannot be read, or there is no such callable.
    """
    if auth_file is not None:
        try:
            return UserFile(auth_file)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{where} auth_file {auth_file} cannot be used: {why}") from None
    return None if auth_callable is None else _load_callable(where, auth_callable)


def _load_callable(where: str, name: str) -> Check:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UsageError(f'{where} auth_callable: expected "module:function", got {name!r}')
    if "" not in sys.path:
        sys.path.insert(0, "")  # as for a routing, the working directory comes first
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise UsageError(f"{where} auth_callable {name}: {type(error).__name__}: {error}") from error
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise UsageError(f"{where} auth_callable {name} is not a plain function of a user and a password")
    return found


class Logins:
    """Checks logins off the loop, a few at a time.

    Args:
        check: Says whether a password is a user's: True, or the name to call the user by; anything false: no.
        loop: The event loop.
    """

    def __init__(self, check: Check, loop: asyncio.AbstractEventLoop) -> None:
        self._check = check
        self._loop = loop
        self._threads = ThreadPoolExecutor(_THREADS, "smtp-login")

    async def user(self, name: str, password: str) -> str | None:
        """Return who logged in; None: name or password are wrong.

        Raises:
            TimeoutError: Nobody could tell within 10 s.
            LookupError: Whoever was to tell failed, which is logged.
        """
        async with asyncio.timeout(TIMEOUT):
            return await self._loop.run_in_executor(self._threads, self._ask, name, password)

    def _ask(self, name: str, password: str) -> str | None:
        try:
            known = self._check(name, password)
        except Exception as error:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            line = "" if last is None else f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})"
            _log.error("auth_callable failed: %s%s", type(error).__name__, line)
            raise LookupError("the check of a login failed") from None
        if isinstance(known, str):
            return known if known and known.isprintable() else None
        return name if known is True else None

    def close(self) -> None:
        """Begin no further check."""
        self._threads.shutdown(wait=False, cancel_futures=True)
