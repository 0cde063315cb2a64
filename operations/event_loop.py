"""The one event loop: Twisted's asyncio reactor on uvloop, or on plain asyncio where uvloop is missing.

Only the command line calls `install_reactor` and `new_loop`; everything else is given the reactor, the loop or a clock.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import StartError

T = TypeVar("T")

_MOST_FILES = 2**20  # where the system sets no limit


def install_reactor() -> Any:
    """Install Twisted's asyncio reactor, and return it. The process may open as many files as the system lets it.

    To be called before anything imports `twisted.internet.reactor`, a user's routing included: whichever import
    comes first decides, and any other reactor cannot carry asyncio libraries.

    Raises:
        StartError: the system has no room for a loop.
        twisted.internet.error.ReactorAlreadyInstalledError: another reactor was there first.
    """
    from twisted.internet import asyncioreactor

    _allow_files()
    try:
        loop = new_loop()
    except OSError as error:
        raise StartError(f"no event loop: {error.strerror}") from error
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    from twisted.internet import reactor

    return reactor


def _allow_files() -> None:
    """Raise the limit on open files as far as that is up to us: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError):
            pass  # some systems allow less than they say


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop, or of plain asyncio where uvloop is missing."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(reactor: Any, main: Coroutine[Any, Any, T]) -> T:
    """Run the reactor until `main` is finished; return its value, or raise what it raised.

    Signals are left to `main`: Twisted's own handlers stop the reactor without asking anybody.
    """
    task: asyncio.Task[T] = reactor._asyncioEventloop.create_task(main)
    task.add_done_callback(lambda _: reactor.stop())
    reactor.run(installSignalHandlers=False)
    return task.result()
